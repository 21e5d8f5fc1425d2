//! Syncing: grants for gated applications, plain syncs for others, on our path and on Argo CD's.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sluice_schemas::commands::Refresh;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::grant::GrantScope;
use sluice_schemas::ids::{AppId, ProjectId, SyncId, hash_token};
use sluice_schemas::state::AppState;
use sluice_schemas::{Cause, Digest, Sha, Timestamp};

use super::{Input, applications};
use crate::Api;
use crate::access::{Action, Caller, token};
use crate::error::{Answer, ApiError};
use crate::gate::{Confirmed, Once, Wish, confirm, refuse};
use crate::model::{SyncPhase, actor};

/// How long a GET with `refresh` waits for the comparison; then it answers with what is known.
const REFRESH_WAIT: Duration = Duration::from_secs(10);

/// The name of the request in the memory of [`Once`]; the same for REST and form, so that they share a key.
pub(crate) fn grant_path(name: &str) -> String {
    format!("grants/{name}")
}

pub(super) async fn grant(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    Input(wish): Input<Wish>,
) -> Answer<(StatusCode, Json<Confirmed>)> {
    let key = Once::key(&headers)?;
    let confirmed = granted(&api, &caller, &name, wish, key.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(confirmed)))
}

/// Confirms once: used by REST and by the form.
pub(crate) async fn granted(
    api: &Api,
    caller: &Caller,
    name: &str,
    wish: Wish,
    key: Option<&str>,
) -> Answer<Confirmed> {
    let state = match api.app(caller, name, Action::Sync).await {
        Ok(state) => state,
        Err(error) => {
            record_denied(api, caller, name, "sync", &error).await;
            return Err(error);
        }
    };
    let body = wish.clone();
    let work = async |seed| confirm(api, caller, &state, wish, seed).await;
    api.once.run(&caller.person, &grant_path(name), key, &body, work).await
}

/// A missing right on a gated application is an attempt that the audit log shows.
async fn record_denied(api: &Api, caller: &Caller, name: &str, attempt: &str, error: &ApiError) {
    let state = api.model.read().apps.get(&AppId::from_name(name)).cloned();
    if let Some(state) = state.filter(|_| error.kind == crate::error::Kind::Denied) {
        refuse(api, caller, &state, attempt, &error.message).await;
    }
}

#[derive(Deserialize, Serialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(super) struct ArgoSync {
    #[serde(default)]
    revision: Option<String>,
    #[serde(default)]
    manifest_digest: Option<String>,
    #[serde(default)]
    prune: bool,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn argo_sync(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    Input(body): Input<ArgoSync>,
) -> Answer<Json<Value>> {
    let state = match api.app(&caller, &name, Action::Sync).await {
        Ok(state) => state,
        Err(error) => {
            record_denied(&api, &caller, &name, "sync", &error).await;
            return Err(error);
        }
    };
    if body.dry_run {
        return Err(ApiError::unimplemented(format!(
            "dryRun is not done here; GET /api/v1/apps/{name}/preview shows what a sync would do"
        )));
    }
    let wish = match argo_wish(&state, &body) {
        Ok(wish) => wish,
        Err(error) => {
            refuse(&api, &caller, &state, "sync", &error.message).await;
            return Err(error);
        }
    };
    let key = Once::key(&headers)?;
    granted(&api, &caller, &name, wish, key.as_deref()).await?;
    let application = api.cluster.application_json(&name).await;
    let application = application.map_err(|error| ApiError::away("Kubernetes", &error))?;
    Ok(Json(applications::shown(&api, application).await))
}

/// What an Argo CD client asks for, as a confirmation. For a gated application it must be one.
fn argo_wish(state: &AppState, body: &ArgoSync) -> Answer<Wish> {
    let name = state.app.app.name();
    let (Some(current), Some(manifests)) = (&state.revision, &state.manifests) else {
        return Err(ApiError::precondition(format!("{name} was not compared yet; refresh it and sync then")));
    };
    let how = format!(
        "{name} is gated ({}): it is synced only when a person confirms exactly what they saw. Run `sluice app sync {name}`, press SYNC on its page, or send /sync {name} in Telegram; programs read GET /api/v1/apps/{name}/preview and send its `revision` and `manifestDigest`",
        state.gate_reason
    );
    let asked = body.revision.as_deref().filter(|it| !it.is_empty());
    let wish = |revision: Sha, manifest_digest: Digest| Wish {
        revision,
        manifest_digest,
        prune: body.prune,
        scope: GrantScope::Sync,
    };
    if state.gated {
        let revision = asked.and_then(|it| it.parse::<Sha>().ok());
        let digest = body.manifest_digest.as_deref().and_then(|it| it.parse::<Digest>().ok());
        return match (revision, digest) {
            (Some(revision), Some(digest)) => Ok(wish(revision, digest)),
            _ => Err(ApiError::denied(how)),
        };
    }
    // The branch's name, `HEAD` and the current commit all mean what was compared last; another commit is not kept.
    match asked {
        Some(revision)
            if revision != state.target_revision
                && revision != "HEAD"
                && !current.as_str().starts_with(revision) =>
        {
            Err(ApiError::precondition(format!(
                "cannot sync {name} to {revision}: auto-sync currently set to {}; it is compared with {}",
                state.target_revision,
                current.short()
            )))
        }
        _ => Ok(wish(current.clone(), manifests.clone())),
    }
}

#[derive(Deserialize)]
pub(super) struct ArgoRollback {
    #[serde(default)]
    id: u64,
}

