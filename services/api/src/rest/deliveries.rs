//! Deliveries: chains with their time ledger; traces; lanes.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::runs::repository;
use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::{Answer, ApiError};
use crate::model::{Chain, Ledger};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Listing {
    repo: String,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(wanted): Query<Listing>,
) -> Answer<Json<Value>> {
    let only = match wanted.repo.is_empty() {
        true => None,
        false => Some(repository(&api, &caller, &wanted.repo, Resource::Runs, Action::Get)?.repository.slug),
    };
    let model = api.model.read();
    let items: Vec<Value> = model
        .chains()
        .filter(|chain| readable(&api, &caller, chain))
        .filter(|chain| {
            only.is_none() || chain.summary.repository.as_ref().map(|it| &it.slug) == only.as_ref()
        })
        .take(wanted.limit.unwrap_or(50).min(1000))
        .map(summary)
        .collect();
    Ok(Json(json!({ "items": items })))
}

pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Path(correlation): Path<String>,
) -> Answer<Json<Value>> {
    let chain = find(&api, &caller, &correlation)?;
    let ledger = Ledger::of(&chain);
    let mut value = summary(&chain);
    let facts: Vec<Value> = chain
        .facts
        .iter()
        .map(|it| json!({ "sequence": it.sequence, "time": it.time, "subject": it.subject, "type": it.event.kind() }))
        .collect();
    value["segments"] = json!(ledger.segments);
    value["totals"] = json!(ledger.totals);
    value["pushToDevMs"] = json!(ledger.push_to_dev_ms);
    value["gateMs"] = json!(ledger.gate_ms);
    value["grantToProdMs"] = json!(ledger.grant_to_prod_ms);
    value["grants"] = json!(ledger.grants);
    value["facts"] = json!(facts);
    value["replay"] = json!(replay(&chain));
    Ok(Json(value))
}

pub(super) async fn trace(
    State(api): State<Api>,
    caller: Caller,
    Path(what): Path<String>,
) -> Answer<Json<Value>> {
    let model = api.model.read();
    let found =
        model.chains().filter(|chain| readable(&api, &caller, chain)).filter(|chain| chain.is_about(&what));
    let items: Vec<Value> = found.take(20).map(summary).collect();
    Ok(Json(json!({ "items": items })))
}

pub(super) async fn lanes(State(api): State<Api>, caller: Caller) -> Json<Value> {
    let lanes = api.model.read().lanes();
    let items: Vec<_> = lanes
        .into_iter()
        .filter(|lane| api.may(&caller, Resource::Runs, Action::Get, lane.repository.as_str()))
        .collect();
    let needs: Vec<_> = crate::ui::needs_of(&api, &caller);
    Json(json!({ "items": items, "needs": needs }))
}

/// A delivery, for a caller who may see its repository.
pub(crate) fn find(api: &Api, caller: &Caller, correlation: &str) -> Answer<Chain> {
    let id = correlation.parse().map_err(|error| ApiError::invalid(format!("{error}")))?;
    let chain = api.model.read().chain(&id).cloned();
    match chain.filter(|chain| readable(api, caller, chain)) {
        Some(chain) => Ok(chain),
        None => Err(ApiError::missing(format!(
            "delivery {correlation} is not among those kept here, or you may not see it; `sluice replay {correlation}` reads it from the log"
        ))),
    }
}

/// Whether `caller` may see a chain: its repository's runs.
pub(crate) fn readable(api: &Api, caller: &Caller, chain: &Chain) -> bool {
    let slug = chain.summary.repository.as_ref().map_or("-", |it| it.slug.as_str());
    api.may(caller, Resource::Runs, Action::Get, slug)
}

/// The command that shows the chain's facts from the log, in order.
pub(crate) fn replay(chain: &Chain) -> String {
    let from = chain.facts.first().map_or(1, |fact| fact.sequence);
    format!(
        "nats sub 'evt.>' --stream EVENTS --start-sequence {from} --terminate-at-end | awk -v RS= '/^\\[#/ && /ce-correlationid: {}/ {{print; getline; print; print \"\"}}'",
        chain.correlation
    )
}

/// Delivery without its segments.
pub(crate) fn summary(chain: &Chain) -> Value {
    let it = &chain.summary;
    let repository = it.repository.as_ref();
    let apps: Vec<Value> = it
        .apps
        .iter()
        .map(|app| {
            json!({
                "app": app.app.name(), "gated": app.gated, "sync": app.sync, "health": app.health, "synced": app.synced,
            })
        })
        .collect();
    json!({
        "correlation": chain.correlation, "repository": repository.map(|it| &it.full_name),
        "slug": repository.map(|it| &it.slug), "sha": it.sha, "ref": it.git_ref, "title": it.title,
        "author": it.author, "startedAt": it.started_at, "lastAt": it.last_at, "status": chain.status(),
        "message": it.failure, "run": it.run, "conclusion": it.conclusion, "image": it.image, "tag": it.tag,
        "digest": it.digest, "deployCommits": it.deploy_commits, "promoted": it.promoted, "apps": apps,
    })
}
