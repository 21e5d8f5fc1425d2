//! What follows from a comparison: an operation that the policy asks for, or a word about what the gate holds back.

use sluice_gitops::automation::{self, Automation, Decision, Situation};
use sluice_gitops::gate::Gate;
use sluice_gitops::plan::State;

use super::Actor;
use super::look::LookError;
use super::mirror::{SYNC_ERROR, condition};
use crate::convert::Attempt;
use crate::gatekeeper::Keeper;

/// What a comparison leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Nothing,
    Begin {
        prune: bool,
        heal: bool,
    },
    /// Everything would go, and that is not what the application's policy allows.
    WouldEmpty,
    /// The gate is shut; `changes` says whether there is anything behind it.
    Held {
        changes: bool,
    },
}

impl Actor {
    /// What the application's policy asks for now.
    pub(super) fn intend(&mut self) -> Intent {
        let (Some(desired), Some(compared), Some(gate)) = (&self.desired, &self.compared, &self.gate) else {
            return Intent::Nothing;
        };
        let changes = compared.objects.iter().filter(|it| {
            !it.plan.options.is_hook() && matches!(it.plan.state, State::Differs | State::Missing)
        });
        let extra = compared
            .objects
            .iter()
            .filter(|it| it.plan.state == State::Extra && !it.terminating && !it.plan.options.no_prune);
        let last = self.state().operation.as_ref();
        let situation = Situation {
            changes: changes.count(),
            extra: extra.count(),
            desired: desired.objects.len(),
            same_manifests: last.is_some_and(|it| it.manifests == desired.target.manifests),
            last_succeeded: last.is_some_and(|it| self.did_all_it_could(it)),
        };
        if gate.gated {
            return Intent::Held { changes: situation.changes > 0 };
        }
        if self.running.is_some() || last.is_some_and(|it| it.finished_at.is_none()) {
            return Intent::Nothing;
        }
        let automated = self.app.automated().cloned().unwrap_or_default();
        let policy = Automation {
            prune: automated.prune == Some(true),
            self_heal: automated.self_heal == Some(true),
            allow_empty: automated.allow_empty == Some(true),
        };
        let prune = policy.prune;
        match automation::decide(policy, situation) {
            Decision::Nothing => Intent::Nothing,
            Decision::WouldEmpty => Intent::WouldEmpty,
            Decision::Sync => Intent::Begin { prune, heal: false },
            Decision::Failed if self.is_retry_due() => Intent::Begin { prune, heal: false },
            Decision::Failed => Intent::Nothing,
            Decision::Heal if self.is_heal_due() => Intent::Begin { prune, heal: true },
            Decision::Heal => Intent::Nothing,
        }
    }

    /// Says what a comparison led to, where it led to no operation.
    pub(super) async fn say(&mut self, intent: Intent) -> Result<(), LookError> {
        match intent {
            Intent::Nothing | Intent::Begin { .. } => Ok(()),
            Intent::WouldEmpty => {
                let message = "a sync would delete every object of the application; set syncPolicy.automated.allowEmpty if that is meant";
                self.add_condition(condition(SYNC_ERROR, message.to_owned())).await
            }
            Intent::Held { changes } => match self.gate.clone() {
                Some(gate) => self.say_what_is_held_back(&gate, changes).await,
                None => Ok(()),
            },
        }
    }

    /// What somebody's switch would have done, had there been no gate.
    async fn say_what_is_held_back(&self, gate: &Gate, changes: bool) -> Result<(), LookError> {
        let Some(desired) = &self.desired else { return Ok(()) };
        let keeper =
            Keeper { context: &self.context, app: &self.app, app_ref: &self.reference, cause: &self.cause };
        if gate.automation_held {
            let target = Some(&desired.target);
            keeper.held_back(gate, target, Attempt::Automation, "").await?;
            let heals = self.app.automated().is_some_and(|it| it.self_heal == Some(true));
            let synced = self.state().synced_revision.as_ref() == Some(&desired.target.revision);
            if heals && synced && changes {
                keeper.held_back(gate, target, Attempt::SelfHeal, "; live objects drifted").await?;
            }
        }
        // Switched on in Git, in the very Application that stands there without.
        let in_git = desired.find(&desired.own).is_some_and(|it| {
            let automated = &it.manifest["spec"]["syncPolicy"]["automated"];
            automated.is_object() && automated["enabled"] != false
        });
        if in_git && self.app.automated().is_none() {
            let detail = "; the Application in Git switches automation on";
            keeper.held_back(gate, Some(&desired.target), Attempt::Automation, detail).await?;
        }
        Ok(())
    }
}
