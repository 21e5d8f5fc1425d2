//! Looking: gate, manifests, comparison, record, decision.

use std::sync::atomic::Ordering;

use sluice_bus::{KvError, ObjectError, Outcome, PublishError};
use sluice_gitops::automation::{self, Automation, Decision, Situation};
use sluice_gitops::gate::Gate;
use sluice_gitops::plan::State;
use sluice_schemas::events::{AppGateChanged, RenderFailed, RenderSucceeded};
use sluice_schemas::ids::{RenderId, hash_token};
use sluice_schemas::state::{AppCondition, AppState};
use sluice_schemas::{Cause, Timestamp};

use super::Actor;
use crate::compare::{self, CompareError};
use crate::convert::{Attempt, health_status, health_word, sync_word};
use crate::desired::{Desired, DesiredError, Target};
use crate::gatekeeper::{Denied, Keeper, gate_of};
use crate::record::{compared_fact, is_news, publish, store};
use crate::status::status_of;
use crate::{policy, render};

pub(super) const COMPARISON_ERROR: &str = "ComparisonError";
pub(super) const INVALID_SPEC: &str = "InvalidSpecError";
pub(super) const SYNC_ERROR: &str = "SyncError";
const REPEATED: &str = "RepeatedResourceWarning";

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
    Gate(#[from] Denied),
}

impl Actor {
    /// A rendering succeeded: from now on these are the manifests.
    pub(super) async fn rendered(&mut self, fact: &RenderSucceeded, cause: Cause) -> Outcome {
        let Some(revision) = fact.render.revision.clone() else {
            return Outcome::Reject { reason: "a rendering without a revision".to_owned() };
        };
        if self.is_late(&fact.render.render)
            || !self.is_of_this_source(&fact.render.repository, &fact.render.path)
        {
            tracing::debug!(app = self.app.name(), %revision, "a rendering came too late");
            return Outcome::Done;
        }
        self.cause = cause;
        let target = Target { revision, manifests: fact.manifests.clone() };
        self.target = Some(target.clone());
        if self.desired.as_ref().map(|it| &it.target) != Some(&target) {
            // The same manifests at another revision need no loading; but that is rare, and this is simple.
            self.desired = None;
            self.retries = 0;
        }
        match self.look_at_target(Some(target)).await {
            Ok(()) => Outcome::Done,
            Err(error) => self.come_again(error),
        }
    }

    /// A rendering failed: said, and nothing else changes.
    pub(super) async fn render_failed(&mut self, fact: &RenderFailed, cause: &Cause) -> Outcome {
        if self.is_late(&fact.render.render)
            || !self.is_of_this_source(&fact.render.repository, &fact.render.path)
        {
            return Outcome::Done;
        }
        let mut message = fact.reason.clone();
        for annotation in fact.annotations.iter().skip(1).take(5) {
            message.push_str(&format!(
                "\n{}, line {}: {}",
                annotation.file, annotation.line, annotation.message
            ));
        }
        tracing::info!(app = self.app.name(), reason = message, correlation = %cause.correlation, "a rendering failed");
        let changed = self.set_conditions(vec![condition(COMPARISON_ERROR, message)]).await;
        self.mirror().await;
        match changed {
            Ok(()) => Outcome::Done,
            Err(error) => self.come_again(error),
        }
    }

    /// Asked for by command or annotation.
    pub(super) async fn refresh(&mut self, hard: bool, cause: &Cause) -> Outcome {
        self.cause.correlation = cause.correlation.clone();
        if self.ask(hard, &cause.seed).await.is_err() {
            return Outcome::Retry { after: super::RETRY, reason: "the bus is away".to_owned() };
        }
        match self.look().await {
            Ok(()) => Outcome::Done,
            Err(error) => self.come_again(error),
        }
    }

