//! What an executor puts on record about its job.
//!
//! Invariant: every append expects that the last fact of the job is the one this executor wrote (or found when it took
//! over). An executor that lost its lease without knowing is stopped by the log itself, not by a clock.

use sluice_bus::{AppendError, Delivery, Expected, ReadError};
use sluice_schemas::commands::ExecuteJob;
use sluice_schemas::events::{JobFinished, JobStarted, StepFinished};
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Event, Fact, Filter, Timestamp};

use super::Executor;
use super::job::JobEnd;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FactsError {
    #[error("another executor has written about this job")]
    Fenced,
    #[error(transparent)]
    Append(AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

pub(crate) struct Facts {
    bus: sluice_bus::Bus,
    command: ExecuteJob,
    cause: Cause,
    epoch: u64,
    last: u64,
    /// Set when an earlier executor began this job.
    note: Option<String>,
}

impl Facts {
    pub(super) async fn begin(
        executor: &Executor,
        delivery: &Delivery<ExecuteJob>,
        epoch: u64,
    ) -> Result<Self, FactsError> {
        let command = delivery.message.clone();
        let filter = Filter::facts(
            Entity::Job,
            Some(command.run.repository.slug.as_str()),
            Some(command.job.as_str()),
            None,
        );
        // A first delivery is a first try; only then nothing can be there, and asking would cost time.
        let known = if delivery.delivered > 1 { executor.bus.aggregate(&filter).await? } else { Vec::new() };
        let last = known.last().map_or(0, |fact| fact.sequence);
        let began = known.iter().any(|fact| matches!(fact.event, Event::JobStarted(_)));
        let note = began.then(|| "an earlier executor was lost; the job starts again".to_owned());
        let cause = delivery.cause();
        Ok(Self { bus: executor.bus.clone(), command, cause, epoch, last, note })
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The cause of what the job asks other services for. The same in every epoch, so that asking again is the
    /// same question.
    pub(crate) fn cause(&self, what: &str) -> Cause {
        let ExecuteJob { run, job, .. } = &self.command;
        self.cause.seeded(format!("{what}.{}.{job}", run.repository.slug))
    }

    pub(crate) async fn started(&mut self, queued_ms: u64, executor: String) -> Result<(), FactsError> {
        let ExecuteJob { run, job, key, .. } = self.command.clone();
        let note = self.note.clone();
        let fact = JobStarted { run, job, key, epoch: self.epoch, executor, queued_ms, note };
        self.append(&fact, "started", 0).await
    }

    pub(crate) async fn step(&mut self, fact: &StepFinished) -> Result<(), FactsError> {
        self.append(fact, "step", u64::from(fact.step)).await
    }

    pub(crate) async fn finished(&mut self, end: &JobEnd, started: Timestamp) -> Result<(), FactsError> {
        let ExecuteJob { run, job, key, .. } = self.command.clone();
        let fact = JobFinished {
            run,
            job,
            key,
            epoch: self.epoch,
            conclusion: end.conclusion,
            duration_ms: Timestamp::now().millis_since(started),
            outputs: end.outputs.clone(),
            reason: end.reason.clone(),
        };
        self.append(&fact, "finished", 0).await
    }

    async fn append<F: Fact>(&mut self, fact: &F, what: &str, ordinal: u64) -> Result<(), FactsError> {
        let seed = format!("{}.{what}.{}", fact.subject(), self.epoch);
        let cause = self.cause.seeded(seed).nth(ordinal);
        match self.bus.append(fact, &cause, Expected::AggregateLast(self.last)).await {
            Ok(sequence) => {
                self.last = sequence;
                Ok(())
            }
            Err(AppendError::Conflict { .. }) => Err(FactsError::Fenced),
            Err(error) => Err(FactsError::Append(error)),
        }
    }
}
