//! A job's sandbox while it is being started: the job's first steps need not wait for it.
//!
//! A checkout works on our side of the wall, so a job that begins with one begins at once. The sandbox is waited for
//! by the first step that executes something in it. Where one runs already, ahead of jobs, the job gets that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_chassis::{Service, TaskKind};
use sluice_schemas::ids::hash_token;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::failpoint;
use crate::sandbox::container::Sandbox;
use crate::sandbox::engine::Engine;
use crate::sandbox::pool::{Pool, Warm};
use crate::sandbox::workspace::Workspace;

/// A start that takes longer than this is not waited for when cleaning up.
const START_LIMIT: Duration = Duration::from_secs(120);

type Started = Option<Result<Sandbox, StartFailure>>;

#[derive(Debug, Clone)]
pub(crate) struct StartFailure {
    pub(crate) reason: String,
    /// It is not the workflow's fault.
    pub(crate) passing: bool,
}

#[derive(Clone)]
pub(crate) struct Slot {
    workspace: Workspace,
    started: watch::Receiver<Started>,
    starting: Arc<Mutex<JoinSet<()>>>,
}

impl Slot {
    /// Makes the directory and begins to start the container, if `executes` says that a step will need one.
    pub(crate) fn begin(
        engine: &Engine,
        pool: &Pool,
        job: &str,
        image: &str,
        epoch: u64,
        executes: bool,
    ) -> Result<Self, String> {
        let name = name_of(job, epoch);
        let (workspace, warm) = match executes.then(|| pool.take(image)).flatten() {
            Some(Warm { workspace, sandbox }) => (workspace, Some(sandbox)),
            None => (Workspace::create(engine.jobs(), &name).map_err(|error| error.to_string())?, None),
        };
        let (send, started) = watch::channel(None);
        let mut starting = JoinSet::new();
        if !executes {
            let reason = "no step of the job executes anything in a container".to_owned();
            drop(send.send(Some(Err(StartFailure { reason, passing: false }))));
            return Ok(Self { workspace, started, starting: Arc::new(Mutex::new(starting)) });
        }
        let (engine, job, image, its) = (engine.clone(), job.to_owned(), image.to_owned(), workspace.clone());
        starting.spawn(async move {
            let result = match warm {
                Some(sandbox) if engine.is_fit(&sandbox, &image).await => Ok(sandbox),
                // It died, or the image has changed since.
                Some(sandbox) => {
                    sandbox.remove().await;
                    engine.start(&name, &job, &image, &its).await
                }
                None => engine.start(&name, &job, &image, &its).await,
            };
            let result = result
                .map_err(|error| StartFailure { reason: error.to_string(), passing: error.is_passing() });
            failpoint::hit(failpoint::CONTAINER_CREATED);
            // Nobody waits for it any more when the receivers are gone.
            drop(send.send(Some(result)));
        });
        Ok(Self { workspace, started, starting: Arc::new(Mutex::new(starting)) })
    }

    pub(crate) fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// The sandbox, as soon as it runs.
    pub(crate) async fn sandbox(&self) -> Result<Sandbox, StartFailure> {
        let lost =
            || StartFailure { reason: "the container's start was cut short".to_owned(), passing: true };
        let mut started = self.started.clone();
        let result = started.wait_for(Option::is_some).await.map_err(|_| lost())?;
        result.clone().unwrap_or_else(|| Err(lost()))
    }

    /// The sandbox, if it runs already.
    pub(crate) fn running(&self) -> Option<Sandbox> {
        self.started.borrow().as_ref().and_then(|result| result.as_ref().ok().cloned())
    }

    /// Removes everything in the background. The job's end need not wait for that.
    pub(crate) fn clean_up(&self, service: &Service) {
        let slot = self.clone();
        service.tasks().spawn(TaskKind::Worker, "clean up a job", async move {
            match tokio::time::timeout(START_LIMIT, slot.sandbox()).await {
                Ok(Ok(sandbox)) => sandbox.remove().await,
                Ok(Err(_)) => {}
                Err(_) => tracing::warn!("a container that did not start in time is left to the next sweep"),
            }
            slot.starting.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
            let workspace = slot.workspace.clone();
            if let Err(error) =
                sluice_chassis::blocking("remove a workspace", move || workspace.remove()).await
            {
                tracing::warn!(%error, "a job's directory stays behind");
            }
        });
    }
}

/// Engine and file system take names of this length only.
const MAX_NAME: usize = 200;

fn name_of(job: &str, epoch: u64) -> String {
    let name = format!("sluice-{job}-{epoch}");
    if name.len() <= MAX_NAME {
        return name;
    }
    let hash = hash_token(&[job]);
    format!("{}-{}-{epoch}", &name[..MAX_NAME - 60], &hash[..12])
}
