//! Where secrets come from: workflow secrets and Git credentials of a repository.
//!
//! Kubernetes in an installation, a fixed set in tests. Values never leave the process except into the one
//! container that asked for them.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use sluice_chassis::Secret;
use sluice_git::Credentials;
use sluice_kubernetes::Cluster;
use sluice_schemas::ids::RepoSlug;

/// Why secrets could not be read. Says nothing of their values.
#[derive(Debug, thiserror::Error)]
#[error("the secrets of {repository} cannot be read: {reason}")]
pub struct VaultError {
    pub repository: String,
    pub reason: String,
}

/// A store of secrets.
pub trait Vault: Send + Sync + 'static {
    /// The workflow secrets of a repository, by name.
    fn secrets<'a>(
        &'a self,
        repository: &'a RepoSlug,
    ) -> BoxFuture<'a, Result<BTreeMap<String, Secret>, VaultError>>;

    /// The credentials for fetching a clone URL; `None` when it is public.
    fn credentials<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Option<Credentials>, VaultError>>;
}

impl Vault for Cluster {
    fn secrets<'a>(
        &'a self,
        repository: &'a RepoSlug,
    ) -> BoxFuture<'a, Result<BTreeMap<String, Secret>, VaultError>> {
        Box::pin(async move {
            self.ci_secrets(repository)
                .await
                .map_err(|error| VaultError { repository: repository.to_string(), reason: error.to_string() })
        })
    }

    fn credentials<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Option<Credentials>, VaultError>> {
        Box::pin(async move {
            let found = self
                .repository_by_url(url)
                .await
                .map_err(|error| VaultError { repository: url.to_owned(), reason: error.to_string() })?;
            Ok(found.and_then(|repository| {
                let password = repository.password?;
                let username =
                    repository.username.map_or_else(|| "git".to_owned(), |name| name.expose().to_owned());
                Some(Credentials { username, password })
            }))
        })
    }
}

/// A fixed set of secrets, the same for every repository.
#[derive(Clone, Default)]
pub struct StaticVault {
    pub secrets: BTreeMap<String, Secret>,
    pub credentials: Option<Credentials>,
}

impl Vault for StaticVault {
    fn secrets<'a>(
        &'a self,
        _repository: &'a RepoSlug,
    ) -> BoxFuture<'a, Result<BTreeMap<String, Secret>, VaultError>> {
        Box::pin(async move { Ok(self.secrets.clone()) })
    }

    fn credentials<'a>(&'a self, _url: &'a str) -> BoxFuture<'a, Result<Option<Credentials>, VaultError>> {
        Box::pin(async move { Ok(self.credentials.clone()) })
    }
}
