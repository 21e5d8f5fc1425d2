//! One actor an application: everything that concerns it happens here, one thing after the other.
//!
//! It is told what changed (spec, rendering, live objects, a command), compares, records, and begins operations, which run
//! beside it and report back. A message is answered when what it led to is on disk. Level-triggered: whatever it is told, it
//! looks at what is, so a lost signal is a delay. Spawned by the watch of Applications.

mod act;
mod begin;
mod commanded;
mod lifecycle;
mod look;
mod mirror;
mod operations;
mod rendered;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sluice_bus::Outcome;
use sluice_gitops::gate::Gate;
use sluice_kubernetes::{AppProject, Application, ApplicationStatus};
use sluice_schemas::Cause;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::AppRef;
use sluice_schemas::ids::SyncId;
use sluice_schemas::state::AppState;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::compare::{Compared, Memo};
use crate::context::Context;
use crate::desired::Desired;
use crate::operation::Progress;
use crate::registry::{Handle, MAILBOX, Registry, Shared, Signal};
use crate::state::{Stored, app_ref};

/// Live changes within this time are one comparison.
const SETTLE: Duration = Duration::from_millis(25);
/// The same while an operation runs: its own writes are news enough.
const SETTLE_BUSY: Duration = Duration::from_millis(250);
/// After a failure to reach something.
const RETRY: Duration = Duration::from_secs(2);
/// After another replica was found at work.
const BUSY: Duration = Duration::from_millis(500);
/// How often an operation that nobody carries on is looked for.
const TAKE_UP: Duration = Duration::from_secs(3);
/// An operation reports a step at a time.
const PROGRESS: usize = 16;

/// Everything about one application.
pub(crate) struct Actor {
    context: Arc<Context>,
    registry: Arc<Registry>,
    shared: Arc<Shared>,
    app: Arc<Application>,
    reference: AppRef,
    live: watch::Sender<u64>,
    live_seen: watch::Receiver<u64>,
    stored: Stored,
    desired: Option<Desired>,
    memo: Memo,
    compared: Option<Compared>,
    gate: Option<Gate>,
    project: Option<Arc<AppProject>>,
    /// Errors and counts that the last comparison published by this process had.
    published: Option<(Vec<String>, u32, u32)>,
    /// The chain that the application is in.
    cause: Cause,
    running: Option<Running>,
    operations: JoinSet<()>,
    progress: (mpsc::Sender<Progress>, mpsc::Receiver<Progress>),
    heals: Heals,
    retries: u32,
    retry_at: Option<Instant>,
    /// Namespaces that the application is or was in.
    namespaces: BTreeSet<String>,
    /// Objects deleted because the Application is.
    pruned: BTreeSet<String>,
    /// Labels of the application's last metric.
    labels: Option<[String; 8]>,
    written: Option<ApplicationStatus>,
    /// When to look again without being told.
    look_at: Instant,
    compare_at: Instant,
    render_at: Instant,
    /// A comparison is due because of live changes.
    settle_at: Option<Instant>,
    /// The next comparison is the first with a new rendering.
    is_fresh: bool,
    /// Asked for by annotation, not yet done.
    refreshing: bool,
}

/// An operation of this process.
struct Running {
    sync: SyncId,
}

/// Self-heals in a row.
#[derive(Default)]
struct Heals {
    count: u32,
    last: Option<Instant>,
}

/// Whether the actor goes on.
#[derive(PartialEq, Eq)]
enum Next {
    On,
    End,
}

/// Starts the actor of an application that was not known before.
pub(crate) fn start(context: &Arc<Context>, registry: &Arc<Registry>, app: Application) {
    let app = Arc::new(app);
    let reference = app_ref(&app);
    let (mailbox, signals) = mpsc::channel(MAILBOX);
    let (live, live_seen) = watch::channel(0);
    let shared = Arc::new(Shared::new(app.clone()));
    registry.put(reference.app.clone(), Handle { mailbox, live: live.clone(), shared: shared.clone() });
    let (context, registry) = (context.clone(), registry.clone());
    let tasks = context.service.tasks().clone();
    tasks.spawn(sluice_chassis::TaskKind::Worker, "application", async move {
        let shutdown = context.service.shutdown().clone();
        let made = tokio::select! {
            made = Actor::new(context, registry, shared, app, (live, live_seen)) => made,
            () = shutdown.cancelled() => return,
        };
        made.run(signals).await;
    });
}

