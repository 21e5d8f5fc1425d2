//! Applications in our own form: states, previews, differences.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use sluice_schemas::state::{AppState, ObjectAction};

use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::Answer;
use crate::gate;
use crate::model::actor;
use crate::text::diff;

pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Json<Value> {
    let states: Vec<AppState> = api.model.read().apps.values().cloned().collect();
    let items: Vec<Value> = states
        .iter()
        .filter(|state| {
            let object = format!("{}/{}", state.app.project.name(), state.app.app.name());
            api.may(&caller, Resource::Applications, Action::Get, &object)
        })
        .map(summary)
        .collect();
    Json(json!({ "items": items }))
}

pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    Ok(Json(summary(&api.app(&caller, &name, Action::Get).await?)))
}

pub(super) async fn preview(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<Json<gate::Preview>> {
    let state = api.app(&caller, &name, Action::Get).await?;
    Ok(Json(gate::preview(&api, &caller, &state).await?))
}

pub(super) async fn diff(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let state = api.app(&caller, &name, Action::Get).await?;
    let Some(digest) = &state.comparison else { return Ok(Json(json!({ "items": [] }))) };
    let comparison = api.comparisons.get(digest).await?;
    let items: Vec<Value> = comparison
        .objects
        .iter()
        .filter(|it| it.action != ObjectAction::None || it.error.is_some())
        .map(|it| {
            let name = format!("{}/{}/{}", it.kind, it.namespace, it.name);
            let change = diff::of(it.live.as_ref(), it.desired.as_ref());
            json!({
                "group": it.group, "version": it.version, "kind": it.kind, "namespace": it.namespace, "name": it.name,
                "action": it.action, "added": change.added, "removed": change.removed, "error": it.error,
                "diff": diff::unified(&name, it.live.as_ref(), it.desired.as_ref()),
            })
        })
        .collect();
    Ok(Json(json!({ "revision": comparison.revision, "items": items })))
}

/// `AppSummary`.
pub(super) fn summary(state: &AppState) -> Value {
    let operation = state.operation.as_ref().map(|it| {
        json!({
            "sync": it.sync, "revision": it.revision, "trigger": it.trigger, "startedAt": it.started_at,
            "finishedAt": it.finished_at, "outcome": it.outcome, "message": it.message, "results": it.results,
        })
    });
    let history: Vec<Value> = state
        .history
        .iter()
        .map(|it| {
            json!({
                "id": it.id, "sync": it.sync, "revision": it.revision, "manifestDigest": it.manifests,
                "by": actor(&it.trigger).0, "trigger": it.trigger, "deployedAt": it.deployed_at,
            })
        })
        .collect();
    json!({
        "name": state.app.app.name(), "project": state.app.project.name(), "namespace": state.app.namespace,
        "repository": state.repository, "path": state.path, "targetRevision": state.target_revision,
        "destinationNamespace": state.destination_namespace,
        "gated": state.gated, "gateReason": state.gate_reason, "sync": state.sync, "health": state.health,
        "healthMessage": state.health_message, "revision": state.revision, "manifestDigest": state.manifests,
        "syncedRevision": state.synced_revision, "images": state.images, "liveImages": state.live_images,
        "conditions": state.conditions, "operation": operation, "history": history, "comparedAt": state.compared_at,
    })
}
