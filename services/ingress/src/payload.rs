//! GitHub's webhook bodies, as far as Sluice understands them. Pure.
//!
//! Invariants: [`claimed_name`] runs on bytes that nobody vouched for: it allocates nothing for what it skips, its depth is
//! bounded, and a name given twice is refused; everything else runs on verified bodies only. What is taken over from a body
//! is bounded, so that an event never outgrows the bus. Called by the receiver and by the inbox handler.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;
use sluice_git::RefName;
use sluice_schemas::events::Commit;
use sluice_schemas::ids::Correlation;
use sluice_schemas::{Sha, Timestamp};

/// GitHub looks at no more than the first 300 files; so do we.
const MAX_FILES: usize = 300;
/// All their names together: an event stays far below the bus's limit of 1 MiB.
const MAX_FILES_BYTES: usize = 64 << 10;
/// GitHub sends more commits than this without saying which files they touch.
const MAX_COMMITS: usize = 20;
const MAX_MESSAGE: usize = 16 << 10;
const MAX_NAME: usize = 256;
const MAX_REF: usize = 1024;
/// Written by the publisher into bump commits.
const CORRELATION_TRAILER: &str = "sluice-correlation";

/// What a body is not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is not a JSON object that can be read: {0}; send the webhook as application/json")]
    Json(serde_json::Error),
    #[error("the body is not a push as GitHub sends it: {0}")]
    Push(serde_json::Error),
}

/// What a push payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// A branch or tag moved.
    Push(Box<PushSaid>),
    /// Something else that no workflow starts from.
    Nothing { reason: String },
}

/// A push as the host tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushSaid {
    pub(crate) git_ref: String,
    pub(crate) before: Sha,
    pub(crate) after: Sha,
    pub(crate) created: bool,
    pub(crate) deleted: bool,
    pub(crate) forced: bool,
    pub(crate) head_commit: Option<Commit>,
    pub(crate) correlation: Option<Correlation>,
    pub(crate) pusher: String,
    pub(crate) changed_files: Vec<String>,
    pub(crate) changed_files_complete: bool,
    pub(crate) html_url: String,
    pub(crate) default_branch: String,
}

/// The repository that an unverified body claims to be about: only good for choosing the secret to check it with.
pub(crate) fn claimed_name(body: &[u8]) -> Result<Option<Cow<'_, str>>, BodyError> {
    let claim: Claim<'_> = serde_json::from_slice(body).map_err(BodyError::Json)?;
    Ok(claim.repository.and_then(|repository| repository.full_name))
}

/// Reads the body of a `push` event.
pub(crate) fn push(body: &[u8]) -> Result<Said, BodyError> {
    let payload: Payload = serde_json::from_slice(body).map_err(BodyError::Push)?;
    let known = payload.git_ref.starts_with("refs/heads/") || payload.git_ref.starts_with("refs/tags/");
    if !known || payload.git_ref.len() > MAX_REF || RefName::parse(&payload.git_ref).is_err() {
        let name: String = payload.git_ref.chars().take(80).collect();
        return Ok(Said::Nothing { reason: format!("`{name}` is neither a branch nor a tag") });
    }
    let deleted = payload.deleted || payload.after.is_null();
    let created = payload.created || payload.before.is_null();
    let (changed_files, all_listed) = changed_files(&payload.commits);
    let complete = all_listed
        && !created
        && !deleted
        && !payload.forced
        && !payload.commits.is_empty()
        && payload.size.is_none_or(|size| size == payload.commits.len() as u64);
    let head = payload.head_commit.filter(|_| !deleted);
    Ok(Said::Push(Box::new(PushSaid {
        correlation: head.as_ref().and_then(|commit| correlation(&commit.message)),
        head_commit: head.map(Commit::from),
        git_ref: payload.git_ref,
        before: payload.before,
        after: payload.after,
        created,
        deleted,
        forced: payload.forced,
        pusher: bounded(payload.pusher.and_then(|pusher| pusher.name).unwrap_or_default(), MAX_NAME),
        changed_files,
        changed_files_complete: complete,
        html_url: bounded(payload.repository.html_url.unwrap_or_default(), MAX_REF),
        default_branch: bounded(
            payload.repository.default_branch.unwrap_or_else(|| "main".to_owned()),
            MAX_NAME,
        ),
    })))
}

