//! Which kinds the cluster has: two aggregated discovery requests, cached.
//!
//! A kind that is not there is a typed answer, not a failure: manifests with `extensions/v1beta1` are reported object by
//! object. Asking for an unknown kind refreshes the cache at most once in [`REFRESH_AFTER`], so that a broken manifest does
//! not cost requests on every comparison; [`Discovery::invalidate`] is called when a CRD changes. Called by `apply`, `cache`
//! and the reconciler.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::discovery::{ApiCapabilities, ApiResource, Scope, verbs};
use sluice_gitops::Gvk;

/// How long a "there is no such kind" is believed.
pub const REFRESH_AFTER: Duration = Duration::from_secs(30);

/// A kind that the cluster has.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    pub gvk: Gvk,
    pub plural: String,
    pub namespaced: bool,
    /// Can be listed and watched.
    pub watchable: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The manifest is about something that this cluster does not have.
    #[error("the cluster has no kind `{gvk}`{hint}")]
    UnknownKind { gvk: Gvk, hint: String },
    #[error("failed to ask the Kubernetes API which kinds it has: {0}")]
    Api(#[source] Box<kube::Error>),
}

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct Discovery {
    client: kube::Client,
    state: Arc<Mutex<State>>,
    refreshing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    kinds: HashMap<Gvk, Kind>,
    refreshed: Option<Instant>,
}

impl Discovery {
    pub fn new(client: kube::Client) -> Self {
        Self { client, state: Arc::default(), refreshing: Arc::default() }
    }

    /// The kind behind a manifest's `apiVersion` and `kind`.
    ///
    /// # Errors
    /// `UnknownKind` when the cluster lacks it.
    pub async fn resolve(&self, gvk: &Gvk) -> Result<Kind, DiscoveryError> {
        if let Some(kind) = self.cached(gvk) {
            return Ok(kind);
        }
        self.refresh_if_older_than(REFRESH_AFTER).await?;
        self.cached(gvk).ok_or_else(|| self.unknown(gvk))
    }

    /// The preferred version of a kind, for objects that are known only by key.
    ///
    /// # Errors
    /// `UnknownKind` when the cluster lacks it.
    pub async fn resolve_any(&self, group: &str, kind: &str) -> Result<Kind, DiscoveryError> {
        for attempt in 0..2 {
            if attempt == 1 {
                self.refresh_if_older_than(REFRESH_AFTER).await?;
            }
            let state = self.lock();
            let found = state.kinds.values().filter(|it| it.gvk.group == group && it.gvk.kind == kind);
            if let Some(kind) = found.max_by_key(|it| stability(&it.gvk.version)) {
                return Ok(kind.clone());
            }
        }
        Err(self.unknown(&Gvk::new(group, "*", kind)))
    }

    /// Every kind, in no order.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn all(&self) -> Result<Vec<Kind>, DiscoveryError> {
        self.refresh_if_older_than(Duration::from_secs(3600)).await?;
        Ok(self.lock().kinds.values().cloned().collect())
    }

    /// Forgets when it last looked: the next unknown kind is looked up at once.
    pub fn invalidate(&self) {
        self.lock().refreshed = None;
    }

    fn cached(&self, gvk: &Gvk) -> Option<Kind> {
        self.lock().kinds.get(gvk).cloned()
    }

    async fn refresh_if_older_than(&self, age: Duration) -> Result<(), DiscoveryError> {
        let _one_at_a_time = self.refreshing.lock().await;
        if self.lock().refreshed.is_some_and(|at| at.elapsed() < age) {
            return Ok(());
        }
        let discovered = kube::discovery::Discovery::new(self.client.clone());
        let discovered =
            discovered.run_aggregated().await.map_err(|error| DiscoveryError::Api(Box::new(error)))?;
        let mut kinds = HashMap::new();
        for group in discovered.groups() {
            for version in group.versions() {
                for (resource, capabilities) in group.versioned_resources(version) {
                    let kind = kind_of(&resource, &capabilities);
                    kinds.insert(kind.gvk.clone(), kind);
                }
            }
        }
        let mut state = self.lock();
        state.kinds = kinds;
        state.refreshed = Some(Instant::now());
        Ok(())
    }

    fn unknown(&self, gvk: &Gvk) -> DiscoveryError {
        let state = self.lock();
        let mut elsewhere: Vec<_> = state
            .kinds
            .keys()
            .filter(|it| it.kind == gvk.kind && **it != *gvk)
            .map(Gvk::api_version)
            .collect();
        elsewhere.sort();
        let hint = if elsewhere.is_empty() {
            "; install its CustomResourceDefinition or remove the object".to_owned()
        } else {
            format!(
                "; it serves `{}` as {}: change the manifest's apiVersion",
                gvk.kind,
                elsewhere.join(", ")
            )
        };
        DiscoveryError::UnknownKind { gvk: gvk.clone(), hint }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    /// The URL of the collection, for example `/apis/apps/v1/namespaces/dev/deployments`.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.gvk.group.is_empty() { "/api" } else { "/apis" };
        let version = self.gvk.api_version();
        if self.namespaced && !namespace.is_empty() {
            format!("{root}/{version}/namespaces/{namespace}/{}", self.plural)
        } else {
            format!("{root}/{version}/{}", self.plural)
        }
    }

    pub(crate) fn resource(&self) -> ApiResource {
        ApiResource {
            group: self.gvk.group.clone(),
            version: self.gvk.version.clone(),
            api_version: self.gvk.api_version(),
            kind: self.gvk.kind.clone(),
            plural: self.plural.clone(),
        }
    }
}

fn kind_of(resource: &ApiResource, capabilities: &ApiCapabilities) -> Kind {
    Kind {
        gvk: Gvk::new(&resource.group, &resource.version, &resource.kind),
        plural: resource.plural.clone(),
        namespaced: capabilities.scope == Scope::Namespaced,
        watchable: capabilities.supports_operation(verbs::LIST)
            && capabilities.supports_operation(verbs::WATCH),
    }
}

/// `v1` before `v1beta1` before `v1alpha1`; higher numbers first within one level.
fn stability(version: &str) -> (u8, String) {
    let level = if version.contains("alpha") {
        0
    } else if version.contains("beta") {
        1
    } else {
        2
    };
    (level, version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_scope_and_group() {
        let mut kind = Kind {
            gvk: Gvk::new("apps", "v1", "Deployment"),
            plural: "deployments".into(),
            namespaced: true,
            watchable: true,
        };
        assert_eq!(kind.path("dev"), "/apis/apps/v1/namespaces/dev/deployments");
        assert_eq!(kind.path(""), "/apis/apps/v1/deployments");
        kind.gvk = Gvk::new("", "v1", "Namespace");
        kind.namespaced = false;
        assert_eq!(kind.path("dev"), "/api/v1/deployments");
    }

    #[test]
    fn stable_versions_are_preferred() {
        assert!(stability("v1") > stability("v2beta2"));
        assert!(stability("v1beta1") > stability("v1alpha9"));
    }
}
