//! Sync operations. Written by the reconciler under the application's lease, read by api and notifier.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppRef, fact};
use crate::ids::{GrantId, Person, SyncId};
use crate::subject::Entity;
use crate::{Digest, Sha, Subject};

/// Who or what wants a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum SyncTrigger {
    /// Automated sync saw a new revision.
    Automated,
    /// Self-heal saw live objects drift.
    SelfHeal,
    /// A person, for an application that is not gated.
    Person { person: Person, surface: Surface },
    /// A person, through a grant.
    Grant { grant: GrantId, person: Person, surface: Surface },
}

/// Where a person acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// The web UI.
    Web,
    /// The `sluice` command.
    Cli,
    /// Telegram.
    Telegram,
    /// Another program through the API.
    Api,
    /// `kubectl` or a manifest.
    Kubernetes,
}

/// Which operation: part of every sync fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncRef {
    /// This operation.
    pub sync: SyncId,
    /// The application.
    pub app: AppRef,
    /// The commit.
    pub revision: Sha,
    /// The manifests applied.
    pub manifests: Digest,
    /// Why.
    pub trigger: SyncTrigger,
}

/// What happened to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectResult {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-wide objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What.
    pub status: ObjectStatus,
    /// In words; for failures what to do.
    pub message: String,
}

/// Result of one object. Argo CD's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ObjectStatus {
    /// Applied.
    Synced,
    /// Refused by the cluster.
    SyncFailed,
    /// Deleted.
    Pruned,
    /// Would have been deleted.
    PruneSkipped,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SyncOutcome {
    /// Everything applied.
    Succeeded,
    /// Some objects were refused.
    Failed,
    /// It could not be carried out.
    Error,
}

/// `evt.sync.<project>.<sync>.started`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncStarted {
    /// Which.
    pub sync: SyncRef,
    /// Fencing token.
    pub epoch: u64,
    /// Objects to apply.
    pub apply: u32,
    /// Objects to delete.
    pub prune: u32,
}

/// `evt.sync.<project>.<sync>.phase_finished`: one phase and wave is through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncPhaseFinished {
    /// Which.
    pub sync: SyncRef,
    /// Fencing token.
    pub epoch: u64,
    /// `PreSync`, `Sync`, `PostSync`, `SyncFail`.
    pub phase: String,
    /// The wave.
    pub wave: i32,
    /// Its objects.
    pub results: Vec<ObjectResult>,
}

/// `evt.sync.<project>.<sync>.finished`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncFinished {
    /// Which.
    pub sync: SyncRef,
    /// Fencing token.
    pub epoch: u64,
    /// How.
    pub outcome: SyncOutcome,
    /// In words.
    pub message: String,
    /// Every object.
    pub results: Vec<ObjectResult>,
    /// From started to finished.
    pub duration_ms: u64,
}

fact!(
    SyncStarted,
    "sync.started",
    |this| Subject::fact(Entity::Sync, &this.sync.app.project, &this.sync.sync, "started"),
    Self { sync: crate::catalogue::sync(), epoch: 3, apply: 4, prune: 0 }
);
fact!(
    SyncPhaseFinished,
    "sync.phase_finished",
    |this| Subject::fact(Entity::Sync, &this.sync.app.project, &this.sync.sync, "phase_finished"),
    {
        Self {
            sync: crate::catalogue::sync(),
            epoch: 3,
            phase: "Sync".to_owned(),
            wave: 0,
            results: vec![crate::catalogue::object_result()],
        }
    }
);
fact!(
    SyncFinished,
    "sync.finished",
    |this| Subject::fact(Entity::Sync, &this.sync.app.project, &this.sync.sync, "finished"),
    {
        Self {
            sync: crate::catalogue::sync(),
            epoch: 3,
            outcome: SyncOutcome::Succeeded,
            message: "successfully synced (all tasks run)".to_owned(),
            results: vec![crate::catalogue::object_result()],
            duration_ms: 84,
        }
    }
);
