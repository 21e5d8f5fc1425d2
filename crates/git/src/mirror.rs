//! Bare mirrors under one data directory, a folder per repository URL.
//!
//! Invariants: within a process two [`Mirrors`] of one directory are the same, so
//! all services of `sluice up` share fetches; between processes a lock file keeps
//! writers apart; a mirror is a cache: when its files are damaged it is deleted
//! and fetched again, never repaired.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use git2::{Repository, RepositoryInitOptions};
use sluice_schemas::ids::hash_token;

use crate::address::Remote;
use crate::fetch::{FetchError, Wish};
use crate::flight::Flight;
use crate::object;

/// How often a mirror that another process writes to is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Deadlines of transfers.
#[derive(Debug, Clone)]
pub struct MirrorSettings {
    pub fetch_timeout: Duration,
    pub push_timeout: Duration,
}

impl Default for MirrorSettings {
    fn default() -> Self {
        Self { fetch_timeout: Duration::from_secs(300), push_timeout: Duration::from_secs(60) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the directory for Git mirrors {path} cannot be used: {reason}; check the path and its permissions")]
pub struct OpenError {
    path: PathBuf,
    reason: std::io::Error,
}

/// All mirrors of one data directory.
#[derive(Clone)]
pub struct Mirrors {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    settings: MirrorSettings,
    fetches: Arc<AtomicU64>,
    mirrors: Mutex<HashMap<String, Arc<Shared>>>,
}

/// What all handles to one mirror share.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) settings: MirrorSettings,
    pub(crate) flight: Flight<Wish, FetchError>,
    fetches: AtomicU64,
    all_fetches: Arc<AtomicU64>,
}

/// One repository as one caller sees it: the shared mirror and the caller's credentials.
#[derive(Clone)]
pub struct Mirror {
    pub(crate) shared: Arc<Shared>,
    pub(crate) remote: Remote,
}

static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Inner>>>> = LazyLock::new(Mutex::default);

impl Mirrors {
    /// Opens (and makes) the data directory. Blocks for a few file system calls: call it at start.
    pub fn open(root: impl AsRef<Path>, settings: MirrorSettings) -> Result<Self, OpenError> {
        let fail = |reason| OpenError { path: root.as_ref().to_owned(), reason };
        std::fs::create_dir_all(root.as_ref()).map_err(fail)?;
        let root = root.as_ref().canonicalize().map_err(fail)?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = open.get(&root).and_then(Weak::upgrade) {
            return Ok(Self { inner });
        }
        let inner = Arc::new(Inner {
            root: root.clone(),
            settings,
            fetches: Arc::default(),
            mirrors: Mutex::default(),
        });
        open.insert(root, Arc::downgrade(&inner));
        Ok(Self { inner })
    }

    /// A handle to the mirror of `remote`. Costs nothing: the first fetch makes the files.
    pub fn mirror(&self, remote: Remote) -> Mirror {
        let name = hash_token(&[remote.url.identity()]);
        let mut mirrors = self.inner.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = mirrors.entry(name.clone()).or_insert_with(|| {
            Arc::new(Shared {
                dir: self.inner.root.join(format!("{name}.git")),
                root: self.inner.root.clone(),
                settings: self.inner.settings.clone(),
                flight: Flight::new(),
                fetches: AtomicU64::new(0),
                all_fetches: Arc::clone(&self.inner.fetches),
            })
        });
        Mirror { shared: Arc::clone(shared), remote }
    }

    /// How many times this process went to remotes for objects, over all mirrors of this directory.
    pub fn fetches(&self) -> u64 {
        self.inner.fetches.load(Ordering::Relaxed)
    }
}

impl Mirror {
    /// How many times this process went to the remote for objects.
    pub fn fetches(&self) -> u64 {
        self.shared.fetches.load(Ordering::Relaxed)
    }

    pub fn url(&self) -> &crate::RemoteUrl {
        &self.remote.url
    }

    /// Where the mirror's files are. For tests and for operators, not for reading behind this crate's back.
    pub fn directory(&self) -> &Path {
        &self.shared.dir
    }
}

impl Shared {
    pub(crate) fn count_fetch(&self) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.all_fetches.fetch_add(1, Ordering::Relaxed);
    }

    /// Opens the repository, making it when it is not there. Blocking.
    pub(crate) fn open(&self) -> Result<Repository, git2::Error> {
        if self.dir.join("HEAD").exists() {
            match Repository::open_bare(&self.dir) {
                Ok(repository) => return Ok(repository),
                Err(error) => {
                    tracing::warn!(mirror = %self.dir.display(), %error, "a Git mirror cannot be opened; it is made anew");
                    self.discard();
                }
            }
        }
        let mut options = RepositoryInitOptions::new();
        options.bare(true).external_template(false).mkdir(true).mkpath(true).initial_head("main");
        Repository::init_opts(&self.dir, &options)
    }

    /// Opens the repository if it is there. Blocking.
    pub(crate) fn open_existing(&self) -> Option<Repository> {
        Repository::open_bare(&self.dir).ok()
    }

    /// Moves the mirror away and deletes it. Readers that have it open keep what they opened. Blocking.
    pub(crate) fn discard(&self) {
        let grave = self.dir.with_extension(format!("damaged-{}", uniquely()));
        if std::fs::rename(&self.dir, &grave).is_ok()
            && let Err(error) = std::fs::remove_dir_all(&grave)
        {
            tracing::warn!(path = %grave.display(), %error, "a damaged Git mirror could not be deleted");
        }
    }

    /// Keeps other processes from writing the same mirror until the file is dropped.
    pub(crate) async fn lock_file(&self) -> std::io::Result<File> {
        let path = self.dir.with_extension("lock");
        let file =
            object::blocking(move || OpenOptions::new().create(true).truncate(false).write(true).open(path))
                .await?;
        // Waiting in the system call would hold a thread for as long as another process fetches.
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

fn uniquely() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), now.as_nanos())
}
