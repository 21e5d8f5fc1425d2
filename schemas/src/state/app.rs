//! An application's state: bucket `apps`, key `<project>.<app>`; and the comparison kept in the object store.
//! Written by the reconciler, read by api and notifier.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::events::{AppRef, HealthStatus, ObjectResult, SyncOutcome, SyncStatus, SyncTrigger};
use crate::ids::SyncId;
use crate::{Digest, Sha, Timestamp};

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppState {
    /// Which.
    pub app: AppRef,
    /// Clone URL of its source.
    pub repository: String,
    /// Directory of its source.
    pub path: String,
    /// Branch, tag or commit.
    pub target_revision: String,
    /// Destination namespace.
    pub destination_namespace: String,
    /// Whether only a person may sync it.
    pub gated: bool,
    /// Why.
    pub gate_reason: String,
    /// The commit last compared with.
    pub revision: Option<Sha>,
    /// The manifests last compared with.
    pub manifests: Option<Digest>,
    /// The last [`Comparison`], in the object store `manifests`.
    pub comparison: Option<Digest>,
    /// Sync status.
    pub sync: SyncStatus,
    /// Health status.
    pub health: HealthStatus,
    /// What the worst object says.
    pub health_message: String,
    /// Conditions: what is wrong with the application itself.
    pub conditions: Vec<AppCondition>,
    /// Why the newest revision was not rendered; stays, as one of the conditions, until a rendering succeeds.
    #[serde(default)]
    pub render_error: Option<AppCondition>,
    /// Images desired.
    pub images: Vec<String>,
    /// Images running.
    pub live_images: Vec<String>,
    /// The commit last synced to.
    pub synced_revision: Option<Sha>,
    /// The operation under way, or the last one.
    pub operation: Option<OperationState>,
    /// The last ten syncs, newest first.
    pub history: Vec<HistoryEntry>,
    /// When last compared.
    pub compared_at: Option<Timestamp>,
}

/// What is wrong with an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppCondition {
    /// Argo CD's condition type: `ComparisonError`, `InvalidSpecError`, `SyncError`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, why, what to do.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// A sync under way or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationState {
    /// Which.
    pub sync: SyncId,
    /// The commit.
    pub revision: Sha,
    /// The manifests.
    pub manifests: Digest,
    /// Why.
    pub trigger: SyncTrigger,
    /// Fencing token of whoever carries it out.
    pub epoch: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<SyncOutcome>,
    /// In words.
    pub message: String,
    /// Objects done so far.
    pub results: Vec<ObjectResult>,
}

/// A sync that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// Counted from 0, as Argo CD does.
    pub id: u64,
    /// Which.
    pub sync: SyncId,
    /// The commit.
    pub revision: Sha,
    /// The manifests: what a rollback applies.
    pub manifests: Digest,
    /// Why.
    pub trigger: SyncTrigger,
    /// When it ended.
    pub deployed_at: Timestamp,
}

/// Desired against live, object by object. Secrets' values are hashes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The application.
    pub app: AppRef,
    /// The commit.
    pub revision: Sha,
    /// The manifests.
    pub manifests: Digest,
    /// Every object that is desired or tracked.
    pub objects: Vec<ObjectComparison>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectComparison {
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
    /// Sync status.
    pub sync: SyncStatus,
    /// What a sync would do.
    pub action: ObjectAction,
    /// Health, for kinds that have one.
    pub health: Option<HealthStatus>,
    /// What the object says of its health.
    pub health_message: String,
    /// Whether it is a hook, and thus not compared.
    pub hook: bool,
    /// Sync wave.
    pub wave: i32,
    /// Why it could not be compared; it does not stop the others.
    pub error: Option<String>,
    /// What the cluster would hold after a sync; absent when it is to be deleted. Masked.
    pub desired: Option<serde_json::Value>,
    /// What it holds. Masked.
    pub live: Option<serde_json::Value>,
    /// The live object's parent (`kind/name`), for the tree.
    pub parent: Option<String>,
}

/// What a sync would do to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectAction {
    /// Nothing.
    None,
    /// Make it.
    Create,
    /// Change it.
    Update,
    /// Delete it.
    Prune,
    /// It is no longer desired, and stays (`Prune=false`, or pruning is off).
    Keep,
}
