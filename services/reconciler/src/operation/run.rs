//! Carrying out a plan: its steps in order, the tasks of a group side by side, waiting where the plan says so.
//!
//! Invariants: before each group the lease is still held; a step's results are recorded before the next begins; a failed
//! task lets its step end and no later one begin. Spawned by the application's actor.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use sluice_bus::AppendError;
use sluice_gitops::health::{self, Status};
use sluice_gitops::plan::{Step, Task};
use sluice_gitops::{ObjectKey, plan::Action};
use sluice_schemas::events::{ObjectResult, ObjectStatus, SyncOutcome, SyncPhaseFinished};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Operation, Progress, hook, task};
use crate::context::Context;
use crate::convert;

/// Why an operation stops without an end.
enum Stop {
    Interrupted(String),
    Append(AppendError),
}

impl From<AppendError> for Stop {
    fn from(error: AppendError) -> Self {
        Self::Append(error)
    }
}

/// What is known so far.
#[derive(Default)]
struct Tally {
    results: Vec<ObjectResult>,
    failed: usize,
    transient: bool,
    /// Why waiting ended it.
    waited_in_vain: Option<String>,
}

/// Runs `operation` to its end and reports to `progress`. `live` changes whenever a live object of the application does.
pub(crate) async fn run(
    context: Arc<Context>,
    mut operation: Operation,
    mut live: watch::Receiver<u64>,
    progress: mpsc::Sender<Progress>,
) {
    let sync = operation.reference.sync.clone();
    let report = match execute(&context, &mut operation, &mut live, &progress).await {
        Ok(report) => report,
        Err(Stop::Interrupted(reason)) => Progress::Interrupted { sync, reason },
        Err(Stop::Append(error)) => Progress::Interrupted { sync, reason: error.to_string() },
    };
    // Given back before the actor hears of the end, so that it can begin the next one.
    drop(operation);
    if progress.send(report).await.is_err() {
        tracing::debug!("the application's actor is gone");
    }
}

async fn execute(
    context: &Context,
    operation: &mut Operation,
    live: &mut watch::Receiver<u64>,
    progress: &mpsc::Sender<Progress>,
) -> Result<Progress, Stop> {
    let mut tally = Tally::default();
    for phase in &operation.done {
        tally.results.extend(phase.results.iter().cloned());
    }
    let refused: Vec<_> = operation
        .plan
        .refused
        .iter()
        .map(|(key, gvk, reason)| convert::result(key, gvk, ObjectStatus::SyncFailed, reason.clone()))
        .collect();
    for (index, step) in operation.plan.steps.clone().iter().enumerate() {
        if !proceed(context, operation, live, step, index, &mut tally, progress).await? {
            break;
        }
    }
    let broke = tally.failed > 0 || tally.waited_in_vain.is_some();
    if broke {
        for (index, step) in operation.plan.on_failure.clone().iter().enumerate() {
            let index = operation.plan.steps.len() + index;
            let mut after = Tally::default();
            let goes_on = proceed(context, operation, live, step, index, &mut after, progress).await?;
            tally.results.extend(after.results);
            if !goes_on {
                break;
            }
        }
    }
    let applied = tally.results.len();
    tally.results.extend(refused.iter().cloned());
    for (key, reason) in &operation.plan.kept {
        let gvk = sluice_gitops::Gvk::new(&key.group, "", &key.kind);
        tally.results.push(convert::result(key, &gvk, ObjectStatus::PruneSkipped, reason.clone()));
    }
    let (outcome, message) = verdict(&tally, refused.len(), applied);
    fail::fail_point!("reconciler-applied-before-status");
    let finished = operation.finish(context, outcome, message, tally.results).await?;
    Ok(Progress::Finished { finished: Box::new(finished), transient: tally.transient })
}

fn verdict(tally: &Tally, refused: usize, applied: usize) -> (SyncOutcome, String) {
    let first = |results: &[ObjectResult]| {
        let failed = results.iter().find(|it| it.status == ObjectStatus::SyncFailed);
        failed.map(|it| format!("{}/{}: {}", it.kind, it.name, it.message)).unwrap_or_default()
    };
    if let Some(reason) = &tally.waited_in_vain {
        return (SyncOutcome::Failed, reason.clone());
    }
    if tally.failed > 0 {
        let message =
            format!("{} of {applied} objects failed; first: {}", tally.failed, first(&tally.results));
        return (SyncOutcome::Failed, message);
    }
    if refused > 0 {
        let what = if refused == 1 { "one object" } else { "some objects" };
        let message = format!(
            "everything else is applied, but {what} cannot be ({refused} of {}); first: {}",
            refused + applied,
            first(&tally.results)
        );
        return (SyncOutcome::Failed, message);
    }
    (SyncOutcome::Succeeded, "successfully synced (all tasks run)".to_owned())
}

