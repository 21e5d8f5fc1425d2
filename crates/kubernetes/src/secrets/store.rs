//! The one implementation under all labelled Secret stores: list, get, put, delete.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret as Object};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use sluice_chassis::Secret;
use zeroize::Zeroize;

use crate::annotations::{FIELD_MANAGER, NAME, SECRET_TYPE};
use crate::client::Cluster;

/// The value of the label `sluice.dev/secret-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretType {
    Repository,
    Ci,
    Registry,
    Account,
    Telegram,
    Signing,
}

impl SecretType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Ci => "ci",
            Self::Registry => "registry",
            Self::Account => "account",
            Self::Telegram => "telegram",
            Self::Signing => "signing",
        }
    }
}

impl fmt::Display for SecretType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One stored Secret.
#[derive(Clone)]
pub struct Entry {
    /// Name of the Kubernetes object.
    pub object: String,
    /// The name that the person or service gave it; the object's name where no annotation says another.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub data: BTreeMap<String, Secret>,
}

/// Why a Secret could not be read or written. Never names a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(
        "failed to {verb} the {kind} Secrets in the namespace `{namespace}`: {source}; check that the service account may"
    )]
    Api { verb: &'static str, kind: &'static str, namespace: String, source: Box<kube::Error> },
    #[error("`{key}` cannot be the name of a value in a Secret: use letters, digits, `_`, `-` and `.`")]
    InvalidKey { key: String },
}

impl Cluster {
    /// All Secrets of a type, ordered by object name. Values that are not UTF-8 are left out with a warning.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn secret_entries(
        &self,
        kind: SecretType,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Entry>, SecretError> {
        let mut selector = format!("{SECRET_TYPE}={kind}");
        for (key, value) in labels {
            selector.push_str(&format!(",{key}={value}"));
        }
        self.entries_by_selector(self.namespace(), &selector, kind).await
    }

    pub(super) async fn entries_by_selector(
        &self,
        namespace: &str,
        selector: &str,
        kind: SecretType,
    ) -> Result<Vec<Entry>, SecretError> {
        let api: Api<Object> = Api::namespaced(self.client(), namespace);
        let listed = api.list(&ListParams::default().labels(selector)).await;
        let listed = listed.map_err(|error| failed("list", kind, namespace, error))?;
        let mut entries: Vec<_> = listed.items.into_iter().map(entry).collect();
        entries.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(entries)
    }

    /// One Secret by the name that it was put under.
    ///
    /// # Errors
    /// When it cannot be read; its absence is `None`.
    pub async fn secret_entry(&self, kind: SecretType, name: &str) -> Result<Option<Entry>, SecretError> {
        let found = self.secrets_api().get_opt(&object_name(kind, name)).await;
        Ok(found.map_err(|error| failed("read", kind, self.namespace(), error))?.map(entry))
    }

