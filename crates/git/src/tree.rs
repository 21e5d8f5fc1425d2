//! Reading a commit's files from Git objects.
//!
//! Invariants: nothing but objects of this repository can be read: there is no
//! file system underneath, and a symlink that leaves the tree is an error, not a
//! way out. Sizes and counts are checked before memory is taken. Callers are inside
//! [`Mirror::read`], on the blocking pool.

use git2::{Commit, ObjectType, Oid, Repository, Tree};
use globset::GlobSet;
use sluice_schemas::Sha;

use crate::fetch::FetchError;
use crate::mirror::Mirror;
use crate::object::{self, ObjectId, blocking};
use crate::path::RepoPath;
use crate::refs::RefName;

/// As many as Linux allows on one path.
const MAX_LINKS: usize = 40;

#[derive(Debug, thiserror::Error, Clone)]
pub enum ReadError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("there is no {path} at this commit")]
    NotFound { path: RepoPath },
    #[error("{path} is not a file")]
    NotAFile { path: RepoPath },
    #[error("{path} is not a directory")]
    NotADirectory { path: RepoPath },
    #[error(
        "the symlink {path} points out of the repository (to {target:?}); only links inside it are followed"
    )]
    Escapes { path: RepoPath, target: String },
    #[error("the symlink {path} leads to itself")]
    LinkLoop { path: RepoPath },
    #[error("{path} is {size} bytes long; at most {limit} are read")]
    TooLarge { path: RepoPath, size: u64, limit: u64 },
    #[error("{path} holds more than {limit} files")]
    TooMany { path: RepoPath, limit: usize },
    #[error("a Git tree holds the name {name:?}, which no file may have; the repository is malformed")]
    BadName { name: String },
    #[error("an object of the mirror cannot be read: {reason}")]
    Damaged { reason: String },
}

/// Bounds of one reading.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    pub blob: u64,
    pub entries: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { blob: 10 << 20, entries: 100_000 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File {
        executable: bool,
    },
    Symlink,
    Directory,
    /// A submodule; its content is in another repository.
    Submodule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: RepoPath,
    pub kind: EntryKind,
    pub id: ObjectId,
}

/// Where a path leads after its symlinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Linked {
    Found(Entry),
    /// Nothing there, or a link to nothing.
    Missing,
}

/// One commit's tree.
pub struct Snapshot {
    pub(crate) repository: Repository,
    commit: Oid,
    root: Oid,
    pub(crate) limits: ReadLimits,
}

impl Mirror {
    /// Runs `work` on the tree of `sha`, fetching the commit when it is not here.
    /// When the mirror turns out to be damaged it is fetched anew and `work` runs again.
    pub async fn read<T, F>(
        &self,
        sha: &Sha,
        hint: Option<&RefName>,
        limits: ReadLimits,
        work: F,
    ) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: Fn(&Snapshot) -> Result<T, ReadError> + Send + Sync + 'static,
    {
        self.ensure(sha, hint).await?;
        let work = std::sync::Arc::new(work);
        let attempt = || {
            let (shared, sha, work) = (self.shared.clone(), sha.clone(), work.clone());
            blocking(move || {
                let snapshot = Snapshot::open(shared.open()?, &sha, limits)?;
                work(&snapshot)
            })
        };
        match attempt().await {
            Err(ReadError::Damaged { reason }) => {
                tracing::warn!(url = %self.remote.url, %reason, "reading a Git mirror failed");
                self.start_anew().await;
                self.ensure(sha, hint).await?;
                attempt().await
            }
            result => result,
        }
    }
}

impl Snapshot {
    pub(crate) fn open(repository: Repository, sha: &Sha, limits: ReadLimits) -> Result<Self, ReadError> {
        let oid = object::oid(sha)
            .ok_or_else(|| ReadError::Damaged { reason: format!("{sha} is not a commit id") })?;
        let root = repository.find_commit(oid)?.tree_id();
        Ok(Self { repository, commit: oid, root, limits })
    }

    pub fn commit_id(&self) -> Sha {
        object::sha(self.commit)
    }

