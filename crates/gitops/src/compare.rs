//! Comparing one object: what the cluster would hold after an apply, against what it holds.
//!
//! The API server itself predicts the result (server-side apply as a dry run), so defaults, mutation and field ownership
//! need no model here. What remains is to leave out what changes by itself and what the user declared not to be a
//! difference. Called by the reconciler for every object.

use serde_json::Value;

use crate::resource::{Gvk, ObjectKey};

/// One `ignoreDifferences` entry of an Application, resolved to pointers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    pub group: String,
    pub kind: String,
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub paths: Vec<Path>,
}

/// A path into an object; `Each` stands for every item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Each,
}

/// Why an ignore expression is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{expression}` in ignoreDifferences is not supported: write a JSON pointer (`/spec/replicas`) or a plain path (`.spec.template.spec.containers[].image`)"
)]
pub struct UnsupportedPath {
    pub expression: String,
}

impl Path {
    /// A JSON pointer; `~1` is `/` and `~0` is `~`.
    pub fn from_pointer(pointer: &str) -> Self {
        let parts = pointer.split('/').skip(1);
        Self(parts.map(|part| Segment::Key(part.replace("~1", "/").replace("~0", "~"))).collect())
    }

    /// The part of jq that people use for paths: `.a.b[]."c.d"["e"]`.
    ///
    /// # Errors
    /// When it is more than a path.
    pub fn from_jq(expression: &str) -> Result<Self, UnsupportedPath> {
        let unsupported = || UnsupportedPath { expression: expression.to_owned() };
        let mut segments = Vec::new();
        let mut rest = expression.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[]") {
                segments.push(Segment::Each);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("[\"").or_else(|| rest.strip_prefix(".[\"")) {
                let (key, after) = after.split_once("\"]").ok_or_else(unsupported)?;
                segments.push(Segment::Key(key.to_owned()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix(".\"") {
                let (key, after) = after.split_once('"').ok_or_else(unsupported)?;
                segments.push(Segment::Key(key.to_owned()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let end = after
                    .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
                    .unwrap_or(after.len());
                if end > 0 {
                    segments.push(Segment::Key(after[..end].to_owned()));
                } else if !after.starts_with("[]") {
                    return Err(unsupported());
                }
                rest = &after[end..];
            } else {
                return Err(unsupported());
            }
        }
        if segments.is_empty() { Err(unsupported()) } else { Ok(Self(segments)) }
    }

    /// Takes the field out of `object`, wherever the path leads.
    fn remove(&self, object: &mut Value) {
        remove(object, &self.0);
    }
}

impl Ignore {
    fn is_about(&self, key: &ObjectKey) -> bool {
        let wild = |pattern: &str, value: &str| pattern == "*" || pattern == value;
        wild(&self.group, &key.group)
            && wild(&self.kind, &key.kind)
            && self.name.as_deref().is_none_or(|name| name.is_empty() || name == key.name)
            && self.namespace.as_deref().is_none_or(|it| it.is_empty() || it == key.namespace)
    }
}

/// The object as it takes part in a comparison and is shown in a diff.
pub fn normalise(object: &Value, key: &ObjectKey, ignores: &[Ignore]) -> Value {
    let mut object = object.clone();
    for ignore in ignores.iter().filter(|ignore| ignore.is_about(key)) {
        for path in &ignore.paths {
            path.remove(&mut object);
        }
    }
    // Last, so that a map which the paths emptied is as absent as one that never was.
    strip_server_fields(&mut object);
    object
}

/// Whether two versions of an object are the same to a person.
pub fn is_same(predicted: &Value, live: &Value, key: &ObjectKey, ignores: &[Ignore]) -> bool {
    normalise(predicted, key, ignores) == normalise(live, key, ignores)
}

/// Whether everything that `wanted` says is so in `live`; what it does not say is left open. Lists must be as long.
pub fn is_part_of(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted
            .iter()
            .all(|(key, value)| live.get(key).map_or(value.is_null(), |live| is_part_of(value, live))),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len()
                && wanted.iter().zip(live).all(|(wanted, live)| is_part_of(wanted, live))
        }
        (wanted, live) => wanted == live,
    }
}

/// Takes out everything that the API server writes by itself.
pub fn strip_server_fields(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    fields.remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in
            ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"]
        {
            metadata.remove(field);
        }
        for map in ["annotations", "labels"] {
            if metadata.get(map).is_some_and(|it| it.as_object().is_none_or(serde_json::Map::is_empty)) {
                metadata.remove(map);
            }
        }
    }
}

/// A desired object ready to be applied: with its namespace where the kind has one, and without fields that a user may
/// have exported by accident and that the API server would refuse (`managedFields`, `resourceVersion`, `uid`).
pub fn prepare(object: &mut Value, namespaced: bool, namespace: &str) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for field in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"] {
        metadata.remove(field);
    }
    for map in ["annotations", "labels"] {
        if metadata.get(map).is_some_and(Value::is_null) {
            metadata.remove(map);
        }
    }
    if !namespaced {
        metadata.remove("namespace");
    } else if metadata.get("namespace").and_then(Value::as_str).is_none_or(str::is_empty) {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
}

