//! Publishing one image: blobs that the registry lacks, the manifest by digest, then its tags.
//!
//! Invariants: nothing is visible under a tag before everything below it is there;
//! every step may be repeated after a crash without another result; the digest that
//! is reported is the one that the registry confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::stream::{StreamExt as _, TryStreamExt as _};
use sluice_bus::{ObjectError, Objects};
use sluice_schemas::Digest;
use sluice_schemas::events::{Blob, ImageBuilt, ImagePublished};

use crate::blobs::{Presence, Seen, StoredBlob, presence};
use crate::metrics::PublisherMetrics;
use crate::registry::{Registry, RegistryError, Target};

/// Blobs of one image on their way at once.
const PARALLEL: usize = 4;
/// How often blobs may vanish between the question and the manifest.
const REPAIRS: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the image's manifest is gone from the object store ({0}); run the job again")]
    ManifestGone(#[source] ObjectError),
    #[error(transparent)]
    Objects(ObjectError),
    #[error("{target} no longer has the blob {}, which it had when the image was built; run the job again", digest.short())]
    BlobGone { target: Target, digest: Digest },
    #[error(
        "{target} has another manifest under {reference} than was put there; somebody else pushes the same tag, or the registry alters content"
    )]
    NotConfirmed { target: Target, reference: String },
    #[error("the image names no tag; give the step that builds it one")]
    NoTag,
}

impl ImageError {
    /// Whether trying again later can help without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_passing(),
            Self::Objects(_) => true,
            _ => false,
        }
    }
}

#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    objects: Objects,
    seen: Arc<Seen>,
    metrics: PublisherMetrics,
}

impl Images {
    pub fn new(registry: Registry, objects: Objects, seen: Arc<Seen>, metrics: PublisherMetrics) -> Self {
        Self { inner: Arc::new(Inner { registry, objects, seen, metrics }) }
    }

    pub async fn publish(&self, built: &ImageBuilt) -> Result<ImagePublished, ImageError> {
        let started = Instant::now();
        let target =
            Target { registry: built.image.registry.clone(), repository: built.image.repository.clone() };
        let registry = &self.inner.registry;
        if built.tags.is_empty() {
            return Err(ImageError::NoTag);
        }
        let digest = &built.manifest;
        let sent = if registry.manifest_digest(&target, digest.as_str()).await?.as_ref() == Some(digest) {
            0
        } else {
            self.push(&target, built).await?
        };
        fail::fail_point!("publisher-manifest-before-tag");
        let mut manifest = None;
        for tag in &built.tags {
            if registry.manifest_digest(&target, tag).await?.as_ref() == Some(digest) {
                continue;
            }
            let content = match &manifest {
                Some(content) => content,
                None => manifest.insert(self.manifest(digest).await?),
            };
            registry.put_manifest(&target, tag, &built.manifest_type, content.clone()).await?;
        }
        // The deploy repository will name the first tag: what it leads to is checked once more.
        let confirmed = registry.manifest_digest(&target, &built.tags[0]).await?;
        if confirmed.as_ref() != Some(digest) {
            return Err(ImageError::NotConfirmed { target, reference: built.tags[0].clone() });
        }
        let duration = started.elapsed();
        self.inner.metrics.image_seconds.with_label_values::<&str>(&[]).observe(duration.as_secs_f64());
        Ok(ImagePublished {
            image: built.image.clone(),
            digest: digest.clone(),
            tags: built.tags.clone(),
            bytes_sent: sent,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Blobs, then the manifest under its digest. Returns the bytes that travelled.
    async fn push(&self, target: &Target, built: &ImageBuilt) -> Result<u64, ImageError> {
        let manifest = self.manifest(&built.manifest).await?;
        // A layer may occur twice.
        let blobs: BTreeMap<&Digest, &Blob> =
            built.layers.iter().chain([&built.config]).map(|blob| (&blob.digest, blob)).collect();
        let sent = AtomicU64::new(manifest.len() as u64);
        self.send(target, blobs.values().copied(), false, &sent).await?;
        let mut repairs = 0;
        loop {
            let reference = built.manifest.as_str();
            match self
                .inner
                .registry
                .put_manifest(target, reference, &built.manifest_type, manifest.clone())
                .await
            {
                Ok(()) => return Ok(sent.into_inner()),
                // The registry's garbage collection was between us and the manifest.
                Err(RegistryError::BlobsUnknown { digests, .. }) if repairs < REPAIRS => {
                    repairs += 1;
                    tracing::warn!(%target, repairs, "the registry lost blobs while the image was on its way; sending them again");
                    let lost = blobs
                        .values()
                        .copied()
                        .filter(|blob| digests.is_empty() || digests.contains(&blob.digest));
                    self.send(target, lost, true, &sent).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends what is absent; with `anyway`, all that is in the object store.
    async fn send<'a>(
        &self,
        target: &Target,
        blobs: impl Iterator<Item = &'a Blob>,
        anyway: bool,
        sent: &AtomicU64,
    ) -> Result<(), ImageError> {
        let sending: Vec<_> = blobs.map(|blob| self.send_one(target, blob, anyway, sent)).collect();
        futures::stream::iter(sending).buffer_unordered(PARALLEL).try_collect::<()>().await
    }

    async fn send_one(
        &self,
        target: &Target,
        blob: &Blob,
        anyway: bool,
        sent: &AtomicU64,
    ) -> Result<(), ImageError> {
        let inner = &self.inner;
        let bytes = &inner.metrics.bytes;
        if !(anyway && blob.stored) {
            match presence(&inner.registry, &inner.seen, target, &blob.digest).await? {
                Presence::Present => {
                    bytes.with_label_values(&["present"]).inc_by(blob.size);
                    return Ok(());
                }
                Presence::Mounted => {
                    bytes.with_label_values(&["mounted"]).inc_by(blob.size);
                    return Ok(());
                }
                Presence::Absent => {}
            }
        }
        if !blob.stored && !inner.objects.has(&blob.digest).await.map_err(ImageError::Objects)? {
            return Err(ImageError::BlobGone { target: target.clone(), digest: blob.digest.clone() });
        }
        fail::fail_point!("publisher-before-blob");
        let source = StoredBlob { objects: inner.objects.clone(), digest: blob.digest.clone() };
        inner.registry.upload(target, &blob.digest, blob.size, &source).await?;
        inner.seen.note(target, &blob.digest);
        sent.fetch_add(blob.size, Ordering::Relaxed);
        bytes.with_label_values(&["sent"]).inc_by(blob.size);
        Ok(())
    }

    async fn manifest(&self, digest: &Digest) -> Result<bytes::Bytes, ImageError> {
        self.inner.objects.get(digest).await.map_err(|error| match error {
            error @ ObjectError::NotFound { .. } => ImageError::ManifestGone(error),
            error => ImageError::Objects(error),
        })
    }
}