/// One step. Says whether the next may begin.
async fn proceed(
    context: &Context,
    operation: &mut Operation,
    live: &mut watch::Receiver<u64>,
    step: &Step,
    index: usize,
    tally: &mut Tally,
    progress: &mpsc::Sender<Progress>,
) -> Result<bool, Stop> {
    if let Err(reason) = wait_for_health(context, operation, live, &step.wait_for).await? {
        tally.waited_in_vain = Some(reason);
        return Ok(false);
    }
    // Hooks of a step that an earlier executor finished are done, and perhaps deleted.
    let was_done = operation.done.iter().any(|it| it.phase == step.phase.as_str() && it.wave == step.wave);
    let mut results = Vec::new();
    for group in &step.groups {
        check_ownership(context, operation)?;
        let tasks: Vec<&Task> =
            group.iter().filter(|task| !(was_done && matches!(task.action, Action::Hook { .. }))).collect();
        for outcome in side_by_side(context, operation, &tasks).await {
            tally.failed += usize::from(outcome.result.status == ObjectStatus::SyncFailed);
            tally.transient |= outcome.transient;
            results.push(outcome.result);
            fail::fail_point!("reconciler-applied-some");
        }
    }
    let hooks =
        step.groups.iter().flatten().filter(|it| matches!(it.action, Action::Hook { .. }) && !was_done);
    let hooks: Vec<&Task> = hooks.collect();
    let ended = wait_for_hooks(context, operation, live, &hooks, &mut results, tally).await?;
    if !results.is_empty() {
        let fact = SyncPhaseFinished {
            sync: operation.reference.clone(),
            epoch: operation.epoch(),
            phase: step.phase.as_str().to_owned(),
            wave: step.wave,
            results: results.clone(),
        };
        operation.append(context, &fact, &format!("step:{index}:{}", operation.done.len())).await?;
        let report = Progress::Phase { sync: operation.reference.sync.clone(), results: results.clone() };
        if progress.send(report).await.is_err() {
            return Err(Stop::Interrupted("the process is stopping".to_owned()));
        }
    }
    tally.results.extend(results);
    // Recorded first: a deleted hook can no longer tell how it ended.
    hook::clean_up(context, &ended).await;
    Ok(tally.failed == 0)
}

async fn side_by_side(context: &Context, operation: &Operation, tasks: &[&Task]) -> Vec<task::Outcome> {
    let running: Vec<_> =
        tasks.iter().map(|task| task::carry_out(context, operation, task).boxed()).collect();
    futures::stream::iter(running).buffered(context.config.parallel_requests.max(1)).collect().await
}

fn check_ownership(context: &Context, operation: &Operation) -> Result<(), Stop> {
    if operation.lease.lost().is_cancelled() {
        return Err(Stop::Interrupted("the application's lease was lost".to_owned()));
    }
    if context.service.shutdown().is_cancelled() {
        return Err(Stop::Interrupted("the process is stopping".to_owned()));
    }
    Ok(())
}

/// Waits until every object is healthy. `Err` in the result: one will not be.
async fn wait_for_health(
    context: &Context,
    operation: &Operation,
    live: &mut watch::Receiver<u64>,
    keys: &[ObjectKey],
) -> Result<Result<(), String>, Stop> {
    let deadline = deadline(context);
    loop {
        live.mark_unchanged();
        let mut waiting = None;
        for key in keys {
            let Some(object) = context.live.get(key) else { continue };
            match health::of(&object) {
                Some(health) if health.status == Status::Degraded => {
                    return Ok(Err(format!(
                        "{key} is degraded: {}; later waves were not begun",
                        health.message
                    )));
                }
                Some(health) if matches!(health.status, Status::Progressing | Status::Missing) => {
                    waiting = Some(format!("{key}: {}", health.message));
                }
                _ => {}
            }
        }
        let Some(waiting) = waiting else { return Ok(Ok(())) };
        if !changed(context, operation, live, deadline).await? {
            return Ok(Err(format!("{} while waiting for {waiting}", timed_out(context))));
        }
    }
}

/// Waits until every hook has ended; puts their results in.
async fn wait_for_hooks<'a>(
    context: &Context,
    operation: &Operation,
    live: &mut watch::Receiver<u64>,
    hooks: &[&'a Task],
    results: &mut [ObjectResult],
    tally: &mut Tally,
) -> Result<Vec<(&'a Task, bool)>, Stop> {
    let deadline = deadline(context);
    let mut ended: Vec<(&Task, bool)> = Vec::new();
    loop {
        live.mark_unchanged();
        let mut waiting = None;
        for task in hooks {
            let never_ran = |it: &ObjectResult| is_of(it, task) && it.status == ObjectStatus::SyncFailed;
            if results.iter().any(never_ran) || ended.iter().any(|(known, _)| known.key == task.key) {
                continue;
            }
            match hook::end(context, task).await {
                Some((succeeded, message)) => {
                    ended.push((task, succeeded));
                    if let Some(result) = results.iter_mut().find(|it| is_of(it, task)) {
                        result.message = message;
                        if !succeeded {
                            result.status = ObjectStatus::SyncFailed;
                            tally.failed += 1;
                        }
                    }
                }
                None => waiting = Some(task.key.to_string()),
            }
        }
        let Some(waiting) = waiting else { return Ok(ended) };
        if !changed(context, operation, live, deadline).await? {
            tally.waited_in_vain = Some(format!("{} while the hook {waiting} ran", timed_out(context)));
            tally.failed += 1;
            return Ok(ended);
        }
    }
}

fn is_of(result: &ObjectResult, task: &Task) -> bool {
    result.kind == task.key.kind && result.name == task.key.name && result.namespace == task.key.namespace
}

fn deadline(context: &Context) -> Instant {
    Instant::now() + Duration::from_secs(context.config.sync_timeout_seconds.max(1))
}

fn timed_out(context: &Context) -> String {
    format!("gave up after {} s", context.config.sync_timeout_seconds)
}

/// Waits for a change of a live object; `false` at the deadline.
async fn changed(
    context: &Context,
    operation: &Operation,
    live: &mut watch::Receiver<u64>,
    deadline: Instant,
) -> Result<bool, Stop> {
    tokio::select! {
        changed = live.changed() => match changed {
            Ok(()) => Ok(true),
            Err(_) => Err(Stop::Interrupted("the application is gone".to_owned())),
        },
        () = tokio::time::sleep_until(deadline) => Ok(false),
        () = operation.lease.lost().cancelled() => {
            Err(Stop::Interrupted("the application's lease was lost".to_owned()))
        }
        () = context.service.shutdown().cancelled() => {
            Err(Stop::Interrupted("the process is stopping".to_owned()))
        }
    }
}
