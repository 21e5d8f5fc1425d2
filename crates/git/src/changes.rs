//! Which paths a push changed, as GitHub's `paths` filters see it.

use git2::{DiffOptions, Repository};
use sluice_schemas::Sha;

use crate::mirror::Mirror;
use crate::object::{self, blocking};
use crate::tree::ReadError;

/// GitHub looks at no more than the first 300 files.
pub(crate) const MAX_PATHS: usize = 300;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Sorted; both names of a renamed file.
    pub paths: Vec<String>,
    /// False when there are more, or when the earlier commit is gone: then treat everything as changed.
    pub complete: bool,
}

impl Mirror {
    /// Paths that differ between `before` and `after`; without `before` (a new
    /// branch) between `after` and its first parent.
    pub async fn changes(&self, before: Option<&Sha>, after: &Sha) -> Result<Changes, ReadError> {
        self.ensure(after, None).await?;
        let before = before.filter(|sha| !sha.is_null()).cloned();
        if let Some(before) = &before
            && self.ensure(before, None).await.is_err()
        {
            return Ok(Changes { paths: Vec::new(), complete: false });
        }
        let (shared, after) = (self.shared.clone(), after.clone());
        blocking(move || diff(&shared.open()?, before.as_ref(), &after)).await
    }
}

fn diff(repository: &Repository, before: Option<&Sha>, after: &Sha) -> Result<Changes, ReadError> {
    let find = |sha: &Sha| {
        let oid = object::oid(sha).ok_or_else(|| git2::Error::from_str("not a commit id"))?;
        repository.find_commit(oid)
    };
    let new = find(after)?;
    let old = match before {
        Some(sha) => Some(find(sha)?),
        None => new.parents().next(),
    };
    let old = old.map(|commit| commit.tree()).transpose()?;
    let mut options = DiffOptions::new();
    options.skip_binary_check(true).ignore_submodules(false);
    let diff = repository.diff_tree_to_tree(old.as_ref(), Some(&new.tree()?), Some(&mut options))?;
    let mut paths: Vec<String> = diff
        .deltas()
        .flat_map(|delta| [delta.old_file().path_bytes(), delta.new_file().path_bytes()])
        .flatten()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect();
    paths.sort();
    paths.dedup();
    let complete = paths.len() <= MAX_PATHS;
    paths.truncate(MAX_PATHS);
    Ok(Changes { paths, complete })
}
