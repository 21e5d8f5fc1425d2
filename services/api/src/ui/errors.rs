//! Pages that say no: what happened, why, what to do.

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::layout::door;
use super::parts::icon;
use crate::Api;
use crate::error::{ApiError, Kind};

/// An error as a page.
pub(super) struct PageError(ApiError);

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if self.0.kind == Kind::Unauthenticated {
            return Redirect::to("/login").into_response();
        }
        let title = match self.0.kind {
            Kind::Missing => "Not found",
            Kind::Denied => "You may not do this",
            Kind::Unavailable => "A part does not answer",
            Kind::Internal => "This failed inside Sluice",
            Kind::Conflict | Kind::Precondition => "Not done",
            _ => "This cannot be done",
        };
        let name = match self.0.kind {
            Kind::Missing => "unknown",
            Kind::Denied => "lock",
            _ => "bad",
        };
        let page = door(&HeaderMap::new(), title, &body(title, name, &self.0.message));
        (self.0.kind.status(), page).into_response()
    }
}

/// Whoever is not logged in: to the door, and back after it.
pub(super) fn at_the_door(parts: &Parts, error: ApiError) -> Response {
    if error.kind != Kind::Unauthenticated {
        return PageError(error).into_response();
    }
    let site = parts.headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    let has_query = parts.uri.query().is_some_and(|query| query.contains("again=1"));
    if parts.method == Method::GET && site == Some("cross-site") && !has_query {
        // The cookie is SameSite=Strict: a link in a chat comes without it. Loading once more from here brings it along.
        let again = match parts.uri.query() {
            Some(query) => format!("{}?{query}&again=1", parts.uri.path()),
            None => format!("{}?again=1", parts.uri.path()),
        };
        return page_that_moves_on(&again).into_response();
    }
    let here = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    Redirect::to(&format!("/login?next={}", encoded(here))).into_response()
}

/// No such page, or no such call.
pub(crate) async fn not_found(State(_): State<Api>, uri: Uri, headers: HeaderMap) -> Response {
    let wants_json =
        headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).is_some_and(|it| it.contains("json"));
    let error = ApiError::missing(format!("there is nothing at {}; the home page leads on", uri.path()));
    if uri.path().starts_with("/api/") || wants_json {
        return error.into_response();
    }
    PageError(error).into_response()
}

/// A local path that a login may lead to; anything else leads home.
pub(super) fn local_path(next: Option<&str>) -> &str {
    match next {
        Some(path)
            if path.starts_with('/')
                && !path.starts_with("//")
                && !path.contains('\\')
                && !path.contains("://") =>
        {
            path
        }
        _ => "/",
    }
}

/// A query value.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn page_that_moves_on(to: &str) -> Markup {
    html! {
        (maud::DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; meta http-equiv="refresh" content={ "0; url=" (to) }; title { "Sluice" } }
            body { p { a href=(to) { "Go on to Sluice" } } }
        }
    }
}

fn body(title: &str, name: &str, message: &str) -> Markup {
    html! {
        a class="brand" href="/" { (icon("mark")) "Sluice" }
        div class="panel empty" role="alert" {
            (icon(name)) h2 { (title) } p { (message) }
            div class="row" {
                a class="btn main" href="/" { "Home" }
                a class="btn" href="/audit" { (icon("audit")) "Audit log" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_our_own_pages_only() {
        for (next, path) in [
            (Some("/apps/shop-prod"), "/apps/shop-prod"),
            (Some("//evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("/x?u=https://evil"), "/"),
            (None, "/"),
        ] {
            assert_eq!(local_path(next), path, "{next:?}");
        }
    }

    #[test]
    fn messages_are_escaped() {
        let page = body("t", "bad", "<script>alert(1)</script>").into_string();
        assert!(!page.contains("<script>"));
    }

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(encoded("/a?b=c&d"), "/a%3Fb%3Dc%26d");
    }
}
