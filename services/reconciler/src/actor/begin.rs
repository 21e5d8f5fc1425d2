//! Beginning operations: lease, permit, plan, first fact.

use sluice_bus::Lease;
use sluice_gitops::automation::{self, Retry, parse_duration};
use sluice_gitops::plan::{self, Plan, Settings};
use sluice_schemas::Timestamp;
use sluice_schemas::events::{SyncFinished, SyncTrigger};
use sluice_schemas::ids::{SyncId, hash_token};
use sluice_schemas::state::{AppState, OperationState};
use tokio::time::Instant;

use super::Actor;
use super::look::LookError;
use crate::compare::Compared;
use crate::convert::Attempt;
use crate::desired::Target;
use crate::gatekeeper::{Ask, Denied, Keeper};
use crate::operation::{self, BeginError, Operation, Order};

/// A heal this long after the last one is the first of a new row.
const HEALS_FORGOTTEN: std::time::Duration = std::time::Duration::from_secs(600);

/// Who an operation is for.
pub(super) struct Request<'a> {
    pub(crate) sync: SyncId,
    pub(crate) target: Target,
    pub(crate) trigger: SyncTrigger,
    pub(crate) prune: bool,
    pub(crate) ask: Ask<'a>,
    pub(crate) plan_from: PlanFrom,
    /// Asked for already.
    pub(crate) lease: Option<Result<Lease, BeginError>>,
}

/// An operation whose first fact is appended, and what is to be stored of it before it runs: a process that dies in
/// between finds it by that.
pub(super) struct Begun {
    pub(super) operation: Operation,
    pub(super) state: OperationState,
}

/// What a plan is made from.
pub(super) enum PlanFrom {
    /// The comparison that the actor has.
    Current,
    /// One made for other manifests.
    Other(Box<Compared>),
}

/// Why an operation was not begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotBegun {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("another operation of this application is under way")]
    Busy,
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(transparent)]
    Begin(BeginError),
}

impl Actor {
    /// What the application's own policy asks for.
    pub(super) async fn begin_automated(
        &mut self,
        prune: bool,
        heal: bool,
        lease: Option<Result<Lease, BeginError>>,
    ) -> Result<Option<Begun>, LookError> {
        let Some(desired) = &self.desired else { return Ok(None) };
        let target = desired.target.clone();
        let (trigger, attempt) = match heal {
            true => (SyncTrigger::SelfHeal, Attempt::SelfHeal),
            false => (SyncTrigger::Automated, Attempt::Sync),
        };
        let request = Request {
            sync: self.next_sync(&target, attempt.word()),
            target,
            trigger,
            prune,
            ask: Ask::Nobody { attempt, person: None },
            plan_from: PlanFrom::Current,
            lease,
        };
        match self.begin(request).await {
            Ok(begun) => Ok(begun),
            Err(NotBegun::Denied(Denied::Refused(_))) => Ok(None),
            Err(NotBegun::Busy) => {
                self.wake_at(Instant::now() + super::BUSY);
                Ok(None)
            }
            Err(NotBegun::Look(error)) => Err(error),
            Err(NotBegun::Denied(error)) => Err(error.into()),
            Err(NotBegun::Begin(error)) => Err(Denied::Unavailable(error.to_string()).into()),
        }
    }

    /// Self-heal: at once the first time, and ever slower when it does not last.
    pub(super) fn is_heal_due(&mut self) -> bool {
        let now = Instant::now();
        if self.heals.last.is_none_or(|last| now.duration_since(last) > HEALS_FORGOTTEN) {
            self.heals.count = 0;
        }
        let due = self.heals.last.map_or(now, |last| last + automation::heal_pause(self.heals.count));
        if due > now {
            self.wake_at(due);
            return false;
        }
        self.heals.count = self.heals.count.saturating_add(1);
        self.heals.last = Some(now);
        true
    }

    /// After a failure: the retry policy's turn.
    pub(super) fn is_retry_due(&mut self) -> bool {
        let due = self.retry_at.is_some_and(|at| at <= Instant::now());
        if due {
            self.retry_at = None;
        }
        due
    }

