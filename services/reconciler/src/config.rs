//! Section `reconciler` of the configuration. `bus` and `kubernetes` are sections of their own.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Every application is compared this often even when nothing happened.
    pub compare_seconds: u64,
    /// Its source is rendered this often even when no push was heard of.
    pub render_seconds: u64,
    /// Globs of destination namespaces whose applications are always gated.
    pub gated_destinations: Vec<String>,
    /// Requests to the API server at once, for one application.
    pub parallel_requests: usize,
    /// Messages handled at once, over all applications.
    pub concurrency: usize,
    /// A wave or hook that is not done after this long fails its sync.
    pub sync_timeout_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            compare_seconds: 180,
            render_seconds: 1800,
            gated_destinations: Vec::new(),
            parallel_requests: 16,
            concurrency: 16,
            sync_timeout_seconds: 1800,
        }
    }
}
