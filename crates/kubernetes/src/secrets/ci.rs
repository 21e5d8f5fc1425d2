//! Secrets of workflows: one Kubernetes Secret a repository, one key a secret.

use std::collections::BTreeMap;

use sluice_chassis::Secret;
use sluice_schemas::ids::RepoSlug;

use super::store::{SecretError, SecretType};
use crate::annotations::REPOSITORY;
use crate::client::Cluster;

impl Cluster {
    /// Every secret of a repository's workflows, by name. Several labelled Secrets of one repository are merged.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn ci_secrets(&self, repository: &RepoSlug) -> Result<BTreeMap<String, Secret>, SecretError> {
        let entries = self.secret_entries(SecretType::Ci, &[(REPOSITORY, repository.as_str())]).await?;
        Ok(entries.into_iter().flat_map(|entry| entry.data).collect())
    }

    /// Sets one secret of a repository's workflows.
    ///
    /// # Errors
    /// When the name is not valid or the Secret cannot be written.
    pub async fn put_ci_secret(
        &self,
        repository: &RepoSlug,
        name: &str,
        value: Secret,
    ) -> Result<(), SecretError> {
        let labels = BTreeMap::from([(REPOSITORY.to_owned(), repository.to_string())]);
        let data = BTreeMap::from([(name.to_owned(), value)]);
        self.put_secret(SecretType::Ci, repository.as_str(), &labels, &BTreeMap::new(), &data).await
    }

    /// Takes away one secret of a repository's workflows. Says whether the repository has any.
    ///
    /// # Errors
    /// When the Secret cannot be written.
    pub async fn delete_ci_secret(&self, repository: &RepoSlug, name: &str) -> Result<bool, SecretError> {
        self.remove_secret_key(SecretType::Ci, repository.as_str(), name).await
    }
}
