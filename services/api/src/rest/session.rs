//! Sessions, accounts and Telegram links over REST.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_chassis::Secret;
use sluice_schemas::ids::Person;

use super::Input;
use crate::Api;
use crate::access::{
    Action, Caller, Credential, Resource, login, program_surface, service_only, verify_password,
};
use crate::error::{Answer, ApiError};

/// Shortest password that is taken.
pub(crate) const SHORTEST_PASSWORD: usize = 10;

#[derive(Deserialize)]
pub(super) struct Login {
    #[serde(default)]
    username: String,
    #[serde(default = "nothing")]
    password: Secret,
}

fn nothing() -> Secret {
    Secret::new("")
}

pub(super) async fn version() -> Json<Value> {
    Json(json!({ "Version": concat!("v", env!("CARGO_PKG_VERSION")) }))
}

pub(super) async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    Input(body): Input<Login>,
) -> Answer<Json<Value>> {
    let (_, id) = login(&api, &body.username, body.password, program_surface(&headers)).await??;
    Ok(Json(json!({ "token": id.expose() })))
}

pub(super) async fn delete(State(api): State<Api>, caller: Caller) -> Answer<Json<Value>> {
    match &caller.credential {
        Credential::Cookie(id) | Credential::Bearer(id) => api.sessions.close(id).await?,
        Credential::Notifier => {}
    }
    Ok(Json(json!({})))
}

pub(super) async fn userinfo(State(api): State<Api>, caller: Result<Caller, ApiError>) -> Json<Value> {
    match caller {
        Ok(caller) => Json(json!({
            "loggedIn": true,
            "username": caller.person,
            "iss": "sluice",
            "groups": api.policy.roles_of(&caller.person, &caller.roles),
        })),
        Err(_) => Json(json!({})),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewPassword {
    current_password: Secret,
    new_password: Secret,
    #[serde(default)]
    name: Option<String>,
}

pub(super) async fn password(
    State(api): State<Api>,
    caller: Caller,
    Input(body): Input<NewPassword>,
) -> Answer<Json<Value>> {
    if body.name.as_deref().is_some_and(|name| name != caller.person.as_str()) {
        return Err(ApiError::denied(
            "only your own password can be changed here; an admin sets others with PUT /api/v1/accounts/NAME",
        ));
    }
    change_password(&api, &caller, body.current_password, body.new_password).await?;
    Ok(Json(json!({})))
}

/// Changes the caller's own password; guesses at the current one count as failed logins.
pub(crate) async fn change_password(api: &Api, caller: &Caller, current: Secret, new: Secret) -> Answer<()> {
    if matches!(caller.credential, Credential::Notifier) {
        return Err(ApiError::denied("a password is not changed from a chat; use the account page"));
    }
    let now = sluice_schemas::Timestamp::now();
    api.throttle.check(caller.person.as_str(), now).map_err(|seconds| {
        ApiError::too_many(format!("too many wrong passwords for this name; try again in {seconds} s"))
    })?;
    if new.expose().chars().count() < SHORTEST_PASSWORD {
        return Err(ApiError::invalid(format!(
            "the new password is too short; use {SHORTEST_PASSWORD} characters or more"
        )));
    }
    let account = api.accounts.get(&caller.person).await?;
    if !verify_password(current, account.and_then(|it| it.password_hash())).await? {
        api.throttle.failed(caller.person.as_str(), now);
        return Err(ApiError::invalid("the current password is not right; nothing was changed"));
    }
    api.accounts.set_password(&caller.person, new).await
}

pub(super) async fn can_i(
    State(api): State<Api>,
    caller: Caller,
    Path((resource, action, object)): Path<(String, String, String)>,
) -> Answer<Json<Value>> {
    let resource = Resource::parse(&resource).ok_or_else(|| {
        ApiError::invalid(format!("there is no resource `{resource}`; see services/api/API.md"))
    })?;
    let action = Action::parse(&action).ok_or_else(|| {
        ApiError::invalid(format!("there is no action `{action}`; see services/api/API.md"))
    })?;
    let may = api.may(&caller, resource, action, &object);
    Ok(Json(json!({ "value": if may { "yes" } else { "no" } })))
}

#[derive(Deserialize)]
pub(super) struct PutAccount {
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    password: Option<Secret>,
}

pub(super) async fn put_account(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Input(body): Input<PutAccount>,
) -> Answer<Json<Value>> {
    api.authorize(&caller, Resource::Accounts, Action::Update, &name)?;
    let person: Person = name.parse().map_err(|error| ApiError::invalid(format!("{error}")))?;
    if body.password.as_ref().is_some_and(|it| it.expose().chars().count() < SHORTEST_PASSWORD) {
        return Err(ApiError::invalid(format!(
            "the password is too short; use {SHORTEST_PASSWORD} characters or more"
        )));
    }
    if let Some(role) = body.roles.iter().find(|role| !role.starts_with("role:") || role.contains(',')) {
        return Err(ApiError::invalid(format!("`{role}` is no role; roles begin with `role:`")));
    }
    api.accounts.put(&person, &body.roles, body.password).await?;
    Ok(Json(json!({ "name": person, "roles": body.roles })))
}

pub(super) async fn offer_link(State(api): State<Api>, caller: Caller) -> Answer<Json<Value>> {
    if matches!(caller.credential, Credential::Notifier) {
        return Err(ApiError::denied("a link is made by the account's owner, on the account page"));
    }
    let (code, expires_at) = api.links.offer(&caller.person).await?;
    let command = format!("/link {}", code.expose());
    Ok(Json(json!({ "code": code.expose(), "command": command, "expiresAt": expires_at })))
}

pub(super) async fn remove_links(State(api): State<Api>, caller: Caller) -> Answer<Json<Value>> {
    let links = api.links.of(&caller.person).await?;
    for (user, _) in &links {
        api.links.remove(*user).await?;
    }
    Ok(Json(json!({ "removed": links.len() })))
}

#[derive(Deserialize)]
pub(super) struct Redeem {
    code: Secret,
    user: i64,
    #[serde(default)]
    name: String,
}

pub(super) async fn redeem_link(
    State(api): State<Api>,
    headers: HeaderMap,
    Input(body): Input<Redeem>,
) -> Answer<Json<Value>> {
    service_only(&headers, &api)?;
    // A person may mistype; a machine that guesses is stopped.
    let who = format!("telegram-{}", body.user);
    let now = sluice_schemas::Timestamp::now();
    api.throttle
        .check(&who, now)
        .map_err(|seconds| ApiError::too_many(format!("too many wrong codes; try again in {seconds} s")))?;
    match api.links.redeem(body.code.expose(), body.user, &body.name).await {
        Ok(person) => {
            api.throttle.succeeded(&who);
            Ok(Json(json!({ "person": person })))
        }
        Err(error) => {
            api.throttle.failed(&who, now);
            Err(error)
        }
    }
}

pub(super) async fn remove_link(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(user): Path<i64>,
) -> Answer<(StatusCode, Json<Value>)> {
    service_only(&headers, &api)?;
    api.links.remove(user).await?;
    Ok((StatusCode::OK, Json(json!({}))))
}
