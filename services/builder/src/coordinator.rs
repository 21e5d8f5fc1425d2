//! The coordinator: plans runs and leads them to their end.
//!
//! State machine of a run: queued (all jobs waiting or queued) → running (a job started) → finished; a broken workflow
//! is refused at once. Every step is: read the state, append the facts that follow from it, write the state by
//! compare-and-swap, and start over when another writer was first. All of it may happen twice.

mod advance;
mod people;
mod progress;
mod push;
mod runs;

use std::sync::Arc;
use std::time::Duration;

use sluice_bus::{AppendError, Bus, Delivery, Expected, KvError, Outcome, PublishError, ReadError, topology};
use sluice_chassis::{Service, TaskKind};
use sluice_schemas::events::{Event, PushReceived, RunRef};
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Fact, Subject};

pub(crate) use advance::word;
pub(crate) use runs::Runs;

use crate::metrics::BuilderMetrics;
use crate::source::{Source, SourceError};

/// Pushes planned at once: a fetch each.
const PUSHES_AT_ONCE: usize = 4;
/// How often unfinished runs are looked at again, in case a message was lost.
const SECOND_LOOK: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub(crate) enum CoordinatorError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the state of run {0} changed under us again and again")]
    Contended(String),
}

impl CoordinatorError {
    fn is_passing(&self) -> bool {
        match self {
            Self::Source(error) => error.is_passing(),
            Self::Kv(KvError::Decode { .. }) => false,
            _ => true,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Coordinator {
    bus: Bus,
    runs: Runs,
    source: Arc<Source>,
    metrics: BuilderMetrics,
}

/// Starts the consumers and the second look.
pub(crate) async fn start(
    service: &Service,
    bus: &Bus,
    source: Arc<Source>,
    metrics: BuilderMetrics,
) -> anyhow::Result<()> {
    let coordinator = Coordinator { bus: bus.clone(), runs: Runs::new(bus), source, metrics };
    let it = coordinator.clone();
    bus.consume(service, topology::BUILDER_PUSH, PUSHES_AT_ONCE, move |delivery| {
        let it = it.clone();
        async move { settle(&delivery, Box::pin(it.on_push(&delivery)).await) }
    })
    .await?;
    let it = coordinator.clone();
    bus.consume_events(service, topology::BUILDER_PROGRESS, 1, move |delivery| {
        let it = it.clone();
        async move { settle(&delivery, Box::pin(it.on_progress(&delivery)).await) }
    })
    .await?;
    let it = coordinator.clone();
    bus.consume(service, topology::BUILDER_CANCEL, 1, move |delivery| {
        let it = it.clone();
        async move { settle(&delivery, Box::pin(it.on_cancel(&delivery)).await) }
    })
    .await?;
    let it = coordinator.clone();
    bus.consume(service, topology::BUILDER_RERUN, 1, move |delivery| {
        let it = it.clone();
        async move { settle(&delivery, Box::pin(it.on_rerun(&delivery)).await) }
    })
    .await?;
    let shutdown = service.shutdown().clone();
    service.tasks().spawn(TaskKind::Timer, "unfinished runs", async move {
        loop {
            if let Err(error) = Box::pin(coordinator.look_again()).await {
                tracing::warn!(%error, "unfinished runs could not be looked at");
            }
            tokio::select! {
                () = tokio::time::sleep(SECOND_LOOK) => {}
                () = shutdown.cancelled() => return,
            }
        }
    });
    Ok(())
}

fn settle<T>(delivery: &Delivery<T>, result: Result<(), CoordinatorError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(error) if error.is_passing() => Outcome::retry(delivery, error),
        Err(error) => Outcome::Reject { reason: error.to_string() },
    }
}

impl Coordinator {
    /// The fact of the push that caused a run, while the log still has it.
    async fn push_of(&self, run: &RunRef) -> Result<Option<PushReceived>, ReadError> {
        push_of(&self.bus, run).await
    }

    /// Appends a fact of a run's attempt unless it is there. Whoever is first has said it for all.
    async fn append_for_attempt<F: Fact>(
        &self,
        fact: &F,
        attempt: u32,
        cause: &Cause,
    ) -> Result<(), CoordinatorError> {
        let last = self.bus.last_fact(&fact.subject()).await?;
        let said = last.as_ref().and_then(|last| attempt_of(&last.event));
        if said.is_some_and(|said| said >= attempt) {
            return Ok(());
        }
        let expected = last.map_or(Expected::Absent, |last| Expected::Last(last.sequence));
        let seed = format!("{}#{attempt}", fact.subject());
        match self.bus.append(fact, &cause.seeded(seed), expected).await {
            Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The fact of the push that caused a run.
pub(crate) async fn push_of(bus: &Bus, run: &RunRef) -> Result<Option<PushReceived>, ReadError> {
    let subject = Subject::fact(Entity::Push, &run.repository.slug, &run.push, "received");
    Ok(bus.last_fact(&subject).await?.and_then(|fact| match fact.event {
        Event::PushReceived(push) => Some(*push),
        _ => None,
    }))
}

fn attempt_of(event: &Event) -> Option<u32> {
    match event {
        Event::RunQueued(fact) => Some(fact.attempt),
        Event::RunStarted(fact) => Some(fact.attempt),
        Event::RunFinished(fact) => Some(fact.attempt),
        Event::RunRefused(_) => Some(1),
        _ => None,
    }
}
