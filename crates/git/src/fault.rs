//! What the words of `git` mean: whose fault a failed transfer is, and whether waiting helps.
//!
//! Called by fetch, `ls-remote` and push. `LC_ALL=C` keeps the words stable.

use crate::command::CommandError;
use crate::fetch::{FetchError, Want};
use crate::mirror::Mirror;

impl Mirror {
    /// What an error of `git` means.
    pub(crate) fn classify(&self, error: &CommandError, wants: &[Want]) -> FetchError {
        let url = self.remote.url.to_string();
        let text = match error {
            CommandError::Failed { stderr, .. } => stderr.clone(),
            CommandError::TimedOut { .. } => {
                return FetchError::Unavailable { url, reason: error.to_string() };
            }
            other => return FetchError::Other { url, reason: other.to_string() },
        };
        let lower = text.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let reason = last_line(&text);
        if has(&["couldn't find remote ref"]) {
            let name = text
                .rsplit("remote ref ")
                .next()
                .and_then(|rest| rest.split_whitespace().next())
                .unwrap_or_default();
            return match wants.iter().find(|want| matches!(want, Want::Commit(sha) if sha.as_str() == name)) {
                Some(Want::Commit(sha)) => self.no_commit(sha),
                _ => FetchError::NoRef { url, name: name.to_owned() },
            };
        }
        if has(&["not our ref", "unadvertised object", "server does not allow request"])
            && let Some(Want::Commit(sha)) = wants.iter().find(|want| matches!(want, Want::Commit(_)))
        {
            return self.no_commit(sha);
        }
        // We hold the mirror's lock, so a lock inside it is what a killed `git` left behind.
        if has(&[".lock': file exists"]) {
            return FetchError::Damaged { url, reason };
        }
        if has(&[
            "authentication failed",
            "could not read username",
            "could not read password",
            "terminal prompts disabled",
            "error: 401",
            "error: 403",
            "access denied",
        ]) {
            return FetchError::Denied { url, reason };
        }
        if has(&[
            "does not appear to be a git repository",
            "repository not found",
            "error: 404",
            "does not exist",
            "/' not found",
            "' not found",
            "no such file or directory",
        ]) {
            return FetchError::NoRepository { url, reason };
        }
        if has(&[
            "could not resolve host",
            "failed to connect",
            "couldn't connect",
            "connection refused",
            "connection reset",
            "timed out",
            "timeout",
            "error: 5",
            "error: 429",
            "early eof",
            "hung up",
            "unable to access",
            "operation too slow",
        ]) {
            return FetchError::Unavailable { url, reason };
        }
        if has(&[
            "bad object",
            "corrupt",
            "loose object",
            "missing blob",
            "missing tree",
            "missing commit",
            "inflate",
            "unable to read",
            "not a git repository",
            "broken link",
            "bad signature",
            "packfile",
            "did not receive expected object",
            "unable to parse object",
            "invalid sha1 pointer",
            "bad tree",
        ]) {
            return FetchError::Damaged { url, reason };
        }
        FetchError::Other { url, reason: text }
    }
}

/// The line of an error that says most: the last `fatal:`, `error:` or `remote:` line.
pub(crate) fn last_line(text: &str) -> String {
    let telling =
        |line: &&str| line.starts_with("fatal:") || line.starts_with("error:") || line.starts_with("remote:");
    let line = text.lines().rev().find(telling).or_else(|| text.lines().next_back()).unwrap_or_default();
    line.trim_start_matches("fatal: ").trim_start_matches("error: ").chars().take(500).collect()
}
