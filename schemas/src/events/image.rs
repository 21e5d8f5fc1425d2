//! Images: built by a job, published by the publisher.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RunRef, fact};
use crate::ids::{ImageId, JobId};
use crate::subject::Entity;
use crate::{Digest, Subject};

/// A blob of an image: its config or a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blob {
    /// Content address; also its name in the object store `artifacts`, if `stored`.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// OCI or Docker media type.
    pub media_type: String,
    /// Whether the builder put it into the object store; false when the registry was said to have it.
    pub stored: bool,
}

/// Which image: part of every image fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageRef {
    /// This image.
    pub image: ImageId,
    /// The run that built it.
    pub run: RunRef,
    /// The job that built it.
    pub job: JobId,
    /// Registry host, `registry.example.com`.
    pub registry: String,
    /// Path in the registry, `shop/web`.
    pub repository: String,
}

impl ImageRef {
    /// `host/path`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

/// `evt.image.<repo>.<image>.built`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageBuilt {
    /// Which.
    pub image: ImageRef,
    /// Digest of the manifest; its bytes are in the object store `artifacts` under it.
    pub manifest: Digest,
    /// Media type of the manifest.
    pub manifest_type: String,
    /// The config.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<Blob>,
    /// Tags wanted; the first is the one that deploy repositories get.
    pub tags: Vec<String>,
    /// How long the build took.
    pub build_ms: u64,
}

/// `evt.image.<repo>.<image>.published`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImagePublished {
    /// Which.
    pub image: ImageRef,
    /// Digest of the manifest, as the registry confirmed it.
    pub digest: Digest,
    /// Tags set, in the order wanted.
    pub tags: Vec<String>,
    /// Bytes that had to travel.
    pub bytes_sent: u64,
    /// How long.
    pub duration_ms: u64,
}

/// `evt.image.<repo>.<image>.failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageFailed {
    /// Which.
    pub image: ImageRef,
    /// What happened, why, what to do.
    pub reason: String,
}

fact!(
    ImageBuilt,
    "image.built",
    |this| Subject::fact(Entity::Image, &this.image.run.repository.slug, &this.image.image, "built"),
    {
        Self {
            image: crate::catalogue::image(),
            manifest: Digest::of(b"manifest"),
            manifest_type: "application/vnd.docker.distribution.manifest.v2+json".to_owned(),
            config: Blob {
                digest: Digest::of(b"config"),
                size: 1_470,
                media_type: "application/vnd.docker.container.image.v1+json".to_owned(),
                stored: true,
            },
            layers: vec![Blob {
                digest: Digest::of(b"layer"),
                size: 1_048_576,
                media_type: "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned(),
                stored: false,
            }],
            tags: vec!["cccccccc".to_owned(), "latest".to_owned()],
            build_ms: 910,
        }
    }
);
fact!(
    ImagePublished,
    "image.published",
    |this| Subject::fact(Entity::Image, &this.image.run.repository.slug, &this.image.image, "published"),
    {
        Self {
            image: crate::catalogue::image(),
            digest: Digest::of(b"manifest"),
            tags: vec!["cccccccc".to_owned(), "latest".to_owned()],
            bytes_sent: 1_470,
            duration_ms: 120,
        }
    }
);
fact!(
    ImageFailed,
    "image.failed",
    |this| Subject::fact(Entity::Image, &this.image.run.repository.slug, &this.image.image, "failed"),
    {
        Self {
        image: crate::catalogue::image(),
        reason: "registry.example.com refused the push of shop/web: 401; set its credentials with `sluice registry set registry.example.com --username USER`".to_owned(),
    }
    }
);
