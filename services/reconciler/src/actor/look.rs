//! Looking: gate, manifests, comparison, record, decision.

use std::sync::atomic::Ordering;

use sluice_bus::{KvError, ObjectError, Outcome, PublishError, ReadError};
use sluice_gitops::gate::Gate;
use sluice_schemas::Timestamp;
use sluice_schemas::events::{AppCompared, AppGateChanged, SyncStatus};
use sluice_schemas::ids::hash_token;
use sluice_schemas::state::{AppCondition, OperationState};

use super::Actor;
use super::act::Intent;
use super::mirror::{
    COMPARISON_ERROR, INVALID_SPEC, REPEATED, SYNC_ERROR, condition, replace_conditions, replace_render_error,
};
use crate::compare::{self, CompareError};
use crate::desired::{Desired, DesiredError, Target};
use crate::gatekeeper::{Denied, gate_of};
use crate::record::{compared_fact, is_news, publish, store};
use crate::{operation, policy};

/// Why an application could not be looked at; everything here passes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(transparent)]
    Desired(#[from] DesiredError),
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error(transparent)]
    Store(#[from] ObjectError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Gate(#[from] Denied),
}

/// What is said and kept of a comparison.
struct Note {
    fact: AppCompared,
    health_message: String,
    conditions: Vec<AppCondition>,
}

impl Actor {
    /// Looks with the manifests that are known: what the stored state says, for another replica may have taken in newer.
    pub(super) async fn look(&mut self) -> Result<(), LookError> {
        self.look_at_target(None).await
    }

