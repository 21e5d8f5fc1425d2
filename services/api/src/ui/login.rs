//! The door: name and password.

use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use sluice_chassis::Secret;
use sluice_schemas::events::Surface;

use super::errors::{PageError, local_path};
use super::layout::door;
use super::parts::{icon, status};
use crate::Api;
use crate::access::{Caller, login, same_origin};
use crate::error::ApiError;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Next {
    next: Option<String>,
}

pub(super) async fn page(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(query): Query<Next>,
    caller: Result<Caller, ApiError>,
) -> Response {
    let next = local_path(query.next.as_deref()).to_owned();
    if caller.is_ok() {
        return Redirect::to(&next).into_response();
    }
    form(&api, &headers, &next, "", None).into_response()
}

#[derive(Deserialize)]
pub(super) struct Typed {
    username: String,
    password: Secret,
    #[serde(default)]
    next: String,
}

pub(super) async fn submit(
    State(api): State<Api>,
    headers: HeaderMap,
    Form(typed): Form<Typed>,
) -> Result<Response, PageError> {
    if !same_origin(&headers, api.config.public_url.as_deref()) {
        return Err(ApiError::denied(
            "this login did not come from Sluice's own page; open it and sign in there",
        )
        .into());
    }
    let next = local_path(Some(&typed.next)).to_owned();
    let username = typed.username.trim().to_owned();
    match login(&api, &username, typed.password, Surface::Web).await? {
        Ok((_, id)) => {
            let mut response = Redirect::to(&next).into_response();
            set_cookie(&api, &mut response, id.expose(), i64::from(api.config.session_hours) * 3600);
            Ok(response)
        }
        Err(refused) => {
            let page = form(&api, &headers, &next, &username, Some(&refused.to_string()));
            Ok((StatusCode::UNAUTHORIZED, page).into_response())
        }
    }
}

/// The session's cookie; an age of 0 ends it.
pub(super) fn set_cookie(api: &Api, response: &mut Response, value: &str, max_age: i64) {
    let secure = if api.config.secure() { "; Secure" } else { "" };
    let cookie = format!(
        "{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age}{secure}",
        api.cookie_name()
    );
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

fn form(api: &Api, headers: &HeaderMap, next: &str, username: &str, error: Option<&str>) -> Markup {
    let body = html! {
        a class="brand" href="/" { (icon("mark")) "Sluice" }
        @if next == "/" { p class="mute" { "Sign in." } }
        @else { p class="mute" { "Sign in. You come back to " b { (next) } "." } }
        form class="gap" method="post" action="/login" {
            input type="hidden" name="next" value=(next);
            div class="field" {
                label for="u" { "Name" }
                input id="u" name="username" value=(username) autocomplete="username" autocapitalize="off" spellcheck="false"
                    required autofocus[username.is_empty()];
            }
            div class="field" {
                label for="p" { "Password" }
                input id="p" name="password" type="password" autocomplete="current-password" required
                    autofocus[!username.is_empty()] aria-invalid=[error.map(|_| "true")] aria-describedby=[error.map(|_| "pe")];
                @if let Some(error) = error { small class="err" id="pe" role="alert" { (icon("bad")) (error) } }
            }
            button class="btn main" { "Sign in" }
        }
        p class="small mute" { "First start? The password of " code { "admin" } " is in the output of " code { "sluice up" } ". You can choose your own after signing in." }
        p class="small dim" {
            "Sluice " (super::assets::VERSION) " "
            @if api.bus.is_connected() { (status("ok", "ok", "bus answers")) } @else { (status("bad", "bad", "bus away")) }
        }
    };
    door(headers, "Sign in", &body)
}
