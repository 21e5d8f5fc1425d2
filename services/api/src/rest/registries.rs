//! Credentials of container registries: hosts can be listed, credentials only be set. The publisher reads them.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_chassis::Secret;
use sluice_kubernetes::secrets::{SecretError, normalise_registry};

use super::Input;
use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::{Answer, ApiError};

/// Longest user name or password: cloud registries' tokens fit.
const MOST: usize = 16 * 1024;
/// A name of the domain name system and a port.
const LONGEST_HOST: usize = 259;

pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Answer<Json<Value>> {
    api.authorize(&caller, Resource::Registries, Action::Get, "*")?;
    let found = api.cluster.registries().await.map_err(|error| away(&error))?;
    let mut hosts: Vec<String> = found.iter().map(|registry| normalise_registry(&registry.host)).collect();
    hosts.sort();
    hosts.dedup();
    Ok(Json(json!({ "items": hosts })))
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    username: Secret,
    password: Secret,
}

pub(super) async fn set(
    State(api): State<Api>,
    caller: Caller,
    Path(host): Path<String>,
    Input(body): Input<Credentials>,
) -> Answer<Json<Value>> {
    let host = named(&host)?;
    api.authorize(&caller, Resource::Registries, Action::Update, &host)?;
    for (what, value) in [("user name", &body.username), ("password", &body.password)] {
        if value.is_empty() || value.expose().len() > MOST {
            return Err(ApiError::invalid(format!(
                "the {what} for {host} is empty or longer than {MOST} bytes"
            )));
        }
    }
    api.cluster.put_registry(&host, body.username, body.password).await.map_err(|error| away(&error))?;
    tracing::info!(registry = host, person = %caller.person, "credentials of a registry were set");
    Ok(Json(json!({ "registry": host })))
}

pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path(host): Path<String>,
) -> Answer<Json<Value>> {
    let host = named(&host)?;
    api.authorize(&caller, Resource::Registries, Action::Delete, &host)?;
    if !api.cluster.delete_registry(&host).await.map_err(|error| away(&error))? {
        return Err(ApiError::missing(format!(
            "there are no credentials for {host}; `sluice registry ls` lists the registries that have some"
        )));
    }
    tracing::info!(registry = host, person = %caller.person, "credentials of a registry were deleted");
    Ok(Json(json!({ "registry": host })))
}

/// A host as image names have it. A slip here would be credentials that are never found.
fn named(text: &str) -> Answer<String> {
    let host = normalise_registry(text);
    let (name, port) = host.rsplit_once(':').unwrap_or((&host, "443"));
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    if name.is_empty() || !plain || port.parse::<u16>().is_err() || host.len() > LONGEST_HOST {
        return Err(ApiError::invalid(format!(
            "`{text}` is not a registry's host; write it as image names begin: registry.example.com or 127.0.0.1:5000"
        )));
    }
    Ok(host)
}

fn away(error: &SecretError) -> ApiError {
    ApiError::away("Kubernetes, where credentials are kept,", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_image_names() {
        for (text, host) in [
            ("registry.example.com", "registry.example.com"),
            ("https://Registry.example.com/", "registry.example.com"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("index.docker.io", "docker.io"),
        ] {
            assert_eq!(named(text).ok().as_deref(), Some(host));
        }
        for wrong in ["", "a b", "user@host", "host:port", ":5000", "*", "https://"] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }
}
