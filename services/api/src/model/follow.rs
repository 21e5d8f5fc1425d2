//! Keeps the model current: EVENTS from the start, the bucket `apps`, and a look at the dead letters now and then.
//!
//! A reader that fails is made again where it stopped, so a lost connection is a delay.

use std::time::Duration;

use futures::StreamExt as _;
use sluice_bus::{Bucket, Bus, From};
use sluice_chassis::{Service, TaskKind};
use sluice_schemas::Filter;
use sluice_schemas::state::AppState;

use super::Model;

/// Component name in `/readyz`.
const COMPONENT: &str = "api-model";
const AGAIN: Duration = Duration::from_secs(1);
const COUNT_DEAD_LETTERS: Duration = Duration::from_secs(20);

/// Starts the tasks.
pub(crate) fn follow(service: &Service, bus: &Bus, model: &Model) {
    let shutdown = service.shutdown().clone();
    let (health, bus_, model_) = (service.health().clone(), bus.clone(), model.clone());
    health.not_ready(COMPONENT, "reading the log of facts");
    service.tasks().spawn(TaskKind::Watcher, "api-facts", async move {
        let forever = async {
            loop {
                if let Err(error) = facts(&bus_, &model_, &health).await {
                    tracing::warn!(%error, "the log of facts cannot be read; trying again");
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::select! { () = forever => {}, () = shutdown.cancelled() => {} }
    });
    let shutdown = service.shutdown().clone();
    let (bus_, model_) = (bus.clone(), model.clone());
    service.tasks().spawn(TaskKind::Watcher, "api-apps", async move {
        let forever = async {
            loop {
                if let Err(error) = apps(&bus_, &model_).await {
                    tracing::warn!(%error, "the states of applications cannot be watched; trying again");
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::select! { () = forever => {}, () = shutdown.cancelled() => {} }
    });
    let shutdown = service.shutdown().clone();
    let (bus_, model_) = (bus.clone(), model.clone());
    service.tasks().spawn(TaskKind::Timer, "api-dead-letters", async move {
        let forever = async {
            loop {
                match bus_.dead_letters().await {
                    Ok(letters) if letters.len() != model_.read().dead_letters => {
                        model_.change(|model| model.dead_letters = letters.len());
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "dead letters cannot be counted"),
                }
                tokio::time::sleep(COUNT_DEAD_LETTERS).await;
            }
        };
        tokio::select! { () = forever => {}, () = shutdown.cancelled() => {} }
    });
}

async fn facts(bus: &Bus, model: &Model, health: &sluice_chassis::Health) -> anyhow::Result<()> {
    let next = model.read().sequence + 1;
    let from = if next == 1 { From::Start } else { From::Sequence(next) };
    if bus.last_sequence(sluice_bus::StreamName::Events).await? < next {
        caught_up(model, health);
    }
    let mut records = bus.facts(&Filter::all_facts(), from).await?;
    while let Some(record) = records.next().await {
        let record = record?;
        model.change(|model| model.apply(&record));
        if record.pending == 0 {
            caught_up(model, health);
        }
    }
    Ok(())
}

fn caught_up(model: &Model, health: &sluice_chassis::Health) {
    if !model.read().caught_up {
        model.change(|model| model.caught_up = true);
        health.ready(COMPONENT);
    }
}

async fn apps(bus: &Bus, model: &Model) -> anyhow::Result<()> {
    let mut changes = bus.kv::<AppState>(Bucket::Apps).watch(">").await?;
    while let Some(change) = changes.next().await {
        match change.value {
            Some(state) => model.change(|model| {
                model.apps.insert(state.app.app.clone(), state);
            }),
            None => {
                // Keys are `<project>.<app>`.
                if let Some(app) = change.key.rsplit('.').next().and_then(|app| app.parse().ok()) {
                    model.change(|model| {
                        model.apps.remove(&app);
                    });
                }
            }
        }
    }
    Ok(())
}
