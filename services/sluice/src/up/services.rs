//! The services, linked: their sections and their `run` functions.

use std::time::Instant;

use anyhow::Context;
use sluice_bus::{Bus, BusConfig};
use sluice_chassis::Process;
use sluice_chassis::config::{ConfigFile, ServerConfig};
use sluice_chassis::telemetry::LogConfig;

use crate::arguments::ServiceName;
use crate::context::section;
use crate::failure::Outcome;

/// All of them.
pub(crate) const ALL: &[ServiceName] = &[
    ServiceName::Ingress,
    ServiceName::Builder,
    ServiceName::Publisher,
    ServiceName::Renderer,
    ServiceName::Reconciler,
    ServiceName::Notifier,
    ServiceName::Api,
];

/// Reads every section as its service will, so that a mistake is told before anything starts.
pub(crate) fn check(file: &ConfigFile) -> Outcome {
    section::<BusConfig>(file, "bus")?;
    section::<LogConfig>(file, "log")?;
    section::<ServerConfig>(file, "server")?;
    section::<sluice_kubernetes::Config>(file, "kubernetes")?;
    section::<sluice_ingress::Config>(file, "ingress")?;
    section::<sluice_builder::Config>(file, "builder")?;
    section::<sluice_publisher::Config>(file, "publisher")?;
    section::<sluice_renderer::Config>(file, "renderer")?;
    section::<sluice_reconciler::Config>(file, "reconciler")?;
    section::<sluice_notifier::Config>(file, "notifier")?;
    section::<sluice_api::Config>(file, "api")?;
    Ok(())
}

/// Starts the services, one after the other. The topology is made once, before the first, where that is `provision`ed
/// here at all.
pub(crate) async fn start(process: &Process, wanted: &[ServiceName], provision: bool) -> anyhow::Result<()> {
    let config = BusConfig { provision, ..process.config().section("bus")? };
    let bus = Bus::connect(&process.service("sluice"), &config).await?;
    bus.provision().await?;
    for name in wanted {
        let began = Instant::now();
        start_one(process, *name).await.with_context(|| format!("{name:?} did not start"))?;
        tracing::info!(service = ?name, ms = began.elapsed().as_millis(), "started");
    }
    Ok(())
}

async fn start_one(process: &Process, name: ServiceName) -> anyhow::Result<()> {
    let config = process.config();
    // Boxed: each is a large future, and they are awaited once.
    match name {
        ServiceName::Ingress => {
            Box::pin(sluice_ingress::run(process.service("ingress"), config.section("ingress")?)).await
        }
        ServiceName::Builder => {
            Box::pin(sluice_builder::run(process.service("builder"), config.section("builder")?)).await
        }
        ServiceName::Publisher => {
            Box::pin(sluice_publisher::run(process.service("publisher"), config.section("publisher")?)).await
        }
        ServiceName::Renderer => {
            Box::pin(sluice_renderer::run(process.service("renderer"), config.section("renderer")?)).await
        }
        ServiceName::Reconciler => {
            Box::pin(sluice_reconciler::run(process.service("reconciler"), config.section("reconciler")?))
                .await
        }
        ServiceName::Notifier => {
            Box::pin(sluice_notifier::run(process.service("notifier"), config.section("notifier")?)).await
        }
        ServiceName::Api => Box::pin(sluice_api::run(process.service("api"), config.section("api")?)).await,
    }
}
