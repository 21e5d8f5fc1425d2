//! Promotion over REST.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sluice_schemas::ids::BumpId;

use super::Input;
use super::runs::repository;
use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::{Answer, ApiError};
use crate::gate::{self, Once, PromoteWish, Promoted};

pub(super) async fn look(
    State(api): State<Api>,
    caller: Caller,
    Path(repo): Path<String>,
) -> Answer<Json<Value>> {
    let repo = repository(&api, &caller, &repo, Resource::Promotions, Action::Get)?;
    let found = api.model.read().promotable(&repo);
    let name = &repo.repository.full_name;
    let mut value = match found {
        Some(found) => json!(found),
        None => {
            json!({ "ready": false, "reason": format!("no image of {name} was written into a deploy repository yet") })
        }
    };
    value["repository"] = json!(name);
    Ok(Json(value))
}

pub(super) async fn promote(
    State(api): State<Api>,
    caller: Caller,
    Path(repo): Path<String>,
    headers: HeaderMap,
    Input(wish): Input<PromoteWish>,
) -> Answer<(StatusCode, Json<Promoted>)> {
    let key = Once::key(&headers)?;
    Ok((StatusCode::CREATED, Json(order(&api, &caller, &repo, wish, key.as_deref()).await?)))
}

/// Orders a promotion once: used by REST and by the form.
pub(crate) async fn order(
    api: &Api,
    caller: &Caller,
    repo: &str,
    wish: PromoteWish,
    key: Option<&str>,
) -> Answer<Promoted> {
    let repo = repository(api, caller, repo, Resource::Promotions, Action::Create)?;
    let path = format!("promotions/{}", repo.repository.slug);
    let body = wish.clone();
    let work = async |seed| gate::promote(api, caller, &repo, wish, seed).await;
    api.once.run(&caller.person, &path, key, &body, work).await
}

pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Path((repo, bump)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let repo = repository(&api, &caller, &repo, Resource::Promotions, Action::Get)?;
    let id: BumpId = bump.parse().map_err(|error| ApiError::invalid(format!("{error}")))?;
    let model = api.model.read();
    let found = model.promotions.get(&id).filter(|it| it.source == repo.repository.slug);
    Ok(Json(match found {
        Some(it) => json!({
            "bump": id, "state": it.state, "commit": it.commit, "reason": it.reason, "changes": it.changes,
        }),
        None => {
            json!({ "bump": id, "state": "pending", "commit": Value::Null, "reason": Value::Null, "changes": [] })
        }
    }))
}
