//! The applications that this process knows, and how to reach the actor of each.
//!
//! Called by the watches (which feed it) and the message handlers (which ask for an application by id).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use sluice_bus::Outcome;
use sluice_kubernetes::Application;
use sluice_schemas::Cause;
use sluice_schemas::commands::Sync;
use sluice_schemas::events::{RenderFailed, RenderSucceeded};
use sluice_schemas::ids::{AppId, RenderId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::compare::Owners;

/// Signals that wait for an actor; senders wait when it is busy.
pub(crate) const MAILBOX: usize = 32;

/// Answers a message handler: what to do with the message.
pub(crate) type Reply = oneshot::Sender<Outcome>;

/// What an application's actor is told.
pub(crate) enum Signal {
    /// The Application or its project changed.
    Spec(Box<Application>),
    Rendered {
        fact: Box<RenderSucceeded>,
        cause: Cause,
        reply: Reply,
    },
    RenderFailed {
        fact: Box<RenderFailed>,
        cause: Cause,
        reply: Reply,
    },
    Refresh {
        hard: bool,
        cause: Cause,
        reply: Reply,
    },
    Sync {
        command: Box<Sync>,
        cause: Cause,
        reply: Reply,
    },
    /// The Application is gone from the cluster.
    Gone,
}

/// Reaches one actor.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) mailbox: mpsc::Sender<Signal>,
    /// Counts changes of the application's live objects.
    pub(crate) live: watch::Sender<u64>,
    pub(crate) shared: Arc<Shared>,
}

/// What others may read of an actor without asking it.
pub(crate) struct Shared {
    pub(crate) app: RwLock<Arc<Application>>,
    pub(crate) gated: std::sync::atomic::AtomicBool,
    /// The render that was asked for last; results of earlier ones come too late.
    pub(crate) awaited: Mutex<Awaited>,
}

/// Renders under way.
#[derive(Default)]
pub(crate) struct Awaited {
    superseded: Vec<RenderId>,
    latest: Option<RenderId>,
    /// Place in the log of the push that the latest one is for.
    order: u64,
}

/// Superseded renders that are remembered; older ones have long answered.
const SUPERSEDED: usize = 64;

impl Awaited {
    /// A render was asked for, because of the push at `order`; `None` when it is for whatever is newest.
    pub(crate) fn ask(&mut self, render: RenderId, order: Option<u64>) {
        if self.latest.as_ref() == Some(&render) {
            return;
        }
        self.superseded.retain(|it| *it != render);
        if order.is_some_and(|order| order < self.order) {
            // An older push once more, after a crash: it does not win over a newer one.
            self.superseded.push(render);
        } else {
            self.superseded.extend(self.latest.replace(render));
            self.order = order.unwrap_or(self.order);
        }
        if self.superseded.len() > SUPERSEDED {
            self.superseded.remove(0);
        }
    }

    /// Whether a newer render was asked for as well.
    pub(crate) fn is_late(&self, render: &RenderId) -> bool {
        self.superseded.contains(render)
    }
}

impl Shared {
    pub(crate) fn new(app: Arc<Application>) -> Self {
        // Gated until it is known not to be.
        Self { app: RwLock::new(app), gated: true.into(), awaited: Mutex::default() }
    }

    pub(crate) fn app(&self) -> Arc<Application> {
        self.app.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_app(&self, app: Arc<Application>) {
        *self.app.write().unwrap_or_else(PoisonError::into_inner) = app;
    }

    pub(crate) fn awaited(&self) -> std::sync::MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All applications.
pub(crate) struct Registry {
    handles: RwLock<HashMap<AppId, Handle>>,
    listed: watch::Sender<bool>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { handles: RwLock::default(), listed: watch::Sender::new(false) }
    }

    pub(crate) fn get(&self, id: &AppId) -> Option<Handle> {
        self.read().get(id).cloned()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Handle> {
        self.get(&AppId::from_name(name))
    }

    pub(crate) fn all(&self) -> Vec<Handle> {
        self.read().values().cloned().collect()
    }

    pub(crate) fn ids(&self) -> Vec<AppId> {
        self.read().keys().cloned().collect()
    }

    pub(crate) fn put(&self, id: AppId, handle: Handle) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).insert(id, handle);
    }

    pub(crate) fn remove(&self, id: &AppId) -> Option<Handle> {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// The first listing is complete: an application that is not known does not exist.
    pub(crate) fn set_listed(&self) {
        self.listed.send_replace(true);
    }

    pub(crate) async fn wait_until_listed(&self) {
        // The sender lives in self, so the wait ends only with the listing.
        drop(self.listed.subscribe().wait_for(|listed| *listed).await);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<AppId, Handle>> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owners for Registry {
    fn is_gated(&self, application: &str) -> bool {
        self.by_name(application).is_some_and(|it| it.shared.gated.load(std::sync::atomic::Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_render_counts() {
        let mut awaited = Awaited::default();
        let (first, second) = (RenderId::from_text("1"), RenderId::from_text("2"));
        awaited.ask(first.clone(), Some(5));
        assert!(!awaited.is_late(&first));
        awaited.ask(second.clone(), Some(9));
        awaited.ask(second.clone(), Some(9));
        assert!(awaited.is_late(&first) && !awaited.is_late(&second));
        assert!(!awaited.is_late(&RenderId::from_text("asked-by-another-process")));
        awaited.ask(first.clone(), Some(5));
        assert!(awaited.is_late(&first) && !awaited.is_late(&second), "an old push came once more");
        let third = RenderId::from_text("3");
        awaited.ask(third.clone(), None);
        assert!(awaited.is_late(&second) && !awaited.is_late(&third));
    }
}
