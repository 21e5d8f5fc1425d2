//! Section `ingress` of the configuration.

use std::time::Duration;

use serde::Deserialize;

/// The front door's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where webhooks are received.
    pub listen: String,
    /// The address that Git hosts reach it under, for messages to people; empty: `http://<listen>`.
    pub public_url: String,
    /// How often the heads of every repository are looked at, for pushes whose webhook never came; 0 turns it off.
    pub poll_seconds: u64,
    /// How long a difference found by a look may still be a webhook on its way.
    pub poll_grace_seconds: u64,
    /// How often the labelled repository Secrets are read again; an unknown repository makes them be read at once.
    pub refresh_seconds: u64,
    /// Connections at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Directory of the Git mirrors, shared with the other services of this machine.
    pub data_dir: std::path::PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8081".to_owned(),
            public_url: String::new(),
            poll_seconds: 180,
            poll_grace_seconds: 10,
            refresh_seconds: 30,
            max_connections: 640,
            data_dir: std::path::PathBuf::from("data/git"),
        }
    }
}

impl Config {
    /// The address that a Git host is to be given.
    #[must_use]
    pub fn webhook_url(&self) -> String {
        let base = if self.public_url.is_empty() {
            format!("http://{}", self.listen)
        } else {
            self.public_url.clone()
        };
        format!("{}/webhooks/github", base.trim_end_matches('/'))
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.poll_grace_seconds)
    }
}

/// Largest body of a webhook: GitHub's own limit.
pub(crate) const MAX_BODY: usize = 25 << 20;
/// A body must have arrived after this: GitHub gives up after the same time.
pub(crate) const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// A request must have arrived, and been answered, within this time of the connection or the previous answer.
pub(crate) const REQUEST_DEADLINE: Duration = Duration::from_secs(15);
/// How long the bus may take to store a webhook before the host is asked to come again.
pub(crate) const BUS_DEADLINE: Duration = Duration::from_secs(2);
