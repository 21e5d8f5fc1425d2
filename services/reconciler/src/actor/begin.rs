//! Beginning operations: by policy, by command, by `.operation` of the Application.

use sluice_bus::Outcome;
use sluice_gitops::automation::{self, Retry, parse_duration};
use sluice_gitops::plan::{self, Plan, Settings};
use sluice_schemas::commands::Sync;
use sluice_schemas::events::{Surface, SyncFinished, SyncTrigger};
use sluice_schemas::grant::{GrantScope, SyncGrant};
use sluice_schemas::ids::{GrantId, Person, SyncId, hash_token};
use sluice_schemas::state::OperationState;
use sluice_schemas::{Cause, Sha, Timestamp};
use tokio::time::Instant;

use super::Actor;
use super::look::LookError;
use crate::compare::{self, Compared, Memo};
use crate::convert::Attempt;
use crate::desired::{Desired, Target};
use crate::gatekeeper::{Ask, Denied, Keeper};
use crate::operation::{self, BeginError, Order};

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
    pub(super) async fn begin_automated(&mut self, prune: bool, heal: bool) -> Result<(), LookError> {
        let Some(desired) = &self.desired else { return Ok(()) };
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
        };
        match self.begin(request).await {
            Ok(()) | Err(NotBegun::Denied(Denied::Refused(_))) => Ok(()),
            Err(NotBegun::Busy) => {
                self.wake_at(Instant::now() + super::RETRY);
                Ok(())
            }
            Err(NotBegun::Look(error)) => Err(error),
            Err(NotBegun::Denied(error)) => Err(error.into()),
            Err(NotBegun::Begin(error)) => Err(Denied::Unavailable(error.to_string()).into()),
        }
    }

    /// Self-heal, at once the first time and ever slower when it does not last.
    pub(super) async fn heal(&mut self, prune: bool) -> Result<(), LookError> {
        let now = Instant::now();
        if self.heals.last.is_none_or(|last| now.duration_since(last) > HEALS_FORGOTTEN) {
            self.heals.count = 0;
        }
        let due = self.heals.last.map_or(now, |last| last + automation::heal_pause(self.heals.count));
        if due > now {
            self.wake_at(due);
            return Ok(());
        }
        self.heals.count = self.heals.count.saturating_add(1);
        self.heals.last = Some(now);
        self.begin_automated(prune, true).await
    }

    /// `cmd.reconciler.sync.*`.
    pub(super) async fn sync_commanded(&mut self, command: &Sync, cause: &Cause) -> Outcome {
        let known = self.state().operation.as_ref().is_some_and(|it| it.sync == command.sync);
        if known || self.running.as_ref().is_some_and(|it| it.sync == command.sync) {
            return Outcome::Done;
        }
        if command.project != self.reference.project {
            let reason = format!("the application is in the project {}", self.reference.project);
            return self.refused(command, Attempt::Sync, reason, cause).await;
        }
        if self.compared.is_none()
            && let Err(error) = self.look().await
        {
            return self.come_again(error);
        }
        let Some(current) = self.desired.as_ref().map(|it| it.target.clone()) else {
            return Outcome::Retry {
                after: super::RETRY,
                reason: format!("application {} was not compared yet", self.app.name()),
            };
        };
        let scope = command.grant.as_ref().map(|grant| grant.terms.scope);
        if let (Some(GrantScope::Automation), Some(grant)) = (scope, &command.grant) {
            return self.open_gate(command, grant, &current, cause).await;
        }
        self.cause.correlation = cause.correlation.clone();
        let begun = if command.revision == current.revision {
            self.begin_commanded(command, current, PlanFrom::Current).await
        } else {
            match self.roll_back(command, cause).await {
                Ok(begun) => begun,
                Err(outcome) => return outcome,
            }
        };
        self.mirror().await;
        match begun {
            Ok(()) | Err(NotBegun::Denied(Denied::Refused(_))) => Outcome::Done,
            Err(error) => Outcome::Retry {
                after: super::RETRY,
                reason: format!("sync of {}: {error}", self.app.name()),
            },
        }
    }

    /// `.operation` of the Application, as `kubectl` or another client wrote it.
    pub(super) async fn sync_by_kubectl(&mut self) {
        let Some(sync) = self.app.operation.as_ref().and_then(|it| it.sync.clone()) else { return };
        let initiated_by = self.app.operation.as_ref().map(|it| it.initiated_by.clone()).unwrap_or_default();
        let person = initiated_by.username.unwrap_or_else(|| "kubectl".to_owned());
        let metadata = &self.app.metadata;
        let seed = [
            "kubectl",
            metadata.uid.as_deref().unwrap_or_default(),
            metadata.resource_version.as_deref().unwrap_or_default(),
        ];
        let revision: Option<Sha> = sync.revision.as_deref().and_then(|it| it.parse().ok());
        let revision = revision.or_else(|| self.state().revision.clone());
        if let Some(revision) = revision {
            let command = Sync {
                sync: SyncId::from_text(&hash_token(&seed)),
                app: self.reference.app.clone(),
                project: self.reference.project.clone(),
                revision,
                prune: sync.prune == Some(true),
                person: Person::from_text(&person),
                surface: Surface::Kubernetes,
                grant: None,
            };
            let cause = self.cause.seeded(format!("kubectl:{}", command.sync));
            let outcome = self.sync_commanded(&command, &cause).await;
            if outcome != Outcome::Done {
                // `.operation` stays, and is read again.
                self.wake_at(Instant::now() + super::RETRY);
                return;
            }
        }
        let name = self.app.name().to_owned();
        let patch = serde_json::json!({ "operation": null });
        if let Err(error) = self.context.cluster.patch_application(&name, &patch).await {
            tracing::warn!(app = name, %error, "failed to take away the Application's operation");
        }
    }

    async fn begin_commanded(
        &mut self,
        command: &Sync,
        target: Target,
        plan_from: PlanFrom,
    ) -> Result<(), NotBegun> {
        let (person, surface) = (command.person.clone(), command.surface);
        let is_rollback = matches!(plan_from, PlanFrom::Other(_));
        let (trigger, ask) = match &command.grant {
            Some(grant) => {
                let nonce = grant.terms.nonce.clone();
                (SyncTrigger::Grant { grant: nonce, person, surface }, Ask::Grant(grant))
            }
            None => {
                let attempt = if is_rollback { Attempt::Rollback } else { Attempt::Sync };
                (
                    SyncTrigger::Person { person, surface },
                    Ask::Nobody { attempt, person: Some(&command.person) },
                )
            }
        };
        let request =
            Request { sync: command.sync.clone(), target, trigger, prune: command.prune, ask, plan_from };
        self.begin(request).await
    }

    /// Another revision than the current one: only one that was synced before, and not against the automation.
    async fn roll_back(&mut self, command: &Sync, cause: &Cause) -> Result<Result<(), NotBegun>, Outcome> {
        let gated = self.gate.as_ref().is_none_or(|gate| gate.gated);
        let entry = self.state().history.iter().find(|it| it.revision == command.revision).cloned();
        let Some(entry) = entry else {
            let current = self.state().revision.as_ref().map(|it| it.short().to_owned()).unwrap_or_default();
            let reason = format!(
                "{} is not the current revision ({current}), nor one that was synced before; look at the preview again",
                command.revision.short()
            );
            return Err(self.refused(command, Attempt::Sync, reason, cause).await);
        };
        if !gated && self.app.automated().is_some() {
            let reason = "its automation would at once go back to the current revision; switch it off first, or revert the commit".to_owned();
            return Err(self.refused(command, Attempt::Rollback, reason, cause).await);
        }
        let target = Target { revision: entry.revision, manifests: entry.manifests };
        match self.compare_other(&target).await {
            Ok(compared) => {
                Ok(self.begin_commanded(command, target, PlanFrom::Other(Box::new(compared))).await)
            }
            Err(error) => Err(self.come_again(error)),
        }
    }

    /// Compares with manifests that are not the current ones.
    pub(super) async fn compare_other(&self, target: &Target) -> Result<Compared, LookError> {
        let project = self.context.projects.get(&self.app.spec.project);
        let project =
            project.ok_or_else(|| Denied::Unavailable("its AppProject does not exist".to_owned()))?;
        let desired = Desired::load(&self.context, &self.app, &project, target.clone()).await?;
        let creates = self.app.has_sync_option("CreateNamespace=true");
        let name = self.app.name();
        self.context.live.track(desired.kinds()).await;
        let mut memo = Memo::default();
        Ok(compare::compare(
            &self.context,
            name,
            &desired,
            creates,
            &*self.registry,
            &self.namespaces,
            &mut memo,
        )
        .await?)
    }

    async fn open_gate(
        &mut self,
        command: &Sync,
        grant: &SyncGrant,
        target: &Target,
        cause: &Cause,
    ) -> Outcome {
        let keeper = Keeper { context: &self.context, app: &self.app, app_ref: &self.reference, cause };
        match keeper.open(target, &command.sync, grant).await {
            Ok(()) => {
                tracing::info!(app = self.app.name(), person = %grant.terms.person, "a grant opened the gate for good");
                match self.look().await {
                    Ok(()) => Outcome::Done,
                    Err(error) => self.come_again(error),
                }
            }
            Err(Denied::Refused(_)) => Outcome::Done,
            Err(error @ Denied::Unavailable(_)) => {
                Outcome::Retry { after: super::RETRY, reason: error.to_string() }
            }
        }
    }

    async fn refused(&self, command: &Sync, attempt: Attempt, reason: String, cause: &Cause) -> Outcome {
        let keeper = Keeper { context: &self.context, app: &self.app, app_ref: &self.reference, cause };
        let token = GrantId::from_text(&hash_token(&["refused", command.sync.as_str(), attempt.word()]));
        match keeper.refuse(token, attempt, reason, Some(command.person.clone())).await {
            Denied::Refused(_) => Outcome::Done,
            Denied::Unavailable(reason) => Outcome::Retry { after: super::RETRY, reason },
        }
    }

    /// Lease, permit, plan, first fact; then it runs beside the actor.
    pub(super) async fn begin(&mut self, request: Request<'_>) -> Result<(), NotBegun> {
        if self.running.is_some() {
            return Err(NotBegun::Busy);
        }
        let gate = self.gate.clone().ok_or(NotBegun::Busy)?;
        let lease = match operation::lease(&self.context, &self.reference).await {
            Ok(lease) => lease,
            Err(BeginError::Busy) => return Err(NotBegun::Busy),
            Err(error) => return Err(NotBegun::Begin(error)),
        };
        let Request { sync, target, trigger, prune, ask, plan_from } = request;
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
                return Ok(());
            }
            Err(error) => return Err(NotBegun::Begin(error)),
        };
        let (epoch, started_at) = (begun.epoch(), begun.started_at);
        tracing::info!(app = self.app.name(), %sync, revision = %target.revision.short(), applies = begun.plan.applies(), prunes = begun.plan.prunes(), "a sync begins");
        let running =
            operation::run(self.context.clone(), begun, self.live.subscribe(), self.progress.0.clone());
        self.operations.spawn(running);
        self.running = Some(super::Running { sync: sync.clone() });
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
        self.stored
            .change(&self.context, |it| it.operation = Some(state.clone()))
            .await
            .map_err(LookError::from)?;
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
