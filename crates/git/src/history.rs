//! Commits and their messages: who, when, which trailers, and whether a branch
//! already holds what somebody is about to write.

use git2::{Commit, Repository, Sort};
use sluice_schemas::Sha;
use time::OffsetDateTime;

use crate::mirror::Mirror;
use crate::object::{self, blocking};
use crate::tree::{ReadError, Snapshot};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    pub sha: Sha,
    pub parents: Vec<Sha>,
    pub author_name: String,
    pub author_email: String,
    pub time: OffsetDateTime,
    pub message: String,
    /// `Key: value` lines at the end of the message, in order.
    pub trailers: Vec<(String, String)>,
}

impl CommitInfo {
    /// The first trailer called `key`.
    pub fn trailer(&self, key: &str) -> Option<&str> {
        self.trailers.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
    }

    pub fn has_trailer(&self, key: &str, value: &str) -> bool {
        self.trailers.iter().any(|(name, found)| name.eq_ignore_ascii_case(key) && found == value)
    }

    pub fn subject(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

impl Mirror {
    pub async fn commit_info(&self, sha: &Sha) -> Result<CommitInfo, ReadError> {
        self.read(sha, None, Default::default(), |snapshot| snapshot.info()).await
    }

    /// The newest commit among the last `limit` of `tip`'s history that `matches`.
    pub async fn find_commit<F>(
        &self,
        tip: &Sha,
        limit: usize,
        matches: F,
    ) -> Result<Option<CommitInfo>, ReadError>
    where
        F: Fn(&CommitInfo) -> bool + Send + Sync + 'static,
    {
        self.ensure(tip, None).await?;
        let (shared, tip) = (self.shared.clone(), tip.clone());
        blocking(move || search(&shared.open()?, &tip, limit, &matches)).await
    }
}

impl Snapshot {
    pub fn info(&self) -> Result<CommitInfo, ReadError> {
        Ok(describe(&self.commit()?))
    }
}

fn search(
    repository: &Repository,
    tip: &Sha,
    limit: usize,
    matches: &dyn Fn(&CommitInfo) -> bool,
) -> Result<Option<CommitInfo>, ReadError> {
    let Some(tip) = object::oid(tip) else { return Ok(None) };
    let mut walk = repository.revwalk()?;
    walk.set_sorting(Sort::TIME)?;
    walk.push(tip)?;
    for oid in walk.take(limit) {
        let info = describe(&repository.find_commit(oid?)?);
        if matches(&info) {
            return Ok(Some(info));
        }
    }
    Ok(None)
}

fn describe(commit: &Commit<'_>) -> CommitInfo {
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let trailers = git2::message_trailers_strs(&message)
        .map(|found| found.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
        .unwrap_or_default();
    let author = commit.author();
    CommitInfo {
        sha: object::sha(commit.id()),
        parents: commit.parent_ids().map(object::sha).collect(),
        author_name: String::from_utf8_lossy(author.name_bytes()).into_owned(),
        author_email: String::from_utf8_lossy(author.email_bytes()).into_owned(),
        time: OffsetDateTime::from_unix_timestamp(commit.time().seconds())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        message,
        trailers,
    }
}
