//! Claim checks: what is too large for a subject lies here under its SHA-256, and the digest travels.
//!
//! Invariant: what is read has the digest asked for; anything else is an error, so a store that was tampered with
//! cannot feed manifests or layers to anybody.

use std::sync::PoisonError;

use async_nats::jetstream::object_store::{self, InfoErrorKind};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use sluice_schemas::Digest;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::Bus;
use crate::publish::describe;
use crate::topology::Store;

/// Objects up to this size may be read into memory at once.
const MAX_IN_MEMORY: usize = 256 * 1024 * 1024;

/// Why an object could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It is not there.
    #[error("object {digest} is not in store {store}; it may have been kept long enough")]
    NotFound { store: &'static str, digest: Digest },
    /// It is not what its name says.
    #[error("object {digest} in store {store} has the content of {found}: it is not used")]
    Corrupt { store: &'static str, digest: Digest, found: Digest },
    /// The broker failed.
    #[error("object store {store}: {reason}")]
    Unavailable { store: &'static str, reason: String },
}

/// One store. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    bus: Bus,
    store: Store,
}

impl Bus {
    /// A store of objects.
    #[must_use]
    pub fn objects(&self, store: Store) -> Objects {
        Objects { bus: self.clone(), store }
    }
}

impl Objects {
    /// Stores bytes; what is there already is not sent again.
    ///
    /// # Errors
    /// When the broker fails.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, ObjectError> {
        let digest = Digest::of(&bytes);
        if !self.has(&digest).await? {
            let mut reader = bytes.as_ref();
            let stored = self.bucket().await?.put(digest.hex(), &mut reader).await;
            stored.map_err(|error| self.unavailable(&error))?;
        }
        Ok(digest)
    }

    /// Stores a stream whose digest is known, and checks it. A wrong stream leaves nothing behind.
    ///
    /// # Errors
    /// When the content has another digest, or the broker fails.
    pub async fn put_stream(
        &self,
        digest: &Digest,
        reader: impl AsyncRead + Unpin + Send,
    ) -> Result<(), ObjectError> {
        if self.has(digest).await? {
            return Ok(());
        }
        let bucket = self.bucket().await?;
        let mut hashing = HashingReader { inner: reader, hasher: Sha256::new() };
        bucket.put(digest.hex(), &mut hashing).await.map_err(|error| self.unavailable(&error))?;
        let found = Digest::from_hash(hashing.hasher.finalize().into());
        if &found != digest {
            bucket.delete(digest.hex()).await.map_err(|error| self.unavailable(&error))?;
            return Err(ObjectError::Corrupt { store: self.store.as_str(), digest: digest.clone(), found });
        }
        Ok(())
    }

    /// Reads an object whole, and checks it.
    ///
    /// # Errors
    /// When it is not there, not what its name says, or the broker fails.
    pub async fn get(&self, digest: &Digest) -> Result<Bytes, ObjectError> {
        let mut object = self.open(digest).await?;
        let mut bytes = Vec::with_capacity(object.info().size.min(MAX_IN_MEMORY));
        let limit = MAX_IN_MEMORY as u64;
        let read = (&mut object).take(limit).read_to_end(&mut bytes).await;
        read.map_err(|error| self.unavailable(&error))?;
        let found = Digest::of(&bytes);
        if &found != digest {
            return Err(ObjectError::Corrupt { store: self.store.as_str(), digest: digest.clone(), found });
        }
        Ok(Bytes::from(bytes))
    }

    /// Opens an object for reading, with its size. The reader checks the digest by itself where it matters (a
    /// registry does).
    ///
    /// # Errors
    /// When it is not there or the broker fails.
    pub async fn get_stream(
        &self,
        digest: &Digest,
    ) -> Result<(u64, impl AsyncRead + Unpin + Send + use<>), ObjectError> {
        let object = self.open(digest).await?;
        Ok((object.info().size as u64, object))
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// When the broker fails.
    pub async fn has(&self, digest: &Digest) -> Result<bool, ObjectError> {
        match self.bucket().await?.info(digest.hex()).await {
            Ok(info) => Ok(!info.deleted),
            Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.unavailable(&error)),
        }
    }

    async fn open(&self, digest: &Digest) -> Result<object_store::Object, ObjectError> {
        self.bucket().await?.get(digest.hex()).await.map_err(|error| match error.kind() {
            object_store::GetErrorKind::NotFound => {
                ObjectError::NotFound { store: self.store.as_str(), digest: digest.clone() }
            }
            _ => self.unavailable(&error),
        })
    }

    async fn bucket(&self) -> Result<object_store::ObjectStore, ObjectError> {
        let name = self.store.as_str();
        let known =
            self.bus.inner.object_stores.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(bucket) = known {
            return Ok(bucket);
        }
        let bucket =
            self.bus.inner.js.get_object_store(name).await.map_err(|error| self.unavailable(&error))?;
        let mut stores = self.bus.inner.object_stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.insert(name, bucket.clone());
        Ok(bucket)
    }

    fn unavailable(&self, error: &dyn std::error::Error) -> ObjectError {
        ObjectError::Unavailable { store: self.store.as_str(), reason: describe(error) }
    }
}

/// Computes the digest of what passes.
struct HashingReader<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: AsyncRead + Unpin> AsyncRead for HashingReader<R> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = std::pin::Pin::new(&mut self.inner).poll_read(context, buffer);
        if let std::task::Poll::Ready(Ok(())) = &polled {
            let fresh = buffer.filled()[before..].to_vec();
            self.hasher.update(&fresh);
        }
        polled
    }
}
