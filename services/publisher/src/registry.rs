//! An OCI distribution client: only what publishing needs.
//!
//! Invariants: HTTPS unless the host is loopback or listed as insecure; a
//! credential goes to the registry that it is for (and to the token server that
//! this registry names) and nowhere else; 401 is answered once, never in a loop;
//! passing faults are tried again with jitter, within a budget.

mod auth;
mod error;
mod transfer;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sluice_chassis::Secret;
use sluice_schemas::Digest;

pub use error::RegistryError;
pub use transfer::BlobSource;

/// How long a registry may take to begin an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// User and password for one registry.
#[derive(Clone)]
pub struct Login {
    pub username: Secret,
    pub password: Secret,
}

/// Where logins come from: asked at use, so that a changed Secret counts at once.
pub trait Logins: Send + Sync + 'static {
    fn login<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Login>, String>>;
}

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct RegistrySettings {
    /// Hosts (`name` or `name:port`) that speak plain HTTP.
    pub insecure: BTreeSet<String>,
    /// A PEM file with further certificate authorities.
    pub ca_file: Option<PathBuf>,
}

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// `registry.example.com`, as in image names.
    pub registry: String,
    /// `shop/web`.
    pub repository: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    pub(crate) http: reqwest::Client,
    settings: Arc<RegistrySettings>,
    logins: Arc<dyn Logins>,
    tokens: Arc<auth::Tokens>,
}

impl Registry {
    pub fn new(settings: RegistrySettings, logins: Arc<dyn Logins>) -> Result<Self, RegistryError> {
        sluice_chassis::process::install_crypto();
        let setup = |reason: String| RegistryError::Setup { reason };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sluice-publisher/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(ANSWER)
            .pool_idle_timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::limited(3));
        if let Some(path) = &settings.ca_file {
            let pem = std::fs::read(path).map_err(|error| setup(format!("{}: {error}", path.display())))?;
            for certificate in
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| setup(error.to_string()))?
            {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let http = builder.build().map_err(|error| setup(error.to_string()))?;
        Ok(Self { http, settings: Arc::new(settings), logins, tokens: Arc::default() })
    }

    /// Which of `digests` the repository lacks, in the order given.
    pub async fn missing(&self, target: &Target, digests: &[Digest]) -> Result<Vec<Digest>, RegistryError> {
        use futures::stream::{StreamExt as _, TryStreamExt as _};
        let lacks = futures::stream::iter(digests.iter().cloned())
            .map(|digest| async move {
                Ok::<_, RegistryError>(if self.has_blob(target, &digest).await? {
                    None
                } else {
                    Some(digest)
                })
            })
            .buffered(8)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(lacks.into_iter().flatten().collect())
    }

    /// `https://host/v2/repository/` and what follows.
    pub(crate) fn url(&self, target: &Target, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.base(&target.registry), target.repository)
    }

    pub(crate) fn base(&self, registry: &str) -> String {
        let host = match registry {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        };
        let scheme =
            if is_loopback(host) || self.settings.insecure.contains(host) { "http" } else { "https" };
        format!("{scheme}://{host}")
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for host in ["127.0.0.1:5000", "localhost", "localhost:1", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["registry.example.com", "127.0.0.1.example.com", "10.0.0.1:5000", "localhost.example.com"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
