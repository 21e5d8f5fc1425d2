//! Section `bus` of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

/// How to reach NATS, and how streams are made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusConfig {
    /// One or more URLs, separated by commas. Empty: `sluice up` starts a server of its own.
    pub url: String,
    /// User name, when the server wants one.
    pub user: Option<String>,
    /// File with the password of `user`.
    pub password_file: Option<PathBuf>,
    /// File with NATS credentials (JWT and key), instead of user and password.
    pub credentials_file: Option<PathBuf>,
    /// Copies of each stream: 3 where there are three nodes.
    pub replicas: usize,
    /// Disk that all streams and stores together may use, in GiB. The broker refuses to start streams that would not
    /// fit, so this must be below what its disk has free.
    pub storage_gib: u64,
    /// Life of a lease that is not renewed: how long a killed service's work waits for another to take it over.
    pub lease_seconds: u64,
    /// Whether this process may create and change streams. Off where an operator provisions.
    pub provision: bool,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            user: None,
            password_file: None,
            credentials_file: None,
            replicas: 1,
            storage_gib: 8,
            lease_seconds: 10,
            provision: true,
        }
    }
}
