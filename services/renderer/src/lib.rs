//! The renderer: from an application's source at a revision to Kubernetes manifests.
//!
//! Consumes `cmd.renderer.render.*`, reads the source from Git objects (no
//! checkout), stores the manifests under their digest, and appends
//! `evt.render.<project>.<render>.succeeded|failed`. Invariants: it never reaches
//! the cluster's API for anything but repository credentials; a request's options
//! are typed; the same input costs nothing twice, also after a restart.

pub mod config;
pub mod credentials;
pub mod glob;
pub mod memo;
pub mod metrics;
pub mod render;
pub mod source;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sluice_bus::topology::RENDERER_RENDER;
use sluice_bus::{AppendError, Bus, BusConfig, Delivery, Expected, Outcome};
use sluice_chassis::Service;
use sluice_git::{MirrorSettings, Mirrors};
use sluice_schemas::Fact;
use sluice_schemas::commands::Render;

pub use config::Config;
use credentials::{Anonymous, CredentialSource, Remembering};
use metrics::RendererMetrics;
use render::{Finished, Renderer};
use source::Limits;

/// Deliveries after which a passing failure is told to people instead of tried again.
const PATIENCE: i64 = 6;

/// Starts the service: connects, provisions, consumes.
pub async fn run(service: Service, config: Config) -> anyhow::Result<()> {
    let bus_config: BusConfig = service.config().section("bus")?;
    let bus = Bus::connect(&service, &bus_config).await?;
    bus.provision().await?;
    let kubernetes: sluice_kubernetes::Config = service.config().section("kubernetes")?;
    let credentials: Arc<dyn CredentialSource> = match sluice_kubernetes::client::connect(&kubernetes).await {
        Ok(cluster) => Arc::new(cluster),
        Err(error) => {
            tracing::warn!(%error, "no cluster: repositories are read without credentials");
            Arc::new(Anonymous)
        }
    };
    start(&service, &config, &bus, credentials).await
}

/// Starts consuming on a bus that is connected and provisioned.
pub async fn start(
    service: &Service,
    config: &Config,
    bus: &Bus,
    credentials: Arc<dyn CredentialSource>,
) -> anyhow::Result<()> {
    let settings = MirrorSettings {
        fetch_timeout: Duration::from_secs(config.fetch_timeout_seconds.max(1)),
        ..MirrorSettings::default()
    };
    let mirrors = Mirrors::open(&config.data_dir, settings).context("renderer.data_dir")?;
    let renderer = Renderer::new(
        bus,
        mirrors,
        Remembering::new(credentials),
        Limits { combined: config.max_combined_bytes },
        RendererMetrics::new(service.metrics()),
    );
    let publisher = bus.clone();
    bus.consume::<Render, _, _>(service, RENDERER_RENDER, config.concurrency, move |delivery| {
        let (renderer, bus) = (renderer.clone(), publisher.clone());
        async move { handle(&renderer, &bus, delivery).await }
    })
    .await?;
    Ok(())
}

async fn handle(renderer: &Renderer, bus: &Bus, delivery: Delivery<Render>) -> Outcome {
    let command = &delivery.message;
    fail::fail_point!("renderer-command-taken");
    let finished = match renderer.render(command).await {
        Ok(finished) => finished,
        Err(passing) if delivery.delivered < PATIENCE => return Outcome::retry(&delivery, passing),
        Err(passing) => Finished::Failed(*passing.failed),
    };
    fail::fail_point!("renderer-before-event");
    match finished {
        Finished::Succeeded(fact, memo) => {
            tracing::info!(app = %fact.render.app, objects = fact.objects, cached = fact.cached,
                fetch_ms = fact.fetch_ms, render_ms = fact.render_ms, "rendered");
            let outcome = say(bus, &delivery, &fact).await;
            if outcome == Outcome::Done {
                renderer.remember(memo).await;
            }
            outcome
        }
        Finished::Failed(fact) => {
            tracing::info!(app = %fact.render.app, reason = fact.reason, "a rendering failed");
            say(bus, &delivery, &fact).await
        }
    }
}

/// Appends the fact unless a delivery before this one did.
async fn say<F: Fact>(bus: &Bus, delivery: &Delivery<Render>, fact: &F) -> Outcome {
    match bus.append(fact, &delivery.cause(), Expected::Absent).await {
        Ok(_) | Err(AppendError::Conflict { .. }) => Outcome::Done,
        Err(AppendError::Publish(error)) => Outcome::retry(delivery, error),
    }
}
