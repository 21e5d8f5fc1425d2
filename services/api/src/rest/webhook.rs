//! `POST /api/webhook`: where hosts already send Argo CD's webhooks. Handed to ingress as it came.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::Api;
use crate::error::{Answer, ApiError};

/// Headers that a webhook's meaning and signature are in.
const PASSED: &[&str] = &[
    "content-type",
    "user-agent",
    "x-github-event",
    "x-github-delivery",
    "x-github-hook-id",
    "x-hub-signature",
    "x-hub-signature-256",
];

pub(super) async fn forward(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Answer<Response> {
    if !headers.contains_key("x-github-event") {
        return Err(ApiError::invalid(
            "Unknown webhook event: the X-GitHub-Event header is missing; only GitHub's webhooks are understood",
        ));
    }
    let url = format!("{}/webhooks/github", api.config.ingress_url.trim_end_matches('/'));
    let mut request = api.http.post(url).body(body);
    for name in PASSED {
        if let Some(value) = headers.get(HeaderName::from_static(name)) {
            request = request.header(*name, value);
        }
    }
    let answer = request.send().await.map_err(|error| ApiError::away("ingress", &error.without_url()))?;
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let kind = answer.headers().get("content-type").cloned();
    let text = answer.bytes().await.map_err(|error| ApiError::away("ingress", &error.without_url()))?;
    let mut response = (status, text).into_response();
    if let Some(kind) = kind {
        response.headers_mut().insert("content-type", kind);
    }
    Ok(response)
}