impl Actor {
    async fn new(
        context: Arc<Context>,
        registry: Arc<Registry>,
        shared: Arc<Shared>,
        app: Arc<Application>,
        (live, live_seen): (watch::Sender<u64>, watch::Receiver<u64>),
    ) -> Self {
        context.projects.wait_until_listed().await;
        let stored = loop {
            match Stored::load(&context, &app).await {
                Ok(stored) => break stored,
                Err(error) => {
                    tracing::warn!(app = app.name(), %error, "failed to read the application's state; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        let now = Instant::now();
        let reference = app_ref(&app);
        let correlation =
            correlation_of(&format!("app:{}", app.metadata.uid.as_deref().unwrap_or(app.name())));
        Self {
            written: app.status.clone(),
            cause: Cause::root(correlation, format!("app:{}", reference.app)),
            context,
            registry,
            shared,
            app,
            reference,
            live,
            live_seen,
            stored,
            desired: None,
            memo: Memo::default(),
            compared: None,
            gate: None,
            project: None,
            published: None,
            running: None,
            operations: JoinSet::new(),
            progress: mpsc::channel(PROGRESS),
            heals: Heals::default(),
            retries: 0,
            retry_at: None,
            namespaces: BTreeSet::new(),
            pruned: BTreeSet::new(),
            labels: None,
            look_at: now,
            compare_at: now,
            render_at: now,
            settle_at: None,
            is_fresh: false,
            refreshing: false,
        }
    }

    async fn run(mut self, mut signals: mpsc::Receiver<Signal>) {
        let shutdown = self.context.service.shutdown().clone();
        self.boot().await;
        loop {
            let wake = self.settle_at.unwrap_or(self.look_at).min(self.look_at);
            let next = tokio::select! {
                () = shutdown.cancelled() => return,
                signal = signals.recv() => match signal {
                    Some(signal) => self.handle(signal).await,
                    None => return,
                },
                Some(progress) = self.progress.1.recv() => self.report(progress).await,
                Some(ended) = self.operations.join_next(), if !self.operations.is_empty() => self.ended(ended),
                changed = self.live_seen.changed() => {
                    if changed.is_ok() && self.settle_at.is_none() {
                        let settle = if self.running.is_some() { SETTLE_BUSY } else { SETTLE };
                        self.settle_at = Some(Instant::now() + settle);
                    }
                    Next::On
                }
                () = tokio::time::sleep_until(wake) => self.tick().await,
            };
            if next == Next::End {
                return;
            }
        }
    }

    async fn handle(&mut self, signal: Signal) -> Next {
        match signal {
            Signal::Spec(app) => return self.spec_changed(*app).await,
            Signal::Gone => {
                self.gone().await;
                return Next::End;
            }
            Signal::Rendered { fact, cause, reply } => {
                let outcome = self.rendered(&fact, cause).await;
                answer(reply, outcome);
            }
            Signal::RenderFailed { fact, cause, reply } => {
                let outcome = self.render_failed(&fact, &cause).await;
                answer(reply, outcome);
            }
            Signal::Refresh { hard, cause, reply } => {
                let outcome = self.refresh(hard, &cause).await;
                answer(reply, outcome);
            }
            Signal::Sync { command, cause, reply } => {
                let outcome = self.sync_commanded(&command, &cause).await;
                answer(reply, outcome);
            }
        }
        Next::On
    }

    /// Looks again without being told.
    async fn tick(&mut self) -> Next {
        let now = Instant::now();
        let settled = self.settle_at.is_some_and(|at| at <= now);
        if settled {
            self.settle_at = None;
        }
        if self.app.metadata.deletion_timestamp.is_some() {
            return self.deleting().await;
        }
        self.look_at = now + TAKE_UP;
        if self.running.is_none() {
            self.take_up().await;
        }
        if now >= self.render_at {
            self.ask_for_render(false).await;
        }
        if settled || now >= self.compare_at {
            self.look_again().await;
        }
        Next::On
    }

    /// A comparison without a message that waits for it.
    async fn look_again(&mut self) {
        self.compare_at = Instant::now() + Duration::from_secs(self.context.config.compare_seconds.max(1));
        if let Err(error) = self.look().await {
            tracing::warn!(app = self.app.name(), %error, "failed to compare; trying again");
            self.compare_at = Instant::now() + RETRY;
            self.look_at = self.look_at.min(self.compare_at);
        }
    }

    fn state(&self) -> &AppState {
        &self.stored.value
    }

    /// Has the loop look at `at` at the latest.
    fn wake_at(&mut self, at: Instant) {
        self.compare_at = self.compare_at.min(at);
        self.look_at = self.look_at.min(at);
    }
}

fn answer(reply: crate::registry::Reply, outcome: Outcome) {
    if reply.send(outcome).is_err() {
        tracing::debug!("the handler that asked is gone; its message comes again");
    }
}
