//! An application's state in the bucket `apps`: a projection that this service alone writes, by compare-and-swap.
//!
//! Called by the application's actor. Two replicas may both want to write; the loser reads again and applies its change
//! to what the winner left.

use sluice_bus::KvError;
use sluice_kubernetes::Application;
use sluice_schemas::events::{AppRef, HealthStatus, SyncStatus};
use sluice_schemas::ids::{AppId, ProjectId};
use sluice_schemas::state::AppState;

use crate::context::Context;

/// History entries that are kept when the Application does not say how many.
const HISTORY: usize = 10;

pub(crate) struct Stored {
    pub(crate) value: AppState,
    /// `None` before it is first written.
    pub(crate) revision: Option<u64>,
    key: String,
}

impl Stored {
    /// What is stored, or a fresh state.
    pub(crate) async fn load(context: &Context, app: &Application) -> Result<Self, KvError> {
        let app_ref = app_ref(app);
        let key = format!("{}.{}", app_ref.project, app_ref.app);
        let found = context.states.get(&key).await;
        let (value, revision) = match found {
            Ok(Some(entry)) => (entry.value, Some(entry.revision)),
            Ok(None) => (fresh(app_ref), None),
            // A state that another version wrote and nobody can read is only a projection: it is made anew.
            Err(KvError::Decode { .. }) => {
                context.states.delete(&key).await?;
                (fresh(app_ref), None)
            }
            Err(error) => return Err(error),
        };
        Ok(Self { value, revision, key })
    }

    /// Reads again what another process may have written.
    pub(crate) async fn reload(&mut self, context: &Context) -> Result<(), KvError> {
        if let Some(entry) = context.states.get(&self.key).await? {
            (self.value, self.revision) = (entry.value, Some(entry.revision));
        }
        Ok(())
    }

    /// Changes and stores it. Says whether there was anything to store.
    pub(crate) async fn change(
        &mut self,
        context: &Context,
        change: impl Fn(&mut AppState),
    ) -> Result<bool, KvError> {
        loop {
            let mut next = self.value.clone();
            change(&mut next);
            if self.revision.is_some() && is_same(&next, &self.value) {
                return Ok(false);
            }
            let written = match self.revision {
                Some(revision) => context.states.update(&self.key, &next, revision).await,
                None => context.states.create(&self.key, &next).await,
            };
            match written {
                Ok(revision) => {
                    (self.value, self.revision) = (next, Some(revision));
                    return Ok(true);
                }
                Err(KvError::Conflict { .. }) => {
                    let entry = context.states.get(&self.key).await?;
                    self.revision = entry.as_ref().map(|entry| entry.revision);
                    if let Some(entry) = entry {
                        self.value = entry.value;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes what this actor wrote last; what a successor of the same name wrote since stays.
    pub(crate) async fn delete(&self, context: &Context) -> Result<(), KvError> {
        let Some(revision) = self.revision else { return Ok(()) };
        match context.states.delete_revision(&self.key, revision).await {
            Ok(()) | Err(KvError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The application on the wire.
pub(crate) fn app_ref(app: &Application) -> AppRef {
    AppRef {
        app: AppId::from_name(app.name()),
        project: ProjectId::from_name(&app.spec.project),
        namespace: app.namespace().to_owned(),
    }
}

/// How many history entries this application keeps.
pub(crate) fn history_limit(app: &Application) -> usize {
    app.spec.revision_history_limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(HISTORY)
}

fn fresh(app: AppRef) -> AppState {
    AppState {
        app,
        repository: String::new(),
        path: String::new(),
        target_revision: String::new(),
        destination_namespace: String::new(),
        gated: true,
        gate_reason: "it was not compared yet".to_owned(),
        revision: None,
        manifests: None,
        comparison: None,
        sync: SyncStatus::Unknown,
        health: HealthStatus::Unknown,
        health_message: String::new(),
        conditions: Vec::new(),
        render_error: None,
        images: Vec::new(),
        live_images: Vec::new(),
        synced_revision: None,
        operation: None,
        history: Vec::new(),
        compared_at: None,
    }
}

/// The time of the comparison alone is not worth a write.
fn is_same(left: &AppState, right: &AppState) -> bool {
    let without_time = |state: &AppState| AppState { compared_at: None, ..state.clone() };
    without_time(left) == without_time(right)
}
