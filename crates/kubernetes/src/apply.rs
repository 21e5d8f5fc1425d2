//! Writing single objects: server-side apply (also as a dry run), get, create, replace, delete.
//!
//! Objects are JSON values throughout, one request each, no typed detour. Every write carries the field manager `sluice`.
//! Called by the reconciler alone.

use kube::api::{
    DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::core::Request;
use serde_json::Value;

use crate::annotations::FIELD_MANAGER;
use crate::discovery::Kind;

/// Why one object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server's own words: validation, immutable field, admission, missing namespace.
    #[error("{message}")]
    Refused { code: u16, reason: String, message: String },
    #[error("the manifest cannot be sent: {0}")]
    Request(#[source] kube::core::request::Error),
    #[error("the Kubernetes API did not answer: {0}")]
    Unreachable(#[source] Box<kube::Error>),
}

impl ApplyError {
    /// Whether the same request may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(code, 409 | 429 | 500 | 502 | 503 | 504),
            Self::Request(_) => false,
            Self::Unreachable(_) => true,
        }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }

    /// A change to an immutable field: only replacing the object helps.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Refused { code: 422, .. })
    }
}

/// How deletion treats dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Propagation {
    #[default]
    Foreground,
    Background,
    Orphan,
}

/// Writes objects of the kinds that discovery resolved. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    client: kube::Client,
}

impl Objects {
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// Server-side apply. The answer is the object as it now is (or, as a dry run, would be), without managed fields.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, kind: &Kind, object: &Value, dry_run: bool) -> Result<Value, ApplyError> {
        let (namespace, name) = place(object);
        let parameters = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER).force() };
        let request = Request::new(kind.path(namespace)).patch(name, &parameters, &Patch::Apply(object));
        self.send(request).await
    }

    /// Creates an object that must not exist yet; `generateName` is allowed. For hooks.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, ApplyError> {
        let (namespace, _) = place(object);
        let parameters = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let body = serde_json::to_vec(object).unwrap_or_default();
        self.send(Request::new(kind.path(namespace)).create(&parameters, body)).await
    }

    /// JSON merge patch.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn merge(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ApplyError> {
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.send(Request::new(kind.path(namespace)).patch(name, &parameters, &Patch::Merge(patch))).await
    }

    /// The object, or `None` when it does not exist.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Value>, ApplyError> {
        match self.send(Request::new(kind.path(namespace)).get(name, &GetParams::default())).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind in a namespace (everywhere when it is empty) that match a label selector.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn list(&self, kind: &Kind, namespace: &str, labels: &str) -> Result<Vec<Value>, ApplyError> {
        let parameters =
            if labels.is_empty() { ListParams::default() } else { ListParams::default().labels(labels) };
        let mut list = self.send(Request::new(kind.path(namespace)).list(&parameters)).await?;
        let Value::Array(mut items) = list["items"].take() else { return Ok(Vec::new()) };
        for item in &mut items {
            // Items of a list carry neither.
            item["apiVersion"] = kind.gvk.api_version().into();
            item["kind"] = kind.gvk.kind.clone().into();
            strip(item);
        }
        Ok(items)
    }

    /// Deletes an object, if given only the very one with this uid. Says whether there was one.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn delete(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        propagation: Propagation,
    ) -> Result<bool, ApplyError> {
        let parameters = DeleteParams {
            propagation_policy: Some(match propagation {
                Propagation::Foreground => PropagationPolicy::Foreground,
                Propagation::Background => PropagationPolicy::Background,
                Propagation::Orphan => PropagationPolicy::Orphan,
            }),
            preconditions: uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.send(Request::new(kind.path(namespace)).delete(name, &parameters)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, ApplyError> {
        let request = request.map_err(ApplyError::Request)?;
        match self.client.request::<Value>(request).await {
            Ok(mut object) => {
                strip(&mut object);
                Ok(object)
            }
            Err(kube::Error::Api(status)) => Err(ApplyError::Refused {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
            }),
            Err(error) => Err(ApplyError::Unreachable(Box::new(error))),
        }
    }
}

fn place(object: &Value) -> (&str, &str) {
    let metadata = &object["metadata"];
    (metadata["namespace"].as_str().unwrap_or_default(), metadata["name"].as_str().unwrap_or_default())
}

/// Managed fields are half of an object's size and nobody here reads them.
pub(crate) fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}
