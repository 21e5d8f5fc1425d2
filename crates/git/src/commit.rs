//! Making a commit without a work tree: a base commit and edits to some files.
//!
//! Invariants: every file that is not edited keeps its object and mode; an edited
//! file keeps its mode; an edit that changes nothing makes no commit.

use std::collections::BTreeMap;

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Repository};
use sluice_schemas::Sha;
use time::OffsetDateTime;

use crate::mirror::Mirror;
use crate::object::{self, blocking};
use crate::path::RepoPath;

#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("the edits change nothing")]
    Empty,
    #[error("a commit may not write {path}")]
    Forbidden { path: RepoPath },
    #[error("the commit on top of {base} could not be written: {reason}")]
    Git { base: Sha, reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The file's new content; a new file is not executable.
    Write(Vec<u8>),
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub name: String,
    pub email: String,
}

/// A commit to make. `base` must be here already.
#[derive(Debug, Clone)]
pub struct NewCommit {
    pub base: Sha,
    pub edits: BTreeMap<RepoPath, Edit>,
    pub author: Signature,
    pub committer: Signature,
    pub message: String,
    /// The same time, base and edits give the same commit id.
    pub time: OffsetDateTime,
}

impl Mirror {
    /// Writes the commit into the mirror. Nothing points to it until it is pushed.
    pub async fn commit(&self, new: NewCommit) -> Result<Sha, CommitError> {
        let shared = self.shared.clone();
        blocking(move || {
            let repository = shared.open().map_err(|error| CommitError::Git {
                base: new.base.clone(),
                reason: error.message().to_owned(),
            })?;
            write(&repository, &new)
        })
        .await
    }
}

fn write(repository: &Repository, new: &NewCommit) -> Result<Sha, CommitError> {
    for path in new.edits.keys() {
        if path.is_root() || path.parts().any(|part| part.eq_ignore_ascii_case(".git")) {
            return Err(CommitError::Forbidden { path: path.clone() });
        }
    }
    let failed =
        |error: git2::Error| CommitError::Git { base: new.base.clone(), reason: error.message().to_owned() };
    let oid = object::oid(&new.base).ok_or_else(|| failed(git2::Error::from_str("not a commit id")))?;
    let base = repository.find_commit(oid).map_err(failed)?;
    let tree = base.tree().map_err(failed)?;
    let mut update = TreeUpdateBuilder::new();
    for (path, edit) in &new.edits {
        match edit {
            Edit::Write(bytes) => {
                let mode =
                    tree.get_path(std::path::Path::new(path.as_str())).map_or(FileMode::Blob, |entry| {
                        match entry.filemode() & 0o100 {
                            0o100 => FileMode::BlobExecutable,
                            _ => FileMode::Blob,
                        }
                    });
                update.upsert(path.as_str(), repository.blob(bytes).map_err(failed)?, mode);
            }
            Edit::Delete => {
                update.remove(path.as_str());
            }
        }
    }
    let changed = update.create_updated(repository, &tree).map_err(failed)?;
    if changed == tree.id() {
        return Err(CommitError::Empty);
    }
    let changed = repository.find_tree(changed).map_err(failed)?;
    let time = git2::Time::new(new.time.unix_timestamp(), i32::from(new.time.offset().whole_minutes()));
    let sign =
        |who: &Signature| git2::Signature::new(&plain(&who.name), &plain(&who.email), &time).map_err(failed);
    let message = git2::message_prettify(new.message.as_str(), None).map_err(failed)?;
    let id = repository
        .commit(None, &sign(&new.author)?, &sign(&new.committer)?, &message, &changed, &[&base])
        .map_err(failed)?;
    Ok(object::sha(id))
}

/// A name as a commit header can hold it.
fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect();
    if text.trim().is_empty() { "unknown".to_owned() } else { text.trim().to_owned() }
}
