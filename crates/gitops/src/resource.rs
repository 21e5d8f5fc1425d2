//! Names of Kubernetes objects: group, version, kind, namespace, name. Called by everything below.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Group, version and kind. The core group is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Gvk {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// What an object is called in a cluster. The version is left out: it is one object in every version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ObjectKey {
    pub group: String,
    pub kind: String,
    /// Empty for cluster-wide objects.
    pub namespace: String,
    pub name: String,
}

impl Gvk {
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// From `apiVersion` and `kind`, as they stand in a manifest.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        match api_version.split_once('/') {
            Some((group, version)) => Self::new(group, version, kind),
            None => Self::new("", api_version, kind),
        }
    }

    /// Of an object; `None` when `apiVersion` or `kind` is missing.
    pub fn of(object: &Value) -> Option<Self> {
        let api_version = object["apiVersion"].as_str().filter(|it| !it.is_empty())?;
        let kind = object["kind"].as_str().filter(|it| !it.is_empty())?;
        Some(Self::from_api_version(api_version, kind))
    }

    /// As `apiVersion` is written.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

impl ObjectKey {
    pub fn new(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Of an object as it stands: no default namespace is put in.
    pub fn of(object: &Value) -> Option<Self> {
        let gvk = Gvk::of(object)?;
        let name = name_of(object).filter(|it| !it.is_empty())?;
        Some(Self::new(&gvk.group, &gvk.kind, namespace_of(object).unwrap_or_default(), name))
    }
}

/// `apps/Deployment/dev/web`, `Namespace/dev`.
impl fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.group, &self.kind, &self.namespace].into_iter().filter(|part| !part.is_empty()) {
            write!(out, "{part}/")?;
        }
        out.write_str(&self.name)
    }
}

/// `apps/v1 Deployment`.
impl fmt::Display for Gvk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.api_version(), self.kind)
    }
}

pub fn name_of(object: &Value) -> Option<&str> {
    object["metadata"]["name"].as_str()
}

pub fn namespace_of(object: &Value) -> Option<&str> {
    object["metadata"]["namespace"].as_str().filter(|it| !it.is_empty())
}

pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(key)?.as_str()
}

pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(key)?.as_str()
}

/// Writes an annotation, making `metadata.annotations` an object where it is absent or `null`.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(serde_json::Map::new());
    }
    let annotations = &mut object["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = Value::Object(serde_json::Map::new());
    }
    annotations[key] = Value::String(value.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_come_from_the_manifest() {
        let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "dev" } });
        assert_eq!(
            ObjectKey::of(&object).map(|key| key.to_string()).as_deref(),
            Some("apps/Deployment/dev/web")
        );
        assert_eq!(Gvk::of(&object).map(|gvk| gvk.api_version()).as_deref(), Some("apps/v1"));
        assert_eq!(Gvk::from_api_version("v1", "Pod"), Gvk::new("", "v1", "Pod"));
        assert_eq!(ObjectKey::of(&json!({ "kind": "Pod" })), None);
    }

    #[test]
    fn an_annotation_can_be_set_where_annotations_are_null() {
        let mut object = json!({ "metadata": { "annotations": null } });
        set_annotation(&mut object, "a", "b");
        assert_eq!(annotation(&object, "a"), Some("b"));
    }
}
