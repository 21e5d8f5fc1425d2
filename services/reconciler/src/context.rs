//! What every part of the reconciler shares: connections, caches, stores, settings.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sluice_bus::topology::{Bucket, Store};
use sluice_bus::{Bus, Kv, Objects as ObjectStore};
use sluice_chassis::Service;
use sluice_gitops::{gate, redact};
use sluice_kubernetes::apply::Objects;
use sluice_kubernetes::cache::LiveCache;
use sluice_kubernetes::discovery::Discovery;
use sluice_kubernetes::{AppProject, Cluster};
use sluice_schemas::state::AppState;
use tokio::sync::watch;

use crate::config::Config;
use crate::gatekeeper::{ConsumedGrant, PublicKey};
use crate::metrics::ReconcilerMetrics;

/// Shared by all applications; lives as long as the process.
pub(crate) struct Context {
    pub(crate) service: Service,
    pub(crate) config: Config,
    pub(crate) bus: Bus,
    pub(crate) cluster: Cluster,
    pub(crate) discovery: Discovery,
    pub(crate) objects: Objects,
    pub(crate) live: LiveCache,
    pub(crate) redaction: redact::Key,
    pub(crate) metrics: ReconcilerMetrics,
    pub(crate) states: Kv<AppState>,
    pub(crate) gates: Kv<gate::Memory>,
    pub(crate) nonces: Kv<ConsumedGrant>,
    /// Order of the last rendering taken in: bucket `grants`, key `latest.<project>.<app>`.
    pub(crate) latest: Kv<u64>,
    pub(crate) manifests: ObjectStore,
    pub(crate) projects: Projects,
    pub(crate) key: PublicKey,
}

impl Context {
    pub(crate) fn new(
        service: &Service,
        config: &Config,
        bus: &Bus,
        cluster: &Cluster,
        live: LiveCache,
        redaction: redact::Key,
    ) -> Self {
        Self {
            service: service.clone(),
            config: config.clone(),
            bus: bus.clone(),
            cluster: cluster.clone(),
            discovery: Discovery::new(cluster.client()),
            objects: Objects::new(cluster.client()),
            live,
            redaction,
            metrics: ReconcilerMetrics::new(service.metrics()),
            states: bus.kv(Bucket::Apps),
            gates: bus.kv(Bucket::Grants),
            nonces: bus.kv(Bucket::Grants),
            latest: bus.kv(Bucket::Grants),
            manifests: bus.objects(Store::Manifests),
            projects: Projects::new(),
            key: PublicKey::new(cluster.clone()),
        }
    }
}

/// The AppProjects, followed by a watch.
pub(crate) struct Projects {
    known: RwLock<HashMap<String, Arc<AppProject>>>,
    listed: watch::Sender<bool>,
}

impl Projects {
    pub(crate) fn new() -> Self {
        Self { known: RwLock::default(), listed: watch::Sender::new(false) }
    }

    /// The project of this name. `default` exists even where nobody created it.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<AppProject>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(name).cloned();
        found.or_else(|| (name == "default").then(|| Arc::new(AppProject::permissive(name))))
    }

    pub(crate) fn put(&self, project: AppProject) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(project.name().to_owned(), Arc::new(project));
    }

    pub(crate) fn remove(&self, name: &str) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// The first listing is complete; before that nobody knows who is gated.
    pub(crate) fn set_listed(&self, names: &[String]) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| names.contains(name));
        self.listed.send_replace(true);
    }

    pub(crate) async fn wait_until_listed(&self) {
        // The sender lives in self, so the wait ends only with the listing.
        drop(self.listed.subscribe().wait_for(|listed| *listed).await);
    }
}
