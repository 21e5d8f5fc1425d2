//! The reconciler: keeps what runs in the cluster as Git says, and keeps the gate.
//!
//! Consumes pushes (asks for renderings), renderings (compares), and sync and refresh commands; watches Applications,
//! AppProjects and live objects; emits `evt.app.*`, `evt.sync.*` and `evt.grant.*.consumed|refused`. Invariants: every write
//! to a user's object happens inside an operation, under the application's lease and a permit; a gated application gives a
//! permit for a valid SyncGrant only; what cannot be compared is one object's error. The map:
//!
//! * [`handlers`] and [`watch`]: what the world tells; [`registry`]: who is told.
//! * [`actor`]: one application's mind. [`desired`], [`compare`], [`record`], [`status`]: its eyes and its notebook.
//! * [`gatekeeper`]: who may write. [`operation`]: the hand that writes.

mod actor;
mod compare;
mod config;
mod context;
mod convert;
mod desired;
mod gatekeeper;
mod handlers;
mod metrics;
mod operation;
mod policy;
mod record;
mod registry;
mod render;
mod state;
mod status;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use rand::RngCore;
use serde_json::Value;
use sluice_bus::{Bus, BusConfig};
use sluice_chassis::{Secret, Service};
use sluice_gitops::redact;
use sluice_kubernetes::secrets::SecretType;
use sluice_kubernetes::{Cluster, cache};
use tokio::sync::mpsc;

pub use config::Config;

use crate::context::Context;
use crate::registry::Registry;

/// Live changes between the watches and the actors; the watches wait when it is full. A change only bumps a counter, so
/// this is drained as fast as it fills.
const CHANGES: usize = 1024;

/// Starts the service: connects, installs the CRDs, watches, consumes.
pub async fn run(service: Service, config: Config) -> anyhow::Result<()> {
    let bus_config: BusConfig = service.config().section("bus")?;
    let bus = Bus::connect(&service, &bus_config).await?;
    if bus_config.provision {
        bus.provision().await?;
    }
    let kubernetes: sluice_kubernetes::Config = service.config().section("kubernetes")?;
    let cluster = sluice_kubernetes::connect(&kubernetes).await.context("failed to reach Kubernetes")?;
    cluster.install_crds().await?;
    let redaction = redaction_key(&cluster).await;
    let (changes, received) = mpsc::channel(CHANGES);
    let key = redaction.clone();
    let redact: cache::Redact = Arc::new(move |object: &mut Value| redact::secret(object, &key));
    let (live, driver) = cache::new(cluster.client(), redact, changes);
    let context = Arc::new(Context::new(&service, &config, &bus, &cluster, live, redaction));
    let registry = Arc::new(Registry::new());
    watch::start(&context, &registry, driver, received);
    handlers::start(&context, &registry).await?;
    Ok(())
}

/// The key under which secret values are shown as hashes: one for all replicas, so that they agree on what changed. Without
/// the right to keep it, one for this process.
async fn redaction_key(cluster: &Cluster) -> redact::Key {
    const NAME: &str = "redaction";
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    let known = cluster.secret_entry(SecretType::Signing, NAME).await.ok().flatten();
    let known =
        known.and_then(|mut entry| entry.data.remove(NAME)).and_then(|it| hex::decode(it.expose()).ok());
    if let Some(known) = known.and_then(|it| it.try_into().ok()) {
        return redact::Key::new(known);
    }
    let data = BTreeMap::from([(NAME.to_owned(), Secret::new(hex::encode(bytes)))]);
    let none = BTreeMap::new();
    if let Err(error) = cluster.put_secret(SecretType::Signing, NAME, &none, &none, &data).await {
        tracing::warn!(%error, "failed to keep the key of redaction; after a restart unchanged secrets look changed");
    }
    redact::Key::new(bytes)
}
