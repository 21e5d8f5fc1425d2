//! The executor: takes one job, under a lease, and leads it to its end.
//!
//! Happy: taken, run, its end on record, acknowledged. Duplicate: the end is on record, so it is acknowledged.
//! Crash: the command comes again, the lease has aged out, the next epoch runs the job from the start and whatever
//! the lost executor still writes is refused by the log (the aggregate has moved on). Invariant: no fact is written
//! but through [`facts::Facts`], which carries the epoch and expects to be the last to have written.

mod contexts;
pub(crate) mod facts;
mod hash_files;
mod inputs;
mod job;
mod script;
mod shell;
mod slot;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use sluice_bus::{Bus, Delivery, Outcome, topology};
use sluice_chassis::{Service, TaskKind};
use sluice_schemas::commands::ExecuteJob;
use sluice_schemas::events::Conclusion;
use sluice_schemas::state::{Phase, RunState};
use sluice_schemas::subject::Entity;
use sluice_schemas::{Subject, Timestamp};
use tokio::sync::watch;

pub(crate) use inputs::{InputError, Inputs};
pub(crate) use job::Job;

use crate::config::Config;
use crate::coordinator::{Runs, word};
use crate::failpoint;
use crate::metrics::BuilderMetrics;
use crate::sandbox::engine::Engine;
use crate::sandbox::pool::Pool;
use crate::source::Source;
use crate::vault::Vault;
use facts::{Facts, FactsError};
use job::JobEnd;
use slot::Slot;
use stop::{Stop, StopReason};

/// A job whose lease somebody else has is asked for again after this.
const LEASE_RETRY: Duration = Duration::from_secs(5);
/// Between tries to reach the Docker engine.
const ENGINE_RETRY: Duration = Duration::from_secs(2);

/// What executors of this process share.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) service: Service,
    pub(crate) config: Arc<Config>,
    pub(crate) bus: Bus,
    pub(crate) engine: Engine,
    pool: Pool,
    pub(crate) source: Arc<Source>,
    pub(crate) vault: Arc<dyn Vault>,
    runs: Runs,
    metrics: BuilderMetrics,
}

/// Starts taking jobs as soon as the Docker engine answers; readiness says so until then.
pub(crate) async fn start(
    service: &Service,
    config: &Config,
    bus: &Bus,
    source: Arc<Source>,
    vault: Arc<dyn Vault>,
    metrics: BuilderMetrics,
) -> anyhow::Result<()> {
    let config = Arc::new(config.clone());
    let (connected, engines) = watch::channel(None);
    let (settings, health, shutdown) =
        (Arc::clone(&config), service.health().clone(), service.shutdown().clone());
    let its = service.clone();
    service.tasks().spawn(TaskKind::Worker, "connect to Docker", async move {
        loop {
            match Engine::connect(&settings).await {
                Ok(engine) => {
                    health.ready("docker");
                    let pool = Pool::start(&its, &engine, &settings.image, settings.warm);
                    drop(connected.send(Some((engine, pool))));
                    return;
                }
                Err(error) => health.not_ready("docker", error.to_string()),
            }
            tokio::select! {
                () = tokio::time::sleep(ENGINE_RETRY) => {}
                () = shutdown.cancelled() => return,
            }
        }
    });
    let jobs = config.jobs;
    let (shared, owner) = (Runs::new(bus), service.clone());
    let everyones = bus.clone();
    bus.consume(service, topology::BUILDER_EXECUTE, jobs, move |delivery| {
        let (mut engines, service, config) = (engines.clone(), owner.clone(), Arc::clone(&config));
        let (bus, source, vault) = (everyones.clone(), Arc::clone(&source), Arc::clone(&vault));
        let (runs, metrics) = (shared.clone(), metrics.clone());
        async move {
            // Until the engine answers, the job waits here; its command is reported on meanwhile.
            let engine = engines.wait_for(Option::is_some).await.ok().and_then(|engine| engine.clone());
            let Some((engine, pool)) = engine else {
                return Outcome::retry(&delivery, "there is no Docker engine");
            };
            let executor = Executor { service, config, bus, engine, pool, source, vault, runs, metrics };
            Box::pin(executor.on_execute(&delivery)).await
        }
    })
    .await?;
    Ok(())
}

/// Why a job was not led to its end here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecuteError {
    #[error("not now: {0}")]
    Passing(String),
    #[error("another executor has taken the job over")]
    Fenced,
}

impl From<FactsError> for ExecuteError {
    fn from(error: FactsError) -> Self {
        match error {
            FactsError::Fenced => Self::Fenced,
            other => Self::Passing(other.to_string()),
        }
    }
}

