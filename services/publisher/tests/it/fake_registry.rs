//! A registry that fails on demand and writes down what it was asked: Bearer tokens, lost blobs, 503s.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64_of::basic;
use sluice_schemas::Digest;

/// What it has and how it shall fail.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) address: String,
    pub(crate) blobs: BTreeSet<String>,
    pub(crate) manifests: HashMap<String, Bytes>,
    pub(crate) log: Vec<String>,
    /// Manifests to refuse as naming unknown blobs (which are then forgotten).
    pub(crate) lose_blobs: u32,
    /// Upload requests to answer with 503.
    pub(crate) unavailable: u32,
    /// `user:password` that its token server wants.
    pub(crate) login: Option<String>,
}

pub(crate) type Shared = Arc<Mutex<Fake>>;

/// Listens on a free port until the test ends.
pub(crate) async fn start(fake: Fake) -> Shared {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = Arc::new(Mutex::new(fake));
    shared.lock().unwrap().address = listener.local_addr().unwrap().to_string();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
    tokio::spawn(async move { axum::serve(listener, router).await });
    shared
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let authorization =
        parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut fake = shared.lock().unwrap();
    fake.log.push(format!("{} {path}", parts.method));
    if path == "/token" {
        let wanted = fake.login.as_deref().map(basic).unwrap_or_default();
        if authorization != wanted {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        return axum::Json(serde_json::json!({ "token": "the-token", "expires_in": 300 })).into_response();
    }
    if fake.login.is_some() && authorization != "Bearer the-token" {
        let challenge = format!("Bearer realm=\"http://{}/token\",service=\"fake\"", fake.address);
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    }
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    match (parts.method, path.as_str()) {
        (Method::HEAD, path) if path.contains("/blobs/") => found(fake.blobs.contains(&last)),
        (Method::POST, path) if path.ends_with("/blobs/uploads/") => {
            if fake.unavailable > 0 {
                fake.unavailable -= 1;
                return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "0")]).into_response();
            }
            (StatusCode::ACCEPTED, [(header::LOCATION, format!("{path}session?state=x"))]).into_response()
        }
        (Method::PUT, path) if path.contains("/blobs/uploads/") => {
            let digest = Digest::of(&body);
            if !query.contains(&digest.as_str().replace(':', "%3A")) {
                return StatusCode::BAD_REQUEST.into_response();
            }
            fake.blobs.insert(digest.to_string());
            StatusCode::CREATED.into_response()
        }
        (Method::HEAD, path) if path.contains("/manifests/") => match fake.manifests.get(&last) {
            Some(content) => {
                ([("docker-content-digest", Digest::of(content).to_string())], "").into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        (Method::PUT, path) if path.contains("/manifests/") => {
            if fake.lose_blobs > 0 {
                fake.lose_blobs -= 1;
                let lost = fake.blobs.pop_first().unwrap();
                let detail = serde_json::json!({ "digest": lost });
                let error = serde_json::json!({ "code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown", "detail": detail });
                return (StatusCode::NOT_FOUND, axum::Json(serde_json::json!({ "errors": [error] })))
                    .into_response();
            }
            let digest = Digest::of(&body).to_string();
            fake.manifests.insert(digest.clone(), body.clone());
            fake.manifests.insert(last, body);
            (StatusCode::CREATED, [("docker-content-digest", digest)]).into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn found(yes: bool) -> Response {
    if yes { StatusCode::OK.into_response() } else { StatusCode::NOT_FOUND.into_response() }
}

mod base64_of {
    /// `Basic …` of `user:password`.
    pub(super) fn basic(login: &str) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = "Basic ".to_owned();
        for chunk in login.as_bytes().chunks(3) {
            let bits =
                chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for n in 0..4 {
                let index = (bits >> (18 - 6 * n)) & 63;
                text.push(if n <= chunk.len() { ALPHABET[index as usize] as char } else { '=' });
            }
        }
        text
    }
}
