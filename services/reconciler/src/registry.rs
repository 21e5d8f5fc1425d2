//! The applications that this process knows, and how to reach the actor of each.
//!
//! Called by the watches (which feed it) and the message handlers (which ask for an application by id).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sluice_bus::Outcome;
use sluice_kubernetes::Application;
use sluice_schemas::Cause;
use sluice_schemas::commands::Sync;
use sluice_schemas::events::{RenderFailed, RenderSucceeded};
use sluice_schemas::ids::AppId;
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
}

impl Shared {
    pub(crate) fn new(app: Arc<Application>) -> Self {
        // Gated until it is known not to be.
        Self { app: RwLock::new(app), gated: true.into() }
    }

    pub(crate) fn app(&self) -> Arc<Application> {
        self.app.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_app(&self, app: Arc<Application>) {
        *self.app.write().unwrap_or_else(PoisonError::into_inner) = app;
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