impl Executor {
    async fn on_execute(&self, delivery: &Delivery<ExecuteJob>) -> Outcome {
        let command = &delivery.message;
        let repository = &command.run.repository.slug;
        let key = format!("job.{repository}.{}", command.job);
        let lease = match self.bus.leases().acquire(&self.service, &key).await {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                let reason = "another executor has the lease".to_owned();
                return Outcome::Retry { after: LEASE_RETRY, reason };
            }
            Err(error) => return Outcome::retry(delivery, error),
        };
        // The lease may be free because the job has ended.
        match self.is_over(command).await {
            Ok(true) => return Outcome::Done,
            Ok(false) => {}
            Err(error) => return Outcome::retry(delivery, error),
        }
        self.metrics.running.with_label_values(&["job"]).inc();
        let result = tokio::select! {
            result = Box::pin(self.execute(delivery, lease.epoch())) => result,
            () = lease.lost().cancelled() => Err(ExecuteError::Fenced),
            () = self.service.shutdown().cancelled() => Err(ExecuteError::Passing("the builder stops".to_owned())),
        };
        self.metrics.running.with_label_values(&["job"]).dec();
        match result {
            Ok(conclusion) => {
                self.metrics.jobs.with_label_values(&[word(conclusion)]).inc();
                failpoint::hit(failpoint::EVENT_BEFORE_ACK);
                Outcome::Done
            }
            Err(error) => Outcome::retry(delivery, error),
        }
    }

    /// Whether the job's end is on record.
    async fn is_over(&self, command: &ExecuteJob) -> Result<bool, ExecuteError> {
        let subject = Subject::fact(Entity::Job, &command.run.repository.slug, &command.job, "finished");
        let last = self.bus.last_fact(&subject).await;
        last.map(|fact| fact.is_some()).map_err(|error| ExecuteError::Passing(error.to_string()))
    }

    async fn execute(&self, delivery: &Delivery<ExecuteJob>, epoch: u64) -> Result<Conclusion, ExecuteError> {
        let command = &delivery.message;
        let started = Timestamp::now();
        let passing = |error: &dyn std::error::Error| ExecuteError::Passing(error.to_string());
        let state = self.runs.get(&command.run.repository.slug, command.run.number).await;
        let state = state.map_err(|error| passing(&error))?;
        let Some(state) = state.map(|entry| entry.value) else {
            return Err(ExecuteError::Passing("the run's state is not there yet".to_owned()));
        };
        let mut facts = Facts::begin(self, delivery, epoch).await?;
        if state.cancelled_by.is_some() || state.phase == Phase::Finished {
            let end = JobEnd::cancelled("the run was cancelled before the job began");
            facts.finished(&end, started).await?;
            return Ok(end.conclusion);
        }
        let queued = started.millis_since(queued_at(&state, command));
        facts.started(queued, self.executor_name()).await?;
        failpoint::hit(failpoint::JOB_TAKEN);
        let end = self.lead(delivery, state, &mut facts).await?;
        facts.finished(&end, started).await?;
        let seconds = Timestamp::now().millis_since(started) as f64 / 1000.0;
        self.metrics.phases.with_label_values(&["job"]).observe(seconds);
        Ok(end.conclusion)
    }

    /// Prepares and runs the job while it is watched for cancellation and its time limit.
    async fn lead(
        &self,
        delivery: &Delivery<ExecuteJob>,
        state: RunState,
        facts: &mut Facts,
    ) -> Result<JobEnd, ExecuteError> {
        let command = &delivery.message;
        let stop = Stop::default();
        let mut changes = self
            .runs
            .watch(&command.run.repository.slug, command.run.number)
            .await
            .map_err(|error| ExecuteError::Passing(error.to_string()))?;
        let work = async {
            let job = Job::prepare(self, command, &state, facts.epoch(), stop.clone()).await;
            match job {
                Ok(mut job) => Box::pin(job.run(facts)).await,
                Err(job::PrepareError::Workflow(reason)) => Ok(JobEnd::failed(reason)),
                Err(job::PrepareError::Passing(reason)) => Err(ExecuteError::Passing(reason)),
            }
        };
        let mut work = std::pin::pin!(work);
        let limit = Duration::from_secs(self.config.job_timeout_minutes * 60);
        let mut deadline = std::pin::pin!(tokio::time::sleep(limit));
        let mut watching = true;
        loop {
            tokio::select! {
                end = &mut work => return end,
                change = changes.next(), if watching => match change {
                    Some(change) if change.value.as_ref().is_some_and(|state| state.cancelled_by.is_some()) => {
                        stop.trigger(StopReason::Cancelled);
                    }
                    Some(_) => {}
                    // The watch ends with its connection to the bus.
                    None => match self.runs.watch(&command.run.repository.slug, command.run.number).await {
                        Ok(again) => changes = again,
                        Err(error) => {
                            tracing::warn!(%error, "this job will not hear of a cancellation");
                            watching = false;
                        }
                    },
                },
                () = &mut deadline, if !stop.is_triggered() => {
                    stop.trigger(StopReason::TimedOut { minutes: self.config.job_timeout_minutes as f64 });
                }
            }
        }
    }

    fn executor_name(&self) -> String {
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let host = host.trim();
        format!("builder-{}", if host.is_empty() { "0" } else { host })
    }

    /// A sandbox with its directory, being started while the caller goes on.
    pub(crate) fn slot(&self, job: &str, image: &str, epoch: u64, executes: bool) -> Result<Slot, String> {
        Slot::begin(&self.engine, &self.pool, job, image, epoch, executes)
    }
}

/// When the job could have begun: the end of what it needs, or of planning.
fn queued_at(state: &RunState, command: &ExecuteJob) -> Timestamp {
    let needs = state.job(&command.job).map(|job| job.planned.needs.clone()).unwrap_or_default();
    let ended =
        state.jobs.iter().filter(|job| needs.contains(&job.planned.key)).filter_map(|job| job.finished_at);
    ended.max().unwrap_or(state.queued_at)
}
