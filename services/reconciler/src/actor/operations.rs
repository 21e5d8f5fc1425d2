//! Operations under way: their progress, their end, and taking up those whose process died.

use sluice_schemas::Timestamp;
use sluice_schemas::events::{ObjectStatus, SyncFinished, SyncOutcome};
use sluice_schemas::state::{HistoryEntry, OperationState};
use tokio::task::JoinError;
use tokio::time::Instant;

use super::begin::{NotBegun, PlanFrom, Request};
use super::look::LookError;
use super::mirror::{SYNC_ERROR, condition};
use super::{Actor, Next};
use crate::convert::outcome_word;
use crate::desired::Target;
use crate::gatekeeper::{Ask, Denied};
use crate::operation::Progress;
use crate::state::history_limit;

impl Actor {
    /// What an operation of this process reports.
    pub(super) async fn report(&mut self, progress: Progress) -> Next {
        match progress {
            Progress::Phase { sync, results } => {
                let changed = self.stored.change(&self.context, |state| {
                    if let Some(operation) = state.operation.as_mut().filter(|it| it.sync == sync) {
                        operation.results.extend(results.iter().cloned());
                    }
                });
                if let Err(error) = changed.await {
                    // The end carries all results once more.
                    tracing::debug!(app = self.app.name(), %error, "failed to note an operation's progress");
                }
            }
            Progress::Finished { finished, transient } => self.finished(&finished, transient).await,
            Progress::Interrupted { sync, reason } => {
                tracing::warn!(app = self.app.name(), %sync, reason, "an operation was interrupted");
                self.running = None;
                self.look_at = Instant::now() + super::RETRY;
            }
        }
        Next::On
    }

    /// The operation's task is gone; its report may still be in the queue.
    pub(super) fn ended(&mut self, ended: Result<(), JoinError>) -> Next {
        match ended.map_err(JoinError::try_into_panic) {
            // Like any other panic it ends the process: a successor takes the operation up.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Ok(()) | Err(Err(_)) => Next::On,
        }
    }

    /// Looks for an operation that was begun, did not end, and that nobody carries on.
    pub(super) async fn take_up(&mut self) {
        if self.state().operation.as_ref().is_none_or(|it| it.finished_at.is_some()) {
            return;
        }
        if let Err(error) = self.stored.reload(&self.context).await {
            tracing::debug!(app = self.app.name(), %error, "failed to read the application's state");
            return;
        }
        let unfinished = self.state().operation.clone().filter(|it| it.finished_at.is_none());
        let Some(operation) = unfinished else { return };
        match self.take_up_operation(&operation).await {
            Ok(()) | Err(NotBegun::Busy) => {}
            Err(NotBegun::Denied(Denied::Refused(reason))) => self.abandon(operation, reason).await,
            Err(error) => {
                tracing::warn!(app = self.app.name(), %error, "failed to take up an operation; trying again")
            }
        }
    }

    async fn take_up_operation(&mut self, operation: &OperationState) -> Result<(), NotBegun> {
        if self.gate.is_none() {
            self.look().await?;
            if self.running.is_some() {
                return Ok(());
            }
        }
        let target = Target { revision: operation.revision.clone(), manifests: operation.manifests.clone() };
        let is_current = self.desired.as_ref().is_some_and(|it| it.target == target);
        let plan_from = if is_current && self.compared.is_some() {
            PlanFrom::Current
        } else {
            PlanFrom::Other(Box::new(self.compare_other(&target).await?))
        };
        let request = Request {
            sync: operation.sync.clone(),
            target,
            trigger: operation.trigger.clone(),
            prune: self.app.automated().is_some_and(|it| it.prune == Some(true)),
            ask: Ask::Resume,
            plan_from,
            lease: None,
        };
        self.begin_and_store(request).await
    }

