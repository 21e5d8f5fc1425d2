//! Section `publisher` of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directory of the Git mirrors; services of one machine share it.
    pub data_dir: PathBuf,
    /// Deploy repositories that new images are written into.
    pub deploy: Vec<Deploy>,
    /// Registries (`host` or `host:port`) that are spoken to over plain HTTP; loopback always is.
    pub insecure_registries: Vec<String>,
    /// A PEM file with further certificate authorities for registries.
    pub registry_ca_file: Option<PathBuf>,
    /// Author and committer of bumps.
    pub author_name: String,
    pub author_email: String,
    /// Images uploaded at once.
    pub uploads: usize,
    /// The time that one fetch or push may take.
    pub git_timeout_seconds: u64,
}

/// A deploy repository.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// Clone URL.
    pub repository: String,
    #[serde(default = "main")]
    pub branch: String,
    /// The directory that new images go to by themselves.
    #[serde(default = "dev")]
    pub dev: String,
    /// The directory that promotions go to.
    #[serde(default = "prod")]
    pub prod: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data/git"),
            deploy: Vec::new(),
            insecure_registries: Vec::new(),
            registry_ca_file: None,
            author_name: "Sluice".to_owned(),
            author_email: "sluice@sluice.invalid".to_owned(),
            uploads: 4,
            git_timeout_seconds: 120,
        }
    }
}

fn main() -> String {
    "main".to_owned()
}

fn dev() -> String {
    "dev".to_owned()
}

fn prod() -> String {
    "prod".to_owned()
}