/// The chain that a commit continues, by the trailer that the publisher writes.
pub(crate) fn correlation(message: &str) -> Option<Correlation> {
    let paragraph = message.trim_end().rsplit("\n\n").next()?;
    paragraph.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(CORRELATION_TRAILER).then(|| value.trim().parse().ok()).flatten()
    })
}

/// The beginning of a commit's message, for people.
pub(crate) fn bounded_message(message: String) -> String {
    bounded(message, MAX_MESSAGE)
}

/// Whether a list of files may travel in an event.
pub(crate) fn fit(files: &[String]) -> bool {
    files.len() <= MAX_FILES && files.iter().map(String::len).sum::<usize>() <= MAX_FILES_BYTES
}

fn changed_files(commits: &[CommitPayload]) -> (Vec<String>, bool) {
    let mut files = BTreeSet::new();
    let mut bytes = 0;
    for commit in commits.iter().take(MAX_COMMITS) {
        for path in commit.added.iter().chain(&commit.modified).chain(&commit.removed) {
            if files.contains(path.as_str()) {
                continue;
            }
            bytes += path.len();
            if files.len() == MAX_FILES || bytes > MAX_FILES_BYTES {
                return (owned(files), false);
            }
            files.insert(path.as_str());
        }
    }
    (owned(files), commits.len() <= MAX_COMMITS)
}

fn owned(files: BTreeSet<&str>) -> Vec<String> {
    files.into_iter().map(str::to_owned).collect()
}

fn bounded(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

impl From<CommitPayload> for Commit {
    fn from(commit: CommitPayload) -> Self {
        let author = commit.author.unwrap_or_default();
        Self {
            sha: commit.id,
            message: bounded_message(commit.message),
            author_name: bounded(author.name.unwrap_or_default(), MAX_NAME),
            author_email: bounded(author.email.unwrap_or_default(), MAX_NAME),
            time: commit.timestamp.and_then(|text| Timestamp::parse(&text).ok()),
        }
    }
}

#[derive(Deserialize)]
struct Claim<'a> {
    #[serde(borrow)]
    repository: Option<ClaimedRepository<'a>>,
}

#[derive(Deserialize)]
struct ClaimedRepository<'a> {
    #[serde(borrow)]
    full_name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "ref")]
    git_ref: String,
    before: Sha,
    after: Sha,
    #[serde(default)]
    created: bool,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    forced: bool,
    head_commit: Option<CommitPayload>,
    #[serde(default)]
    commits: Vec<CommitPayload>,
    size: Option<u64>,
    pusher: Option<PersonPayload>,
    repository: RepositoryPayload,
}

#[derive(Deserialize)]
struct RepositoryPayload {
    html_url: Option<String>,
    default_branch: Option<String>,
}

#[derive(Deserialize)]
struct CommitPayload {
    id: Sha,
    #[serde(default)]
    message: String,
    timestamp: Option<String>,
    author: Option<PersonPayload>,
    #[serde(default)]
    added: Vec<String>,
    #[serde(default)]
    modified: Vec<String>,
    #[serde(default)]
    removed: Vec<String>,
}

#[derive(Deserialize, Default)]
struct PersonPayload {
    name: Option<String>,
    email: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn commit(digit: char, files: &[String]) -> serde_json::Value {
        json!({"id": digit.to_string().repeat(40), "message": "m", "timestamp": "2025-11-24T10:00:00+01:00",
            "author": {"name": "Ada", "email": "ada@example.com"}, "added": [], "modified": files, "removed": []})
    }

    fn body(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let files = ["src/a.sh".to_owned(), "README.md".to_owned()];
        let mut body = json!({
            "ref": "refs/heads/main", "before": "a".repeat(40), "after": "c".repeat(40),
            "created": false, "deleted": false, "forced": false,
            "commits": [commit('b', &files), commit('c', &files[..1])],
            "head_commit": commit('c', &files[..1]), "pusher": {"name": "ada", "email": "x"},
            "repository": {"full_name": "dev/shop-web", "html_url": "https://git/dev/shop-web", "default_branch": "trunk",
                "clone_url": "https://evil/other.git"},
        });
        change(&mut body);
        body.to_string().into_bytes()
    }

