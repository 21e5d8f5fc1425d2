//! HTTP listeners: bound before anything starts, ended gracefully. `/healthz`, `/readyz` and `/metrics` for every process.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::{Health, Metrics, Service, TaskKind};

/// An address could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{address} cannot be listened on: {source}; is another process using it?")]
pub struct BindError {
    address: String,
    #[source]
    source: std::io::Error,
}

/// Takes an address.
///
/// # Errors
/// When it is taken or not ours.
pub async fn bind(address: &str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address: address.to_owned(), source })
}

/// Serves `router` on `listener` until shutdown, and logs the address once.
pub fn serve(service: &Service, name: &'static str, listener: TcpListener, router: Router) {
    let shutdown = service.shutdown().clone();
    match listener.local_addr() {
        Ok(address) => tracing::info!(service = service.name(), name, %address, "listening"),
        Err(error) => tracing::warn!(name, %error, "listening at an unknown address"),
    }
    service.tasks().spawn(TaskKind::Server, name, async move {
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!(name, %error, "the listener failed");
        }
    });
}

/// `/healthz`, `/readyz`, `/metrics`.
pub fn operations(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(health))
        .route("/metrics", get(metrics_text).with_state(metrics))
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let problems = health.problems();
    if problems.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let lines: String = problems.iter().map(|(name, reason)| format!("{name}: {reason}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

async fn metrics_text(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.text())
}
