//! Words, times, colours of logs and differences, for pages and JSON alike.

pub(crate) mod ansi;
pub(crate) mod diff;
pub(crate) mod words;

/// An application for unit tests.
#[cfg(test)]
pub(crate) fn example_app() -> sluice_schemas::state::AppState {
    use sluice_schemas::Message as _;
    use sluice_schemas::events::{AppCompared, HealthStatus, SyncStatus};
    sluice_schemas::state::AppState {
        app: AppCompared::example().app,
        repository: "https://git.example.com/dev/deploy.git".to_owned(),
        path: "prod".to_owned(),
        target_revision: "HEAD".to_owned(),
        destination_namespace: "prod".to_owned(),
        gated: true,
        gate_reason: "it has no automated sync".to_owned(),
        revision: None,
        manifests: None,
        comparison: None,
        sync: SyncStatus::OutOfSync,
        health: HealthStatus::Healthy,
        health_message: String::new(),
        conditions: Vec::new(),
        render_error: None,
        images: Vec::new(),
        live_images: Vec::new(),
        synced_revision: None,
        operation: None,
        history: Vec::new(),
        compared_at: None,
    }
}
