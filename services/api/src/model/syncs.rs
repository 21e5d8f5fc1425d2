//! Syncs and promotions that somebody waits for: looked up by id.

use serde::Serialize;
use sluice_schemas::events::{ImageChange, ObjectResult, SyncTrigger};
use sluice_schemas::ids::{AppId, GrantId, RepoSlug};
use sluice_schemas::{Sha, Timestamp};

/// Where a sync stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum SyncPhase {
    /// Told to the reconciler.
    Pending,
    /// Objects are being applied.
    Running,
    /// The reconciler did not accept the grant.
    Refused,
    /// Everything applied.
    Succeeded,
    /// Some objects were refused.
    Failed,
    /// It could not be carried out.
    Error,
}

/// A sync.
#[derive(Debug, Clone)]
pub(crate) struct SyncView {
    /// Of what.
    pub(crate) app: AppId,
    /// To which commit.
    pub(crate) revision: Sha,
    /// Why.
    pub(crate) trigger: SyncTrigger,
    /// Where it stands.
    pub(crate) phase: SyncPhase,
    /// In words.
    pub(crate) message: String,
    /// Objects to apply and to delete.
    pub(crate) planned: (u32, u32),
    /// Objects done.
    pub(crate) results: Vec<ObjectResult>,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// When it ended.
    pub(crate) finished_at: Option<Timestamp>,
}

/// The reconciler's no to a grant.
#[derive(Debug, Clone)]
pub(crate) struct RefusedGrant {
    pub(crate) grant: GrantId,
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
}

/// Where a promotion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PromotionState {
    /// Landed.
    Committed,
    /// Nothing to change.
    Unchanged,
    /// Not written.
    Failed,
}

/// A promotion that ended.
#[derive(Debug, Clone)]
pub(crate) struct PromotionView {
    /// Of what.
    pub(crate) source: RepoSlug,
    /// How.
    pub(crate) state: PromotionState,
    /// The commit that landed.
    pub(crate) commit: Option<Sha>,
    /// Why not.
    pub(crate) reason: Option<String>,
    /// Lines changed.
    pub(crate) changes: Vec<ImageChange>,
}
