//! Workflow secrets: names can be listed, values only be set.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_chassis::Secret;
use sluice_kubernetes::secrets::SecretError;
use sluice_schemas::ids::RepoSlug;

use super::Input;
use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::{Answer, ApiError};

/// Largest value: a kubeconfig or key file fits.
const MOST: usize = 64 * 1024;

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Path(repo): Path<String>,
) -> Answer<Json<Value>> {
    let slug = slug(&api, &repo).await?;
    api.authorize(&caller, Resource::Secrets, Action::Get, slug.as_str())?;
    let names: Vec<String> =
        api.cluster.ci_secrets(&slug).await.map_err(|e| refused(&e))?.into_keys().collect();
    Ok(Json(json!({ "repository": slug, "items": names })))
}

#[derive(Deserialize)]
pub(super) struct Value_ {
    value: Secret,
}

pub(super) async fn set(
    State(api): State<Api>,
    caller: Caller,
    Path((repo, name)): Path<(String, String)>,
    Input(body): Input<Value_>,
) -> Answer<Json<Value>> {
    let slug = slug(&api, &repo).await?;
    api.authorize(&caller, Resource::Secrets, Action::Update, slug.as_str())?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain
        || name.is_empty()
        || name.starts_with(|c: char| c.is_ascii_digit())
        || name.starts_with("GITHUB_")
    {
        return Err(ApiError::invalid(format!(
            "`{name}` cannot be a secret's name: use letters, digits and `_`, not beginning with a digit or GITHUB_"
        )));
    }
    if body.value.is_empty() || body.value.expose().len() > MOST {
        return Err(ApiError::invalid(format!("the value of {name} is empty or longer than {MOST} bytes")));
    }
    api.cluster.put_ci_secret(&slug, &name, body.value).await.map_err(|error| refused(&error))?;
    tracing::info!(repository = %slug, name, person = %caller.person, "a workflow secret was set");
    Ok(Json(json!({})))
}

pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path((repo, name)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let slug = slug(&api, &repo).await?;
    api.authorize(&caller, Resource::Secrets, Action::Delete, slug.as_str())?;
    if !api.cluster.ci_secrets(&slug).await.map_err(|e| refused(&e))?.contains_key(&name) {
        return Err(ApiError::missing(format!("{slug} has no secret {name}; `sluice secret ls` lists them")));
    }
    api.cluster.delete_ci_secret(&slug, &name).await.map_err(|error| refused(&error))?;
    tracing::info!(repository = %slug, name, person = %caller.person, "a workflow secret was deleted");
    Ok(Json(json!({})))
}

/// Secrets are often set before the first run: a repository is known by its runs, by its labelled Secret, or by its full
/// name alone.
async fn slug(api: &Api, text: &str) -> Answer<RepoSlug> {
    if let Some(found) = api.model.read().find_repository(text) {
        return Ok(found.repository.slug.clone());
    }
    if text.contains('/') {
        return Ok(RepoSlug::from_full_name(text));
    }
    let known = api.cluster.repositories().await.map_err(|error| refused(&error))?;
    let mut fits = known
        .into_iter()
        .filter(|it| it.slug.as_str() == text || it.full_name.rsplit('/').next() == Some(text));
    match (fits.next(), fits.next()) {
        (Some(one), None) => Ok(one.slug),
        (Some(_), Some(_)) => {
            Err(ApiError::invalid(format!("several repositories are called {text}; write owner/{text}")))
        }
        (None, _) => match text.parse::<RepoSlug>() {
            Ok(slug) if text.contains('_') => Ok(slug),
            _ => Err(ApiError::missing(format!("no repository {text} is known; write owner/{text}"))),
        },
    }
}

fn refused(error: &SecretError) -> ApiError {
    match error {
        SecretError::InvalidKey { .. } => ApiError::invalid(error.to_string()),
        SecretError::Api { .. } => ApiError::away("Kubernetes, where secrets are kept,", error),
    }
}
