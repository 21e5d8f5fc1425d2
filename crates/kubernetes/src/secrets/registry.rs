//! Credentials of container registries: one Kubernetes Secret a registry, read by the publisher alone.

use std::collections::BTreeMap;

use sluice_chassis::Secret;

use super::store::{SecretError, SecretType};
use crate::annotations::REGISTRY;
use crate::client::Cluster;

/// Credentials of a container registry.
#[derive(Clone)]
pub struct RegistrySecret {
    /// Name of the Kubernetes object.
    pub object: String,
    /// Host and port, as whoever made the Secret wrote them.
    pub host: String,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
}

impl RegistrySecret {
    /// Whether these are the credentials of `host`, however either is spelt.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        normalise_registry(&self.host) == normalise_registry(host)
    }
}

impl Cluster {
    /// Credentials of every registry.
    ///
    /// # Errors
    /// When the Secrets cannot be listed.
    pub async fn registries(&self) -> Result<Vec<RegistrySecret>, SecretError> {
        let entries = self.secret_entries(SecretType::Registry, &[]).await?;
        Ok(entries
            .into_iter()
            .map(|mut entry| RegistrySecret {
                host: entry.annotations.remove(REGISTRY).unwrap_or(entry.name),
                object: entry.object,
                username: entry.data.remove("username"),
                password: entry.data.remove("password"),
            })
            .collect())
    }

    /// Stores the credentials of a registry, instead of all that were stored for it before.
    ///
    /// # Errors
    /// When the Secret cannot be read or written.
    pub async fn put_registry(
        &self,
        host: &str,
        username: Secret,
        password: Secret,
    ) -> Result<(), SecretError> {
        let host = normalise_registry(host);
        let data = BTreeMap::from([("username".to_owned(), username), ("password".to_owned(), password)]);
        let annotations = BTreeMap::from([(REGISTRY.to_owned(), host.clone())]);
        self.put_secret(SecretType::Registry, &host, &BTreeMap::new(), &annotations, &data).await?;
        // One made by hand for the same registry might be found instead of this one.
        let ours = super::store::object_name(SecretType::Registry, &host);
        self.delete_registries(&host, |object| object != ours).await.map(drop)
    }

    /// Deletes the credentials of a registry. Says whether there were any.
    ///
    /// # Errors
    /// When the Secrets cannot be listed or deleted.
    pub async fn delete_registry(&self, host: &str) -> Result<bool, SecretError> {
        self.delete_registries(host, |_| true).await
    }

    async fn delete_registries(&self, host: &str, which: impl Fn(&str) -> bool) -> Result<bool, SecretError> {
        let mut any = false;
        for registry in self.registries().await? {
            if registry.is_for(host) && which(&registry.object) {
                any |= self.delete_object(SecretType::Registry, &registry.object).await?;
            }
        }
        Ok(any)
    }
}

/// A registry as it stands in image names: people write it with scheme or slash, and Docker's hub has several names.
#[must_use]
pub fn normalise_registry(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(&text);
    match host.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_host_are_the_same_and_ports_are_not() {
        let table = [
            ("https://Registry.example.com/", "registry.example.com", true),
            ("https://index.docker.io/v1/", "docker.io", true),
            ("registry.example.com:5000", "registry.example.com", false),
            ("evil.example.com", "example.com", false),
        ];
        for (stored, wanted, same) in table {
            let registry = RegistrySecret {
                object: String::new(),
                host: stored.to_owned(),
                username: None,
                password: None,
            };
            assert_eq!(registry.is_for(wanted), same, "{stored} {wanted}");
        }
    }
}
