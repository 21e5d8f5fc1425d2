//! The front door: signed webhooks become pushes.
//!
//! Purpose: whatever enters Sluice from a Git host enters here. Invariants: nothing unverified is believed or stored; an
//! accepted webhook is on disk before the answer; the same news told any number of times, in any way, is one
//! `evt.push.….received`. Callers: Git hosts, api (forwarding `/api/webhook`), and nobody else.

mod accept;
mod body;
mod config;
mod differences;
mod listener;
mod metrics;
mod payload;
mod poll;
mod receive;
mod record;
mod repositories;
mod signature;
mod understand;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sluice_bus::{Bus, BusConfig, topology};
use sluice_chassis::{Service, TaskKind};
use sluice_git::{MirrorSettings, Mirrors};

pub use config::Config;
pub use repositories::{
    ClusterSource, KnownRepository, Reading, RepositorySource, SourceError, StaticSource,
};

use crate::config::REQUEST_DEADLINE;
use crate::listener::BoundedListener;

/// Starts the service: connects to the bus and the cluster, then listens.
///
/// # Errors
/// When the configuration cannot work.
pub async fn run(service: Service, config: Config) -> anyhow::Result<()> {
    let bus_config: BusConfig = service.config().section("bus")?;
    let kubernetes: sluice_kubernetes::Config = service.config().section("kubernetes")?;
    let cluster = sluice_kubernetes::client::connect(&kubernetes).await?;
    let bus = Bus::connect(&service, &bus_config).await?;
    bus.provision().await?;
    start(&service, config, bus, Arc::new(ClusterSource(cluster))).await?;
    Ok(())
}

/// Starts the service on a bus that is provisioned, with repositories from `source`. Returns the address.
///
/// # Errors
/// When the address is taken, a consumer is missing or the data directory cannot be used.
pub async fn start(
    service: &Service,
    config: Config,
    bus: Bus,
    source: Arc<dyn RepositorySource>,
) -> anyhow::Result<SocketAddr> {
    let listener = sluice_chassis::http::bind(&config.listen).await?;
    let address = listener.local_addr().context("failed to read the listener's address")?;
    let metrics = metrics::IngressMetrics::new(service.metrics());
    let directory = repositories::Directory::new(service, source);
    directory.keep_fresh(service, Duration::from_secs(config.refresh_seconds.max(1)));

    let (nudge, nudged) = poll::nudges();
    let understanding = understand::Understanding {
        bus: bus.clone(),
        directory: directory.clone(),
        nudge: nudge.clone(),
        metrics: metrics.clone(),
    };
    let handler = move |delivery| {
        let understanding = understanding.clone();
        async move { understanding.handle(delivery).await }
    };
    bus.consume(service, topology::INGRESS_INBOX, 1, handler).await?;

    let data_dir = config.data_dir.clone();
    let mirrors = sluice_chassis::blocking("opening the Git mirrors", move || {
        Mirrors::open(data_dir, MirrorSettings::default())
    })
    .await??;
    let poller = poll::Poller {
        service: service.clone(),
        bus: bus.clone(),
        directory: directory.clone(),
        mirrors,
        metrics: metrics.clone(),
        config: config.clone(),
    };
    poller.start(nudged);

    let receiver = receive::Receiver { directory, acceptor: accept::Acceptor::new(bus), nudge, metrics };
    serve(service, listener, config.max_connections, receive::router(receiver));
    tracing::info!(%address, "webhooks are received at /webhooks/github");
    Ok(address)
}

fn serve(service: &Service, listener: tokio::net::TcpListener, connections: usize, router: axum::Router) {
    let listener = BoundedListener::new(listener, connections, REQUEST_DEADLINE);
    let shutdown = service.shutdown().clone();
    service.tasks().spawn(TaskKind::Server, "webhooks", async move {
        if let Err(error) =
            axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
        {
            tracing::error!(%error, "the webhook listener failed");
        }
    });
}
