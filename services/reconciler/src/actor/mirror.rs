//! What others see without asking: the stored conditions, the Application's status, the metrics.

use sluice_schemas::Timestamp;
use sluice_schemas::state::{AppCondition, AppState};

use super::Actor;
use super::look::LookError;
use crate::convert::{health_word, sync_word};
use crate::render;
use crate::status::status_of;

pub(super) const COMPARISON_ERROR: &str = "ComparisonError";
pub(super) const INVALID_SPEC: &str = "InvalidSpecError";
pub(super) const SYNC_ERROR: &str = "SyncError";
pub(super) const REPEATED: &str = "RepeatedResourceWarning";

impl Actor {
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

    pub(super) fn source_fields(&self) -> SourceFields {
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
pub(super) struct SourceFields {
    repository: String,
    path: String,
    target_revision: String,
    namespace: String,
}

impl SourceFields {
    pub(super) fn write(&self, state: &mut AppState) {
        state.repository.clone_from(&self.repository);
        state.path.clone_from(&self.path);
        state.target_revision.clone_from(&self.target_revision);
        state.destination_namespace.clone_from(&self.namespace);
    }
}

pub(super) fn condition(kind: &str, message: String) -> AppCondition {
    AppCondition { kind: kind.to_owned(), message, since: Timestamp::now() }
}

/// Puts `conditions` in the place of those that were, which keep their time where they stay; a rendering's failure stays.
pub(super) fn replace_conditions(state: &mut AppState, conditions: &[AppCondition]) {
    let old = std::mem::take(&mut state.conditions);
    let failed = state.render_error.clone();
    let others = conditions.iter().filter(|it| failed.as_ref().is_none_or(|failed| !says_same(it, failed)));
    state.conditions = failed
        .iter()
        .chain(others)
        .map(|new| {
            let same = old.iter().find(|it| says_same(it, new));
            same.unwrap_or(new).clone()
        })
        .collect();
}

/// Keeps why a rendering failed, in the place of an earlier failure; `None` when one succeeded.
pub(super) fn replace_render_error(state: &mut AppState, error: Option<&AppCondition>) {
    let before = state.render_error.take();
    let mut conditions = state.conditions.clone();
    conditions.retain(|it| before.as_ref().is_none_or(|before| !says_same(it, before)));
    let still = before.filter(|before| error.is_some_and(|error| says_same(before, error)));
    state.render_error = still.or_else(|| error.cloned());
    replace_conditions(state, &conditions);
}

fn says_same(left: &AppCondition, right: &AppCondition) -> bool {
    left.kind == right.kind && left.message == right.message
}
