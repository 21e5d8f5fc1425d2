//! Manifests made ready: tracked, with namespaces, kinds resolved, and checked against the project.
//!
//! Done once for each (manifests, Application spec); comparisons and syncs use the result as it is. Called by the
//! application's actor.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use sluice_gitops::compare::{Ignore, Path, prepare};
use sluice_gitops::{Gvk, ObjectKey, SyncOptions, manifest, tracking};
use sluice_kubernetes::discovery::{DiscoveryError, Kind};
use sluice_kubernetes::{AppProject, Application};
use sluice_schemas::ids::hash_token;
use sluice_schemas::{Digest, Sha};

use crate::context::Context;
use crate::policy;

/// What is wanted: one revision's manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) revision: Sha,
    pub(crate) manifests: Digest,
}

/// One desired object.
#[derive(Clone, Debug)]
pub(crate) struct DesiredObject {
    pub(crate) key: ObjectKey,
    pub(crate) gvk: Gvk,
    pub(crate) options: SyncOptions,
    pub(crate) manifest: Arc<Value>,
    /// Of the manifest.
    pub(crate) hash: String,
    pub(crate) kind: Resolution,
}

/// Whether an object can be sent to the cluster.
#[derive(Clone, Debug)]
pub(crate) enum Resolution {
    Known(Kind),
    /// Its CustomResourceDefinition is part of the same manifests.
    DefinedHere,
    /// In words for a person.
    Refused(String),
}

/// Everything desired at one revision.
pub(crate) struct Desired {
    pub(crate) target: Target,
    pub(crate) objects: Vec<DesiredObject>,
    pub(crate) keys: HashSet<ObjectKey>,
    /// The Application itself, if it is among its own objects.
    pub(crate) own: ObjectKey,
    pub(crate) namespace: String,
    pub(crate) ignores: Vec<Ignore>,
    /// Warnings about the manifests and the spec.
    pub(crate) warnings: Vec<String>,
    /// Some kinds were not known: worth resolving again.
    pub(crate) unresolved: bool,
}

/// Why manifests could not be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DesiredError {
    #[error("failed to read the rendered manifests: {0}")]
    Store(#[from] sluice_bus::ObjectError),
    #[error("the rendered manifests {0} are not a list of objects: {1}")]
    Content(Digest, serde_json::Error),
    #[error("{0}")]
    Discovery(DiscoveryError),
}

impl Desired {
    /// Fetches the manifests by digest (which the store verifies) and makes them ready.
    pub(crate) async fn load(
        context: &Context,
        app: &Application,
        project: &AppProject,
        target: Target,
    ) -> Result<Self, DesiredError> {
        let bytes = context.manifests.get(&target.manifests).await?;
        let objects = manifest::from_canonical(&bytes)
            .map_err(|error| DesiredError::Content(target.manifests.clone(), error))?;
        Self::make(context, app, project, target, objects).await
    }

