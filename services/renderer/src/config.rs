//! Section `renderer` of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directory of the Git mirrors; services of one machine share it.
    pub data_dir: PathBuf,
    /// Renderings at once.
    pub concurrency: usize,
    /// The time that one fetch may take.
    pub fetch_timeout_seconds: u64,
    /// All manifests of one application together.
    pub max_combined_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data/git"),
            concurrency: 4,
            fetch_timeout_seconds: 300,
            // Parsed manifests take up to 300 times their size in the readers downstream.
            max_combined_bytes: 10 << 20,
        }
    }
}
