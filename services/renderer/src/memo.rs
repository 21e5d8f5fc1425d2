//! What was rendered before, by everything that it was rendered from.
//!
//! The key is a hash of the directory's tree id and the source's settings, so a
//! commit that does not touch the directory is the same key. Files outside of it
//! that links led to are listed with the entry and compared before it is used.
//! Invariant: an entry is never wrong, only missing: memory and KV are both caches.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sluice_bus::{Bucket, Bus, Kv};
use sluice_git::{ObjectId, RepoPath};
use sluice_schemas::Digest;
use sluice_schemas::commands::RenderSource;
use sluice_schemas::ids::hash_token;

/// Changes when the same input renders to something else.
const RENDERER: &str = "directory-1";
/// A few hundred bytes each.
const MAX_IN_MEMORY: usize = 20_000;

/// A rendering that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    pub manifests: Digest,
    pub objects: u32,
    /// Links out of the directory: path, and the blob it led to.
    pub outside: Vec<(String, Option<String>)>,
}

pub struct Memo {
    memory: Mutex<HashMap<String, Remembered>>,
    kv: Kv<Remembered>,
}

/// The key of a rendering.
pub fn key(tree: ObjectId, path: &RepoPath, source: &RenderSource) -> String {
    hash_token(&[
        RENDERER,
        &tree.to_string(),
        path.as_str(),
        &format!("{:?}", source.kind),
        if source.recurse { "recurse" } else { "flat" },
        &source.include,
        &source.exclude,
    ])
}

impl Memo {
    pub fn new(bus: &Bus) -> Self {
        Self { memory: Mutex::default(), kv: bus.kv(Bucket::Renders) }
    }

    pub async fn get(&self, key: &str) -> Option<Remembered> {
        let known = self.memory.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if known.is_some() {
            return known;
        }
        match self.kv.get(key).await {
            Ok(entry) => {
                let value = entry?.value;
                self.keep(key, value.clone());
                Some(value)
            }
            Err(error) => {
                tracing::debug!(%error, "the memo of renderings cannot be read; rendering again");
                None
            }
        }
    }

    pub async fn put(&self, key: &str, value: Remembered) {
        self.keep(key, value.clone());
        if let Err(error) = self.kv.put(key, &value).await {
            tracing::debug!(%error, "a rendering was not remembered beyond this process");
        }
    }

    pub fn forget(&self, key: &str) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn keep(&self, key: &str, value: Remembered) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() >= MAX_IN_MEMORY {
            // The KV bucket still has them; what is in use comes back.
            memory.clear();
        }
        memory.insert(key.to_owned(), value);
    }
}
