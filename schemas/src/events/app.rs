//! Applications: desired against live. Written by the reconciler when something changed, read by api and notifier.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fact;
use crate::ids::{AppId, ProjectId};
use crate::subject::Entity;
use crate::{Digest, Sha, Subject};

/// Argo CD's sync status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SyncStatus {
    /// Live is as desired.
    Synced,
    /// Live differs.
    OutOfSync,
    /// Not known.
    Unknown,
}

/// Argo CD's health status, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum HealthStatus {
    /// All is well.
    Healthy,
    /// Paused on purpose.
    Suspended,
    /// On its way.
    Progressing,
    /// Not there.
    Missing,
    /// Broken.
    Degraded,
    /// Not known.
    Unknown,
}

/// Which application: part of every app fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppRef {
    /// The application.
    pub app: AppId,
    /// Its project.
    pub project: ProjectId,
    /// Namespace of the Application object.
    pub namespace: String,
}

/// `evt.app.<project>.<app>.compared`: revision, status or objects differ from the last comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppCompared {
    /// Which.
    pub app: AppRef,
    /// The commit compared with.
    pub revision: Sha,
    /// The manifests compared with.
    pub manifests: Digest,
    /// Result.
    pub sync: SyncStatus,
    /// Health of the live objects.
    pub health: HealthStatus,
    /// Whether only a person may sync it.
    pub gated: bool,
    /// Objects that differ, are missing, or are to be pruned.
    pub out_of_sync: u32,
    /// All objects.
    pub objects: u32,
    /// Images desired.
    pub images: Vec<String>,
    /// Images running.
    pub live_images: Vec<String>,
    /// The whole comparison (`state::Comparison`) in the object store `manifests`.
    pub comparison: Digest,
    /// Why the status is unknown, or which objects could not be compared.
    pub errors: Vec<String>,
}

/// `evt.app.<project>.<app>.health_changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppHealthChanged {
    /// Which.
    pub app: AppRef,
    /// Before.
    pub from: HealthStatus,
    /// Now.
    pub to: HealthStatus,
    /// What the worst object says.
    pub message: String,
    /// The revision last synced.
    pub revision: Option<Sha>,
    /// Images running.
    pub live_images: Vec<String>,
}

/// `evt.app.<project>.<app>.deleted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppDeleted {
    /// Which.
    pub app: AppRef,
    /// Objects deleted with it.
    pub pruned: u32,
}

/// `evt.app.<project>.<app>.gate_changed`: the application became gated, or a grant opened the gate for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppGateChanged {
    /// Which.
    pub app: AppRef,
    /// Whether only a person may sync it from now on.
    pub gated: bool,
    /// Why.
    pub reason: String,
}

fact!(
    AppCompared,
    "app.compared",
    |this| Subject::fact(Entity::App, &this.app.project, &this.app.app, "compared"),
    {
        Self {
            app: crate::catalogue::app(),
            revision: crate::catalogue::sha('d'),
            manifests: Digest::of(b"[]"),
            sync: SyncStatus::OutOfSync,
            health: HealthStatus::Healthy,
            gated: true,
            out_of_sync: 1,
            objects: 4,
            images: vec!["registry.example.com/shop/web:cccccccc".to_owned()],
            live_images: vec!["registry.example.com/shop/web:aaaaaaaa".to_owned()],
            comparison: Digest::of(b"{}"),
            errors: vec![],
        }
    }
);
fact!(
    AppHealthChanged,
    "app.health_changed",
    |this| Subject::fact(Entity::App, &this.app.project, &this.app.app, "health_changed"),
    {
        Self {
            app: crate::catalogue::app(),
            from: HealthStatus::Progressing,
            to: HealthStatus::Healthy,
            message: String::new(),
            revision: Some(crate::catalogue::sha('d')),
            live_images: vec!["registry.example.com/shop/web:cccccccc".to_owned()],
        }
    }
);
fact!(
    AppDeleted,
    "app.deleted",
    |this| Subject::fact(Entity::App, &this.app.project, &this.app.app, "deleted"),
    Self { app: crate::catalogue::app(), pruned: 4 }
);
fact!(
    AppGateChanged,
    "app.gate_changed",
    |this| Subject::fact(Entity::App, &this.app.project, &this.app.app, "gate_changed"),
    {
        Self {
            app: crate::catalogue::app(),
            gated: true,
            reason: "spec.syncPolicy.automated is not set".to_owned(),
        }
    }
);
