//! One task: apply, replace, prune, or create a hook. Every write of the reconciler to users' objects goes through here.

use std::time::Duration;

use serde_json::Value;
use sluice_gitops::plan::{Action, Task};
use sluice_gitops::resource::set_annotation;
use sluice_kubernetes::annotations::OPERATION;
use sluice_kubernetes::apply::{ApplyError, Propagation};
use sluice_kubernetes::discovery::{DiscoveryError, Kind};
use sluice_schemas::events::{ObjectResult, ObjectStatus};

use super::{Operation, hook};
use crate::context::Context;
use crate::convert::task_result;

/// Tries of one request that fails in passing.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A CustomResourceDefinition that was just applied is served after this at the latest.
const KIND_PATIENCE: Duration = Duration::from_secs(15);
/// A replaced object or an old hook is gone after this at the latest.
pub(super) const GONE_PATIENCE: Duration = Duration::from_secs(120);

/// A task's result.
pub(super) struct Outcome {
    pub(crate) result: ObjectResult,
    /// It failed, and may succeed when tried again.
    pub(crate) transient: bool,
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TaskError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Kind(#[from] DiscoveryError),
    #[error("the old object is not gone after {} s: look for finalizers", GONE_PATIENCE.as_secs())]
    NotGone,
    #[error("the plan has no manifest for it")]
    NoManifest,
}

impl TaskError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Apply(error) => error.is_transient(),
            Self::Kind(_) | Self::NotGone => true,
            Self::NoManifest => false,
        }
    }
}

/// Carries out one task of an operation that holds its permit.
pub(super) async fn carry_out(context: &Context, operation: &Operation, task: &Task) -> Outcome {
    let done = match &task.action {
        Action::Create | Action::Update => apply(context, operation, task, false).await,
        Action::Replace => apply(context, operation, task, true).await,
        Action::Prune { uid } => prune(context, operation, task, uid.as_deref()).await,
        Action::Hook { policies, .. } => hook::create(context, operation, task, policies).await,
    };
    match done {
        Ok((status, message)) => Outcome { result: task_result(task, status, message), transient: false },
        Err(error) => {
            tracing::info!(object = %task.key, error = %error, "a task failed");
            let transient = error.is_transient();
            Outcome { result: task_result(task, ObjectStatus::SyncFailed, error.to_string()), transient }
        }
    }
}

/// The manifest with the operation's mark.
pub(super) fn marked(operation: &Operation, task: &Task) -> Result<Value, TaskError> {
    let mut manifest = task.manifest.clone().ok_or(TaskError::NoManifest)?;
    let own = task.key.group == "argoproj.io"
        && task.key.kind == "Application"
        && task.key.name == operation.app_name;
    // The Application itself stays as its author wrote it.
    if !own {
        set_annotation(&mut manifest, OPERATION, operation.reference.sync.as_str());
    }
    Ok(manifest)
}

/// The kind; waits for one whose definition was just applied.
pub(super) async fn kind(context: &Context, operation: &Operation, task: &Task) -> Result<Kind, TaskError> {
    let defines = |it: &Task| it.key.kind == "CustomResourceDefinition";
    let until = tokio::time::Instant::now() + KIND_PATIENCE;
    loop {
        match context.discovery.resolve(&task.gvk).await {
            Err(DiscoveryError::UnknownKind { .. })
                if operation.plan.tasks().any(defines) && tokio::time::Instant::now() < until =>
            {
                tokio::time::sleep(FIRST_PAUSE).await;
                context.discovery.invalidate();
            }
            resolved => return Ok(resolved?),
        }
    }
}

async fn apply(
    context: &Context,
    operation: &Operation,
    task: &Task,
    may_replace: bool,
) -> Result<(ObjectStatus, String), TaskError> {
    let kind = kind(context, operation, task).await?;
    let manifest = marked(operation, task)?;
    let word = if task.action == Action::Create { "created" } else { "configured" };
    let applied = match again(|| context.objects.apply(&kind, &manifest, false)).await {
        Err(error) if may_replace && error.is_invalid() => {
            delete_and_wait(context, &kind, task).await?;
            again(|| context.objects.apply(&kind, &manifest, false)).await?
        }
        applied => applied?,
    };
    context.live.offer(&task.key, applied);
    if task.key.kind == "CustomResourceDefinition" {
        context.discovery.invalidate();
    }
    Ok((ObjectStatus::Synced, format!("{} {word}", task.key)))
}

async fn prune(
    context: &Context,
    operation: &Operation,
    task: &Task,
    uid: Option<&str>,
) -> Result<(ObjectStatus, String), TaskError> {
    if !operation.permit.prune() {
        return Ok((ObjectStatus::PruneSkipped, "pruning is off".to_owned()));
    }
    let kind = kind(context, operation, task).await?;
    let (namespace, name) = (&task.key.namespace, &task.key.name);
    again(|| context.objects.delete(&kind, namespace, name, uid, Propagation::Foreground)).await?;
    Ok((ObjectStatus::Pruned, "pruned".to_owned()))
}

/// Deletes an object and waits until it is gone, so that it can be created anew.
pub(super) async fn delete_and_wait(context: &Context, kind: &Kind, task: &Task) -> Result<(), TaskError> {
    let (namespace, name) = (&task.key.namespace, &task.key.name);
    again(|| context.objects.delete(kind, namespace, name, None, Propagation::Background)).await?;
    let until = tokio::time::Instant::now() + GONE_PATIENCE;
    let mut pause = Duration::from_millis(20);
    while again(|| context.objects.get(kind, namespace, name)).await?.is_some() {
        if tokio::time::Instant::now() > until {
            return Err(TaskError::NotGone);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
    context.live.forget(&task.key);
    Ok(())
}

/// Repeats a request that failed in passing.
pub(super) async fn again<T, F>(mut request: impl FnMut() -> F) -> Result<T, ApplyError>
where
    F: Future<Output = Result<T, ApplyError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match request().await {
            Err(error) if error.is_transient() => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
    request().await
}