/// Every image of the pods that an object makes, sorted, without repeats.
pub fn images<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    for object in objects {
        let Some(gvk) = Gvk::of(object) else { continue };
        let pod = match (gvk.group.as_str(), gvk.kind.as_str()) {
            ("", "Pod") => "/spec",
            ("batch", "CronJob") => "/spec/jobTemplate/spec/template/spec",
            ("apps" | "batch" | "", _) => "/spec/template/spec",
            _ => continue,
        };
        for list in ["initContainers", "containers"] {
            let containers = object.pointer(pod).and_then(|spec| spec.get(list)).and_then(Value::as_array);
            let images = containers.into_iter().flatten().filter_map(|it| it.get("image")?.as_str());
            found.extend(images.map(str::to_owned));
        }
    }
    found.into_iter().collect()
}

fn remove(value: &mut Value, path: &[Segment]) {
    let Some((first, rest)) = path.split_first() else { return };
    match (first, value) {
        (Segment::Each, Value::Array(items)) if rest.is_empty() => items.clear(),
        (Segment::Each, Value::Array(items)) => items.iter_mut().for_each(|item| remove(item, rest)),
        (Segment::Key(key), Value::Object(fields)) if rest.is_empty() => drop(fields.remove(key)),
        (Segment::Key(key), Value::Object(fields)) => {
            if let Some(inner) = fields.get_mut(key) {
                remove(inner, rest);
            }
        }
        (Segment::Key(key), Value::Array(items)) => {
            let Ok(index) = key.parse::<usize>() else { return };
            if rest.is_empty() && index < items.len() {
                items.remove(index);
            } else if let Some(item) = items.get_mut(index) {
                remove(item, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key() -> ObjectKey {
        ObjectKey::new("apps", "Deployment", "dev", "web")
    }

    #[test]
    fn what_the_server_writes_is_no_difference() {
        let live = json!({ "metadata": { "name": "web", "resourceVersion": "7", "generation": 3, "annotations": {} }, "spec": 1, "status": { "a": 1 } });
        let predicted =
            json!({ "metadata": { "name": "web", "resourceVersion": "9", "uid": "x" }, "spec": 1 });
        assert!(is_same(&predicted, &live, &key(), &[]));
        let other = json!({ "metadata": { "name": "web", "annotations": { "a": "b" } }, "spec": 1 });
        assert!(!is_same(&other, &live, &key(), &[]));
    }

    #[test]
    fn a_part_is_a_part() {
        let live = json!({ "spec": { "replicas": 1, "list": [{ "a": 1, "b": 2 }] }, "x": 1 });
        assert!(is_part_of(&json!({ "spec": { "list": [{ "a": 1 }] }, "y": null }), &live));
        assert!(!is_part_of(&json!({ "spec": { "replicas": 2 } }), &live));
        assert!(!is_part_of(&json!({ "spec": { "list": [] } }), &live));
    }

    #[test]
    fn ignored_paths_are_no_difference() {
        let ignore = Ignore {
            group: "apps".into(),
            kind: "Deployment".into(),
            paths: vec![
                Path::from_pointer("/spec/replicas"),
                Path::from_jq(".spec.template.spec.containers[].image").expect("a path"),
                Path::from_pointer("/metadata/annotations/a.b~1c"),
                Path::from_jq(r#".metadata.annotations["x/y"]"#).expect("a path"),
            ],
            ..Ignore::default()
        };
        let left = json!({ "metadata": { "annotations": { "a.b/c": "1", "x/y": "1" } }, "spec": { "replicas": 1, "template": { "spec": { "containers": [{ "name": "c", "image": "a" }] } } } });
        let right = json!({ "metadata": {}, "spec": { "replicas": 3, "template": { "spec": { "containers": [{ "name": "c", "image": "b" }] } } } });
        assert!(is_same(&left, &right, &key(), std::slice::from_ref(&ignore)));
        assert!(!is_same(&left, &right, &ObjectKey::new("apps", "StatefulSet", "dev", "web"), &[ignore]));
    }

    #[test]
    fn more_than_a_path_is_refused_by_name() {
        for expression in [".spec.containers[] | select(.name == \"x\")", "del(.a)", "", ".", ".a["] {
            assert_eq!(
                Path::from_jq(expression),
                Err(UnsupportedPath { expression: expression.to_owned() }),
                "{expression}"
            );
        }
    }

    #[test]
    fn objects_are_made_ready_to_apply() {
        let mut object = json!({ "metadata": { "name": "web", "annotations": null, "resourceVersion": "1" }, "status": {} });
        prepare(&mut object, true, "dev");
        assert_eq!(object, json!({ "metadata": { "name": "web", "namespace": "dev" } }));
        prepare(&mut object, false, "dev");
        assert_eq!(object, json!({ "metadata": { "name": "web" } }));
    }

    #[test]
    fn images_are_found_in_every_workload() {
        let pod = json!({ "initContainers": [{ "image": "i" }], "containers": [{ "image": "b" }, { "image": "a" }] });
        let deployment =
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "template": { "spec": pod } } });
        let cron = json!({ "apiVersion": "batch/v1", "kind": "CronJob", "spec": { "jobTemplate": { "spec": { "template": { "spec": { "containers": [{ "image": "c" }] } } } } } });
        assert_eq!(images([&deployment, &cron, &json!({})]), ["a", "b", "c", "i"]);
    }

    proptest::proptest! {
        #[test]
        fn any_expression_is_a_path_or_refused(text in "[.a\\[\\]\"|/~0-9 ]{0,20}") {
            if let Ok(path) = Path::from_jq(&text) {
                path.remove(&mut json!({ "a": [{ "a": 1 }], "": [[]] }));
            }
            Path::from_pointer(&text).remove(&mut json!({ "a": [{ "a": 1 }], "0": [[]] }));
        }
    }
}
