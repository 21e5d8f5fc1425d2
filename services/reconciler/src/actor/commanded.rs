//! Syncs that somebody asks for: by command, with or without a grant, or by `.operation` of the Application.

use sluice_bus::Outcome;
use sluice_schemas::commands::Sync;
use sluice_schemas::events::{Surface, SyncTrigger};
use sluice_schemas::grant::{GrantScope, SyncGrant};
use sluice_schemas::ids::{GrantId, Person, SyncId, hash_token};
use sluice_schemas::{Cause, Sha};
use tokio::time::Instant;

use super::Actor;
use super::begin::{NotBegun, PlanFrom, Request};
use super::look::LookError;
use crate::compare::{self, Compared, Memo};
use crate::convert::Attempt;
use crate::desired::{Desired, Target};
use crate::gatekeeper::{Ask, Denied, Keeper};

impl Actor {
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
        self.cause = cause.clone();
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
        let request = Request {
            sync: command.sync.clone(),
            target,
            trigger,
            prune: command.prune,
            ask,
            plan_from,
            lease: None,
        };
        self.begin_and_store(request).await
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
}
