//! Handing a commit to the remote.
//!
//! Invariants: a push lands only where the branch is still at the commit that ours
//! was made from (compare and swap), so nobody's commit is lost and none that
//! somebody took back comes again; a lost race is its own error
//! ([`PushError::Rejected`]), because there fetching and applying again helps and
//! nothing else does.

use sluice_schemas::Sha;

use crate::command::{CommandError, Git};
use crate::fault::last_line;
use crate::fetch::FetchError;
use crate::mirror::Mirror;
use crate::object::{self, blocking};
use crate::refs::RefName;

#[derive(Debug, thiserror::Error, Clone)]
pub enum PushError {
    /// Somebody else was first. Fetch, apply again, push again.
    #[error("{branch} of {url} moved on while we wrote to it ({reason})")]
    Rejected { url: String, branch: RefName, reason: String },
    /// The server's rules forbid it; the same push will be forbidden again.
    #[error(
        "the server of {url} does not let us write to {branch} ({reason}); allow this user to push there, or unprotect the branch"
    )]
    Declined { url: String, branch: RefName, reason: String },
    #[error(transparent)]
    Transfer(FetchError),
}

impl Mirror {
    /// Pushes `commit` (made by [`Mirror::commit`] on top of `base`) to `branch`, if that is still at `base`,
    /// and moves the mirror's own branch along.
    pub async fn push(&self, commit: &Sha, base: &Sha, branch: &RefName) -> Result<(), PushError> {
        let _lock = self.shared.lock_file().await.map_err(|error| {
            PushError::Transfer(FetchError::Other {
                url: self.remote.url.to_string(),
                reason: error.to_string(),
            })
        })?;
        let result = Git::new("push", &self.shared.root, self.shared.settings.push_timeout)
            .git_dir(&self.shared.dir)
            .credentials(self.remote.credentials.as_ref())
            .option("--porcelain")
            .option("--no-verify")
            .option_with("--force-with-lease", &format!("{branch}:{base}"))
            .operands([self.remote.url.to_string(), format!("{commit}:{branch}")])
            .run()
            .await;
        match result {
            Ok(_) => {
                let (shared, name, commit) = (self.shared.clone(), branch.to_string(), commit.clone());
                blocking(move || {
                    let Some(repository) = shared.open_existing() else { return };
                    let moved =
                        object::oid(&commit).map(|oid| repository.reference(&name, oid, true, "pushed"));
                    if let Some(Err(error)) = moved {
                        // The next fetch will say the same.
                        tracing::debug!(%error, "the mirror's branch was not moved after a push");
                    }
                })
                .await;
                Ok(())
            }
            Err(error) => Err(self.refusal(error, branch)),
        }
    }

    fn refusal(&self, error: CommandError, branch: &RefName) -> PushError {
        if let CommandError::Failed { stdout, stderr, .. } = &error {
            let url = self.remote.url.to_string();
            match judge(stdout, stderr) {
                Some(Verdict::Raced(reason)) => {
                    return PushError::Rejected { url, branch: branch.clone(), reason };
                }
                Some(Verdict::Forbidden(reason)) => {
                    return PushError::Declined { url, branch: branch.clone(), reason };
                }
                None => {}
            }
        }
        PushError::Transfer(self.classify(&error, &[]))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Raced(String),
    Forbidden(String),
}

/// Reads `git push --porcelain`: a refused ref is `!<TAB>from:to<TAB>[…] (reason)`,
/// and the server's words come as `remote:` lines.
fn judge(stdout: &str, stderr: &str) -> Option<Verdict> {
    let status = stdout.lines().find(|line| line.starts_with('!'))?;
    let summary = status.rsplit('\t').next().unwrap_or(status).to_owned();
    let remote: Vec<&str> = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("remote:"))
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let all = format!("{summary}\n{}", remote.join("\n")).to_lowercase();
    // Plain git and GitHub say the first four; a lost race at the server's own lock reads like the others
    // (GitHub "cannot lock ref", GitLab and Gitea "failed to update ref", "incorrect old value provided").
    let raced = [
        "fetch first",
        "non-fast-forward",
        "stale info",
        "needs force",
        "cannot lock ref",
        "failed to lock",
        "failed to update ref",
        "incorrect old value",
        "reference already exists",
        "unable to lock",
        "but expected",
        "remote ref updated since checkout",
        "is at ",
    ];
    // A rule wins over a race: GitLab's and Gitea's rules come as "pre-receive hook declined".
    let ruled = [
        "protected branch",
        "hook declined",
        "not allowed to push",
        "permission",
        "gh006",
        "gh013",
        "rule violations",
        "deny updating",
    ];
    let is_race = raced.iter().any(|words| all.contains(words));
    let is_rule = ruled.iter().any(|words| all.contains(words));
    let reason = if remote.is_empty() { summary.clone() } else { format!("{summary}: {}", remote.join(" ")) };
    let reason: String = reason.chars().take(500).collect();
    if is_race && !is_rule {
        Some(Verdict::Raced(reason))
    } else if is_rule || summary.contains("[remote rejected]") || summary.contains("[rejected]") {
        Some(Verdict::Forbidden(reason))
    } else {
        Some(Verdict::Forbidden(last_line(stderr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_races_are_told_from_rules_in_every_wording() {
        let line =
            |what: &str| format!("To https://example.org/a/b.git\n!\tabc:refs/heads/main\t{what}\nDone\n");
        let races = [
            ("[rejected] (fetch first)", ""),
            ("[rejected] (non-fast-forward)", ""),
            ("[rejected] (stale info)", ""),
            ("[remote rejected] (cannot lock ref 'refs/heads/main': is at 1 but expected 2)", ""),
            ("[remote rejected] (failed to update ref)", ""),
            ("[remote rejected] (failed to lock)", ""),
            ("[remote rejected] (incorrect old value provided)", ""),
            ("[remote rejected] (reference already exists)", ""),
        ];
        for (what, stderr) in races {
            assert!(matches!(judge(&line(what), stderr), Some(Verdict::Raced(_))), "{what}");
        }
        let rules = [
            (
                "[remote rejected] (protected branch hook declined)",
                "remote: error: GH006: Protected branch update failed",
            ),
            (
                "[remote rejected] (pre-receive hook declined)",
                "remote: GitLab: You are not allowed to push code to protected branches on this project.",
            ),
            (
                "[remote rejected] (pre-receive hook declined)",
                "remote: Gitea: Not allowed to push to protected branch main",
            ),
            ("[remote rejected] (push declined due to repository rule violations)", "remote: error: GH013"),
        ];
        for (what, stderr) in rules {
            assert!(matches!(judge(&line(what), stderr), Some(Verdict::Forbidden(_))), "{what}");
        }
        assert_eq!(judge("", "fatal: unable to access"), None);
    }
}
