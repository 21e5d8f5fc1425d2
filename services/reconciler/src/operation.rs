//! A sync operation: begun by a fact, carried out step by step under a lease, ended by a fact.
//!
//! State machine: `started` → `phase_finished`* → `finished`, each appended with the aggregate's expected sequence, so that
//! of two executors one stops. A killed executor's operation is found by its successor (the application's state, or the
//! redelivered command), which reads the aggregate and plans again from what the cluster holds by then: what was applied is
//! in sync and drops out, hooks carry the operation's id. Called by the application's actor.

mod hook;
mod run;
mod task;

use sluice_bus::{AppendError, Expected, Lease, LeaseError, ReadError};
use sluice_gitops::Plan;
use sluice_schemas::events::{
    AppRef, Event, ObjectResult, SyncFinished, SyncOutcome, SyncPhaseFinished, SyncRef, SyncStarted,
    SyncTrigger,
};
use sluice_schemas::ids::SyncId;
use sluice_schemas::{Cause, Fact, Timestamp};

use crate::context::Context;
use crate::desired::Target;
use crate::gatekeeper::Permit;
use crate::record::count;

pub(crate) use run::run;

/// An operation that may write, because it holds a permit and the application's lease.
pub(crate) struct Operation {
    pub(crate) reference: SyncRef,
    pub(crate) permit: Permit,
    pub(crate) lease: Lease,
    pub(crate) plan: Plan,
    pub(crate) started_at: Timestamp,
    pub(crate) cause: Cause,
    /// Name of the Application.
    pub(crate) app_name: String,
    /// Sequence of the aggregate's last fact.
    last: u64,
    /// Phases and waves that an earlier executor finished.
    done: Vec<SyncPhaseFinished>,
}

/// What an operation reports to its application's actor.
pub(crate) enum Progress {
    Phase {
        sync: SyncId,
        results: Vec<ObjectResult>,
    },
    Finished {
        finished: Box<SyncFinished>,
        transient: bool,
    },
    /// It stopped without an end: another process goes on, or this one later.
    Interrupted {
        sync: SyncId,
        reason: String,
    },
}

/// Why an operation was not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error("another operation of this application is under way")]
    Busy,
    #[error("it has ended already")]
    Finished(Box<SyncFinished>),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The application's lease key: one operation at a time, over all replicas.
pub(crate) fn lease_key(app: &AppRef) -> String {
    format!("app.{}.{}", app.project, app.app)
}

/// Takes the lease.
pub(crate) async fn lease(context: &Context, app: &AppRef) -> Result<Lease, BeginError> {
    context.bus.leases().acquire(&context.service, &lease_key(app)).await?.ok_or(BeginError::Busy)
}

/// What is to be carried out.
pub(crate) struct Order<'a> {
    pub(crate) app: &'a AppRef,
    /// Name of the Application.
    pub(crate) app_name: &'a str,
    pub(crate) target: &'a Target,
    pub(crate) trigger: SyncTrigger,
    pub(crate) plan: Plan,
    pub(crate) cause: &'a Cause,
}

/// Begins an operation, or takes up one that was begun and not ended.
pub(crate) async fn begin(
    context: &Context,
    order: Order<'_>,
    permit: Permit,
    lease: Lease,
) -> Result<Operation, BeginError> {
    let reference = SyncRef {
        sync: permit.sync().clone(),
        app: order.app.clone(),
        revision: order.target.revision.clone(),
        manifests: order.target.manifests.clone(),
        trigger: order.trigger,
    };
    let started = SyncStarted {
        sync: reference.clone(),
        epoch: lease.epoch(),
        apply: count(order.plan.applies()),
        prune: count(order.plan.prunes()),
    };
    let mut operation = Operation {
        reference,
        permit,
        lease,
        plan: order.plan,
        started_at: Timestamp::now(),
        cause: order.cause.clone(),
        app_name: order.app_name.to_owned(),
        last: 0,
        done: Vec::new(),
    };
    match operation.append(context, &started, "started").await {
        Ok(()) => Ok(operation),
        Err(AppendError::Conflict { .. }) => {
            operation.take_up(context, &started).await?;
            Ok(operation)
        }
        Err(error) => Err(error.into()),
    }
}

impl Operation {
    pub(crate) fn epoch(&self) -> u64 {
        self.lease.epoch()
    }

    /// Reads what an earlier executor of this operation recorded.
    async fn take_up(&mut self, context: &Context, started: &SyncStarted) -> Result<(), BeginError> {
        let Some(aggregate) = sluice_schemas::Message::subject(started).aggregate() else { return Ok(()) };
        for recorded in context.bus.aggregate(&aggregate).await? {
            self.last = recorded.sequence;
            match recorded.event {
                Event::SyncStarted(_) => self.started_at = recorded.envelope.time,
                Event::SyncPhaseFinished(phase) => self.done.push(*phase),
                Event::SyncFinished(finished) => return Err(BeginError::Finished(finished)),
                _ => {}
            }
        }
        tracing::info!(sync = %self.reference.sync, phases = self.done.len(), "an operation is taken up");
        Ok(())
    }

    async fn append<F: Fact>(&mut self, context: &Context, fact: &F, step: &str) -> Result<(), AppendError> {
        let cause = self.cause.seeded(format!("sync:{}:{step}", self.reference.sync));
        self.last = context.bus.append(fact, &cause, Expected::AggregateLast(self.last)).await?;
        Ok(())
    }

    async fn finish(
        &mut self,
        context: &Context,
        outcome: SyncOutcome,
        message: String,
        results: Vec<ObjectResult>,
    ) -> Result<SyncFinished, AppendError> {
        let finished = SyncFinished {
            sync: self.reference.clone(),
            epoch: self.epoch(),
            outcome,
            message,
            results,
            duration_ms: Timestamp::now().millis_since(self.started_at),
        };
        self.append(context, &finished, "finished").await?;
        Ok(finished)
    }
}
