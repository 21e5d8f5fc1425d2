//! Reading, writing and watching Applications and AppProjects.
//!
//! Applications are read as JSON first and typed after, so that one object that does not fit the type is one error and
//! not the end of the list. Called by the reconciler, the API server and the command.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::discovery::ApiResource;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::annotations::{FIELD_MANAGER, REFRESH};
use crate::application::Application;
use crate::client::Cluster;
use crate::project::AppProject;
use crate::status::ApplicationStatus;

/// Why an Application or AppProject could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    #[error("{kind} `{name}` does not exist in the namespace `{namespace}`")]
    Missing { kind: &'static str, name: String, namespace: String },
    #[error("{kind} `{name}` is not valid: {source}")]
    Invalid { kind: &'static str, name: String, source: serde_json::Error },
    #[error(
        "the cluster has no `{kind}` kind: install the CRDs with `kubectl apply -k k8s/base` or start `sluice up`"
    )]
    NoCrd { kind: &'static str },
    #[error("the Kubernetes API refused: {0}")]
    Api(#[source] Box<kube::Error>),
}

/// What a watch reports.
#[derive(Debug)]
pub enum Change<T> {
    /// An object that is there: in the first listing, new or changed.
    Present(Box<T>),
    /// An object that went, with its last state.
    Gone(Box<T>),
    /// An object that is there but does not fit the type.
    Broken { name: String, error: ApplicationError },
    /// The whole listing was delivered. `names` are all that exist, valid or not.
    Listed { names: Vec<String> },
}

/// Kinds that this module handles.
pub trait Declared: kube::Resource<DynamicType = ()> + DeserializeOwned + Send + 'static {
    const KIND: &'static str;
}

impl Declared for Application {
    const KIND: &'static str = "Application";
}

impl Declared for AppProject {
    const KIND: &'static str = "AppProject";
}

/// A stream that never ends by itself: it reconnects with back-off.
pub type Changes<T> = Pin<Box<dyn Stream<Item = Change<T>> + Send>>;

impl Cluster {
    /// All Applications, each with its raw JSON beside the typed form.
    ///
    /// # Errors
    /// When the listing fails as a whole.
    pub async fn applications(&self) -> Result<Vec<Result<Application, ApplicationError>>, ApplicationError> {
        self.list_declared().await
    }

    /// All AppProjects.
    ///
    /// # Errors
    /// When the listing fails as a whole.
    pub async fn projects(&self) -> Result<Vec<Result<AppProject, ApplicationError>>, ApplicationError> {
        self.list_declared().await
    }

    /// One Application.
    ///
    /// # Errors
    /// When there is none, or it does not fit the type.
    pub async fn application(&self, name: &str) -> Result<Application, ApplicationError> {
        typed(self.declared_json::<Application>(name).await?)
    }

    /// One Application exactly as the API server holds it, unknown fields and all (without managed fields).
    ///
    /// # Errors
    /// When there is none.
    pub async fn application_json(&self, name: &str) -> Result<Value, ApplicationError> {
        self.declared_json::<Application>(name).await
    }