    pub(super) async fn look_at_target(&mut self, target: Option<Target>) -> Result<(), LookError> {
        if self.is_skipped() {
            return Ok(());
        }
        let project = self.context.projects.get(&self.app.spec.project);
        let (reloaded, gate) = tokio::join!(
            self.stored.reload(&self.context),
            gate_of(&self.context, &self.app, project.as_deref())
        );
        reloaded?;
        let gate = gate?;
        let state = self.state();
        let target = target.or_else(|| {
            Some(Target { revision: state.revision.clone()?, manifests: state.manifests.clone()? })
        });
        self.shared.gated.store(gate.gated, Ordering::Release);
        self.tell_gate(&gate).await?;
        self.gate = Some(gate);
        self.project = project.clone();
        let violations = policy::violations(&self.app, project.as_deref());
        let (Some(project), true) = (&project, violations.is_empty()) else {
            let conditions = violations.into_iter().map(|it| condition(INVALID_SPEC, it)).collect();
            self.desired = None;
            self.compared = None;
            self.set_conditions(conditions).await?;
            self.keep_for_later(target).await?;
            self.mirror().await;
            return Ok(());
        };
        let Some(target) = target else {
            self.set_conditions(self.state().conditions.clone()).await?;
            self.mirror().await;
            return Ok(());
        };
        let stale = |desired: &Desired| desired.target != target || desired.unresolved;
        if self.desired.as_ref().is_none_or(stale) {
            let loaded = Desired::load(&self.context, &self.app, project, target.clone()).await;
            match loaded {
                Ok(desired) => self.desired = Some(desired),
                // Kept long enough and gone: rendered anew.
                Err(DesiredError::Store(ObjectError::NotFound { .. })) => {
                    self.ask_for_render(true).await;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.compare_and_act().await
    }

    /// What was rendered and may not be compared yet.
    async fn keep_for_later(&mut self, target: Option<Target>) -> Result<(), LookError> {
        let Some(target) = target else { return Ok(()) };
        let is_fresh = std::mem::take(&mut self.is_fresh);
        self.stored
            .change(&self.context, |state| {
                state.revision = Some(target.revision.clone());
                state.manifests = Some(target.manifests.clone());
                state.sync = SyncStatus::Unknown;
                if is_fresh {
                    replace_render_error(state, None);
                }
            })
            .await?;
        Ok(())
    }

    async fn compare_and_act(&mut self) -> Result<(), LookError> {
        let Some(desired) = &self.desired else { return Ok(()) };
        self.namespaces.extend(desired.namespaces());
        self.context.live.want(self.app.name(), &desired.keys);
        self.context.live.track(desired.kinds()).await;
        let creates = self.app.has_sync_option("CreateNamespace=true");
        let compared = compare::compare(
            &self.context,
            self.app.name(),
            desired,
            creates,
            &*self.registry,
            &self.namespaces,
            &mut self.memo,
        )
        .await?;
        fail::fail_point!("reconciler-compared-before-event");
        self.compared = Some(compared);
        let intent = self.intend();
        let (context, reference) = (self.context.clone(), self.reference.clone());
        // The comparison is stored while the lease is asked for: both go to the bus, and a push waits for both.
        let lease = async {
            match intent {
                Intent::Begin { .. } => Some(operation::lease(&context, &reference).await),
                _ => None,
            }
        };
        let (note, lease) = tokio::join!(self.note(), lease);
        let Some(note) = note? else { return Ok(()) };
        let news = is_news(&self.stored.value, &note.fact, self.published.as_ref());
        let (before, step) = (&self.stored.value, self.stored.revision);
        publish(&self.context, before, step, &note.fact, &note.health_message, news, &self.cause).await?;
        self.published = Some((note.fact.errors.clone(), note.fact.out_of_sync, note.fact.objects));
        let begun = match intent {
            Intent::Begin { prune, heal } => self.begin_automated(prune, heal, lease).await?,
            _ => None,
        };
        let (state, operation) = begun.map(|it| (it.state, it.operation)).unzip();
        self.persist(&note, state).await?;
        if let Some(operation) = operation {
            self.launch(operation);
        }
        self.say(intent).await?;
        self.mirror().await;
        Ok(())
    }

    /// Stores the comparison; what has to be said and kept of it.
    async fn note(&self) -> Result<Option<Note>, LookError> {
        let (Some(desired), Some(compared), Some(gate)) = (&self.desired, &self.compared, &self.gate) else {
            return Ok(None);
        };
        let prunes = self.app.automated().is_none_or(|it| it.prune == Some(true));
        let known = self.state().comparison.as_ref();
        let target = &desired.target;
        let digest = store(&self.context, &self.reference, target, compared, prunes, known).await?;
        let fact = compared_fact(&self.reference, target, compared, gate.gated, digest);
        let mut conditions: Vec<_> =
            desired.warnings.iter().map(|it| condition(REPEATED, it.clone())).collect();
        conditions.extend(fact.errors.iter().map(|it| condition(COMPARISON_ERROR, it.clone())));
        Ok(Some(Note { fact, health_message: compared.health.message.clone(), conditions }))
    }

    /// Keeps what was compared, and what was begun because of it, in one write.
    async fn persist(&mut self, note: &Note, begun: Option<OperationState>) -> Result<(), LookError> {
        let source = self.source_fields();
        let gate_reason = self.gate.as_ref().map(|it| it.reason.clone()).unwrap_or_default();
        let fact = &note.fact;
        let base = self.state().manifests.clone();
        let is_fresh = self.is_fresh;
        self.stored
            .change(&self.context, |state| {
                // Another replica took in other manifests meanwhile: what it says is newer.
                if state.manifests != base && state.manifests.as_ref() != Some(&fact.manifests) {
                    return;
                }
                source.write(state);
                state.gated = fact.gated;
                state.gate_reason.clone_from(&gate_reason);
                state.revision = Some(fact.revision.clone());
                state.manifests = Some(fact.manifests.clone());
                state.comparison = Some(fact.comparison.clone());
                state.sync = fact.sync;
                state.health = fact.health;
                state.health_message.clone_from(&note.health_message);
                state.images.clone_from(&fact.images);
                state.live_images.clone_from(&fact.live_images);
                let mut conditions = note.conditions.clone();
                conditions.extend(state.conditions.iter().filter(|it| it.kind == SYNC_ERROR).cloned());
                if is_fresh {
                    replace_render_error(state, None);
                }
                replace_conditions(state, &conditions);
                if let Some(begun) = &begun {
                    state.operation = Some(begun.clone());
                }
                state.compared_at = Some(Timestamp::now());
            })
            .await?;
        self.is_fresh = false;
        Ok(())
    }

    async fn tell_gate(&mut self, gate: &Gate) -> Result<(), LookError> {
        let known = self.stored.revision.is_some();
        if known && self.state().gated == gate.gated {
            return Ok(());
        }
        if known {
            let fact = AppGateChanged {
                app: self.reference.clone(),
                gated: gate.gated,
                reason: gate.reason.clone(),
            };
            let step = self.stored.revision.unwrap_or(0).to_string();
            let seed = hash_token(&["gate", self.reference.app.as_str(), &step, &gate.reason]);
            self.context.bus.publish(&fact, &self.cause.seeded(seed)).await?;
        }
        let (gated, reason) = (gate.gated, gate.reason.clone());
        let source = self.source_fields();
        self.stored
            .change(&self.context, |state| {
                source.write(state);
                state.gated = gated;
                state.gate_reason.clone_from(&reason);
            })
            .await?;
        Ok(())
    }

    pub(super) fn come_again(&self, error: LookError) -> Outcome {
        let after = super::RETRY;
        Outcome::Retry { after, reason: format!("application {}: {error}", self.app.name()) }
    }
}
