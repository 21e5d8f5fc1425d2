//! Blobs and manifests: ask, mount, upload, put.
//!
//! Invariants: a blob is uploaded only when the registry lacks it; its digest is
//! given to the registry, which checks it; a manifest goes by digest first.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use rand::Rng as _;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Response, StatusCode, Url};
use sluice_schemas::Digest;

use super::{Registry, RegistryError, Target};

/// Tries of one request before the caller is told.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// The time that one blob may take in all: 10 GiB at 6 MB/s.
const UPLOAD: Duration = Duration::from_secs(30 * 60);

const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Where a blob's bytes come from; opened again for each try.
pub trait BlobSource: Send + Sync {
    fn open(&self) -> BoxFuture<'_, Result<BoxStream<'static, std::io::Result<Bytes>>, String>>;
}

impl Registry {
    pub async fn has_blob(&self, target: &Target, digest: &Digest) -> Result<bool, RegistryError> {
        retrying(|| async {
            let url = self.url(target, &format!("blobs/{digest}"));
            let response = self.send(target, &pull(target), || self.http.head(&url)).await?;
            present(target, response).await
        })
        .await
    }

    /// The digest of the manifest under a tag or digest; `None` when there is none.
    pub async fn manifest_digest(
        &self,
        target: &Target,
        reference: &str,
    ) -> Result<Option<Digest>, RegistryError> {
        retrying(|| async {
            let url = self.url(target, &format!("manifests/{reference}"));
            let response = self
                .send(target, &pull(target), || self.http.head(&url).header(ACCEPT, MANIFEST_TYPES))
                .await?;
            let digest = content_digest(&response);
            Ok(if present(target, response).await? {
                digest.or_else(|| reference.parse().ok())
            } else {
                None
            })
        })
        .await
    }

    /// Asks the registry to take the blob from another of its repositories. True
    /// when it did; a registry that would rather have an upload says no.
    pub async fn mount(&self, target: &Target, digest: &Digest, from: &str) -> Result<bool, RegistryError> {
        let url = self.url(target, "blobs/uploads/");
        let scope = format!("{} repository:{from}:pull", push(target));
        let query = [("mount", digest.as_str()), ("from", from)];
        let response = self
            .send(target, &scope, || self.http.post(&url).query(&query).header(CONTENT_LENGTH, 0))
            .await?;
        match response.status() {
            StatusCode::CREATED => Ok(true),
            // 202 opens an upload session, which we let expire: it has nothing in it.
            status if status.is_success() || status.is_client_error() => Ok(false),
            _ => Err(RegistryError::from_response(target, response).await),
        }
    }

    /// Uploads a blob of `size` bytes in one stream.
    pub async fn upload(
        &self,
        target: &Target,
        digest: &Digest,
        size: u64,
        source: &dyn BlobSource,
    ) -> Result<(), RegistryError> {
        retrying(|| async {
            let location = self.start_upload(target).await?;
            let stream = source
                .open()
                .await
                .map_err(|reason| RegistryError::Source { digest: digest.clone(), reason })?;
            let mut url = location;
            url.query_pairs_mut().append_pair("digest", digest.as_str());
            let request = self
                .http
                .put(url)
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, size)
                .timeout(UPLOAD)
                .body(reqwest::Body::wrap_stream(stream));
            // The stream can be sent once only; the token is fresh from starting the upload.
            let request = self.authorise(target, &push(target), request).await;
            let response =
                request.send().await.map_err(|error| RegistryError::from_transport(target, &error))?;
            match response.status() {
                status if status.is_success() => Ok(()),
                // Some registries forget upload sessions when they restart.
                StatusCode::NOT_FOUND => Err(RegistryError::Unavailable {
                    registry: target.registry.clone(),
                    reason: "it lost the upload".to_owned(),
                    retry_after: None,
                }),
                _ => Err(RegistryError::from_response(target, response).await),
            }
        })
        .await
    }

    /// Stores a manifest under a tag or digest, and checks what the registry made of it.
    pub async fn put_manifest(
        &self,
        target: &Target,
        reference: &str,
        media_type: &str,
        content: Bytes,
    ) -> Result<(), RegistryError> {
        let wanted = Digest::of(&content);
        retrying(|| async {
            let url = self.url(target, &format!("manifests/{reference}"));
            let response = self
                .send(target, &push(target), || {
                    self.http.put(&url).header(CONTENT_TYPE, media_type).body(content.clone())
                })
                .await?;
            if !response.status().is_success() {
                return Err(RegistryError::from_response(target, response).await);
            }
            match content_digest(&response) {
                Some(got) if got != wanted => Err(RegistryError::OtherDigest {
                    target: target.clone(),
                    wanted: wanted.clone(),
                    got: got.to_string(),
                }),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn start_upload(&self, target: &Target) -> Result<Url, RegistryError> {
        let url = self.url(target, "blobs/uploads/");
        let response =
            self.send(target, &push(target), || self.http.post(&url).header(CONTENT_LENGTH, 0)).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(RegistryError::from_response(target, response).await);
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.and_then(|location| Url::parse(&url).ok()?.join(location).ok());
        location.ok_or_else(|| RegistryError::Refused {
            target: target.clone(),
            status: 202,
            reason: "it opened an upload without saying where".to_owned(),
        })
    }
}

fn pull(target: &Target) -> String {
    // One scope for asking and pushing: one token, one trip.
    push(target)
}

fn push(target: &Target) -> String {
    format!("repository:{}:pull,push", target.repository)
}

async fn present(target: &Target, response: Response) -> Result<bool, RegistryError> {
    match response.status() {
        status if status.is_success() => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(RegistryError::from_response(target, response).await),
    }
}

fn content_digest(response: &Response) -> Option<Digest> {
    response.headers().get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

/// Tries `attempt` until it succeeds, fails for good, or the budget is spent.
async fn retrying<T, F, R>(attempt: F) -> Result<T, RegistryError>
where
    F: Fn() -> R,
    R: Future<Output = Result<T, RegistryError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match attempt().await {
            Err(error) if error.is_passing() => {
                let asked = match &error {
                    RegistryError::Unavailable { retry_after, .. } => *retry_after,
                    _ => None,
                };
                let wait =
                    asked.unwrap_or(pause).min(LONGEST_PAUSE).mul_f64(rand::rng().random_range(0.75..1.25));
                tracing::info!(%error, milliseconds = wait.as_millis() as u64, "a registry request is tried again");
                tokio::time::sleep(wait).await;
                pause = (pause * 3).min(LONGEST_PAUSE);
            }
            result => return result,
        }
    }
    attempt().await
}