    /// Lease, permit, plan, first fact. What comes back has to be stored and launched.
    pub(super) async fn begin(&mut self, request: Request<'_>) -> Result<Option<Begun>, NotBegun> {
        if self.running.is_some() {
            return Err(NotBegun::Busy);
        }
        let gate = self.gate.clone().ok_or(NotBegun::Busy)?;
        let Request { sync, target, trigger, prune, ask, plan_from, lease } = request;
        let lease = match lease {
            Some(asked) => asked,
            None => operation::lease(&self.context, &self.reference).await,
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(BeginError::Busy) => return Err(NotBegun::Busy),
            Err(error) => return Err(NotBegun::Begin(error)),
        };
        // Under the lease the state stands still. What another replica did since this one looked makes the plan stale.
        let last = |state: &AppState| state.operation.as_ref().map(|it| (it.sync.clone(), it.outcome));
        let (before, manifests) = (last(self.state()), self.state().manifests.clone());
        self.stored.reload(&self.context).await.map_err(LookError::from)?;
        if last(self.state()) != before || self.state().manifests != manifests {
            return Err(NotBegun::Busy);
        }
        let keeper =
            Keeper { context: &self.context, app: &self.app, app_ref: &self.reference, cause: &self.cause };
        let permit = keeper.permit(&gate, &target, prune, &sync, ask).await?;
        let plan = match &plan_from {
            PlanFrom::Current => self.plan(self.compared.as_ref(), permit.prune()),
            PlanFrom::Other(compared) => self.plan(Some(compared), permit.prune()),
        };
        let order = Order {
            app: &self.reference,
            app_name: self.app.name(),
            target: &target,
            trigger: trigger.clone(),
            plan,
            cause: &self.cause,
        };
        let begun = match operation::begin(&self.context, order, permit, lease).await {
            Ok(begun) => begun,
            Err(BeginError::Finished(finished)) => {
                self.take_over_result(&finished).await?;
                return Ok(None);
            }
            Err(error) => return Err(NotBegun::Begin(error)),
        };
        let (epoch, started_at) = (begun.epoch(), begun.started_at);
        tracing::info!(app = self.app.name(), %sync, revision = %target.revision.short(), applies = begun.plan.applies(), prunes = begun.plan.prunes(), "a sync begins");
        let state = OperationState {
            sync,
            revision: target.revision,
            manifests: target.manifests,
            trigger,
            epoch,
            started_at,
            finished_at: None,
            outcome: None,
            message: String::new(),
            results: Vec::new(),
        };
        Ok(Some(Begun { operation: begun, state }))
    }

    /// Lets an operation run whose state is stored: from here on objects are written.
    pub(super) fn launch(&mut self, operation: Operation) {
        self.running = Some(super::Running { sync: operation.reference.sync.clone() });
        let (live, progress) = (self.live.subscribe(), self.progress.0.clone());
        self.operations.spawn(operation::run(self.context.clone(), operation, live, progress));
    }

    /// The same, stored and launched.
    pub(super) async fn begin_and_store(&mut self, request: Request<'_>) -> Result<(), NotBegun> {
        let Some(begun) = self.begin(request).await? else { return Ok(()) };
        let stored = self.stored.change(&self.context, |it| it.operation = Some(begun.state.clone())).await;
        stored.map_err(|error| NotBegun::Look(error.into()))?;
        self.launch(begun.operation);
        Ok(())
    }

    fn plan(&self, compared: Option<&Compared>, prune: bool) -> Plan {
        let Some(compared) = compared else { return Plan::default() };
        let namespace = self.app.spec.destination.namespace.clone().unwrap_or_default();
        let creates = self.app.has_sync_option("CreateNamespace=true") && !namespace.is_empty();
        let metadata =
            self.app.spec.sync_policy.as_ref().and_then(|it| it.managed_namespace_metadata.clone());
        let metadata =
            metadata.and_then(|it| serde_json::to_value(it).ok()).unwrap_or_else(|| serde_json::json!({}));
        // Applied only when objects of the namespace are missing: then it may be missing as well.
        let missing = compared.objects.iter().any(|it| it.plan.key.namespace == namespace && !it.exists);
        let settings = Settings {
            prune,
            prune_last: self.app.has_sync_option("PruneLast=true"),
            replace: self.app.has_sync_option("Replace=true"),
            create_namespace: (creates && missing).then_some((namespace, metadata)),
            own: self.desired.as_ref().map(|it| it.own.clone()),
        };
        plan::plan(&compared.plan_objects(), &settings)
    }

    /// The id that follows from what was before: after a crash the same operation is begun again, not a second one.
    fn next_sync(&self, target: &Target, word: &str) -> SyncId {
        let before = self.state().operation.as_ref().map(|it| it.sync.to_string()).unwrap_or_default();
        let app = self.reference.app.as_str();
        SyncId::from_text(&hash_token(&[
            "sync",
            app,
            target.manifests.as_str(),
            target.revision.as_str(),
            word,
            &before,
        ]))
    }

    /// The application's retry policy, or ours.
    pub(super) fn retry_policy(&self) -> (Retry, bool) {
        let declared = self.app.spec.sync_policy.as_ref().and_then(|it| it.retry.clone());
        let mut policy = Retry::default();
        let Some(declared) = declared else { return (policy, false) };
        if let Some(limit) = declared.limit {
            policy.limit = u32::try_from(limit).ok();
        }
        let backoff = declared.backoff.unwrap_or_default();
        if let Some(first) = backoff.duration.as_deref().and_then(parse_duration) {
            policy.first = first;
        }
        if let Some(factor) = backoff.factor.and_then(|it| u32::try_from(it).ok()) {
            policy.factor = factor;
        }
        if let Some(longest) = backoff.max_duration.as_deref().and_then(parse_duration) {
            policy.longest = longest;
        }
        (policy, true)
    }

    /// An operation that another process ended: its result is what counts.
    pub(super) async fn take_over_result(&mut self, finished: &SyncFinished) -> Result<(), LookError> {
        let reference = &finished.sync;
        let base = OperationState {
            sync: reference.sync.clone(),
            revision: reference.revision.clone(),
            manifests: reference.manifests.clone(),
            trigger: reference.trigger.clone(),
            epoch: finished.epoch,
            started_at: Timestamp::now(),
            finished_at: None,
            outcome: None,
            message: String::new(),
            results: Vec::new(),
        };
        let known = self.state().operation.clone().filter(|it| it.sync == reference.sync);
        self.finish_in_state(known.unwrap_or(base), finished).await
    }
}
