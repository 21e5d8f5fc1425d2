//! Secrets of workflows: one Kubernetes Secret a repository, one key a secret.

use std::collections::BTreeMap;

use sluice_chassis::Secret;
use sluice_schemas::ids::RepoSlug;

use super::store::{SecretError, SecretType, object_name};
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

    /// Sets one secret of a repository's workflows. Afterwards no other labelled Secret has another value of it.
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
        self.put_secret(SecretType::Ci, repository.as_str(), &labels, &BTreeMap::new(), &data).await?;
        let ours = object_name(SecretType::Ci, repository.as_str());
        self.forget_ci_secret(repository, name, |object| object != ours).await.map(drop)
    }

    /// Takes one secret of a repository's workflows away, from every labelled Secret that has it. Says whether any had.
    ///
    /// # Errors
    /// When a Secret cannot be written.
    pub async fn delete_ci_secret(&self, repository: &RepoSlug, name: &str) -> Result<bool, SecretError> {
        self.forget_ci_secret(repository, name, |_| true).await
    }

    async fn forget_ci_secret(
        &self,
        repository: &RepoSlug,
        name: &str,
        from: impl Fn(&str) -> bool,
    ) -> Result<bool, SecretError> {
        let entries = self.secret_entries(SecretType::Ci, &[(REPOSITORY, repository.as_str())]).await?;
        let mut had = false;
        for entry in entries.iter().filter(|entry| entry.data.contains_key(name) && from(&entry.object)) {
            had |= self.remove_object_key(SecretType::Ci, &entry.object, name).await?;
        }
        Ok(had)
    }
}
