//! The builder: a push becomes runs, runs become jobs, jobs become logs, images and messages.
//!
//! Two halves in one service. The [`coordinator`] decides: which workflows a push starts, which job may start next,
//! how a run ended. The [`executor`] acts: it takes one job, under a lease whose revision is the fencing token of every
//! fact it writes, and runs its steps in a container of its own, or as a native action. They talk over the bus alone,
//! so executors may run on other machines.
//!
//! Invariants: a fact is appended before the state in KV follows it; a message is acknowledged last; secrets are
//! masked before anything leaves the process; only this crate names bollard.

mod actions;
mod commands;
mod config;
mod context;
mod coordinator;
mod executor;
mod failpoint;
mod image;
mod log;
mod metrics;
mod sandbox;
mod source;
mod vault;

use std::sync::Arc;

use anyhow::Context as _;
use sluice_bus::{Bus, BusConfig};
use sluice_chassis::Service;

pub use config::Config;
pub use vault::{StaticVault, Vault, VaultError};

/// Connects to bus and cluster and starts the builder.
///
/// # Errors
/// When the configuration cannot be used, or bus or Docker are not what they must be.
pub async fn run(service: Service, config: Config) -> anyhow::Result<()> {
    let bus_config: BusConfig = service.config().section("bus")?;
    let kubernetes: sluice_kubernetes::Config = service.config().section("kubernetes")?;
    let cluster = sluice_kubernetes::connect(&kubernetes).await.context("failed to reach Kubernetes")?;
    let bus = Bus::connect(&service, &bus_config).await?;
    bus.provision().await?;
    run_with(service, config, bus, Arc::new(cluster)).await
}

/// As [`run`], with a connected bus and any store of secrets. For tests, and for `sluice up`.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    service: Service,
    config: Config,
    bus: Bus,
    vault: Arc<dyn Vault>,
) -> anyhow::Result<()> {
    let metrics = metrics::BuilderMetrics::new(service.metrics());
    let source = Arc::new(source::Source::open(&config, Arc::clone(&vault))?);
    if config.coordinate {
        coordinator::start(&service, &bus, Arc::clone(&source), metrics.clone()).await?;
    }
    if config.execute {
        executor::start(&service, &config, &bus, source, vault, metrics).await?;
    }
    Ok(())
}
