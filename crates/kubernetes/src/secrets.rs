//! Labelled Kubernetes Secrets as stores of everything secret or per-repository.
//!
//! What each label means is in `docs/configuration.md`; in short, `sluice.dev/secret-type` says `repository`, `ci`,
//! `registry`, `account`, `telegram` or `signing`. Argo CD's own `argocd.argoproj.io/secret-type: repository` Secrets are read
//! as repositories too, never written.
//!
//! Invariants: a value leaves this module only as [`Secret`]; nothing here logs or names a value; writes are server-side
//! applies of single keys, so that two writers of different keys do not undo each other. Called by every service.

mod ci;
mod registry;
mod repository;
mod store;

use std::collections::BTreeMap;

pub use registry::{RegistrySecret, normalise_registry};
pub use repository::{RepositorySecret, normalise_url};
pub use store::{Entry, SecretError, SecretType};

use sluice_chassis::Secret;

use crate::client::Cluster;

impl Cluster {
    /// Every account, by name. What the keys mean is the API server's business.
    ///
    /// # Errors
    /// When the Secrets cannot be listed.
    pub async fn accounts(&self) -> Result<BTreeMap<String, BTreeMap<String, Secret>>, SecretError> {
        let entries = self.secret_entries(SecretType::Account, &[]).await?;
        Ok(entries.into_iter().map(|entry| (entry.name, entry.data)).collect())
    }

    /// Stores keys of an account; keys that are not named stay.
    ///
    /// # Errors
    /// When the Secret cannot be written.
    pub async fn put_account(&self, name: &str, data: &BTreeMap<String, Secret>) -> Result<(), SecretError> {
        self.put_secret(SecretType::Account, name, &BTreeMap::new(), &BTreeMap::new(), data).await
    }

    /// Deletes an account. Says whether there was one.
    ///
    /// # Errors
    /// When the Secret cannot be deleted.
    pub async fn delete_account(&self, name: &str) -> Result<bool, SecretError> {
        self.delete_secret(SecretType::Account, name).await
    }

    /// The Telegram bot's Secret: key `token`, if somebody set it.
    ///
    /// # Errors
    /// When the Secrets cannot be listed.
    pub async fn telegram(&self) -> Result<BTreeMap<String, Secret>, SecretError> {
        self.single(SecretType::Telegram).await
    }

    /// Stores the Telegram bot's keys.
    ///
    /// # Errors
    /// When the Secret cannot be written.
    pub async fn put_telegram(&self, data: &BTreeMap<String, Secret>) -> Result<(), SecretError> {
        self.put_secret(SecretType::Telegram, "telegram", &BTreeMap::new(), &BTreeMap::new(), data).await
    }

    /// The grant keys: `private` (PKCS#8 PEM, read by the API server only) and `public` (SPKI PEM). Two separate Secrets,
    /// so that RBAC can give the reconciler the public one alone; here they are merged.
    ///
    /// # Errors
    /// When the Secrets cannot be listed.
    pub async fn signing(&self) -> Result<BTreeMap<String, Secret>, SecretError> {
        self.single(SecretType::Signing).await
    }

    /// Stores the public half of the grant key: every service may read it.
    ///
    /// # Errors
    /// When the Secret cannot be written.
    pub async fn put_signing_public(&self, public: Secret) -> Result<(), SecretError> {
        let data = BTreeMap::from([("public".to_owned(), public)]);
        self.put_secret(SecretType::Signing, "grants-public", &BTreeMap::new(), &BTreeMap::new(), &data).await
    }

    /// The public half of the grant key alone, by name: no listing, so RBAC may name this one Secret.
    ///
    /// # Errors
    /// When the Secret cannot be read.
    pub async fn signing_public(&self) -> Result<Option<Secret>, SecretError> {
        let found = self.secret_entry(SecretType::Signing, "grants-public").await?;
        Ok(found.and_then(|mut entry| entry.data.remove("public")))
    }

    /// Stores the private half of the grant key.
    ///
    /// # Errors
    /// When the Secret cannot be written.
    pub async fn put_signing_private(&self, private: Secret) -> Result<(), SecretError> {
        let data = BTreeMap::from([("private".to_owned(), private)]);
        self.put_secret(SecretType::Signing, "grants-private", &BTreeMap::new(), &BTreeMap::new(), &data)
            .await
    }

    async fn single(&self, kind: SecretType) -> Result<BTreeMap<String, Secret>, SecretError> {
        let entries = self.secret_entries(kind, &[]).await?;
        Ok(entries.into_iter().flat_map(|entry| entry.data).collect())
    }
}
