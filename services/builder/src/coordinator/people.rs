//! What people ask for: cancel a run, run it again.

use sluice_bus::{Delivery, Entry, Expected, KvError};
use sluice_schemas::commands::{CancelRun, RerunRun};
use sluice_schemas::events::{Conclusion, RunQueued};
use sluice_schemas::state::Phase;
use sluice_schemas::subject::Entity;
use sluice_schemas::{Subject, Timestamp};

use super::push::{planned_jobs, waiting};
use super::{Coordinator, CoordinatorError};
use crate::context::{RunContext, github};

impl Coordinator {
    /// Marks the run; executors watch the mark, and jobs that did not start never will.
    pub(super) async fn on_cancel(&self, delivery: &Delivery<CancelRun>) -> Result<(), CoordinatorError> {
        let CancelRun { repository, number, person } = &delivery.message;
        let state = self.runs.change(repository, *number, |state| {
            let wanted = state.phase != Phase::Finished && state.cancelled_by.is_none();
            if wanted {
                tracing::info!(%repository, run = %number, %person, "the run is to stop");
                state.cancelled_by = Some(person.clone());
            }
            wanted
        });
        match state.await? {
            Some(state) => self.advance(&state.run, &delivery.cause()).await,
            None => Ok(()),
        }
    }

    /// Queues the next attempt. The command's id is the cause of the fact, which shows that it was obeyed before.
    pub(super) async fn on_rerun(&self, delivery: &Delivery<RerunRun>) -> Result<(), CoordinatorError> {
        let RerunRun { repository, number, failed_only, .. } = &delivery.message;
        let found = self.runs.get(repository, *number).await?;
        let Some(Entry { value: mut state, revision }) = found else { return Ok(()) };
        let subject = Subject::fact(Entity::Run, repository, *number, "queued");
        let last = self.bus.last_fact(&subject).await?;
        let told =
            last.as_ref().filter(|last| last.envelope.causation.as_ref() == Some(&delivery.envelope.id));
        let told_attempt = told.and_then(|fact| super::attempt_of(&fact.event));
        let obeyed = told_attempt.is_some_and(|attempt| attempt <= state.attempt);
        if obeyed || state.phase != Phase::Finished || state.jobs.is_empty() {
            return if obeyed { self.advance(&state.run, &delivery.cause()).await } else { Ok(()) };
        }
        let workflow = self.source.workflow(&state.run).await?;
        let push = self.push_of(&state.run).await?;
        state.attempt += 1;
        let context =
            RunContext { github: github(&state.run, push.as_ref(), state.attempt).into(), cancelled: false };
        let Ok(plan) = sluice_workflow::plan::expand(&workflow, &context) else { return Ok(()) };
        for (job, planned) in
            state.jobs.iter_mut().zip(planned_jobs(&workflow, &plan, *number, state.attempt))
        {
            if !(*failed_only && job.conclusion == Some(Conclusion::Success)) {
                *job = waiting(planned);
            }
        }
        state.phase = Phase::Queued;
        state.conclusion = None;
        state.reason = None;
        state.cancelled_by = None;
        state.finished_at = None;
        state.queued_at = Timestamp::now();
        if told_attempt != Some(state.attempt) {
            let queued = RunQueued {
                run: state.run.clone(),
                event: "push".to_owned(),
                attempt: state.attempt,
                title: state.title.clone(),
                author: state.author.clone(),
                jobs: state.jobs.iter().map(|job| job.planned.clone()).collect(),
                annotations: Vec::new(),
                received_at: state.queued_at,
            };
            let expected = last.map_or(Expected::Absent, |last| Expected::Last(last.sequence));
            self.bus.append(&queued, &delivery.cause(), expected).await?;
        }
        match self.runs.update(&state, revision).await {
            Ok(()) => self.advance(&state.run, &delivery.cause()).await,
            Err(error @ KvError::Conflict { .. }) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }
}