pub(super) async fn argo_rollback(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Input(body): Input<ArgoRollback>,
) -> Answer<Json<Value>> {
    let state = match api.app(&caller, &name, Action::Sync).await {
        Ok(state) => state,
        Err(error) => {
            record_denied(&api, &caller, &name, "rollback", &error).await;
            return Err(error);
        }
    };
    let Some(entry) = state.history.iter().find(|entry| entry.id == body.id) else {
        return Err(ApiError::invalid(format!(
            "{name} has no history entry {}; `sluice app get {name}` lists them",
            body.id
        )));
    };
    let reason = format!(
        "a rollback of {name} to {} is made in Git: revert the commits in its deploy repository, then {}",
        entry.revision.short(),
        if state.gated { "SYNC what you see in the preview" } else { "it is applied by itself" },
    );
    if state.gated {
        refuse(&api, &caller, &state, "rollback", &reason).await;
        return Err(ApiError::denied(reason));
    }
    Err(ApiError::precondition(format!("rollback cannot be performed when auto-sync is enabled; {reason}")))
}

pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Path((name, sync)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let state = api.app(&caller, &name, Action::Get).await?;
    let id: SyncId = sync.parse().map_err(|error| ApiError::invalid(format!("{error}")))?;
    Ok(Json(sync_view(&api, &state, &id)))
}

/// A sync by id: what the log says, or that nothing was heard yet.
pub(crate) fn sync_view(api: &Api, state: &AppState, id: &SyncId) -> Value {
    let model = api.model.read();
    if let Some(view) = model.sync(id).filter(|view| view.app == state.app.app) {
        return json!({
            "sync": id, "phase": view.phase, "message": view.message, "revision": view.revision,
            "by": actor(&view.trigger).0, "startedAt": view.started_at, "finishedAt": view.finished_at,
            "planned": { "apply": view.planned.0, "prune": view.planned.1 }, "results": view.results,
        });
    }
    // A refused grant never becomes a sync. Grants of this application are few: the newest refusal after it counts.
    let refused = model.refused_sync(id);
    let (phase, message) = match refused {
        Some((reason, _)) => (SyncPhase::Refused, reason),
        None => (SyncPhase::Pending, "ordered; the reconciler has not begun yet".to_owned()),
    };
    json!({
        "sync": id, "phase": phase, "message": message, "revision": Value::Null, "by": Value::Null,
        "startedAt": Value::Null, "finishedAt": Value::Null, "results": [],
    })
}

#[derive(Deserialize)]
pub(super) struct Refreshing {
    #[serde(default)]
    hard: bool,
}

pub(super) async fn refresh(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Input(body): Input<Refreshing>,
) -> Answer<Json<Value>> {
    let state = api.app(&caller, &name, Action::Get).await?;
    order_refresh(&api, &state.app.app, &state.app.project, body.hard).await?;
    Ok(Json(json!({})))
}

/// Orders a comparison.
pub(crate) async fn order_refresh(api: &Api, app: &AppId, project: &ProjectId, hard: bool) -> Answer<()> {
    let seed = hash_token(&["refresh", &token::id()]);
    let command = Refresh { app: app.clone(), project: project.clone(), hard };
    let cause = Cause::root(correlation_of(&seed), seed);
    api.bus.publish(&command, &cause).await.map(drop).map_err(|error| ApiError::away("the bus", &error))
}

/// As Argo CD's `?refresh=`: the answer waits for a newer comparison, for a while.
pub(super) async fn refresh_and_wait(api: &Api, name: &str, hard: bool) -> Answer<()> {
    let id = AppId::from_name(name);
    let Some(state) = api.model.read().apps.get(&id).cloned() else {
        // The reconciler has not seen it: the annotation waits for it.
        let asked = api.cluster.request_refresh(name, hard).await;
        return asked.map_err(|error| ApiError::away("Kubernetes", &error));
    };
    let began = Timestamp::now();
    let mut changes = api.model.changes();
    order_refresh(api, &id, &state.app.project, hard).await?;
    let compared = async {
        loop {
            let at = api.model.read().apps.get(&id).and_then(|state| state.compared_at);
            if at.is_some_and(|at| at >= began) || changes.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(REFRESH_WAIT, compared).await.is_err() {
        tracing::debug!(name, "the comparison takes longer than the client waits");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(revision: Option<&str>, digest: Option<&str>) -> ArgoSync {
        ArgoSync {
            revision: revision.map(str::to_owned),
            manifest_digest: digest.map(str::to_owned),
            prune: false,
            dry_run: false,
        }
    }

    fn state(gated: bool) -> AppState {
        let mut state = crate::text::example_app();
        state.gated = gated;
        state.revision = Sha::try_from("d".repeat(40)).ok();
        state.manifests = Some(Digest::of(b"[]"));
        state
    }

    #[test]
    fn a_gated_application_needs_the_whole_confirmation() {
        let state = state(true);
        let (revision, digest) = ("d".repeat(40), Digest::of(b"[]").to_string());
        assert!(argo_wish(&state, &body(Some(&revision), Some(&digest))).is_ok());
        for incomplete in [
            body(None, None),
            body(Some(&revision), None),
            body(Some("dddddddd"), Some(&digest)),
            body(Some("HEAD"), Some("sha256:x")),
        ] {
            let error = argo_wish(&state, &incomplete).expect_err("incomplete");
            assert_eq!(error.kind, crate::error::Kind::Denied);
            assert!(
                error.message.contains("sluice app sync shop-prod") && error.message.contains("/preview"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_automated_application_is_synced_to_what_was_compared() {
        let state = state(false);
        for revision in [None, Some("HEAD"), Some(""), Some("dddddddd")] {
            assert!(argo_wish(&state, &body(revision, None)).is_ok(), "{revision:?}");
        }
        assert!(argo_wish(&state, &body(Some("other"), None)).is_err());
    }
}
