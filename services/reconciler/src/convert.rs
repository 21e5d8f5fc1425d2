//! Between the pure rules' types and those on the wire and in Kubernetes.

use sluice_gitops::gate;
use sluice_gitops::health;
use sluice_gitops::plan::Task;
use sluice_gitops::{Gvk, ObjectKey};
use sluice_schemas::events::{HealthStatus, ObjectResult, ObjectStatus, SyncOutcome, SyncStatus};

pub(crate) fn health_status(status: health::Status) -> HealthStatus {
    match status {
        health::Status::Healthy => HealthStatus::Healthy,
        health::Status::Suspended => HealthStatus::Suspended,
        health::Status::Progressing => HealthStatus::Progressing,
        health::Status::Missing => HealthStatus::Missing,
        health::Status::Degraded => HealthStatus::Degraded,
        health::Status::Unknown => HealthStatus::Unknown,
    }
}

pub(crate) fn health_word(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Healthy => "Healthy",
        HealthStatus::Suspended => "Suspended",
        HealthStatus::Progressing => "Progressing",
        HealthStatus::Missing => "Missing",
        HealthStatus::Degraded => "Degraded",
        HealthStatus::Unknown => "Unknown",
    }
}

pub(crate) fn sync_word(status: SyncStatus) -> &'static str {
    match status {
        SyncStatus::Synced => "Synced",
        SyncStatus::OutOfSync => "OutOfSync",
        SyncStatus::Unknown => "Unknown",
    }
}

pub(crate) fn outcome_word(outcome: Option<SyncOutcome>) -> &'static str {
    match outcome {
        None => "Running",
        Some(SyncOutcome::Succeeded) => "Succeeded",
        Some(SyncOutcome::Failed) => "Failed",
        Some(SyncOutcome::Error) => "Error",
    }
}

pub(crate) fn object_status_word(status: ObjectStatus) -> &'static str {
    match status {
        ObjectStatus::Synced => "Synced",
        ObjectStatus::SyncFailed => "SyncFailed",
        ObjectStatus::Pruned => "Pruned",
        ObjectStatus::PruneSkipped => "PruneSkipped",
    }
}

pub(crate) fn result(
    key: &ObjectKey,
    gvk: &Gvk,
    status: ObjectStatus,
    message: impl Into<String>,
) -> ObjectResult {
    ObjectResult {
        group: gvk.group.clone(),
        version: gvk.version.clone(),
        kind: gvk.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        status,
        message: message.into(),
    }
}

pub(crate) fn task_result(task: &Task, status: ObjectStatus, message: impl Into<String>) -> ObjectResult {
    result(&task.key, &task.gvk, status, message)
}

/// The end of every refusal, for an application by its Kubernetes name.
pub(crate) fn advice(attempt: Attempt, app: &str) -> String {
    match attempt {
        Attempt::Automation | Attempt::SelfHeal => gate::how_to_open(app),
        Attempt::Sync | Attempt::Rollback | Attempt::Resume => gate::how_to_get_a_grant(app),
        Attempt::Delete => {
            "its objects were left as they are; delete them with kubectl, or create the Application again"
                .to_owned()
        }
    }
}

/// What was attempted on a gated application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Sync,
    Automation,
    SelfHeal,
    Rollback,
    Resume,
    Delete,
}

impl Attempt {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Automation => "automation",
            Self::SelfHeal => "self_heal",
            Self::Rollback => "rollback",
            Self::Resume => "resume",
            Self::Delete => "delete",
        }
    }
}
