//! Jobs tell how they fare; the run's state follows.
//!
//! Facts come one after the other. One of an executor that was replaced (a lower epoch than the newest known) is
//! void, whatever it says.

use sluice_bus::Delivery;
use sluice_schemas::Event;
use sluice_schemas::events::{JobFinished, JobStarted, RunRef, RunStarted, StepFinished};
use sluice_schemas::ids::JobId;
use sluice_schemas::state::{JobState, Phase, RunState};

use super::{Coordinator, CoordinatorError};

/// Remarks kept with a run.
const MAX_ANNOTATIONS: usize = 100;

impl Coordinator {
    pub(super) async fn on_progress(&self, delivery: &Delivery<Event>) -> Result<(), CoordinatorError> {
        match &delivery.message {
            Event::JobStarted(fact) => self.on_started(delivery, fact).await,
            Event::StepFinished(fact) => self.on_step(fact).await,
            Event::JobFinished(fact) => self.on_finished(delivery, fact).await,
            _ => Ok(()),
        }
    }

    async fn on_started(
        &self,
        delivery: &Delivery<Event>,
        fact: &JobStarted,
    ) -> Result<(), CoordinatorError> {
        let at = delivery.envelope.time;
        let state = self.change(&fact.run, |state| {
            let Some(job) = current(state, &fact.job, fact.epoch) else { return false };
            if job.phase == Phase::Finished || job.epoch == fact.epoch {
                return false;
            }
            job.epoch = fact.epoch;
            job.phase = Phase::Running;
            job.started_at = Some(at);
            if state.phase != Phase::Finished {
                state.phase = Phase::Running;
            }
            true
        });
        let Some(state) = state.await? else { return Ok(()) };
        let started = RunStarted { run: fact.run.clone(), attempt: state.attempt };
        self.append_for_attempt(&started, state.attempt, &delivery.cause()).await?;
        let waited = at.millis_since(state.received_at);
        self.metrics.phases.with_label_values(&["queue"]).observe(waited as f64 / 1000.0);
        Ok(())
    }

    async fn on_step(&self, fact: &StepFinished) -> Result<(), CoordinatorError> {
        if fact.annotations.is_empty() {
            return Ok(());
        }
        self.change(&fact.run, |state| {
            if current(state, &fact.job, fact.epoch).is_none() {
                return false;
            }
            let before = state.annotations.len();
            for annotation in &fact.annotations {
                if state.annotations.len() < MAX_ANNOTATIONS && !state.annotations.contains(annotation) {
                    state.annotations.push(annotation.clone());
                }
            }
            state.annotations.len() > before
        })
        .await?;
        Ok(())
    }

    async fn on_finished(
        &self,
        delivery: &Delivery<Event>,
        fact: &JobFinished,
    ) -> Result<(), CoordinatorError> {
        let at = delivery.envelope.time;
        self.change(&fact.run, |state| {
            let Some(job) = current(state, &fact.job, fact.epoch) else { return false };
            if job.phase == Phase::Finished {
                return false;
            }
            job.epoch = job.epoch.max(fact.epoch);
            job.phase = Phase::Finished;
            job.conclusion = Some(fact.conclusion);
            job.outputs.clone_from(&fact.outputs);
            job.reason.clone_from(&fact.reason);
            job.finished_at = Some(at);
            true
        })
        .await?;
        self.advance(&fact.run, &delivery.cause()).await
    }

    async fn change(
        &self,
        run: &RunRef,
        change: impl Fn(&mut RunState) -> bool,
    ) -> Result<Option<RunState>, CoordinatorError> {
        Ok(self.runs.change(&run.repository.slug, run.number, change).await?)
    }
}

/// The job that a fact is about, unless the fact is void. Epoch 0 speaks for jobs that never started.
fn current<'a>(state: &'a mut RunState, id: &JobId, epoch: u64) -> Option<&'a mut JobState> {
    let job = state.jobs.iter_mut().find(|job| &job.planned.id == id)?;
    (epoch == 0 || epoch >= job.epoch).then_some(job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::push::state_of;
    use sluice_schemas::Message as _;
    use sluice_schemas::events::RunQueued;

    #[test]
    fn facts_of_a_replaced_executor_are_void() {
        let mut state = state_of(&RunQueued::example());
        let id = state.jobs[0].planned.id.clone();
        current(&mut state, &id, 7).expect("the first executor").epoch = 7;
        assert!(current(&mut state, &id, 6).is_none());
        assert!(current(&mut state, &id, 7).is_some());
        assert!(current(&mut state, &id, 8).is_some());
        assert!(current(&mut state, &id, 0).is_some());
        assert!(current(&mut state, &JobId::from_text("42-other"), 9).is_none());
    }
}
