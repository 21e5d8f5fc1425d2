//! Ref names and what a remote says it has.

use std::fmt;

use sluice_schemas::Sha;

#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("{name:?} is not the name of a branch or tag")]
pub struct RefNameError {
    pub name: String,
}

/// A full ref name, `refs/heads/main`. Cannot be taken for an option or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefName(String);

impl RefName {
    /// Takes a full name only.
    pub fn parse(name: &str) -> Result<Self, RefNameError> {
        let valid = name.starts_with("refs/") && !name.contains('*') && git2::Reference::is_valid_name(name);
        if valid { Ok(Self(name.to_owned())) } else { Err(RefNameError { name: name.to_owned() }) }
    }

    pub fn branch(name: &str) -> Result<Self, RefNameError> {
        Self::parse(&format!("refs/heads/{name}"))
    }

    pub fn tag(name: &str) -> Result<Self, RefNameError> {
        Self::parse(&format!("refs/tags/{name}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `main` for `refs/heads/main`, the whole name for anything else but tags.
    pub fn short(&self) -> &str {
        self.0.strip_prefix("refs/heads/").or_else(|| self.0.strip_prefix("refs/tags/")).unwrap_or(&self.0)
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One ref of a remote. For an annotated tag, `sha` is the commit it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRef {
    pub name: RefName,
    pub sha: Sha,
}

/// The answer of `ls-remote`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteHeads {
    /// What `HEAD` points to, when the remote says so.
    pub head: Option<RefName>,
    pub head_sha: Option<Sha>,
    pub refs: Vec<RemoteRef>,
}

impl RemoteHeads {
    pub fn get(&self, name: &RefName) -> Option<&Sha> {
        self.refs.iter().find(|entry| &entry.name == name).map(|entry| &entry.sha)
    }

    pub fn branches(&self) -> impl Iterator<Item = &RemoteRef> {
        self.refs.iter().filter(|entry| entry.name.as_str().starts_with("refs/heads/"))
    }

    /// Reads `git ls-remote --symref`. Lines that make no sense are left out.
    pub(crate) fn parse(output: &str) -> Self {
        let mut heads = Self::default();
        for line in output.lines() {
            let Some((left, name)) = line.split_once('\t') else { continue };
            if let Some(target) = left.strip_prefix("ref: ") {
                if name == "HEAD" {
                    heads.head = RefName::parse(target).ok();
                }
                continue;
            }
            let Ok(sha) = left.parse::<Sha>() else { continue };
            if name == "HEAD" {
                heads.head_sha = Some(sha);
            } else if let Some(tag) = name.strip_suffix("^{}") {
                // The peeled line follows the tag's own.
                if let Some(entry) = heads.refs.iter_mut().rev().find(|entry| entry.name.as_str() == tag) {
                    entry.sha = sha;
                }
            } else if let Ok(name) = RefName::parse(name) {
                heads.refs.push(RemoteRef { name, sha });
            }
        }
        heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_options_or_patterns_are_refused() {
        for bad in ["-x", "refs/heads/*", "refs/heads/a..b", "refs/heads/", "main", "refs/heads/x.lock"] {
            assert!(RefName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(RefName::branch("feature/x").unwrap().short(), "feature/x");
    }

    #[test]
    fn ls_remote_is_read_with_head_and_peeled_tags() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let text = format!(
            "ref: refs/heads/main\tHEAD\n{a}\tHEAD\n{a}\trefs/heads/main\n{a}\trefs/tags/v1\n{b}\trefs/tags/v1^{{}}\n"
        );
        let heads = RemoteHeads::parse(&text);
        assert_eq!(heads.head, Some(RefName::branch("main").unwrap()));
        assert_eq!(heads.head_sha.unwrap().as_str(), a);
        assert_eq!(heads.refs[1].sha.as_str(), b);
    }
}