    pub(crate) fn commit(&self) -> Result<Commit<'_>, ReadError> {
        Ok(self.repository.find_commit(self.commit)?)
    }

    /// What lies at `path`, symlinks not followed. `None` when nothing does.
    pub fn entry(&self, path: &RepoPath) -> Result<Option<Entry>, ReadError> {
        let mut entry = Entry { path: RepoPath::root(), kind: EntryKind::Directory, id: ObjectId(self.root) };
        for part in path.parts() {
            if entry.kind != EntryKind::Directory {
                return Ok(None);
            }
            match self.child(&entry, part)? {
                Some(child) => entry = child,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }

    /// What lies at `path` when symlinks are followed within the tree.
    pub fn follow(&self, path: &RepoPath) -> Result<Linked, ReadError> {
        let mut here = vec![self.entry(&RepoPath::root())?.expect("the root is always there")];
        let mut ahead: Vec<String> = path.parts().rev().map(str::to_owned).collect();
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            if part == ".." {
                here.pop();
                if here.is_empty() {
                    return Err(ReadError::Escapes { path: path.clone(), target: "..".to_owned() });
                }
                continue;
            }
            let last = here.last().expect("never empty");
            if last.kind != EntryKind::Directory {
                return Ok(Linked::Missing);
            }
            let Some(child) = self.child(last, &part)? else { return Ok(Linked::Missing) };
            if child.kind != EntryKind::Symlink {
                here.push(child);
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(ReadError::LinkLoop { path: path.clone() });
            }
            let target = self.link_target(&child)?;
            if target.starts_with('/') {
                return Err(ReadError::Escapes { path: child.path, target });
            }
            ahead
                .extend(target.split('/').filter(|part| !matches!(*part, "" | ".")).rev().map(str::to_owned));
        }
        Ok(Linked::Found(here.pop().expect("never empty")))
    }

    /// The content of the file at `path`, symlinks followed within the tree.
    pub fn read(&self, path: &RepoPath) -> Result<Vec<u8>, ReadError> {
        match self.follow(path)? {
            Linked::Found(entry) if matches!(entry.kind, EntryKind::File { .. }) => self.read_entry(&entry),
            Linked::Found(_) => Err(ReadError::NotAFile { path: path.clone() }),
            Linked::Missing => Err(ReadError::NotFound { path: path.clone() }),
        }
    }

    /// The content of a file entry (for a symlink: its target).
    pub fn read_entry(&self, entry: &Entry) -> Result<Vec<u8>, ReadError> {
        let size = self.size(entry)?;
        if size > self.limits.blob {
            return Err(ReadError::TooLarge { path: entry.path.clone(), size, limit: self.limits.blob });
        }
        Ok(self.repository.find_blob(entry.id.0)?.content().to_vec())
    }

    /// Size of a file entry, without reading it.
    pub fn size(&self, entry: &Entry) -> Result<u64, ReadError> {
        let (size, kind) = self.repository.odb()?.read_header(entry.id.0)?;
        if kind == ObjectType::Blob {
            Ok(size as u64)
        } else {
            Err(ReadError::NotAFile { path: entry.path.clone() })
        }
    }

    /// Everything below the directory `path` (files, links, submodules; directories
    /// themselves are not listed when `recurse`), sorted by path. Links to
    /// directories are not walked.
    pub fn list(&self, path: &RepoPath, recurse: bool) -> Result<Vec<Entry>, ReadError> {
        let start = match self.follow(path)? {
            Linked::Found(entry) if entry.kind == EntryKind::Directory => entry,
            Linked::Found(_) => return Err(ReadError::NotADirectory { path: path.clone() }),
            Linked::Missing => return Err(ReadError::NotFound { path: path.clone() }),
        };
        let mut found = Vec::new();
        // The caller's spelling of the directory, also when it is a link.
        let mut open = vec![Entry { path: path.clone(), ..start }];
        while let Some(directory) = open.pop() {
            for child in self.children(&directory)? {
                if recurse && child.kind == EntryKind::Directory {
                    open.push(child);
                } else {
                    found.push(child);
                }
                if found.len() + open.len() > self.limits.entries {
                    return Err(ReadError::TooMany { path: path.clone(), limit: self.limits.entries });
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Files and links below `path` whose path from there matches one of `globs`.
    pub fn glob(&self, path: &RepoPath, globs: &GlobSet) -> Result<Vec<Entry>, ReadError> {
        let mut found = self.list(path, true)?;
        found.retain(|entry| entry.path.relative_to(path).is_some_and(|relative| globs.is_match(relative)));
        Ok(found)
    }

    pub(crate) fn link_target(&self, entry: &Entry) -> Result<String, ReadError> {
        Ok(String::from_utf8_lossy(&self.read_entry(entry)?).into_owned())
    }

    pub(crate) fn children(&self, directory: &Entry) -> Result<Vec<Entry>, ReadError> {
        self.tree(directory)?.iter().map(|entry| to_entry(&directory.path, &entry)).collect()
    }

    fn child(&self, directory: &Entry, name: &str) -> Result<Option<Entry>, ReadError> {
        self.tree(directory)?.get_name(name).map(|entry| to_entry(&directory.path, &entry)).transpose()
    }

    fn tree(&self, directory: &Entry) -> Result<Tree<'_>, ReadError> {
        Ok(self.repository.find_tree(directory.id.0)?)
    }
}

impl From<git2::Error> for ReadError {
    fn from(error: git2::Error) -> Self {
        // Every object that a commit leads to must be here: whatever libgit2 says, the mirror is not whole.
        Self::Damaged { reason: error.message().to_owned() }
    }
}

fn to_entry(parent: &RepoPath, entry: &git2::TreeEntry<'_>) -> Result<Entry, ReadError> {
    let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
    if name.is_empty()
        || name == "."
        || name == ".."
        || name.contains(['/', '\0'])
        || name.eq_ignore_ascii_case(".git")
    {
        return Err(ReadError::BadName { name });
    }
    let kind = match entry.filemode_raw() & 0o170_000 {
        0o040_000 => EntryKind::Directory,
        0o120_000 => EntryKind::Symlink,
        0o160_000 => EntryKind::Submodule,
        _ => EntryKind::File { executable: entry.filemode_raw() & 0o100 != 0 },
    };
    Ok(Entry { path: parent.child(&name), kind, id: ObjectId(entry.id()) })
}
