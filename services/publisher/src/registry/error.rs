//! What a registry's refusal means, and whether trying again can help.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use sluice_schemas::Digest;

use super::Target;

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("the HTTP client for registries could not be set up: {reason}")]
    Setup { reason: String },
    #[error("{target} refused us ({reason}); set credentials that may push there with `sluice registry set {registry} --username USER`", registry = .target.registry)]
    Denied { target: Target, reason: String },
    #[error("the credentials for the registry {registry} could not be read: {reason}")]
    Login { registry: String, reason: String },
    #[error("the registry {registry} cannot be reached ({reason})")]
    Unavailable { registry: String, reason: String, retry_after: Option<Duration> },
    #[error("the registry lacks blobs of the image in {target}: {}", list(digests))]
    BlobsUnknown { target: Target, digests: Vec<Digest> },
    #[error("{target} answered {status} ({reason})")]
    Refused { target: Target, status: u16, reason: String },
    #[error(
        "{target} stored {got} where {wanted} was sent; the registry or something on the way alters content"
    )]
    OtherDigest { target: Target, wanted: Digest, got: String },
    #[error("blob {digest} could not be read from the object store: {reason}")]
    Source { digest: Digest, reason: String },
}

impl RegistryError {
    /// Whether the same request may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Login { .. } | Self::Source { .. })
    }

    pub(crate) fn from_transport(target: &Target, error: &reqwest::Error) -> Self {
        // reqwest puts the URL into its message; ours may carry an upload session's token.
        let mut reason = String::new();
        let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
        while let Some(cause) = source {
            reason = cause.to_string();
            source = cause.source();
        }
        if error.is_timeout() {
            "no answer in time".clone_into(&mut reason);
        } else if reason.is_empty() {
            "the connection broke".clone_into(&mut reason);
        }
        Self::Unavailable { registry: target.registry.clone(), reason, retry_after: None }
    }

    /// Reads the registry's own words out of an error answer.
    pub(crate) async fn from_response(target: &Target, response: Response) -> Self {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = read_bounded(response).await;
        let errors = serde_json::from_slice::<ErrorBody>(&body).map(|body| body.errors).unwrap_or_default();
        let words: Vec<String> = errors
            .iter()
            .map(|error| format!("{} {}", error.code, error.message).trim().to_owned())
            .collect();
        let reason = if words.is_empty() { status.to_string() } else { words.join("; ") };
        let reason: String = reason.chars().take(500).collect();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Self::Denied { target: target.clone(), reason }
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Self::Unavailable { registry: target.registry.clone(), reason, retry_after }
            }
            status if status.is_server_error() => {
                Self::Unavailable { registry: target.registry.clone(), reason, retry_after }
            }
            status => {
                let is_unknown = |error: &&ErrorEntry| {
                    matches!(error.code.as_str(), "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN")
                };
                if errors.iter().any(|error| is_unknown(&error)) {
                    let digests = errors
                        .iter()
                        .filter(is_unknown)
                        .filter_map(|error| digest_in(&error.detail))
                        .collect();
                    return Self::BlobsUnknown { target: target.clone(), digests };
                }
                Self::Refused { target: target.clone(), status: status.as_u16(), reason }
            }
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

/// Registries put the digest into `detail` bare, as `{"digest": …}`, or in some other field.
fn digest_in(detail: &serde_json::Value) -> Option<Digest> {
    match detail {
        serde_json::Value::String(text) => text.parse().ok(),
        serde_json::Value::Object(map) => map.values().find_map(digest_in),
        serde_json::Value::Array(items) => items.iter().find_map(digest_in),
        _ => None,
    }
}

async fn read_bounded(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > 64 << 10 {
            break;
        }
    }
    body
}

fn list(digests: &[Digest]) -> String {
    if digests.is_empty() {
        return "it does not say which".to_owned();
    }
    digests.iter().map(Digest::short).collect::<Vec<_>>().join(", ")
}
