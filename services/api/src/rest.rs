//! HTTP: routes, limits and headers. REST below `/api`, the web UI everywhere else.
//!
//! Invariants: a handler that is not open takes a [`crate::access::Caller`] or [`crate::access::CookieForm`]; unsafe REST
//! calls are JSON; every answer carries the security headers. Called by [`crate::start`].

mod applications;
mod apps;
mod argo;
pub(crate) mod audit;
pub(crate) mod deliveries;
mod events;
mod input;
pub(crate) mod logs;
pub(crate) mod promotions;
mod registries;
pub(crate) mod runs;
mod secrets;
pub(crate) mod session;
mod stream;
pub(crate) mod sync;
mod webhook;

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use tower_http::timeout::TimeoutLayer;

pub(crate) use argo::find as argo_find;
pub(crate) use input::Input;
pub(crate) use stream::{closed, produced};

use crate::access::is_json;
use crate::error::ApiError;
use crate::{Api, ui};

/// Largest body of a call; manifests of an Application are far below.
const MAX_BODY: usize = 1024 * 1024;
/// Largest webhook: what ingress takes, and a little.
const MAX_WEBHOOK: usize = 26 * 1024 * 1024;
/// A call that takes longer is given up. Streams answer their head at once.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a page may load and where it may send. No inline script or style, no frame, no other host.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types sluice";

/// Everything.
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .merge(argo_routes())
        .merge(own_routes())
        .route("/api/webhook", post(webhook::forward).layer(DefaultBodyLimit::max(MAX_WEBHOOK)))
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(ui::routes())
        .fallback(ui::not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(axum::http::StatusCode::GATEWAY_TIMEOUT, TIMEOUT))
        .layer(from_fn(json_only))
        .layer(from_fn_with_state(api.clone(), measured))
        .layer(from_fn_with_state(api.clone(), headers))
        .with_state(api)
}

fn argo_routes() -> Router<Api> {
    Router::new()
        .route("/api/version", get(session::version))
        .route("/api/v1/session", post(session::create).delete(session::delete))
        .route("/api/v1/session/userinfo", get(session::userinfo))
        .route("/api/v1/account/password", put(session::password))
        .route("/api/v1/account/can-i/{resource}/{action}/{*object}", get(session::can_i))
        .route("/api/v1/applications", get(applications::list).post(applications::create))
        .route("/api/v1/applications/{name}", get(applications::get).delete(applications::delete))
        .route("/api/v1/applications/{name}/resource-tree", get(applications::resource_tree))
        .route("/api/v1/applications/{name}/managed-resources", get(applications::managed_resources))
        .route("/api/v1/applications/{name}/manifests", get(applications::manifests))
        .route("/api/v1/applications/{name}/sync", post(sync::argo_sync))
        .route("/api/v1/applications/{name}/rollback", post(sync::argo_rollback))
}

fn own_routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/account/link", post(session::offer_link).delete(session::remove_links))
        .route("/api/v1/accounts/{name}", put(session::put_account))
        .route("/api/v1/telegram/links", post(session::redeem_link))
        .route("/api/v1/telegram/links/{user}", delete(session::remove_link))
        .route("/api/v1/apps", get(apps::list))
        .route("/api/v1/apps/{name}", get(apps::get))
        .route("/api/v1/apps/{name}/preview", get(apps::preview))
        .route("/api/v1/apps/{name}/diff", get(apps::diff))
        .route("/api/v1/apps/{name}/grants", post(sync::grant))
        .route("/api/v1/apps/{name}/syncs/{sync}", get(sync::get))
        .route("/api/v1/apps/{name}/refresh", post(sync::refresh))
        .route("/api/v1/runs", get(runs::list))
        .route("/api/v1/runs/{repo}/{number}", get(runs::get))
        .route("/api/v1/runs/{repo}/{number}/logs", get(logs::get))
        .route("/api/v1/runs/{repo}/{number}/rerun", post(runs::rerun))
        .route("/api/v1/runs/{repo}/{number}/cancel", post(runs::cancel))
        .route("/api/v1/deliveries", get(deliveries::list))
        .route("/api/v1/deliveries/{correlation}", get(deliveries::get))
        .route("/api/v1/trace/{*what}", get(deliveries::trace))
        .route("/api/v1/lanes", get(deliveries::lanes))
        .route("/api/v1/promotions/{repo}", get(promotions::look).post(promotions::promote))
        .route("/api/v1/promotions/{repo}/{bump}", get(promotions::get))
        .route("/api/v1/repositories/{repo}/secrets", get(secrets::list))
        .route("/api/v1/repositories/{repo}/secrets/{name}", put(secrets::set).delete(secrets::delete))
        .route("/api/v1/registries", get(registries::list))
        .route("/api/v1/registries/{host}", put(registries::set).delete(registries::delete))
        .route("/api/v1/events", get(events::stream))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/v1/dlq", get(audit::dead_letters))
        .route("/api/v1/dlq/{id}", get(audit::dead_letter))
        .route("/api/v1/dlq/{id}/retry", post(audit::retry))
}

/// As Argo CD does: no form can reach `/api`.
async fn json_only(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_call = path.starts_with("/api/") && path != "/api/webhook";
    if is_call && crate::access::is_unsafe(request.method()) && !is_json(request.headers()) {
        return ApiError::media_type("Invalid content type: send JSON, with Content-Type application/json")
            .into_response();
    }
    next.run(request).await
}

async fn measured(State(api): State<Api>, request: Request, next: Next) -> Response {
    let route = route(request.uri().path());
    let began = Instant::now();
    let response = next.run(request).await;
    api.metrics.request(route, response.status().as_u16(), began.elapsed().as_secs_f64());
    response
}

async fn headers(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_asset = request.uri().path().starts_with("/assets/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()");
    if api.config.secure() {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    // Pages and answers are about a person; only what is built into the binary may be kept.
    if !is_asset {
        set(header::CACHE_CONTROL, "no-store");
    }
    response
}

/// A bounded label: the collection, never a name.
fn route(path: &str) -> &'static str {
    const CALLS: &[&str] = &[
        "session",
        "account",
        "accounts",
        "telegram",
        "applications",
        "apps",
        "runs",
        "deliveries",
        "trace",
        "lanes",
        "promotions",
        "repositories",
        "registries",
        "events",
        "audit",
        "dlq",
    ];
    if let Some(rest) = path.strip_prefix("/api/v1/") {
        let first = rest.split('/').next().unwrap_or_default();
        return CALLS.iter().find(|call| **call == first).copied().unwrap_or("other");
    }
    match path {
        "/api/webhook" => "webhook",
        "/api/version" => "version",
        path if path.starts_with("/api/") => "other",
        path if path.starts_with("/assets/") => "assets",
        path if path.starts_with("/ui/stream") => "ui_stream",
        _ => "ui",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        assert_eq!(route("/api/v1/runs/dev_shop-web/7"), "runs");
        assert_eq!(route("/api/v1/whatever/x"), "other");
        assert_eq!(route("/apps/shop-prod"), "ui");
    }
}
