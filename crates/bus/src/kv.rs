//! Typed KV buckets: projections, leases, nonces. A value is JSON of one type; every change can be conditional.

use std::marker::PhantomData;
use std::sync::PoisonError;

use async_nats::jetstream::kv;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Bus;
use crate::publish::describe;
use crate::topology::Bucket;

/// Why a bucket could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// Another writer was first.
    #[error("`{key}` in bucket {bucket} has changed: another writer was first")]
    Conflict { bucket: &'static str, key: String },
    /// The broker failed.
    #[error("bucket {bucket}, key `{key}`: {reason}")]
    Unavailable { bucket: &'static str, key: String, reason: String },
    /// What is stored is not of this type.
    #[error("bucket {bucket}, key `{key}`: the value cannot be read: {source}")]
    Decode {
        bucket: &'static str,
        key: String,
        #[source]
        source: serde_json::Error,
    },
}

/// A value and its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// The value.
    pub value: T,
    /// For [`Kv::update`].
    pub revision: u64,
}

/// A change seen by a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvChange<T> {
    /// The key.
    pub key: String,
    /// The value; absent when the key is gone.
    pub value: Option<T>,
    /// Its revision.
    pub revision: u64,
    /// Whether everything that was there at the start has been seen, this change included.
    pub current: bool,
}

/// A bucket of values of one type. Cheap to clone.
pub struct Kv<T> {
    bus: Bus,
    bucket: Bucket,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Kv<T> {
    fn clone(&self) -> Self {
        Self { bus: self.bus.clone(), bucket: self.bucket, kind: PhantomData }
    }
}

impl Bus {
    /// A bucket, seen as one of values of type `T`.
    #[must_use]
    pub fn kv<T: Serialize + DeserializeOwned>(&self, bucket: Bucket) -> Kv<T> {
        Kv { bus: self.clone(), bucket, kind: PhantomData }
    }

    async fn kv_store(&self, bucket: Bucket) -> Result<kv::Store, String> {
        let name = bucket.as_str();
        let known = self.inner.kv_stores.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(store) = known {
            return Ok(store);
        }
        let store = self.inner.js.get_key_value(name).await.map_err(|error| describe(&error))?;
        self.inner.kv_stores.lock().unwrap_or_else(PoisonError::into_inner).insert(name, store.clone());
        Ok(store)
    }
}

impl<T: Serialize + DeserializeOwned> Kv<T> {
    /// The value of a key.
    ///
    /// # Errors
    /// When the broker fails or the value is of another type.
    pub async fn get(&self, key: &str) -> Result<Option<Entry<T>>, KvError> {
        let entry = self.store(key).await?.entry(key).await.map_err(|error| self.unavailable(key, &error))?;
        match entry {
            Some(entry) if entry.operation == kv::Operation::Put => {
                Ok(Some(Entry { value: self.decode(key, &entry.value)?, revision: entry.revision }))
            }
            _ => Ok(None),
        }
    }

    /// Sets a key that must not exist. Returns the revision.
    ///
    /// # Errors
    /// [`KvError::Conflict`] when it exists.
    pub async fn create(&self, key: &str, value: &T) -> Result<u64, KvError> {
        let bytes = self.encode(key, value)?;
        self.store(key).await?.create(key, bytes).await.map_err(|error| match error.kind() {
            kv::CreateErrorKind::AlreadyExists => self.conflict(key),
            _ => self.unavailable(key, &error),
        })
    }

    /// As [`Kv::create`], and the key vanishes after `ttl`.
    ///
    /// # Errors
    /// As [`Kv::create`].
    pub async fn create_with_ttl(
        &self,
        key: &str,
        value: &T,
        ttl: std::time::Duration,
    ) -> Result<u64, KvError> {
        let bytes = self.encode(key, value)?;
        self.store(key).await?.create_with_ttl(key, bytes, ttl).await.map_err(|error| match error.kind() {
            kv::CreateErrorKind::AlreadyExists => self.conflict(key),
            _ => self.unavailable(key, &error),
        })
    }

    /// Replaces a value whose revision is known. Returns the new revision.
    ///
    /// # Errors
    /// [`KvError::Conflict`] when it has another revision by now.
    pub async fn update(&self, key: &str, value: &T, revision: u64) -> Result<u64, KvError> {
        let bytes = self.encode(key, value)?;
        self.store(key).await?.update(key, bytes, revision).await.map_err(|error| match error.kind() {
            kv::UpdateErrorKind::WrongLastRevision => self.conflict(key),
            _ => self.unavailable(key, &error),
        })
    }

