//! Section `api` of the configuration.

use std::path::PathBuf;

use serde::Deserialize;
use sluice_schemas::grant::MAX_LIFETIME_SECONDS;

/// What the API server needs beside `bus` and `kubernetes`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the web UI and REST are served.
    pub listen: String,
    /// The address that people type. `https://…` makes cookies `Secure` and is the only origin accepted.
    pub public_url: Option<String>,
    /// Where `/api/webhook` is forwarded to.
    pub ingress_url: String,
    /// How long a login lasts.
    pub session_hours: u32,
    /// How long a grant lasts, at most 900: it must outlive a restart of the reconciler.
    pub grant_seconds: i64,
    /// How long a preview can be confirmed after somebody looked at it.
    pub preview_seconds: i64,
    /// Rules in Argo CD's form: `p, subject, resource, action, object, allow` and `g, person, role`.
    pub policy: String,
    /// The role of everybody who is logged in, beside their own; empty means none.
    pub policy_default: String,
    /// The first admin password is written here too, readable by the owner alone.
    pub initial_password_file: Option<PathBuf>,
    /// Runs kept in memory per repository.
    pub runs_per_repository: usize,
    /// Deliveries kept in memory.
    pub deliveries: usize,
    /// A page that shows the demo's chat; linked in the menu when set.
    pub chat_url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            public_url: None,
            ingress_url: "http://127.0.0.1:8081".to_owned(),
            session_hours: 24,
            grant_seconds: 600,
            preview_seconds: 900,
            policy: String::new(),
            policy_default: String::new(),
            initial_password_file: None,
            runs_per_repository: 50,
            deliveries: 300,
            chat_url: None,
        }
    }
}

impl Config {
    /// Whether browsers reach us by TLS.
    #[must_use]
    pub fn secure(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }

    /// How long a look at a preview counts.
    #[must_use]
    pub fn look_seconds(&self) -> i64 {
        self.preview_seconds.clamp(1, 3600)
    }

    /// The grants' lifetime, within what a reconciler accepts.
    #[must_use]
    pub fn grant_lifetime(&self) -> i64 {
        self.grant_seconds.clamp(10, MAX_LIFETIME_SECONDS)
    }
}
