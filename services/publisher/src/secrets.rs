//! Credentials from labelled Secrets: registries (this service alone reads them) and deploy repositories.
//!
//! Invariant: a credential is looked up at use and handed only to the host or
//! repository whose Secret it is in.

use futures::future::BoxFuture;
use sluice_git::{Credentials, RemoteUrl};
use sluice_kubernetes::Cluster;

use crate::registry::{Login, Logins};

/// Where credentials of deploy repositories come from.
pub trait CredentialSource: Send + Sync + 'static {
    fn find<'a>(&'a self, url: &'a RemoteUrl) -> BoxFuture<'a, Result<Option<Credentials>, String>>;
}

/// The labelled Secrets of a cluster.
#[derive(Clone)]
pub struct ClusterSecrets(pub Cluster);

/// No credentials at all: for installations without a cluster.
#[derive(Clone, Copy)]
pub struct Anonymous;

impl CredentialSource for ClusterSecrets {
    fn find<'a>(&'a self, url: &'a RemoteUrl) -> BoxFuture<'a, Result<Option<Credentials>, String>> {
        Box::pin(async move {
            let found = self.0.repository_by_url(url.as_str()).await.map_err(|error| error.to_string())?;
            Ok(found.and_then(|repository| {
                let password = repository.password?;
                // Git hosts that take tokens do not look at the name, but want one.
                let username =
                    repository.username.map_or_else(|| "git".to_owned(), |name| name.expose().to_owned());
                Some(Credentials { username, password })
            }))
        })
    }
}

impl Logins for ClusterSecrets {
    fn login<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Login>, String>> {
        Box::pin(async move {
            let registries = self.0.registries().await.map_err(|error| error.to_string())?;
            let found = registries.into_iter().find(|registry| registry.is_for(host));
            Ok(found.and_then(|registry| {
                Some(Login { username: registry.username?, password: registry.password? })
            }))
        })
    }
}

impl CredentialSource for Anonymous {
    fn find<'a>(&'a self, _: &'a RemoteUrl) -> BoxFuture<'a, Result<Option<Credentials>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl Logins for Anonymous {
    fn login<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Login>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
