//! One look at a run: hand out the jobs that may start, skip those that never will, end the run when all have ended.
//!
//! Called after everything that may change the answer. Facts and commands first, then the state; a conflict means
//! that somebody else looked at the same time, and the look is repeated.

use std::collections::BTreeMap;

use sluice_bus::{AppendError, Entry, Expected, KvError};
use sluice_schemas::commands::ExecuteJob;
use sluice_schemas::events::{Annotation, AnnotationLevel, Conclusion, JobFinished, RunFinished, RunRef};
use sluice_schemas::state::{Phase, RunState};
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Subject, Timestamp};
use sluice_workflow::plan::PlannedJob;
use sluice_workflow::schedule::{self, JobResult, Next, Results};
use sluice_workflow::{Environment, Workflow};

use super::{Coordinator, CoordinatorError};
use crate::context::{RunContext, github};

const TRIES: usize = 50;

impl Coordinator {
    pub(super) async fn advance(&self, run: &RunRef, cause: &Cause) -> Result<(), CoordinatorError> {
        let workflow = self.source.workflow(run).await?;
        let push = self.push_of(run).await?;
        for _ in 0..TRIES {
            let found = self.runs.get(&run.repository.slug, run.number).await?;
            let Some(Entry { value: mut state, revision }) = found else { return Ok(()) };
            if state.phase == Phase::Finished {
                return Ok(());
            }
            let context = RunContext {
                github: github(run, push.as_ref(), state.attempt).into(),
                cancelled: state.cancelled_by.is_some(),
            };
            let before = state.clone();
            self.look(&workflow, &context, &mut state, cause).await?;
            if state == before {
                return Ok(());
            }
            match self.runs.update(&state, revision).await {
                Ok(()) => return Ok(()),
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CoordinatorError::Contended(RunState::key(&run.repository.slug, run.number)))
    }

    async fn look(
        &self,
        workflow: &Workflow,
        context: &RunContext,
        state: &mut RunState,
        cause: &Cause,
    ) -> Result<(), CoordinatorError> {
        // It was planned from the same file and context before, so this cannot be refused now.
        let Ok(plan) = sluice_workflow::plan::expand(workflow, context) else { return Ok(()) };
        let mut results = results(workflow, &plan.jobs, state, context);
        let started = |id: &str| {
            let index = plan.jobs.iter().position(|job| job.id == id);
            index.and_then(|index| state.jobs.get(index)).is_some_and(|job| job.phase != Phase::Waiting)
        };
        let cancelled = state.cancelled_by.is_some();
        let answers = schedule::next(workflow, &plan.jobs, &results, &started, context, cancelled);
        for (id, answer) in answers {
            let Some(index) = plan.jobs.iter().position(|job| job.id == id) else { continue };
            match answer {
                Next::Start => self.hand_out(state, index, cause).await?,
                Next::Skip if cancelled => {
                    self.close(state, index, Conclusion::Cancelled, "the run was cancelled", cause).await?;
                }
                Next::Skip => {
                    let reason = "its condition is false, or a job that it needs did not succeed";
                    self.close(state, index, Conclusion::Skipped, reason, cause).await?;
                }
                Next::Fail(mistake) => {
                    state.annotations.push(Annotation {
                        level: AnnotationLevel::Error,
                        file: mistake.file.clone(),
                        line: mistake.at.line,
                        column: mistake.at.column,
                        message: mistake.message.clone(),
                    });
                    self.close(state, index, Conclusion::Failure, &mistake.to_string(), cause).await?;
                }
            }
        }
        results.extend(self::results(workflow, &plan.jobs, state, context));
        if let Some(conclusion) = schedule::conclusion(&plan.jobs, &results, cancelled) {
            self.finish(state, from_workflow(conclusion), cause).await?;
        }
        Ok(())
    }

    /// Gives a job to the executors. Sent twice it is the same command.
    async fn hand_out(
        &self,
        state: &mut RunState,
        index: usize,
        cause: &Cause,
    ) -> Result<(), CoordinatorError> {
        let Some(job) = state.jobs.get_mut(index) else { return Ok(()) };
        let command = ExecuteJob {
            run: state.run.clone(),
            job: job.planned.id.clone(),
            key: job.planned.key.clone(),
            attempt: state.attempt,
        };
        let seed = format!("execute.{}.{}", state.run.repository.slug, job.planned.id);
        self.bus.publish(&command, &cause.seeded(seed)).await?;
        job.phase = Phase::Queued;
        Ok(())
    }

    /// Ends a job that never started.
    async fn close(
        &self,
        state: &mut RunState,
        index: usize,
        conclusion: Conclusion,
        reason: &str,
        cause: &Cause,
    ) -> Result<(), CoordinatorError> {
        let Some(job) = state.jobs.get_mut(index) else { return Ok(()) };
        let finished = JobFinished {
            run: state.run.clone(),
            job: job.planned.id.clone(),
            key: job.planned.key.clone(),
            epoch: 0,
            conclusion,
            duration_ms: 0,
            outputs: BTreeMap::new(),
            reason: Some(reason.to_owned()),
        };
        let seed = format!("finished.{}.{}", state.run.repository.slug, job.planned.id);
        match self.bus.append(&finished, &cause.seeded(seed), Expected::AggregateLast(0)).await {
            Ok(_) => {}
            Err(AppendError::Conflict { .. }) => {
                let subject =
                    Subject::fact(Entity::Job, &state.run.repository.slug, &job.planned.id, "finished");
                // It runs after all: its own end will be told.
                if self.bus.last_fact(&subject).await?.is_none() {
                    job.phase = Phase::Running;
                    return Ok(());
                }
            }
            Err(error) => return Err(error.into()),
        }
        job.phase = Phase::Finished;
        job.conclusion = Some(conclusion);
        job.reason = Some(reason.to_owned());
        job.finished_at = Some(Timestamp::now());
        self.metrics.jobs.with_label_values(&[word(conclusion)]).inc();
        Ok(())
    }

    async fn finish(
        &self,
        state: &mut RunState,
        conclusion: Conclusion,
        cause: &Cause,
    ) -> Result<(), CoordinatorError> {
        let now = Timestamp::now();
        let failed = state.jobs.iter().find(|job| job.conclusion == Some(Conclusion::Failure));
        let reason = match (conclusion, &state.cancelled_by) {
            (Conclusion::Cancelled, Some(person)) => Some(format!("cancelled by {person}")),
            (Conclusion::Success | Conclusion::Skipped, _) => None,
            _ => failed.map(|job| match &job.reason {
                Some(reason) => format!("job `{}`: {reason}", job.planned.key),
                None => format!("job `{}` failed", job.planned.key),
            }),
        };
        let finished = RunFinished {
            run: state.run.clone(),
            attempt: state.attempt,
            conclusion,
            duration_ms: now.millis_since(state.queued_at),
            reason: reason.clone(),
        };
        self.append_for_attempt(&finished, state.attempt, cause).await?;
        state.phase = Phase::Finished;
        state.conclusion = Some(conclusion);
        state.reason = reason;
        state.finished_at = Some(now);
        tracing::info!(repository = state.run.repository.full_name, run = %state.run.number, ?conclusion, "run finished");
        Ok(())
    }

    /// Looks at every unfinished run: what a lost message left behind goes on here.
    pub(super) async fn look_again(&self) -> Result<(), CoordinatorError> {
        for (repository, number) in self.runs.all().await? {
            let Some(entry) = self.runs.get(&repository, number).await? else { continue };
            if entry.value.phase == Phase::Finished {
                continue;
            }
            let run = entry.value.run;
            let subject = Subject::fact(Entity::Run, &repository, number, "queued");
            let Some(queued) = self.bus.last_fact(&subject).await? else { continue };
            if let Err(error) = self.advance(&run, &queued.envelope.as_cause()).await {
                tracing::warn!(repository = run.repository.full_name, run = %number, %error, "the run does not go on");
            }
        }
        Ok(())
    }
}

fn results(workflow: &Workflow, jobs: &[PlannedJob], state: &RunState, context: &dyn Environment) -> Results {
    let mut results = Results::new();
    for (job, known) in jobs.iter().zip(&state.jobs) {
        let Some(conclusion) = known.conclusion.filter(|_| known.phase == Phase::Finished) else { continue };
        let switch = workflow.jobs.get(&job.key).and_then(|job| job.continue_on_error.as_ref());
        let continue_on_error =
            switch.is_some_and(|switch| switch.text(context).is_ok_and(|text| text == "true"));
        let outputs = known.outputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let conclusion = to_workflow(conclusion);
        results.insert(job.id.clone(), JobResult { conclusion, outputs, continue_on_error });
    }
    results
}

fn to_workflow(conclusion: Conclusion) -> schedule::Conclusion {
    match conclusion {
        Conclusion::Success => schedule::Conclusion::Success,
        Conclusion::Failure => schedule::Conclusion::Failure,
        Conclusion::Cancelled => schedule::Conclusion::Cancelled,
        Conclusion::Skipped => schedule::Conclusion::Skipped,
    }
}

fn from_workflow(conclusion: schedule::Conclusion) -> Conclusion {
    match conclusion {
        schedule::Conclusion::Success => Conclusion::Success,
        schedule::Conclusion::Failure => Conclusion::Failure,
        schedule::Conclusion::Cancelled => Conclusion::Cancelled,
        schedule::Conclusion::Skipped => Conclusion::Skipped,
    }
}

/// GitHub's word for a conclusion.
pub(crate) fn word(conclusion: Conclusion) -> &'static str {
    to_workflow(conclusion).as_str()
}