    /// Asks for the source to be rendered at whatever is newest.
    pub(super) async fn ask_for_render(&mut self, hard: bool) {
        let interval = std::time::Duration::from_secs(self.context.config.render_seconds.max(1));
        let seed = format!("{}:{}", self.context.service.source(), Timestamp::now());
        self.render_at = tokio::time::Instant::now()
            + match self.ask(hard, &seed).await {
                Ok(()) => interval,
                Err(error) => {
                    tracing::warn!(app = self.app.name(), %error, "failed to ask for a rendering; trying again");
                    super::RETRY
                }
            };
    }

    async fn ask(&mut self, hard: bool, seed: &str) -> Result<(), PublishError> {
        let Some(command) = render::command(&self.app, None, hard, seed) else { return Ok(()) };
        self.shared.awaited().ask(command.render.clone(), None);
        let cause = self.cause.seeded(format!("render:{}", command.render));
        self.context.bus.publish(&command, &cause).await.map(drop)
    }

    /// Looks with the manifests that are known.
    pub(super) async fn look(&mut self) -> Result<(), LookError> {
        let known = self.target.clone().or_else(|| {
            let state = self.state();
            Some(Target { revision: state.revision.clone()?, manifests: state.manifests.clone()? })
        });
        self.look_at_target(known).await
    }