    /// Sets a key whatever it holds. Returns the revision.
    ///
    /// # Errors
    /// When the broker fails.
    pub async fn put(&self, key: &str, value: &T) -> Result<u64, KvError> {
        let bytes = self.encode(key, value)?;
        self.store(key).await?.put(key, bytes).await.map_err(|error| self.unavailable(key, &error))
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// When the broker fails.
    pub async fn delete(&self, key: &str) -> Result<(), KvError> {
        self.store(key).await?.delete(key).await.map_err(|error| self.unavailable(key, &error))
    }

    /// Deletes a key that still has this revision.
    ///
    /// # Errors
    /// [`KvError::Conflict`] when it has another revision by now.
    pub async fn delete_revision(&self, key: &str, revision: u64) -> Result<(), KvError> {
        let deleted = self.store(key).await?.delete_expect_revision(key, Some(revision)).await;
        deleted.map_err(|error| match error.kind() {
            kv::UpdateErrorKind::WrongLastRevision => self.conflict(key),
            _ => self.unavailable(key, &error),
        })
    }

    /// All keys.
    ///
    /// # Errors
    /// When the broker fails.
    pub async fn keys(&self) -> Result<Vec<String>, KvError> {
        let mut keys = self.store("*").await?.keys().await.map_err(|error| self.unavailable("*", &error))?;
        let mut found = Vec::new();
        while let Some(key) = keys.next().await {
            found.push(key.map_err(|error| self.unavailable("*", &error))?);
        }
        Ok(found)
    }

    /// Changes of the keys that match `pattern` (`>` for all), the present values first. Values of another type are
    /// left out with a warning.
    ///
    /// # Errors
    /// When the watch cannot be started. A stream that ends has lost its connection: watch again.
    pub async fn watch(
        &self,
        pattern: &str,
    ) -> Result<impl Stream<Item = KvChange<T>> + Send + Unpin + use<T>, KvError>
    where
        T: Send + 'static,
    {
        let store = self.store(pattern).await?;
        let watch =
            store.watch_with_history(pattern).await.map_err(|error| self.unavailable(pattern, &error))?;
        let bucket = self.bucket.as_str();
        // A watch that lost its server may not hear of it for half a minute: it ends with the connection instead.
        let mut connections = self.bus.inner.connections.subscribe();
        let lost = async move {
            connections.changed().await.ok();
        };
        let changes = watch
            .take_until(Box::pin(lost))
            .take_while(|entry| std::future::ready(entry.is_ok()))
            .filter_map(move |entry| std::future::ready(entry.ok().and_then(|entry| change(bucket, entry))));
        Ok(Box::pin(changes))
    }

    async fn store(&self, key: &str) -> Result<kv::Store, KvError> {
        self.bus.kv_store(self.bucket).await.map_err(|reason| KvError::Unavailable {
            bucket: self.bucket.as_str(),
            key: key.to_owned(),
            reason,
        })
    }

    fn encode(&self, key: &str, value: &T) -> Result<Bytes, KvError> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|source| KvError::Decode {
            bucket: self.bucket.as_str(),
            key: key.to_owned(),
            source,
        })
    }

    fn decode(&self, key: &str, bytes: &[u8]) -> Result<T, KvError> {
        serde_json::from_slice(bytes).map_err(|source| KvError::Decode {
            bucket: self.bucket.as_str(),
            key: key.to_owned(),
            source,
        })
    }

    fn conflict(&self, key: &str) -> KvError {
        KvError::Conflict { bucket: self.bucket.as_str(), key: key.to_owned() }
    }

    fn unavailable(&self, key: &str, error: &dyn std::error::Error) -> KvError {
        KvError::Unavailable { bucket: self.bucket.as_str(), key: key.to_owned(), reason: describe(error) }
    }
}

fn change<T: DeserializeOwned>(bucket: &'static str, entry: kv::Entry) -> Option<KvChange<T>> {
    let value = match entry.operation {
        kv::Operation::Put => match serde_json::from_slice(&entry.value) {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!(bucket, key = entry.key, %error, "a value cannot be read");
                return None;
            }
        },
        _ => None,
    };
    Some(KvChange { key: entry.key, value, revision: entry.revision, current: entry.delta == 0 })
}
