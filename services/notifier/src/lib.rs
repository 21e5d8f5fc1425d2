//! The notifier: tells in chats what happens, one message per run and per delivery, and lets people act from there.
//!
//! Purpose: facts become stories ([`facts`]), stories become messages that are edited in place ([`desk`], [`outbox`]), and what
//! people type or press becomes calls of the API server in their name ([`commands`], [`presses`]). Invariants: the notifier has no
//! rights of its own; only this crate names teloxide; a restart announces nothing again; one replica at a time speaks and
//! listens, by lease. Callers: its own program, and `sluice up`.

mod api;
mod bot;
mod commands;
mod config;
mod content;
mod desk;
mod facts;
mod leader;
mod limiter;
mod metrics;
mod notes;
mod outbox;
mod poller;
mod presses;
mod store;
mod story;
mod telegram;
mod text;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sluice_bus::{Bus, BusConfig, topology};
use sluice_chassis::{Service, TaskKind};
use sluice_kubernetes::Cluster;

pub use config::{ChatConfig, Config};

use crate::api::Api;
use crate::bot::Bots;
use crate::commands::Answerer;
use crate::desk::Desk;
use crate::facts::Teller;
use crate::leader::Leader;
use crate::metrics::NotifierMetrics;
use crate::notes::Notes;
use crate::poller::Poller;
use crate::store::Store;
use crate::story::Site;

/// Messages of workflows handled at once.
const SENDS: usize = 4;

/// Starts the notifier; returns when it runs.
///
/// # Errors
/// When the bus or the configuration cannot be used.
pub async fn run(service: Service, config: Config) -> anyhow::Result<()> {
    let bus_config: BusConfig = service.config().section("bus")?;
    let bus = Bus::connect(&service, &bus_config).await?;
    bus.provision().await?;
    let cluster = cluster(&service).await?;
    let metrics = NotifierMetrics::new(service.metrics());
    let store = Store::new(&bus);
    let bots = Arc::new(Bots::new(&config, store.clone(), metrics.clone()));
    let notes = Notes::new(bus.clone(), store.clone(), cluster.clone(), bots.clone());
    let api = Api::new(&config.server_url)?;

    let teller = Teller::new(bus.clone(), store.clone(), config.announce_within_hours);
    bus.consume_events(&service, topology::NOTIFIER_FACTS, 1, move |delivery| {
        let teller = teller.clone();
        async move { teller.handle(delivery).await }
    })
    .await?;
    let sender = notes.clone();
    bus.consume(&service, topology::NOTIFIER_SEND, SENDS, move |delivery| {
        let sender = sender.clone();
        async move { sender.handle(delivery).await }
    })
    .await?;

    let desk = Arc::new(Desk {
        bus: bus.clone(),
        store: store.clone(),
        bots: bots.clone(),
        notes,
        site: Site { url: config.public_url.clone() },
        chats: Arc::default(),
        interval: Duration::from_millis(config.edit_interval_ms.max(100)),
        metrics: metrics.clone(),
    });
    let answerer = Answerer {
        bus: bus.clone(),
        store: store.clone(),
        bots: bots.clone(),
        api: api.clone(),
        confirm_seconds: config.confirm_seconds.max(1),
        metrics,
    };
    let poller = Poller { store: store.clone(), answerer, health: service.health().clone() };
    let leader = Leader { service: service.clone(), bus, store, cluster, config, bots, api, desk, poller };
    service.tasks().spawn(TaskKind::Watcher, "notifier leader", leader.run());
    Ok(())
}

/// The cluster, where tokens and the secrets of repositories are. Without any, tokens come from files.
async fn cluster(service: &Service) -> anyhow::Result<Option<Cluster>> {
    let config: sluice_kubernetes::Config = service.config().section("kubernetes")?;
    match sluice_kubernetes::client::connect(&config).await {
        Ok(cluster) => Ok(Some(cluster)),
        Err(error) if config.kubeconfig.is_some() => {
            Err(error).context("the cluster of `kubernetes` cannot be used")
        }
        Err(error) => {
            tracing::info!(%error, "no cluster: tokens are read from files, and workflows can use no secrets here");
            Ok(None)
        }
    }
}