    async fn make(
        context: &Context,
        app: &Application,
        project: &AppProject,
        target: Target,
        objects: Vec<Value>,
    ) -> Result<Self, DesiredError> {
        let own = ObjectKey::new("argoproj.io", "Application", app.namespace(), app.name());
        let namespace = app.spec.destination.namespace.clone().unwrap_or_default();
        let namespace = if namespace.is_empty() { "default".to_owned() } else { namespace };
        let (ignores, mut warnings) = ignores(app);
        let defined: HashSet<_> = objects.iter().filter_map(defines).collect();
        let mut unresolved = false;
        let mut found: BTreeMap<ObjectKey, DesiredObject> = BTreeMap::new();
        for mut object in objects {
            let Some(gvk) = Gvk::of(&object) else { continue };
            let resolution = match context.discovery.resolve(&gvk).await {
                Ok(kind) => Resolution::Known(kind),
                Err(DiscoveryError::UnknownKind { .. })
                    if defined.contains(&(gvk.group.clone(), gvk.kind.clone())) =>
                {
                    unresolved = true;
                    Resolution::DefinedHere
                }
                Err(error @ DiscoveryError::UnknownKind { .. }) => {
                    unresolved = true;
                    Resolution::Refused(error.to_string())
                }
                Err(error) => return Err(DesiredError::Discovery(error)),
            };
            let namespaced = match &resolution {
                Resolution::Known(kind) => kind.namespaced,
                _ => true,
            };
            prepare(&mut object, namespaced, &namespace);
            name_generated(&mut object, &target);
            let Some(key) = ObjectKey::of(&object) else { continue };
            let own_namespace = context.cluster.namespace();
            let permitted = if policy::is_off_limits(own_namespace, &key) {
                Err(format!(
                    "the namespace `{own_namespace}` holds Sluice's own keys; no application may write there"
                ))
            } else {
                policy::permits_object(app, project, &gvk, namespaced, &key.namespace)
            };
            let kind = match (resolution, permitted) {
                (Resolution::Known(_) | Resolution::DefinedHere, Err(reason)) => Resolution::Refused(reason),
                (resolution, _) => resolution,
            };
            // The Application needs no mark that it belongs to itself, and would be out of sync from birth for want of it.
            if key != own {
                tracking::mark(&mut object, app.name(), &namespace);
            }
            let options = SyncOptions::of(&object);
            let hash = hash_token(&[&object.to_string()]);
            let desired =
                DesiredObject { key: key.clone(), gvk, options, manifest: Arc::new(object), hash, kind };
            if found.insert(key.clone(), desired).is_some() {
                warnings.push(format!("{key} is declared more than once; the last one counts"));
            }
        }
        let keys = found.keys().cloned().collect();
        Ok(Self {
            target,
            objects: found.into_values().collect(),
            keys,
            own,
            namespace,
            ignores,
            warnings,
            unresolved,
        })
    }

    /// Kinds to be watched.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = Vec::new();
        for object in &self.objects {
            if let Resolution::Known(kind) = &object.kind
                && !kinds.iter().any(|it| it.gvk == kind.gvk)
            {
                kinds.push(kind.clone());
            }
        }
        kinds
    }

    /// Where its objects lie: the destination, and what the manifests name.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = String> {
        let named = self.keys.iter().map(|key| key.namespace.clone()).filter(|it| !it.is_empty());
        named.chain([self.namespace.clone()])
    }

    pub(crate) fn find(&self, key: &ObjectKey) -> Option<&DesiredObject> {
        self.objects.iter().find(|object| object.key == *key)
    }

    /// Whether the manifests themselves hold this namespace.
    pub(crate) fn declares_namespace(&self, name: &str) -> bool {
        self.keys.contains(&ObjectKey::new("", "Namespace", "", name))
    }
}

/// A `generateName` becomes a name that is the same in every run for this revision.
fn name_generated(object: &mut Value, target: &Target) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if metadata.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty()) {
        return;
    }
    if let Some(prefix) = metadata.remove("generateName").as_ref().and_then(Value::as_str) {
        metadata.insert("name".to_owned(), format!("{prefix}{}", target.revision.short()).into());
    }
}

/// Group and kind that a CustomResourceDefinition among the manifests will define.
fn defines(object: &Value) -> Option<(String, String)> {
    let gvk = Gvk::of(object)?;
    if !gvk.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        return None;
    }
    let spec = &object["spec"];
    Some((spec["group"].as_str()?.to_owned(), spec["names"]["kind"].as_str()?.to_owned()))
}

fn ignores(app: &Application) -> (Vec<Ignore>, Vec<String>) {
    let mut warnings = Vec::new();
    let mut ignores = Vec::new();
    for entry in &app.spec.ignore_differences {
        let mut paths: Vec<_> = entry.json_pointers.iter().map(|it| Path::from_pointer(it)).collect();
        for expression in &entry.jq_path_expressions {
            match Path::from_jq(expression) {
                Ok(path) => paths.push(path),
                Err(error) => warnings.push(error.to_string()),
            }
        }
        if !entry.managed_fields_managers.is_empty() {
            warnings.push(
                "managedFieldsManagers in ignoreDifferences is not supported: name the fields".to_owned(),
            );
        }
        ignores.push(Ignore {
            group: entry.group.clone().unwrap_or_default(),
            kind: entry.kind.clone(),
            name: entry.name.clone(),
            namespace: entry.namespace.clone(),
            paths,
        });
    }
    (ignores, warnings)
}
