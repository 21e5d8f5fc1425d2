//! `.status` of the Application: Argo CD's shape, made from the stored state. A mirror, never the working state.

use sluice_gitops::plan::State;
use sluice_kubernetes::{
    Application, ApplicationStatus, ComparedTo, Condition, HealthStatus, Initiator, Operation,
    OperationState, ResourceResult, ResourceStatus, RevisionHistory, Summary, SyncOperation,
    SyncOperationResult, SyncStatus,
};
use sluice_schemas::events::{ObjectResult, SyncTrigger};
use sluice_schemas::state::AppState;

use crate::compare::{Compared, Object};
use crate::convert::{health_status, health_word, object_status_word, outcome_word, sync_word};

/// Resources in a status: an object of Kubernetes cannot grow without end. The comparison has them all.
const MAX_RESOURCES: usize = 500;

/// The status that says what `state` says. `before` is what stands there now: times of transitions are kept.
pub(crate) fn status_of(
    app: &Application,
    state: &AppState,
    compared: Option<&Compared>,
    before: Option<&ApplicationStatus>,
) -> ApplicationStatus {
    let health = health_word(state.health).to_owned();
    let same_health = before.is_some_and(|it| it.health.status.as_deref() == Some(&health));
    let now = state.compared_at.map(|at| at.to_string());
    let transition =
        if same_health { before.and_then(|it| it.health.last_transition_time.clone()) } else { None };
    ApplicationStatus {
        sync: SyncStatus {
            status: sync_word(state.sync).to_owned(),
            revision: state.revision.as_ref().map(ToString::to_string),
            compared_to: Some(ComparedTo {
                source: app.spec.source.clone(),
                sources: app.spec.sources.clone(),
                destination: app.spec.destination.clone(),
            }),
        },
        health: HealthStatus {
            status: Some(health),
            message: Some(state.health_message.clone()).filter(|it| !it.is_empty()),
            last_transition_time: transition.or_else(|| now.clone()),
        },
        operation_state: operation_state(state),
        resources: match compared {
            Some(compared) => compared.objects.iter().take(MAX_RESOURCES).map(resource).collect(),
            None => before.map(|it| it.resources.clone()).unwrap_or_default(),
        },
        history: state.history.iter().rev().map(|entry| history(app, entry)).collect(),
        conditions: state
            .conditions
            .iter()
            .map(|it| Condition {
                kind: it.kind.clone(),
                message: it.message.clone(),
                last_transition_time: Some(it.since.to_string()),
            })
            .collect(),
        summary: Summary { images: state.live_images.clone(), external_urls: Vec::new() },
        reconciled_at: now,
        source_type: Some("Directory".to_owned()),
        controller_namespace: Some(app.namespace().to_owned()),
    }
}

fn operation_state(state: &AppState) -> Option<OperationState> {
    let operation = state.operation.as_ref()?;
    Some(OperationState {
        operation: Operation {
            sync: Some(SyncOperation {
                revision: Some(operation.revision.to_string()),
                ..SyncOperation::default()
            }),
            initiated_by: initiator(&operation.trigger),
            info: Vec::new(),
            retry: None,
        },
        phase: outcome_word(operation.outcome).to_owned(),
        message: Some(operation.message.clone()).filter(|it| !it.is_empty()),
        sync_result: Some(SyncOperationResult {
            resources: operation.results.iter().take(MAX_RESOURCES).map(resource_result).collect(),
            revision: operation.revision.to_string(),
            source: None,
        }),
        started_at: Some(operation.started_at.to_string()),
        finished_at: operation.finished_at.map(|at| at.to_string()),
        retry_count: None,
    })
}

fn initiator(trigger: &SyncTrigger) -> Initiator {
    match trigger {
        SyncTrigger::Automated | SyncTrigger::SelfHeal => Initiator { username: None, automated: Some(true) },
        SyncTrigger::Person { person, .. } | SyncTrigger::Grant { person, .. } => {
            Initiator { username: Some(person.to_string()), automated: None }
        }
    }
}

fn history(app: &Application, entry: &sluice_schemas::state::HistoryEntry) -> RevisionHistory {
    RevisionHistory {
        id: i64::try_from(entry.id).unwrap_or(i64::MAX),
        revision: entry.revision.to_string(),
        deployed_at: Some(entry.deployed_at.to_string()),
        deploy_started_at: None,
        source: app.spec.source.clone(),
        initiated_by: Some(initiator(&entry.trigger)),
    }
}

fn resource(object: &Object) -> ResourceStatus {
    let plan = &object.plan;
    let text = |it: &str| Some(it.to_owned()).filter(|it| !it.is_empty());
    ResourceStatus {
        group: text(&plan.gvk.group),
        version: text(&plan.gvk.version),
        kind: text(&plan.gvk.kind),
        namespace: text(&plan.key.namespace),
        name: text(&plan.key.name),
        status: Some(sync_word(object.sync_status()).to_owned()),
        health: match (&object.health, object.exists) {
            (Some(health), _) => Some(HealthStatus {
                status: Some(health_word(health_status(health.status)).to_owned()),
                message: text(&health.message),
                last_transition_time: None,
            }),
            (None, false) if !plan.options.is_hook() => {
                let message = match &plan.state {
                    State::Broken(reason) => text(reason),
                    _ => None,
                };
                Some(HealthStatus { status: Some("Missing".to_owned()), message, last_transition_time: None })
            }
            (None, _) => None,
        },
        hook: Some(true).filter(|_| plan.options.is_hook()),
        requires_pruning: Some(true).filter(|_| plan.state == State::Extra),
        sync_wave: Some(i64::from(plan.options.wave)).filter(|wave| *wave != 0),
    }
}

fn resource_result(result: &ObjectResult) -> ResourceResult {
    ResourceResult {
        group: result.group.clone(),
        version: result.version.clone(),
        kind: result.kind.clone(),
        namespace: result.namespace.clone(),
        name: result.name.clone(),
        status: Some(object_status_word(result.status).to_owned()),
        message: Some(result.message.clone()).filter(|it| !it.is_empty()),
        hook_type: None,
        hook_phase: None,
        sync_phase: Some("Sync".to_owned()),
    }
}
