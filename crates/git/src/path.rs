//! Paths inside a repository.
//!
//! Invariant: a [`RepoPath`] is relative, uses `/`, and has no empty, `.` or `..`
//! part, so joining it to a directory can never leave that directory.

use std::fmt;

#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum PathError {
    #[error("the path {path:?} leaves the repository; give a path inside it")]
    Escapes { path: String },
    #[error("the path {path:?} is absolute; give it relative to the root of the repository")]
    Absolute { path: String },
    #[error("the path {path:?} holds a NUL byte")]
    Nul { path: String },
}

/// A normalised path; empty for the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RepoPath(String);

impl RepoPath {
    pub fn root() -> Self {
        Self::default()
    }

    /// Takes `dev`, `./dev/`, `.`, `a/../dev`.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if path.starts_with('/') {
            return Err(PathError::Absolute { path: path.to_owned() });
        }
        Self::root().join(path)
    }

    /// Resolves `relative` from this directory.
    pub fn join(&self, relative: &str) -> Result<Self, PathError> {
        if relative.starts_with('/') {
            return Err(PathError::Absolute { path: relative.to_owned() });
        }
        if relative.contains('\0') {
            return Err(PathError::Nul { path: relative.to_owned() });
        }
        let mut parts: Vec<&str> = self.parts().collect();
        for part in relative.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        return Err(PathError::Escapes { path: relative.to_owned() });
                    }
                }
                part => parts.push(part),
            }
        }
        Ok(Self(parts.join("/")))
    }

    /// One more part, which a Git tree names: it may not contain `/`.
    pub(crate) fn child(&self, name: &str) -> Self {
        if self.is_root() { Self(name.to_owned()) } else { Self(format!("{}/{name}", self.0)) }
    }

    pub fn parent(&self) -> Self {
        Self(self.0.rsplit_once('/').map(|(parent, _)| parent.to_owned()).unwrap_or_default())
    }

    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// This path as seen from `base`, or `None` when it is not below it.
    pub fn relative_to(&self, base: &RepoPath) -> Option<&str> {
        if base.is_root() {
            return Some(&self.0);
        }
        self.0.strip_prefix(base.as_str())?.strip_prefix('/')
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_and_cannot_leave() {
        assert_eq!(RepoPath::parse("./dev//x/").unwrap().as_str(), "dev/x");
        assert_eq!(RepoPath::parse(".").unwrap(), RepoPath::root());
        assert_eq!(RepoPath::parse("a/../dev").unwrap().as_str(), "dev");
        for bad in ["..", "dev/../..", "/etc", "a/../../b"] {
            assert!(RepoPath::parse(bad).is_err(), "{bad}");
        }
        assert!(RepoPath::parse("dev").unwrap().join("../../x").is_err());
    }

    #[test]
    fn a_sibling_with_the_same_beginning_is_not_below() {
        let dev = RepoPath::parse("dev").unwrap();
        assert_eq!(RepoPath::parse("dev2/x").unwrap().relative_to(&dev), None);
        assert_eq!(RepoPath::parse("dev/x").unwrap().relative_to(&dev), Some("x"));
    }
}