    async fn look_at_target(&mut self, target: Option<Target>) -> Result<(), LookError> {
        if self.is_skipped() {
            return Ok(());
        }
        let project = self.context.projects.get(&self.app.spec.project);
        let gate = gate_of(&self.context, &self.app, project.as_deref()).await?;
        self.shared.gated.store(gate.gated, Ordering::Release);
        self.tell_gate(&gate).await?;
        self.gate = Some(gate);
        self.project = project.clone();
        let violations = policy::violations(&self.app, project.as_deref());
        let (Some(project), true) = (&project, violations.is_empty()) else {
            let conditions = violations.into_iter().map(|it| condition(INVALID_SPEC, it)).collect();
            self.desired = None;
            self.set_conditions(conditions).await?;
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
        self.record().await?;
        let acted = self.act().await;
        self.mirror().await;
        acted
    }

    /// Puts the comparison on record: object, facts, state.
    async fn record(&mut self) -> Result<(), LookError> {
        let (Some(desired), Some(compared), Some(gate)) = (&self.desired, &self.compared, &self.gate) else {
            return Ok(());
        };
        let before = self.stored.value.clone();
        let prunes = self.app.automated().is_none_or(|it| it.prune == Some(true));
        let digest = store(
            &self.context,
            &self.reference,
            &desired.target,
            compared,
            prunes,
            before.comparison.as_ref(),
        )
        .await?;
        let fact = compared_fact(&self.reference, &desired.target, compared, gate.gated, digest.clone());
        let known = (&self.published.0, self.published.1);
        let news = is_news(&before, &fact, known.0, known.1);
        let cause = self.cause.clone();
        let message = compared.health.message.clone();
        publish(&self.context, &before, self.stored.revision, &fact, &message, news, &cause).await?;
        self.published = (fact.errors.clone(), (fact.out_of_sync, fact.objects));
        let mut conditions: Vec<_> =
            desired.warnings.iter().map(|it| condition(REPEATED, it.clone())).collect();
        conditions.extend(fact.errors.iter().map(|it| condition(COMPARISON_ERROR, it.clone())));
        conditions.extend(before.conditions.iter().filter(|it| it.kind == SYNC_ERROR).cloned());
        let source = self.source_fields();
        let (health, sync) = (health_status(compared.health.status), compared.sync);
        let (gated, gate_reason) = (gate.gated, gate.reason.clone());
        let (target, images, live_images) =
            (desired.target.clone(), compared.images.clone(), compared.live_images.clone());
        self.stored
            .change(&self.context, |state| {
                source.write(state);
                state.gated = gated;
                state.gate_reason.clone_from(&gate_reason);
                state.revision = Some(target.revision.clone());
                state.manifests = Some(target.manifests.clone());
                state.comparison = Some(digest.clone());
                state.sync = sync;
                state.health = health;
                state.health_message.clone_from(&message);
                state.images.clone_from(&images);
                state.live_images.clone_from(&live_images);
                replace_conditions(state, &conditions);
                state.compared_at = Some(Timestamp::now());
            })
            .await?;
        Ok(())
    }

    /// Begins what the application's policy asks for; says what the gate holds back.
    async fn act(&mut self) -> Result<(), LookError> {
        let (Some(desired), Some(compared), Some(gate)) = (&self.desired, &self.compared, self.gate.clone())
        else {
            return Ok(());
        };
        let changes = compared.objects.iter().filter(|it| {
            !it.plan.options.is_hook() && matches!(it.plan.state, State::Differs | State::Missing)
        });
        let extra = compared
            .objects
            .iter()
            .filter(|it| it.plan.state == State::Extra && !it.terminating && !it.plan.options.no_prune);
        let last = self.state().operation.clone();
        let same = last.as_ref().is_some_and(|it| it.manifests == desired.target.manifests);
        let situation = Situation {
            changes: changes.count(),
            extra: extra.count(),
            desired: desired.objects.len(),
            same_manifests: same,
            last_succeeded: last.as_ref().is_some_and(|it| self.did_all_it_could(it)),
        };
        if gate.gated {
            return self.say_what_is_held_back(&gate, situation).await;
        }
        if self.running.is_some() || last.as_ref().is_some_and(|it| it.finished_at.is_none()) {
            return Ok(());
        }
        let automated = self.app.automated().cloned().unwrap_or_default();
        let policy = Automation {
            prune: automated.prune == Some(true),
            self_heal: automated.self_heal == Some(true),
            allow_empty: automated.allow_empty == Some(true),
        };
        match automation::decide(policy, situation) {
            Decision::Nothing => {}
            Decision::Failed => self.retry(policy.prune).await?,
            Decision::Sync => self.begin_automated(policy.prune, false).await?,
            Decision::Heal => self.heal(policy.prune).await?,
            Decision::WouldEmpty => {
                let message = "a sync would delete every object of the application; set syncPolicy.automated.allowEmpty if that is meant";
                self.add_condition(condition(SYNC_ERROR, message.to_owned())).await?;
            }
        }
        Ok(())
    }

    /// What somebody's switch would have done, had there been no gate.
    async fn say_what_is_held_back(&self, gate: &Gate, situation: Situation) -> Result<(), LookError> {
        let Some(desired) = &self.desired else { return Ok(()) };
        let keeper =
            Keeper { context: &self.context, app: &self.app, app_ref: &self.reference, cause: &self.cause };
        if gate.automation_held {
            let target = Some(&desired.target);
            keeper.held_back(gate, target, Attempt::Automation, "").await?;
            let heals = self.app.automated().is_some_and(|it| it.self_heal == Some(true));
            let synced = self.state().synced_revision.as_ref() == Some(&desired.target.revision);
            if heals && synced && situation.changes > 0 {
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

    /// Mirrors the state into the Application's status. Not worth failing for: the next look mirrors again.
    pub(super) async fn mirror(&mut self) {
        let status = status_of(&self.app, self.state(), self.compared.as_ref(), self.written.as_ref());
        let refreshed = std::mem::take(&mut self.refreshing);
        let same = self.written.as_ref().is_some_and(|written| {
            let mut written = written.clone();
            written.reconciled_at.clone_from(&status.reconciled_at);
            written == status
        });
        self.measure();
        if same && !refreshed {
            return;
        }
        let name = self.app.name().to_owned();
        let written =
            self.context.cluster.write_status(&name, self.written.as_ref(), &status, refreshed, false);
        match written.await {
            Ok(()) => self.written = Some(status),
            Err(error) => {
                tracing::debug!(app = name, %error, "failed to write the status");
                self.refreshing = refreshed;
            }
        }
    }

    fn is_late(&self, render: &RenderId) -> bool {
        self.shared.awaited().is_late(render)
    }

    /// Whether a rendering is of the source that the Application has now.
    fn is_of_this_source(&self, repository: &str, path: &str) -> bool {
        let sources = self.app.sources();
        let trim = |path: &str| path.trim_matches('/').to_owned();
        sources.first().is_some_and(|it| {
            it.repo_url == repository && trim(it.path.as_deref().unwrap_or_default()) == trim(path)
        })
    }

    pub(super) fn come_again(&self, error: LookError) -> Outcome {
        let after = super::RETRY;
        Outcome::Retry { after, reason: format!("application {}: {error}", self.app.name()) }
    }

    pub(super) async fn add_condition(&mut self, new: AppCondition) -> Result<(), LookError> {
        let mut conditions = self.state().conditions.clone();
        conditions.retain(|it| it.kind != new.kind);
        conditions.push(new);
        self.set_conditions(conditions).await
    }

    pub(super) async fn set_conditions(&mut self, conditions: Vec<AppCondition>) -> Result<(), LookError> {
        let source = self.source_fields();
        self.stored
            .change(&self.context, |state| {
                source.write(state);
                replace_conditions(state, &conditions);
            })
            .await?;
        Ok(())
    }

    fn source_fields(&self) -> SourceFields {
        let sources = self.app.sources();
        let source = sources.first();
        SourceFields {
            repository: source.map(|it| it.repo_url.clone()).unwrap_or_default(),
            path: source.and_then(|it| it.path.clone()).unwrap_or_default(),
            target_revision: source.map(|it| render::target_revision(it).to_owned()).unwrap_or_default(),
            namespace: self.app.spec.destination.namespace.clone().unwrap_or_default(),
        }
    }

    fn measure(&mut self) {
        let state = self.state();
        let labels = [
            self.app.namespace().to_owned(),
            self.app.name().to_owned(),
            self.app.spec.project.clone(),
            if self.app.automated().is_some() { "true" } else { "false" }.to_owned(),
            state.repository.clone(),
            state.destination_namespace.clone(),
            sync_word(state.sync).to_owned(),
            health_word(state.health).to_owned(),
        ];
        if self.labels.as_ref() == Some(&labels) {
            return;
        }
        self.forget_metrics();
        self.context.metrics.info.with_label_values(&labels.each_ref().map(String::as_str)).set(1);
        self.labels = Some(labels);
    }

    /// Takes the application's series away.
    pub(super) fn forget_metrics(&mut self) {
        let Some(labels) = self.labels.take() else { return };
        if let Err(error) =
            self.context.metrics.info.remove_label_values(&labels.each_ref().map(String::as_str))
        {
            tracing::debug!(%error, "a series was not there");
        }
    }
}

/// What the state says of the source, from the spec.
struct SourceFields {
    repository: String,
    path: String,
    target_revision: String,
    namespace: String,
}

impl SourceFields {
    fn write(&self, state: &mut AppState) {
        state.repository.clone_from(&self.repository);
        state.path.clone_from(&self.path);
        state.target_revision.clone_from(&self.target_revision);
        state.destination_namespace.clone_from(&self.namespace);
    }
}

pub(super) fn condition(kind: &str, message: String) -> AppCondition {
    AppCondition { kind: kind.to_owned(), message, since: Timestamp::now() }
}

/// New conditions keep the time of equal old ones.
fn replace_conditions(state: &mut AppState, conditions: &[AppCondition]) {
    let old = std::mem::take(&mut state.conditions);
    state.conditions = conditions
        .iter()
        .map(|new| {
            let same = old.iter().find(|it| it.kind == new.kind && it.message == new.message);
            same.unwrap_or(new).clone()
        })
        .collect();
}