    /// One AppProject. `default` exists even where nobody created it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn project(&self, name: &str) -> Result<AppProject, ApplicationError> {
        match self.declared_json::<AppProject>(name).await {
            Ok(value) => typed(value),
            Err(ApplicationError::Missing { .. }) if name == "default" => Ok(AppProject::permissive(name)),
            Err(error) => Err(error),
        }
    }

    /// Creates or updates an Application or AppProject from the user's JSON, by server-side apply.
    ///
    /// # Errors
    /// When the object is refused.
    pub async fn apply_declared<T: Declared>(&self, mut object: Value) -> Result<Value, ApplicationError> {
        object["apiVersion"] = T::api_version(&()).into();
        object["kind"] = T::KIND.into();
        object["metadata"]["namespace"] = self.applications_namespace().into();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let api = self.declared::<T>();
        let applied =
            api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&object)).await;
        applied.map(plain).map_err(|error| failed::<T>(&name, self.applications_namespace(), error))
    }

    /// Changes parts of an Application by JSON merge patch.
    ///
    /// # Errors
    /// When there is none, or the patch is refused.
    pub async fn patch_application(&self, name: &str, patch: &Value) -> Result<Value, ApplicationError> {
        let api = self.declared::<Application>();
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(plain).map_err(|error| failed::<Application>(name, self.applications_namespace(), error))
    }

    /// Asks for a fresh comparison, as `kubectl annotate` would.
    ///
    /// # Errors
    /// When there is no such Application.
    pub async fn request_refresh(&self, name: &str, hard: bool) -> Result<(), ApplicationError> {
        let kind = if hard { "hard" } else { "normal" };
        self.patch_application(name, &json!({ "metadata": { "annotations": { REFRESH: kind } } }))
            .await
            .map(drop)
    }

    /// Writes `.status`, and takes away the refresh annotation or the `.operation` that has been dealt with. `before` is
    /// what this process wrote last; nothing is sent when nothing changed.
    ///
    /// # Errors
    /// When there is no such Application.
    pub async fn write_status(
        &self,
        name: &str,
        before: Option<&ApplicationStatus>,
        status: &ApplicationStatus,
        refreshed: bool,
        operation_taken: bool,
    ) -> Result<(), ApplicationError> {
        let old = before.and_then(|it| serde_json::to_value(it).ok()).unwrap_or(Value::Null);
        let new = serde_json::to_value(status).unwrap_or_default();
        let mut patch = json!({});
        if let Some(changed) = merge_patch(&old, &new) {
            patch["status"] = changed;
        }
        if refreshed {
            patch["metadata"] = json!({ "annotations": { REFRESH: Value::Null } });
        }
        if operation_taken {
            patch["operation"] = Value::Null;
        }
        if patch == json!({}) {
            return Ok(());
        }
        self.patch_application(name, &patch).await.map(drop)
    }

    /// Deletes an Application; what it manages goes with it only if its finalizer says so.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_application(&self, name: &str) -> Result<(), ApplicationError> {
        let deleted = self.declared::<Application>().delete(name, &DeleteParams::default()).await;
        deleted.map(drop).map_err(|error| failed::<Application>(name, self.applications_namespace(), error))
    }

    /// Watches all Applications or all AppProjects.
    pub fn watch_declared<T: Declared>(&self) -> Changes<T> {
        let api = self.declared::<T>();
        let stream = watcher(api, watcher::Config::default()).default_backoff();
        let mut listing: Vec<String> = Vec::new();
        let changes = stream.filter_map(move |event| {
            let change = match event {
                Ok(watcher::Event::Apply(object)) => Some(present(object)),
                Ok(watcher::Event::Delete(object)) => {
                    let name = object.metadata.name.clone().unwrap_or_default();
                    Some(match typed(plain(object)) {
                        Ok(object) => Change::Gone(Box::new(object)),
                        Err(error) => Change::Broken { name, error },
                    })
                }
                Ok(watcher::Event::Init) => {
                    listing.clear();
                    None
                }
                Ok(watcher::Event::InitApply(object)) => {
                    listing.push(object.metadata.name.clone().unwrap_or_default());
                    Some(present(object))
                }
                Ok(watcher::Event::InitDone) => Some(Change::Listed { names: std::mem::take(&mut listing) }),
                Err(error) => {
                    tracing::warn!(kind = T::KIND, error = %error, "failed to watch; trying again");
                    None
                }
            };
            std::future::ready(change)
        });
        Box::pin(changes)
    }

    async fn list_declared<T: Declared>(&self) -> Result<Vec<Result<T, ApplicationError>>, ApplicationError> {
        let listed = self.declared::<T>().list(&ListParams::default()).await;
        let listed = listed.map_err(|error| failed::<T>("*", self.applications_namespace(), error))?;
        Ok(listed.items.into_iter().map(|object| typed(plain(object))).collect())
    }

    async fn declared_json<T: Declared>(&self, name: &str) -> Result<Value, ApplicationError> {
        let found = self.declared::<T>().get(name).await;
        found.map(plain).map_err(|error| failed::<T>(name, self.applications_namespace(), error))
    }

    fn declared<T: Declared>(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), self.applications_namespace(), &ApiResource::erase::<T>(&()))
    }
}

/// Types a raw object; the error names it.
///
/// # Errors
/// When it does not fit.
pub fn typed<T: Declared>(value: Value) -> Result<T, ApplicationError> {
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    serde_json::from_value(value).map_err(|source| ApplicationError::Invalid { kind: T::KIND, name, source })
}

/// The JSON merge patch that makes `new` of `old`: what is not in `new` any more is named as `null`.
fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = serde_json::Map::new();
    for (key, value) in after {
        if let Some(changed) = merge_patch(before.get(key).unwrap_or(&Value::Null), value) {
            patch.insert(key.clone(), changed);
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn present<T: Declared>(object: DynamicObject) -> Change<T> {
    let name = object.metadata.name.clone().unwrap_or_default();
    match typed(plain(object)) {
        Ok(object) => Change::Present(Box::new(object)),
        Err(error) => Change::Broken { name, error },
    }
}

fn plain(mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    serde_json::to_value(object).unwrap_or_default()
}

fn failed<T: Declared>(name: &str, namespace: &str, error: kube::Error) -> ApplicationError {
    match &error {
        kube::Error::Api(status) if status.code == 404 => {
            // The same code says "no such object" and "no such kind"; only the former names the object.
            if status.details.as_ref().is_some_and(|details| !details.name.is_empty()) {
                ApplicationError::Missing {
                    kind: T::KIND,
                    name: name.to_owned(),
                    namespace: namespace.to_owned(),
                }
            } else {
                ApplicationError::NoCrd { kind: T::KIND }
            }
        }
        _ => ApplicationError::Api(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_names_what_went_and_only_what_changed() {
        let old = json!({ "a": 1, "b": { "c": 1, "d": 2 }, "e": [1], "g": { "x": 1 } });
        let new = json!({ "a": 1, "b": { "c": 2 }, "e": [1, 2], "f": { "y": 1 }, "g": { "x": 1 } });
        let patch = merge_patch(&old, &new);
        assert_eq!(patch, Some(json!({ "b": { "c": 2, "d": null }, "e": [1, 2], "f": { "y": 1 } })));
        assert_eq!(merge_patch(&new, &new), None);
        assert_eq!(merge_patch(&Value::Null, &new), Some(new));
    }
}