    fn said(body: &[u8]) -> PushSaid {
        match push(body).expect("a push") {
            Said::Push(push) => *push,
            Said::Nothing { reason } => panic!("{reason}"),
        }
    }

    #[test]
    fn a_push_is_read_whole() {
        let body = body(|_| {});
        assert_eq!(claimed_name(&body).expect("JSON").as_deref(), Some("dev/shop-web"));
        let push = said(&body);
        assert_eq!(push.changed_files, ["README.md", "src/a.sh"]);
        assert!(push.changed_files_complete && !push.created && !push.deleted);
        assert_eq!((push.pusher.as_str(), push.default_branch.as_str()), ("ada", "trunk"));
        let head = push.head_commit.expect("a head");
        assert_eq!(head.time.map(|time| time.to_string()).as_deref(), Some("2025-11-24T09:00:00Z"));
        assert_eq!(push.correlation, None);
    }

    #[test]
    fn deletions_and_tags_are_understood() {
        let deletion = said(&body(|b| {
            b["after"] = json!(Sha::NULL);
            b["head_commit"] = json!(null);
            b["commits"] = json!([]);
        }));
        assert!(deletion.deleted && deletion.head_commit.is_none() && !deletion.changed_files_complete);
        let tag = said(&body(|b| {
            b["ref"] = json!("refs/tags/v1");
            b["before"] = json!(Sha::NULL);
        }));
        assert!(tag.created && !tag.changed_files_complete);
        let note = push(&body(|b| b["ref"] = json!("refs/notes/commits"))).expect("JSON");
        assert!(matches!(note, Said::Nothing { .. }));
    }

    #[test]
    fn too_many_files_or_commits_are_said_to_be_incomplete() {
        let many: Vec<String> = (0..301).map(|n| format!("f{n}")).collect();
        let push = said(&body(|b| b["commits"] = json!([commit('c', &many)])));
        assert_eq!((push.changed_files.len(), push.changed_files_complete), (300, false));
        let commits: Vec<_> = (0..21).map(|_| commit('c', &many[..1])).collect();
        assert!(!said(&body(|b| b["commits"] = json!(commits))).changed_files_complete);
        let long: Vec<String> = (0..100).map(|n| format!("{n}{}", "x".repeat(4000))).collect();
        let push = said(&body(|b| b["commits"] = json!([commit('c', &long)])));
        assert!(!push.changed_files_complete && push.changed_files.concat().len() <= MAX_FILES_BYTES);
    }

    #[test]
    fn the_chain_is_taken_from_the_last_paragraph() {
        let message =
            "update(shop-web): cccccccc\n\nWhy\n\nSluice-Run: dev_shop-web#42\nSluice-Correlation: 0a1b2c\n";
        assert_eq!(correlation(message).as_ref().map(Correlation::as_str), Some("0a1b2c"));
        assert_eq!(correlation("Sluice-Correlation: 0a1b2c\n\nNot a trailer"), None);
        assert_eq!(correlation("x\n\nSluice-Correlation: evil.>"), None);
    }

    #[test]
    fn hostile_bodies_end_early() {
        let deep = "[".repeat(100_000);
        assert!(matches!(claimed_name(deep.as_bytes()), Err(BodyError::Json(_))));
        let deep = format!("{{\"a\":{}", "{\"a\":".repeat(100_000));
        assert!(matches!(claimed_name(deep.as_bytes()), Err(BodyError::Json(_))));
        let twice = br#"{"repository":{"full_name":"a/b"},"repository":{"full_name":"c/d"}}"#;
        assert!(matches!(claimed_name(twice), Err(BodyError::Json(_))));
        let keys: String = (0..100_000).map(|n| format!("\"k{n}\":0,")).collect();
        let wide = format!("{{{keys}\"repository\":{{\"full_name\":\"a/b\"}}}}");
        assert_eq!(claimed_name(wide.as_bytes()).expect("JSON").as_deref(), Some("a/b"));
        assert_eq!(claimed_name(b"{}").expect("JSON"), None);
        for body in [&b""[..], b"null", b"7", b"{\"repository\":7}", &[0xff, 0xfe]] {
            assert!(!matches!(claimed_name(body), Ok(Some(_))));
            assert!(push(body).is_err());
        }
    }

    #[test]
    fn cut_text_stays_text() {
        assert_eq!(bounded("aä".to_owned(), 2), "a…");
    }
}
