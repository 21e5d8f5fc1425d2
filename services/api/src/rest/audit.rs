//! The audit log and the dead letters.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_bus::{DeadLetter, DeadLetterError};

use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::{Answer, ApiError};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Listing {
    person: String,
    q: String,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(wanted): Query<Listing>,
) -> Answer<Json<Value>> {
    api.authorize(&caller, Resource::Audit, Action::Get, "*")?;
    let model = api.model.read();
    let items: Vec<_> = model
        .audit
        .iter()
        .rev()
        .filter(|entry| wanted.person.is_empty() || entry.person.as_deref() == Some(&wanted.person))
        .filter(|entry| {
            let fits = |text: &str| text.contains(&wanted.q);
            wanted.q.is_empty()
                || fits(&entry.object)
                || fits(&entry.action)
                || fits(&entry.detail)
                || fits(entry.correlation.as_str())
        })
        .take(wanted.limit.unwrap_or(100).min(2000))
        .collect();
    Ok(Json(json!({ "items": items })))
}

pub(super) async fn dead_letters(State(api): State<Api>, caller: Caller) -> Answer<Json<Value>> {
    Ok(Json(json!({ "items": letters(&api, &caller).await? })))
}

pub(super) async fn dead_letter(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<DeadLetter>> {
    let found = letters(&api, &caller).await?.into_iter().find(|letter| letter.id == id);
    found.map(Json).ok_or_else(|| ApiError::missing(DeadLetterError::NotFound(id).to_string()))
}

pub(super) async fn retry(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<DeadLetter>> {
    Ok(Json(retry_letter(&api, &caller, &id).await?))
}

/// All dead letters, for a caller who may.
pub(crate) async fn letters(api: &Api, caller: &Caller) -> Answer<Vec<DeadLetter>> {
    api.authorize(caller, Resource::DeadLetters, Action::Get, "*")?;
    api.bus.dead_letters().await.map_err(|error| refused(&error))
}

/// Sends one to its consumer again.
pub(crate) async fn retry_letter(api: &Api, caller: &Caller, id: &str) -> Answer<DeadLetter> {
    api.authorize(caller, Resource::DeadLetters, Action::Retry, "*")?;
    let letter = api.bus.retry_dead_letter(id).await.map_err(|error| refused(&error))?;
    tracing::info!(id, consumer = letter.consumer, person = %caller.person, "a dead letter was sent again");
    Ok(letter)
}

fn refused(error: &DeadLetterError) -> ApiError {
    match error {
        DeadLetterError::NotFound(_) => ApiError::missing(error.to_string()),
        _ => ApiError::away("the dead-letter queue", error),
    }
}