    /// An operation that may not go on.
    async fn abandon(&mut self, operation: OperationState, reason: String) {
        let changed = self.stored.change(&self.context, |state| {
            if let Some(it) = state.operation.as_mut().filter(|it| it.sync == operation.sync) {
                it.finished_at = Some(Timestamp::now());
                it.outcome = Some(SyncOutcome::Error);
                it.message.clone_from(&reason);
            }
        });
        if let Err(error) = changed.await {
            tracing::warn!(app = self.app.name(), %error, "failed to end an operation; trying again");
        }
        self.mirror().await;
    }

    async fn finished(&mut self, finished: &SyncFinished, transient: bool) {
        self.running = None;
        let labels = [
            self.app.namespace(),
            self.app.name(),
            self.app.spec.project.as_str(),
            outcome_word(Some(finished.outcome)),
        ];
        self.context.metrics.sync.with_label_values(&labels).inc();
        tracing::info!(app = self.app.name(), sync = %finished.sync.sync, outcome = ?finished.outcome, ms = finished.duration_ms, message = finished.message, "a sync ended");
        let known = self.state().operation.clone().filter(|it| it.sync == finished.sync.sync);
        let stored = match known {
            Some(operation) => self.finish_in_state(operation, finished).await,
            None => self.take_over_result(finished).await,
        };
        if let Err(error) = stored {
            tracing::warn!(app = self.app.name(), %error, "failed to note an operation's end; trying again");
            self.look_at = Instant::now() + super::RETRY;
        }
        self.retry_at = None;
        if finished.outcome == SyncOutcome::Succeeded {
            self.retries = 0;
        } else {
            let (policy, declared) = self.retry_policy();
            if (transient || declared)
                && let Some(pause) = policy.pause(self.retries)
            {
                self.retries += 1;
                self.retry_at = Some(Instant::now() + pause);
                self.wake_at(Instant::now() + pause);
            }
        }
        self.look_again().await;
    }

    pub(super) async fn finish_in_state(
        &mut self,
        operation: OperationState,
        finished: &SyncFinished,
    ) -> Result<(), LookError> {
        let limit = history_limit(&self.app);
        let succeeded = finished.outcome == SyncOutcome::Succeeded;
        let now = Timestamp::now();
        self.stored
            .change(&self.context, |state| {
                state.operation = Some(OperationState {
                    finished_at: Some(now),
                    outcome: Some(finished.outcome),
                    message: finished.message.clone(),
                    results: finished.results.clone(),
                    ..operation.clone()
                });
                state.conditions.retain(|it| it.kind != SYNC_ERROR);
                if !succeeded {
                    state.conditions.push(condition(SYNC_ERROR, finished.message.clone()));
                    return;
                }
                state.synced_revision = Some(finished.sync.revision.clone());
                if state.history.iter().any(|it| it.sync == finished.sync.sync) {
                    return;
                }
                let id = state.history.iter().map(|it| it.id + 1).max().unwrap_or(0);
                state.history.insert(
                    0,
                    HistoryEntry {
                        id,
                        sync: finished.sync.sync.clone(),
                        revision: finished.sync.revision.clone(),
                        manifests: finished.sync.manifests.clone(),
                        trigger: finished.sync.trigger.clone(),
                        deployed_at: now,
                    },
                );
                state.history.truncate(limit);
            })
            .await?;
        Ok(())
    }

    /// Whether the last operation did all that can be done: what failed in it cannot be applied at all.
    pub(super) fn did_all_it_could(&self, operation: &OperationState) -> bool {
        if operation.outcome == Some(SyncOutcome::Succeeded) {
            return true;
        }
        let Some(compared) = &self.compared else { return false };
        let hopeless = |kind: &str, namespace: &str, name: &str| {
            compared.objects.iter().any(|it| {
                matches!(it.plan.state, sluice_gitops::plan::State::Broken(_))
                    && (it.plan.key.kind == kind
                        && it.plan.key.namespace == namespace
                        && it.plan.key.name == name)
            })
        };
        let mut failed =
            operation.results.iter().filter(|it| it.status == ObjectStatus::SyncFailed).peekable();
        failed.peek().is_some() && failed.all(|it| hopeless(&it.kind, &it.namespace, &it.name))
    }
}
