//! A stand-in for the API server: knows who is linked, previews one application, takes grants and remembers every call.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub(crate) const SERVICE_TOKEN: &str = "service-token-of-this-test";

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) act_as: String,
    pub(crate) key: String,
    pub(crate) body: Value,
}

pub(crate) struct StandIn {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    _tasks: JoinSet<()>,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let linked = Arc::new(Mutex::new(vec!["telegram:1001".to_owned()]));
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = calls.clone();
        let router =
            Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                let (seen, linked) = (seen.clone(), linked.clone());
                async move { answer(&seen, &linked, &method, &uri, &headers, &body) }
            });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { url, calls, _tasks: tasks }
    }

    pub(crate) fn calls(&self, method: &str, end: &str) -> Vec<Call> {
        let calls = self.calls.lock().expect("not poisoned");
        calls.iter().filter(|call| call.method == method && call.path.ends_with(end)).cloned().collect()
    }
}

fn answer(
    seen: &Mutex<Vec<Call>>,
    linked: &Mutex<Vec<String>>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> (StatusCode, Json<Value>) {
    let header = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    if header("authorization") != format!("Bearer {SERVICE_TOKEN}") {
        return (StatusCode::UNAUTHORIZED, Json(json!({"message": "wrong token"})));
    }
    let call = Call {
        method: method.to_string(),
        path: uri.path().to_owned(),
        act_as: header("x-sluice-act-as"),
        key: header("idempotency-key"),
        body: serde_json::from_slice(body).unwrap_or_default(),
    };
    seen.lock().expect("not poisoned").push(call.clone());
    let mut linked = linked.lock().expect("not poisoned");
    if call.path == "/api/v1/telegram/links" {
        if call.body["code"] != "RIGHTCODE1" {
            return (StatusCode::NOT_FOUND, Json(json!({"message": "this code is not valid"})));
        }
        linked.push(format!("telegram:{}", call.body["user"]));
        return (StatusCode::OK, Json(json!({"person": "oleg"})));
    }
    if !linked.contains(&call.act_as) {
        let message = "this Telegram user is not linked to an account; send /link CODE";
        return (StatusCode::UNAUTHORIZED, Json(json!({"message": message})));
    }
    let name = if call.act_as == "telegram:1001" { "dana" } else { "oleg" };
    match (call.method.as_str(), call.path.as_str()) {
        ("GET", "/api/v1/session/userinfo") => {
            (StatusCode::OK, Json(json!({"loggedIn": true, "username": name})))
        }
        ("GET", "/api/v1/apps") => (StatusCode::OK, Json(json!({"items": [application()]}))),
        ("GET", "/api/v1/apps/shop-prod") => (StatusCode::OK, Json(application())),
        ("GET", "/api/v1/apps/shop-prod/preview") => (StatusCode::OK, Json(preview())),
        ("GET", "/api/v1/apps/shop-prod/managed-resources") => (
            StatusCode::OK,
            Json(json!({"items": [{"kind": "Deployment", "name": "shop-web",
                "liveState": "{\"spec\":{\"image\":\"web:aaaaaaaa\"}}", "targetState": "{\"spec\":{\"image\":\"web:cccccccc\"}}"}]})),
        ),
        ("POST", "/api/v1/apps/shop-prod/grants") => {
            (StatusCode::OK, Json(json!({"grant": "0193c1f2a7b4", "sync": "0193c1f2a7b5"})))
        }
        ("GET", _) if call.path.starts_with("/api/v1/apps/") => {
            (StatusCode::NOT_FOUND, Json(json!({"message": "there is no application of that name"})))
        }
        ("GET", "/api/v1/runs") => (
            StatusCode::OK,
            Json(json!({"items": [{"repository": {"fullName": "dev/shop-web"}, "number": 42,
            "conclusion": "success", "title": "Show the basket's total"}]})),
        ),
        _ => (StatusCode::NOT_FOUND, Json(json!({"message": format!("no such path {}", call.path)}))),
    }
}

fn application() -> Value {
    json!({"name": "shop-prod", "gated": true, "sync": "OutOfSync", "health": "Healthy", "revision": "d".repeat(40),
        "liveImages": ["registry.example.com/shop/web:aaaaaaaa"], "conditions": []})
}

fn preview() -> Value {
    json!({
        "app": "shop-prod", "project": "default", "destinationNamespace": "prod", "gated": true,
        "revision": "d".repeat(40), "manifestDigest": sluice_schemas::Digest::of(b"[]"),
        "commits": [{"sha": "d".repeat(40), "title": "promote web", "author": "dana", "source": null}],
        "images": [{"name": "registry.example.com/shop/web", "from": "registry.example.com/shop/web:aaaaaaaa",
            "to": "registry.example.com/shop/web:cccccccc"}],
        "objects": [{"kind": "Deployment", "namespace": "prod", "name": "shop-web", "action": "update", "summary": "image"}],
        "counts": {"create": 0, "update": 1, "prune": 0, "keep": 0, "unchanged": 3}, "warnings": [],
    })
}
