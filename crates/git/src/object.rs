//! Git object ids at this crate's border, and the way onto the blocking pool.

use std::fmt;

use git2::Oid;
use sluice_schemas::Sha;

/// The id of a tree or blob. Equal ids mean equal content, so it is a memo key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub(crate) Oid);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A commit id as libgit2 wants it. `None` only for a `Sha` that is not 40 hex digits.
pub(crate) fn oid(sha: &Sha) -> Option<Oid> {
    Oid::from_str(sha.as_str()).ok()
}

/// A commit id as everybody else wants it.
pub(crate) fn sha(oid: Oid) -> Sha {
    oid.to_string().parse().expect("libgit2 prints 40 hex digits")
}

/// Runs libgit2 and file system work where it may block. A panic in `work` is a bug of ours and goes on here.
pub(crate) async fn blocking<T, F>(work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match sluice_chassis::blocking("git", work).await {
        Ok(value) => value,
        Err(cut_short) => panic!("{cut_short}"),
    }
}
