//! Writing a subtree of a commit into a directory, for the builder's workspaces.
//!
//! Invariants: nothing is written outside the directory. It must be empty or new,
//! names are checked by the tree reader, files are created (never opened), and
//! symlinks are made last, so that no write can go through one.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::path::RepoPath;
use crate::tree::{Entry, EntryKind, Linked, ReadError, Snapshot};

#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the directory {path} is not empty; a checkout needs an empty one")]
    NotEmpty { path: PathBuf },
    #[error("{path} could not be written")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the files are more than {limit} bytes together; raise the limit or check out a part")]
    TooLarge { limit: u64 },
}

/// What a checkout wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckoutReport {
    pub files: u64,
    pub bytes: u64,
    /// Links that lead out of the subtree. They are made as they are, as `git` does; never follow them on the host.
    pub outward_links: Vec<RepoPath>,
    /// Submodules; their directories are made and left empty, as `git` does.
    pub submodules: Vec<RepoPath>,
}

impl Snapshot {
    /// Writes what is below `subtree` into `directory`, at most `limit` bytes.
    pub fn checkout(
        &self,
        subtree: &RepoPath,
        directory: &Path,
        limit: u64,
    ) -> Result<CheckoutReport, CheckoutError> {
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| CheckoutError::Write { path, source }
        };
        std::fs::create_dir_all(directory).map_err(write(directory))?;
        if std::fs::read_dir(directory).map_err(write(directory))?.next().is_some() {
            return Err(CheckoutError::NotEmpty { path: directory.to_owned() });
        }
        let mut report = CheckoutReport::default();
        let mut links: Vec<Entry> = Vec::new();
        for entry in self.list(subtree, true)? {
            let Some(relative) = entry.path.relative_to(subtree) else { continue };
            let path = directory.join(relative);
            match entry.kind {
                EntryKind::Symlink => links.push(entry),
                EntryKind::Submodule | EntryKind::Directory => {
                    std::fs::create_dir_all(&path).map_err(write(&path))?;
                    report.submodules.push(entry.path);
                }
                EntryKind::File { executable } => {
                    report.bytes += self.size(&entry)?;
                    if report.bytes > limit {
                        return Err(CheckoutError::TooLarge { limit });
                    }
                    let content = self.read_entry(&entry)?;
                    make_parent(&path)?;
                    let mode = if executable { 0o755 } else { 0o644 };
                    std::fs::OpenOptions::new()
                        .write(true)
                        .create_new(true)
                        .mode(mode)
                        .open(&path)
                        .and_then(|mut file| file.write_all(&content))
                        .map_err(write(&path))?;
                    report.files += 1;
                }
            }
        }
        for entry in links {
            let Some(relative) = entry.path.relative_to(subtree) else { continue };
            let path = directory.join(relative);
            make_parent(&path)?;
            symlink(self.link_target(&entry)?, &path).map_err(write(&path))?;
            report.files += 1;
            let inside = matches!(self.follow(&entry.path), Ok(Linked::Found(found)) if found.path.relative_to(subtree).is_some());
            if !inside {
                report.outward_links.push(entry.path);
            }
        }
        Ok(report)
    }
}

fn make_parent(path: &Path) -> Result<(), CheckoutError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    // A link made before cannot be a parent: a tree that has both is refused here.
    if parent.is_symlink() {
        let source = std::io::Error::other("a directory and a symlink have the same name");
        return Err(CheckoutError::Write { path: path.to_owned(), source });
    }
    std::fs::create_dir_all(parent).map_err(|source| CheckoutError::Write { path: parent.to_owned(), source })
}