    /// Creates the Secret or updates the named keys; keys that are not named stay as they are.
    ///
    /// # Errors
    /// When a key is not valid or the Secret cannot be written.
    pub async fn put_secret(
        &self,
        kind: SecretType,
        name: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
        data: &BTreeMap<String, Secret>,
    ) -> Result<(), SecretError> {
        if let Some(key) = data.keys().find(|key| !is_valid_key(key)) {
            return Err(SecretError::InvalidKey { key: key.clone() });
        }
        let object = object_name(kind, name);
        let mut all_labels = labels.clone();
        all_labels.insert(SECRET_TYPE.to_owned(), kind.to_string());
        let mut all_annotations = annotations.clone();
        all_annotations.insert(NAME.to_owned(), name.to_owned());
        let metadata = json!({ "name": object, "labels": all_labels, "annotations": all_annotations });
        let manifest = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata });
        self.apply_secret(kind, &object, FIELD_MANAGER, &manifest).await?;
        for (key, value) in data {
            // One manager a key: applying one key must not give up the others.
            let bytes = ByteString(value.expose().as_bytes().to_vec());
            let mut manifest = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": object }, "data": { key: bytes },
            });
            let written =
                self.apply_secret(kind, &object, &format!("{FIELD_MANAGER}.{key}"), &manifest).await;
            let mut bytes = bytes;
            bytes.0.zeroize();
            if let Some(serde_json::Value::String(text)) = manifest["data"].get_mut(key) {
                text.zeroize();
            }
            written?;
        }
        Ok(())
    }

    /// Takes one key out. Says whether the Secret exists.
    ///
    /// # Errors
    /// When the Secret cannot be written.
    pub async fn remove_secret_key(
        &self,
        kind: SecretType,
        name: &str,
        key: &str,
    ) -> Result<bool, SecretError> {
        self.remove_object_key(kind, &object_name(kind, name), key).await
    }

    /// The same by the object's own name.
    pub(super) async fn remove_object_key(
        &self,
        kind: SecretType,
        object: &str,
        key: &str,
    ) -> Result<bool, SecretError> {
        let patch = json!({ "data": { key: null } });
        match self.secrets_api().patch(object, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(failed("change", kind, self.namespace(), error)),
        }
    }

    /// Deletes the whole Secret. Says whether there was one.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub async fn delete_secret(&self, kind: SecretType, name: &str) -> Result<bool, SecretError> {
        self.delete_object(kind, &object_name(kind, name)).await
    }

    /// The same by the object's own name.
    pub(super) async fn delete_object(&self, kind: SecretType, object: &str) -> Result<bool, SecretError> {
        match self.secrets_api().delete(object, &DeleteParams::default()).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(failed("delete", kind, self.namespace(), error)),
        }
    }

    /// Makes sure that a namespace exists: `sluice up` on an empty cluster needs two.
    ///
    /// # Errors
    /// When it cannot be created.
    pub async fn ensure_namespace(&self, name: &str) -> Result<(), kube::Error> {
        let api: Api<Namespace> = Api::all(self.client());
        let manifest = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&manifest)).await.map(drop)
    }

    async fn apply_secret(
        &self,
        kind: SecretType,
        object: &str,
        manager: &str,
        manifest: &serde_json::Value,
    ) -> Result<(), SecretError> {
        let manager: String = manager.chars().take(128).collect();
        let parameters = PatchParams::apply(&manager).force();
        let applied = self.secrets_api().patch(object, &parameters, &Patch::Apply(manifest)).await;
        applied.map(drop).map_err(|error| failed("write", kind, self.namespace(), error))
    }

    fn secrets_api(&self) -> Api<Object> {
        Api::namespaced(self.client(), self.namespace())
    }
}

fn failed(verb: &'static str, kind: SecretType, namespace: &str, error: kube::Error) -> SecretError {
    SecretError::Api { verb, kind: kind.as_str(), namespace: namespace.to_owned(), source: Box::new(error) }
}

fn entry(object: Object) -> Entry {
    let name = object.metadata.name.unwrap_or_default();
    let annotations = object.metadata.annotations.unwrap_or_default();
    let mut data = BTreeMap::new();
    for (key, value) in object.data.unwrap_or_default() {
        match String::from_utf8(value.0) {
            Ok(text) => {
                data.insert(key, Secret::new(text));
            }
            Err(error) => {
                error.into_bytes().zeroize();
                tracing::warn!(secret = %name, key = %key, "a value in a Secret is not UTF-8; it is not used");
            }
        }
    }
    Entry {
        name: annotations.get(NAME).cloned().unwrap_or_else(|| name.clone()),
        object: name,
        labels: object.metadata.labels.unwrap_or_default(),
        annotations,
        data,
    }
}

/// A valid object name for any name: readable where possible, with a hash where something had to go.
pub(super) fn object_name(kind: SecretType, name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(180)
        .collect();
    let trimmed = plain.trim_matches('-');
    let hash = &sluice_schemas::ids::hash_token(&[name])[..8];
    let prefix = format!("sluice-{kind}");
    if trimmed == name && !name.is_empty() {
        format!("{prefix}-{name}")
    } else if trimmed.is_empty() {
        format!("{prefix}-{hash}")
    } else {
        format!("{prefix}-{trimmed}-{hash}")
    }
}

fn is_valid_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 253
        && key != "."
        && key != ".."
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_names_are_valid_and_differ() {
        let names = ["dev_shop-web", "dev-shop-web", "Dev_shop", "127.0.0.1:5000", "_", "---", ""];
        let objects: std::collections::BTreeSet<_> =
            names.iter().map(|name| object_name(SecretType::Repository, name)).collect();
        assert_eq!(objects.len(), names.len());
        for object in objects {
            assert!(
                object.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{object}"
            );
            assert!(!object.ends_with('-') && object.len() <= 253, "{object}");
        }
        assert_eq!(object_name(SecretType::Signing, "grants-public"), "sluice-signing-grants-public");
    }

    #[test]
    fn keys_are_those_that_kubernetes_takes() {
        assert!(is_valid_key("DOCKER_TOKEN"));
        assert!(!is_valid_key("a b"));
        assert!(!is_valid_key(""));
    }
}
