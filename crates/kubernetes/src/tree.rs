//! What grew out of an application's objects: ReplicaSets, Pods and Jobs found by owner references.
//!
//! Asked for when a person looks at the tree; nothing is watched or held for it. Called by the API server.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use sluice_gitops::{Gvk, Health, ObjectKey, health};

use crate::apply::{ApplyError, Objects, strip};
use crate::client::Cluster;
use crate::discovery::Kind;

/// Kinds that controllers make, from the outside in.
const CHILD_KINDS: [(&str, &str, &str, &str); 5] = [
    ("apps", "v1", "ReplicaSet", "replicasets"),
    ("apps", "v1", "ControllerRevision", "controllerrevisions"),
    ("batch", "v1", "Job", "jobs"),
    ("", "v1", "Pod", "pods"),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
];

/// One object below an application's own.
#[derive(Clone, Debug)]
pub struct Descendant {
    pub key: ObjectKey,
    pub version: String,
    pub uid: String,
    pub parent: ObjectKey,
    pub parent_uid: String,
    pub health: Option<Health>,
    pub images: Vec<String>,
    pub created_at: Option<String>,
    /// The object itself, without managed fields.
    pub object: Value,
}

impl Cluster {
    /// Everything that descends from objects with these uids in these namespaces, parents before children.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn descendants(
        &self,
        namespaces: &BTreeSet<String>,
        roots: &HashMap<String, ObjectKey>,
    ) -> Result<Vec<Descendant>, ApplyError> {
        let objects = Objects::new(self.client());
        let mut known: HashMap<String, ObjectKey> = roots.clone();
        let mut found = Vec::new();
        for namespace in namespaces {
            for kind in CHILD_KINDS.map(child_kind) {
                for object in objects.list(&kind, namespace, "").await? {
                    if let Some(child) = descendant(object, &known) {
                        known.insert(child.uid.clone(), child.key.clone());
                        found.push(child);
                    }
                }
            }
        }
        Ok(found)
    }

    /// One live object by its full name, without managed fields; `None` when it does not exist. Secrets' values are in
    /// it: whoever shows it redacts it.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn live_object(
        &self,
        gvk: &Gvk,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ApplyError> {
        let kind = Kind {
            gvk: gvk.clone(),
            plural: plural.to_owned(),
            namespaced: !namespace.is_empty(),
            watchable: true,
        };
        let mut object = Objects::new(self.client()).get(&kind, namespace, name).await?;
        if let Some(object) = &mut object {
            strip(object);
        }
        Ok(object)
    }
}

fn child_kind((group, version, kind, plural): (&str, &str, &str, &str)) -> Kind {
    Kind { gvk: Gvk::new(group, version, kind), plural: plural.to_owned(), namespaced: true, watchable: true }
}

fn descendant(object: Value, known: &HashMap<String, ObjectKey>) -> Option<Descendant> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let (parent_uid, parent) = owners.iter().find_map(|owner| {
        let uid = owner["uid"].as_str()?;
        Some((uid.to_owned(), known.get(uid)?.clone()))
    })?;
    Some(Descendant {
        key: ObjectKey::of(&object)?,
        version: Gvk::of(&object)?.version,
        uid: object["metadata"]["uid"].as_str()?.to_owned(),
        parent,
        parent_uid,
        health: health::of(&object),
        images: sluice_gitops::compare::images([&object]),
        created_at: object["metadata"]["creationTimestamp"].as_str().map(str::to_owned),
        object,
    })
}
