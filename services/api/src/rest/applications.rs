//! Applications on Argo CD's paths: the declared object from Kubernetes, the status from our states.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_bus::Store;
use sluice_kubernetes::Application;
use sluice_kubernetes::annotations::{RESOURCES_FINALIZER, RESOURCES_FINALIZER_BACKGROUND};
use sluice_kubernetes::applications::ApplicationError;
use sluice_schemas::ids::AppId;
use sluice_schemas::state::AppState;

use super::{Input, argo, sync};
use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::{Answer, ApiError};
use crate::gate::refuse;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Listing {
    name: String,
    project: String,
    projects: String,
    repo: String,
    selector: String,
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(wanted): Query<Listing>,
) -> Answer<Json<Value>> {
    let found = api.cluster.applications().await.map_err(refused)?;
    let mut applications: Vec<Application> = found.into_iter().filter_map(Result::ok).collect();
    applications.sort_by(|a, b| a.name().cmp(b.name()));
    let version =
        applications.iter().filter_map(|it| it.metadata.resource_version.clone()).max().unwrap_or_default();
    let project = if wanted.project.is_empty() { &wanted.projects } else { &wanted.project };
    let mut items = Vec::new();
    for application in applications {
        let fits = (wanted.name.is_empty() || application.name() == wanted.name)
            && (project.is_empty() || &application.spec.project == project)
            && (wanted.repo.is_empty() || application.sources().iter().any(|it| it.repo_url == wanted.repo))
            && selected(&application, &wanted.selector);
        let object = format!("{}/{}", application.spec.project, application.name());
        if !fits || !api.may(&caller, Resource::Applications, Action::Get, &object) {
            continue;
        }
        let state = api.model.read().apps.get(&AppId::from_name(application.name())).cloned();
        let mut value =
            serde_json::to_value(&application).map_err(|e| ApiError::internal("listing applications", &e))?;
        if let Some(state) = state {
            value = argo::with_status(value, &state, None);
        }
        items.push(value);
    }
    Ok(Json(json!({ "metadata": { "resourceVersion": version }, "items": items })))
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Getting {
    refresh: Option<String>,
}

pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Query(wanted): Query<Getting>,
) -> Answer<Json<Value>> {
    let application = declared(&api, &caller, &name, Action::Get).await?;
    if let Some(kind) = wanted.refresh.filter(|kind| !kind.is_empty()) {
        sync::refresh_and_wait(&api, &name, kind == "hard").await?;
    }
    Ok(Json(shown(&api, application).await))
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Creating {
    upsert: bool,
}

pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Query(how): Query<Creating>,
    Input(mut body): Input<Value>,
) -> Answer<Json<Value>> {
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(ApiError::invalid("metadata.name is missing; send a whole Application"));
    }
    let project = match body["spec"]["project"].as_str() {
        Some(project) if !project.is_empty() => project.to_owned(),
        _ => "default".to_owned(),
    };
    let object = format!("{project}/{name}");
    api.authorize(&caller, Resource::Applications, Action::Create, &object)?;
    if let Some(map) = body.as_object_mut() {
        map.remove("operation");
        map.remove("status");
    }
    sluice_kubernetes::applications::typed::<Application>(body.clone())
        .map_err(|error| ApiError::invalid(format!("application spec for {name} is invalid: {error}")))?;
    match api.cluster.application_json(&name).await {
        Ok(existing) => {
            let before = existing["spec"]["project"].as_str().unwrap_or("default");
            api.authorize(&caller, Resource::Applications, Action::Get, &format!("{before}/{name}"))?;
            if existing["spec"] == body["spec"] {
                return Ok(Json(shown(&api, existing).await));
            }
            if !how.upsert {
                return Err(ApiError::invalid(
                    "existing application spec is different, use upsert flag to force update",
                ));
            }
            api.authorize(&caller, Resource::Applications, Action::Update, &format!("{before}/{name}"))?;
        }
        Err(ApplicationError::Missing { .. }) => {}
        Err(error) => return Err(refused(error)),
    }
    if let Some(metadata) = body["metadata"].as_object_mut() {
        // Server-side apply decides these itself.
        for key in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"] {
            metadata.remove(key);
        }
    }
    let applied = api.cluster.apply_declared::<Application>(body).await.map_err(|error| match &error {
        ApplicationError::Api(_) => {
            ApiError::invalid(format!("application {name} was not accepted: {error}"))
        }
        _ => refused(error),
    })?;
    Ok(Json(shown(&api, applied).await))
}

#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Deleting {
    cascade: bool,
}

impl Default for Deleting {
    fn default() -> Self {
        Self { cascade: true }
    }
}

pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Query(how): Query<Deleting>,
) -> Answer<Json<Value>> {
    let application = declared(&api, &caller, &name, Action::Delete).await?;
    let state = api.model.read().apps.get(&AppId::from_name(&name)).cloned();
    if how.cascade
        && let Some(state) = state.filter(|state| state.gated)
    {
        let reason = format!(
            "{name} is gated ({}), so its live objects are not deleted with it. Delete the Application alone with cascade=false, then its objects with kubectl",
            state.gate_reason
        );
        refuse(&api, &caller, &state, "delete", &reason).await;
        return Err(ApiError::denied(reason));
    }
    let mut finalizers: Vec<Value> =
        application["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.retain(|it| !it.as_str().is_some_and(|it| it.starts_with(RESOURCES_FINALIZER)));
    if how.cascade {
        finalizers.push(json!(RESOURCES_FINALIZER_BACKGROUND));
    }
    let patch = json!({ "metadata": { "finalizers": finalizers } });
    api.cluster.patch_application(&name, &patch).await.map_err(refused)?;
    api.cluster.delete_application(&name).await.map_err(refused)?;
    Ok(Json(json!({})))
}

pub(super) async fn resource_tree(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let state = api.app(&caller, &name, Action::Get).await?;
    let Some(digest) = &state.comparison else { return Ok(Json(json!({ "nodes": [] }))) };
    Ok(Json(argo::resource_tree(&*api.comparisons.get(digest).await?)))
}

pub(super) async fn managed_resources(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let state = api.app(&caller, &name, Action::Get).await?;
    let Some(digest) = &state.comparison else { return Ok(Json(json!({ "items": [] }))) };
    Ok(Json(argo::managed_resources(&*api.comparisons.get(digest).await?)))
}

pub(super) async fn manifests(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let state = api.app(&caller, &name, Action::Get).await?;
    let digest = state.manifests.as_ref().ok_or_else(|| {
        ApiError::precondition(format!("{name} was not rendered yet; refresh it and ask again"))
    })?;
    let bytes = api.bus.objects(Store::Manifests).get(digest).await;
    let bytes = bytes.map_err(|error| ApiError::away("the object store", &error))?;
    let objects: Vec<Value> =
        serde_json::from_slice(&bytes).map_err(|error| ApiError::internal("reading manifests", &error))?;
    let texts: Vec<String> = objects.into_iter().map(|object| masked(object).to_string()).collect();
    Ok(Json(json!({ "manifests": texts, "revision": state.revision })))
}

/// The declared object, for a caller who may do `action` with it.
async fn declared(api: &Api, caller: &Caller, name: &str, action: Action) -> Answer<Value> {
    let application = match api.cluster.application_json(name).await {
        Ok(application) => application,
        Err(ApplicationError::Missing { .. }) => {
            // Told the same as a missing right, except to those who may see all.
            api.authorize(caller, Resource::Applications, Action::Get, &format!("*/{name}"))?;
            return Err(ApiError::missing(api.no_app(name)));
        }
        Err(error) => return Err(refused(error)),
    };
    let project = application["spec"]["project"].as_str().filter(|it| !it.is_empty()).unwrap_or("default");
    let object = format!("{project}/{name}");
    api.authorize(caller, Resource::Applications, Action::Get, &object)?;
    api.authorize(caller, Resource::Applications, action, &object)?;
    Ok(application)
}

/// With our status, and the resources of the last comparison.
pub(super) async fn shown(api: &Api, mut application: Value) -> Value {
    let name = application["metadata"]["name"].as_str().unwrap_or_default();
    let id = AppId::from_name(name);
    let known = api.model.read().apps.get(&id).map(|state| state.app.project.clone());
    if application["apiVersion"].is_null() {
        application["apiVersion"] = json!("argoproj.io/v1alpha1");
        application["kind"] = json!("Application");
    }
    let Some(project) = known else { return application };
    let kv = api.bus.kv::<AppState>(sluice_bus::Bucket::Apps);
    let state = match kv.get(&format!("{project}.{id}")).await {
        Ok(Some(entry)) => entry.value,
        _ => return application,
    };
    let comparison = match &state.comparison {
        Some(digest) => api.comparisons.get(digest).await.ok(),
        None => None,
    };
    argo::with_status(application, &state, comparison.as_deref())
}

/// Values of Secrets leave nobody's cluster.
fn masked(mut object: Value) -> Value {
    if object["kind"] == "Secret" {
        for key in ["data", "stringData"] {
            for (_, value) in object[key].as_object_mut().into_iter().flatten() {
                *value = json!("++++++++");
            }
        }
        if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    object
}

/// `a=b,c!=d,e`.
fn selected(application: &Application, selector: &str) -> bool {
    let none = std::collections::BTreeMap::new();
    let labels = application.metadata.labels.as_ref().unwrap_or(&none);
    selector.split(',').map(str::trim).filter(|part| !part.is_empty()).all(|part| {
        match (part.split_once("!="), part.split_once('=')) {
            (Some((key, value)), _) => labels.get(key.trim()).map(String::as_str) != Some(value.trim()),
            (None, Some((key, value))) => {
                labels.get(key.trim()).map(String::as_str) == Some(value.trim_start_matches('=').trim())
            }
            (None, None) => labels.contains_key(part),
        }
    })
}

fn refused(error: ApplicationError) -> ApiError {
    match &error {
        ApplicationError::Missing { .. } => ApiError::missing(error.to_string()),
        ApplicationError::Invalid { .. } => ApiError::invalid(error.to_string()),
        ApplicationError::NoCrd { .. } => ApiError::precondition(error.to_string()),
        ApplicationError::Api(_) => ApiError::away("Kubernetes", &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        let secret = json!({"kind": "Secret", "data": {"a": "c2VjcmV0"}, "stringData": {"b": "secret"}, "metadata": {}});
        let text = masked(secret).to_string();
        assert!(!text.contains("c2VjcmV0") && !text.contains("secret\""), "{text}");
    }

    #[test]
    fn selectors() {
        let mut application = Application::default();
        application.metadata.labels = Some([("env".to_owned(), "prod".to_owned())].into());
        for (selector, fits) in [
            ("", true),
            ("env=prod", true),
            ("env==prod", true),
            ("env!=prod", false),
            ("env", true),
            ("x", false),
        ] {
            assert_eq!(selected(&application, selector), fits, "{selector}");
        }
    }
}
