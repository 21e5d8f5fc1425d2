//! Sandboxes that run before a job wants one: a job in the usual image begins without waiting for the engine.
//!
//! Invariants: each is used by one job and never again; what was not used is removed when the builder ends (and swept at
//! the next start when it was killed); a job that takes one makes room for the next, which is started when the machine has
//! had a moment for the job. Called by the executor.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_chassis::{Service, TaskKind};
use tokio::sync::Notify;

use super::container::Sandbox;
use super::engine::Engine;
use super::workspace::Workspace;

/// A job that was just begun has the machine to itself for this long.
const REST: Duration = Duration::from_millis(1500);
/// Between tries when the engine does not start one: a job will say why, in its own words.
const RETRY: Duration = Duration::from_secs(60);
/// What stands in the label for a job that is not known yet.
const JOB: &str = "warm";

/// A running sandbox and its directory.
pub(crate) struct Warm {
    pub(crate) workspace: Workspace,
    pub(crate) sandbox: Sandbox,
}

/// The waiting sandboxes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    image: String,
    wanted: usize,
    ready: Mutex<VecDeque<Warm>>,
    taken: Notify,
}

impl Pool {
    /// Keeps `wanted` sandboxes of `image` running until shutdown; none when it is 0.
    pub(crate) fn start(service: &Service, engine: &Engine, image: &str, wanted: usize) -> Self {
        let (ready, taken) = (Mutex::default(), Notify::new());
        let pool = Self(Arc::new(Inner { image: image.to_owned(), wanted, ready, taken }));
        if wanted > 0 {
            let (it, engine, shutdown) = (pool.clone(), engine.clone(), service.shutdown().clone());
            service.tasks().spawn(TaskKind::Worker, "warm sandboxes", async move {
                tokio::select! { () = it.fill(&engine) => {}, () = shutdown.cancelled() => {} }
                it.empty().await;
            });
        }
        pool
    }

    /// A sandbox of this image, if one waits.
    pub(crate) fn take(&self, image: &str) -> Option<Warm> {
        if image != self.0.image {
            return None;
        }
        let warm = self.ready().pop_front();
        self.0.taken.notify_one();
        warm
    }

    async fn fill(&self, engine: &Engine) {
        loop {
            while self.ready().len() < self.0.wanted {
                match self.warm(engine).await {
                    Ok(warm) => self.ready().push_back(warm),
                    Err(reason) => {
                        tracing::warn!(
                            image = self.0.image,
                            reason,
                            "no sandbox could be started ahead of jobs"
                        );
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
            self.0.taken.notified().await;
            tokio::time::sleep(REST).await;
        }
    }

    async fn warm(&self, engine: &Engine) -> Result<Warm, String> {
        let name = format!("sluice-{JOB}-{:016x}", rand::random::<u64>());
        let workspace = Workspace::create(engine.jobs(), &name).map_err(|error| error.to_string())?;
        // A task of its own: cut off in the middle, a container would stay that nobody knows.
        let (engine, image, its) = (engine.clone(), self.0.image.clone(), workspace.clone());
        let mut starting = tokio::task::JoinSet::new();
        starting.spawn(async move { engine.start(&name, JOB, &image, &its).await });
        match starting.join_next().await {
            Some(Ok(Ok(sandbox))) => Ok(Warm { workspace, sandbox }),
            Some(Ok(Err(error))) => {
                remove(workspace).await;
                Err(error.to_string())
            }
            Some(Err(error)) => Err(error.to_string()),
            None => Err("it was cut short".to_owned()),
        }
    }

    async fn empty(&self) {
        loop {
            let next = self.ready().pop_front();
            let Some(Warm { workspace, sandbox }) = next else { return };
            sandbox.remove().await;
            remove(workspace).await;
        }
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, VecDeque<Warm>> {
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn remove(workspace: Workspace) {
    if let Err(error) = sluice_chassis::blocking("remove a workspace", move || workspace.remove()).await {
        tracing::warn!(%error, "a directory stays behind");
    }
}
