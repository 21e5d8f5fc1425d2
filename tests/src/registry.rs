//! The OCI registry, seen by plain HTTP.

use anyhow::Context;
use serde_json::Value;

use crate::platform::Platform;

const KINDS: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// Digest of a tag, or none when there is no such tag.
pub async fn digest(platform: &Platform, repository: &str, tag: &str) -> anyhow::Result<Option<String>> {
    let url = format!("http://{}/v2/{repository}/manifests/{tag}", platform.registry);
    let answer = reqwest::Client::new().head(url).header("accept", KINDS).send().await?;
    let digest =
        answer.headers().get("docker-content-digest").and_then(|v| v.to_str().ok()).map(str::to_owned);
    Ok(answer.status().is_success().then_some(digest).flatten())
}

/// All tags of a repository.
pub async fn tags(platform: &Platform, repository: &str) -> anyhow::Result<Vec<String>> {
    let url = format!("http://{}/v2/{repository}/tags/list", platform.registry);
    let body: Value = reqwest::get(url).await?.json().await.context("the registry's JSON")?;
    let tags = body["tags"].as_array().into_iter().flatten();
    Ok(tags.filter_map(Value::as_str).map(str::to_owned).collect())
}
