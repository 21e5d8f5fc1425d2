//! Blobs on their way from the object store to a registry, and which of them need not travel.
//!
//! Invariant: a blob is asked for before it is sent; one that a sibling repository
//! of the same registry has is mounted. Called by [`crate::image`] and by the
//! answer to `rpc.publisher.missing_blobs`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use sluice_bus::Objects;
use sluice_schemas::Digest;
use sluice_schemas::rpc::{MissingBlobs, MissingBlobsAnswer};
use tokio_util::io::ReaderStream;

use crate::registry::{BlobSource, Registry, RegistryError, Target};

/// 64 KiB: the default of 4 KiB makes sixteen times as many writes.
const CHUNK: usize = 64 << 10;
/// Some 200 bytes each.
const MAX_SEEN: usize = 50_000;

/// A blob in the object store.
pub struct StoredBlob {
    pub objects: Objects,
    pub digest: Digest,
}

impl BlobSource for StoredBlob {
    fn open(&self) -> BoxFuture<'_, Result<BoxStream<'static, std::io::Result<Bytes>>, String>> {
        Box::pin(async move {
            let (_, reader) =
                self.objects.get_stream(&self.digest).await.map_err(|error| error.to_string())?;
            let stream: BoxStream<'static, std::io::Result<Bytes>> =
                Box::pin(ReaderStream::with_capacity(reader, CHUNK));
            Ok(stream)
        })
    }
}

/// Where blobs were seen: a hint for mounting, never a promise.
#[derive(Default)]
pub struct Seen(Mutex<HashMap<(String, Digest), String>>);

impl Seen {
    pub fn note(&self, target: &Target, digest: &Digest) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_SEEN {
            seen.clear();
        }
        seen.entry((target.registry.clone(), digest.clone())).or_insert_with(|| target.repository.clone());
    }

    /// Another repository of the registry that had the blob.
    fn sibling(&self, target: &Target, digest: &Digest) -> Option<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let repository = seen.get(&(target.registry.clone(), digest.clone()))?;
        (*repository != target.repository).then(|| repository.clone())
    }

    fn forget(&self, target: &Target, digest: &Digest) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(target.registry.clone(), digest.clone()));
    }
}

/// Whether the repository has the blob, or took it from a sibling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Present,
    Mounted,
    Absent,
}

pub async fn presence(
    registry: &Registry,
    seen: &Seen,
    target: &Target,
    digest: &Digest,
) -> Result<Presence, RegistryError> {
    if registry.has_blob(target, digest).await? {
        seen.note(target, digest);
        return Ok(Presence::Present);
    }
    let Some(sibling) = seen.sibling(target, digest) else { return Ok(Presence::Absent) };
    match registry.mount(target, digest, &sibling).await {
        Ok(true) => Ok(Presence::Mounted),
        Ok(false) => {
            seen.forget(target, digest);
            Ok(Presence::Absent)
        }
        Err(error) => {
            // Mounting saves bytes; uploading works without it.
            tracing::debug!(%error, %target, "a blob could not be mounted");
            Ok(Presence::Absent)
        }
    }
}

/// The builder's question before it stores blobs.
pub async fn missing(registry: &Registry, seen: &Seen, question: MissingBlobs) -> MissingBlobsAnswer {
    let target = Target { registry: question.registry, repository: question.repository };
    let mut missing = Vec::new();
    for digest in &question.digests {
        match presence(registry, seen, &target, digest).await {
            Ok(Presence::Absent) => missing.push(digest.clone()),
            Ok(Presence::Present | Presence::Mounted) => {}
            Err(error) => {
                tracing::warn!(%error, %target, "the registry could not be asked for blobs");
                return MissingBlobsAnswer { missing: question.digests, problem: Some(error.to_string()) };
            }
        }
    }
    MissingBlobsAnswer { missing, problem: None }
}
