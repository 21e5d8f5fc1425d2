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
            let found = registries.into_iter().find(|registry| same_host(&registry.host, host));
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

/// People write a registry with scheme or slash; Docker's hub has several names.
fn same_host(stored: &str, wanted: &str) -> bool {
    let plain = |host: &str| {
        let host = host.trim().to_ascii_lowercase();
        let host = host
            .strip_prefix("https://")
            .or_else(|| host.strip_prefix("http://"))
            .unwrap_or(&host)
            .to_owned();
        let host = host.split('/').next().unwrap_or_default().to_owned();
        match host.as_str() {
            "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
            _ => host,
        }
    };
    plain(stored) == plain(wanted)
}

#[cfg(test)]
mod tests {
    use super::same_host;

    #[test]
    fn spellings_of_a_host_are_the_same_and_ports_are_not() {
        assert!(same_host("https://Registry.example.com/", "registry.example.com"));
        assert!(same_host("https://index.docker.io/v1/", "docker.io"));
        assert!(!same_host("registry.example.com:5000", "registry.example.com"));
        assert!(!same_host("evil.example.com", "example.com"));
    }
}
