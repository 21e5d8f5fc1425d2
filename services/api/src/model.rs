//! The read model: what pages and lists show, folded in memory from EVENTS and the bucket `apps`.
//!
//! Invariants: bounded (runs per repository, deliveries, audit rows, pushes); rebuilt from the stream at every start, so
//! nothing of it is stored; readers take a short lock and never wait for the bus. Written by [`follow`], read by REST and UI.

mod apps;
mod audit;
mod chains;
mod fold;
mod follow;
mod lanes;
mod ledger;
mod needs;
mod rows;
mod runs;
mod syncs;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;

pub(crate) use audit::{AuditEntry, AuditResult, actor};
pub(crate) use chains::{Chain, DeliveryStatus};
pub(crate) use fold::{Limits, ReadModel, RepoView};
pub(crate) use follow::follow;
pub(crate) use lanes::{Lane, Station, StationState, image_name, image_tag};
pub(crate) use ledger::{Ledger, Segment, SegmentKind};
pub(crate) use needs::{Need, NeedKind};
pub(crate) use runs::{JobPhase, JobView, RunPhase, RunView, StepView, place};
pub(crate) use syncs::SyncPhase;

/// The model behind its lock. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Model {
    inner: Arc<RwLock<ReadModel>>,
    changed: watch::Sender<u64>,
}

impl Model {
    /// An empty model.
    #[must_use]
    pub(crate) fn new(limits: Limits) -> Self {
        Self { inner: Arc::new(RwLock::new(ReadModel::new(limits))), changed: watch::Sender::new(0) }
    }

    /// A look at it. Never held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, ReadModel> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it, and tells those who wait.
    pub(crate) fn change(&self, change: impl FnOnce(&mut ReadModel)) {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_modify(|version| *version += 1);
    }

    /// Told at every change; only that there was one, never a queue.
    #[must_use]
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
