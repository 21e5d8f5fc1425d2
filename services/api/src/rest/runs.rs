//! Runs as JSON, re-run and cancel.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sluice_schemas::Cause;
use sluice_schemas::commands::{CancelRun, RerunRun};
use sluice_schemas::ids::RunNumber;

use super::Input;
use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::{Answer, ApiError};
use crate::gate::Once;
use crate::model::{JobView, RepoView, RunPhase, RunView, StepView};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Listing {
    repo: String,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(wanted): Query<Listing>,
) -> Answer<Json<Value>> {
    let only = match wanted.repo.is_empty() {
        true => None,
        false => Some(repository(&api, &caller, &wanted.repo, Resource::Runs, Action::Get)?.repository.slug),
    };
    let model = api.model.read();
    let items: Vec<Value> = model
        .runs()
        .into_iter()
        .filter(|run| only.as_ref().is_none_or(|slug| &run.run.repository.slug == slug))
        .filter(|run| api.may(&caller, Resource::Runs, Action::Get, run.run.repository.slug.as_str()))
        .take(wanted.limit.unwrap_or(50).min(1000))
        .map(|run| json(run, false))
        .collect();
    Ok(Json(json!({ "items": items })))
}

pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Path((repo, number)): Path<(String, u64)>,
) -> Answer<Json<Value>> {
    Ok(Json(json(&find(&api, &caller, &repo, number, Resource::Runs, Action::Get)?, true)))
}

#[derive(Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rerun {
    failed_only: bool,
}

pub(super) async fn rerun(
    State(api): State<Api>,
    caller: Caller,
    Path((repo, number)): Path<(String, u64)>,
    headers: HeaderMap,
    Input(body): Input<Rerun>,
) -> Answer<Json<Value>> {
    order_rerun(&api, &caller, &repo, number, body.failed_only, Once::key(&headers)?.as_deref()).await?;
    Ok(Json(json!({})))
}

pub(super) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Path((repo, number)): Path<(String, u64)>,
    headers: HeaderMap,
) -> Answer<Json<Value>> {
    order_cancel(&api, &caller, &repo, number, Once::key(&headers)?.as_deref()).await?;
    Ok(Json(json!({})))
}

/// Orders the next attempt.
pub(crate) async fn order_rerun(
    api: &Api,
    caller: &Caller,
    repo: &str,
    number: u64,
    failed_only: bool,
    key: Option<&str>,
) -> Answer<()> {
    let run = find(api, caller, repo, number, Resource::Runs, Action::Rerun)?;
    if !matches!(run.phase, RunPhase::Finished | RunPhase::Refused) {
        return Err(ApiError::precondition(format!("run #{number} has not ended; cancel it first, or wait")));
    }
    let slug = run.run.repository.slug.clone();
    let work = async |seed: crate::gate::Seed| {
        let command = RerunRun {
            repository: slug.clone(),
            number: RunNumber(number),
            person: caller.person.clone(),
            failed_only,
        };
        let cause = Cause::root(run.correlation.clone(), format!("rerun:{}", seed.id));
        api.bus.publish(&command, &cause).await.map(drop).map_err(|error| ApiError::away("the bus", &error))
    };
    api.once.run(&caller.person, &format!("rerun/{slug}/{number}"), key, &failed_only, work).await
}

/// Orders a stop.
pub(crate) async fn order_cancel(
    api: &Api,
    caller: &Caller,
    repo: &str,
    number: u64,
    key: Option<&str>,
) -> Answer<()> {
    let run = find(api, caller, repo, number, Resource::Runs, Action::Cancel)?;
    if matches!(run.phase, RunPhase::Finished | RunPhase::Refused) {
        return Err(ApiError::precondition(format!("run #{number} has ended; there is nothing to cancel")));
    }
    let slug = run.run.repository.slug.clone();
    let work = async |seed: crate::gate::Seed| {
        let command =
            CancelRun { repository: slug.clone(), number: RunNumber(number), person: caller.person.clone() };
        let cause = Cause::root(run.correlation.clone(), format!("cancel:{}", seed.id));
        api.bus.publish(&command, &cause).await.map(drop).map_err(|error| ApiError::away("the bus", &error))
    };
    api.once.run(&caller.person, &format!("cancel/{slug}/{number}"), key, &(), work).await
}

/// A repository by slug, full or short name, for a caller who may.
pub(crate) fn repository(
    api: &Api,
    caller: &Caller,
    text: &str,
    resource: Resource,
    action: Action,
) -> Answer<RepoView> {
    let found = api.model.read().find_repository(text).cloned();
    let Some(found) = found else {
        api.authorize(caller, resource, action, text)?;
        return Err(ApiError::missing(format!(
            "there is no repository {text}, or several have this short name; `sluice run ls` shows those that had a run"
        )));
    };
    api.authorize(caller, resource, action, found.repository.slug.as_str())?;
    Ok(found)
}

/// A run, for a caller who may.
pub(crate) fn find(
    api: &Api,
    caller: &Caller,
    repo: &str,
    number: u64,
    resource: Resource,
    action: Action,
) -> Answer<RunView> {
    let repository = repository(api, caller, repo, resource, action)?;
    let kept = repository.runs.keys().next().copied().unwrap_or_default();
    repository.runs.get(&number).cloned().ok_or_else(|| {
        let name = &repository.repository.full_name;
        let slug = &repository.repository.slug;
        match number < kept {
            true => ApiError::missing(format!(
                "run #{number} of {name} is older than those kept here; `nats stream view EVENTS --subject 'evt.run.{slug}.{number}.>'` still shows it"
            )),
            false => ApiError::missing(format!("{name} has no run #{number}")),
        }
    })
}

/// `Run`.
pub(crate) fn json(run: &RunView, steps: bool) -> Value {
    let repository = &run.run.repository;
    json!({
        "repository": { "slug": repository.slug, "fullName": repository.full_name, "url": repository.html_url },
        "number": run.run.number, "attempt": run.attempt, "title": run.title, "author": run.author,
        "sha": run.run.sha, "ref": run.run.git_ref, "workflowFile": run.run.workflow_file,
        "workflowName": run.run.workflow_name, "phase": run.phase, "conclusion": run.conclusion,
        "reason": run.reason, "receivedAt": run.received_at, "queuedAt": run.queued_at, "startedAt": run.started_at,
        "finishedAt": run.finished_at, "correlation": run.correlation, "annotations": run.all_annotations(),
        "jobs": run.jobs.iter().map(|job| job_json(job, steps)).collect::<Vec<_>>(),
    })
}

fn job_json(job: &JobView, steps: bool) -> Value {
    let mut value = json!({
        "id": job.planned.id, "key": job.planned.key, "name": job.planned.name, "needs": job.planned.needs,
        "phase": job.phase, "conclusion": job.conclusion, "reason": job.reason, "startedAt": job.started_at,
        "finishedAt": job.finished_at, "executor": job.executor, "note": job.note,
    });
    if steps {
        value["steps"] = job.steps.iter().map(step_json).collect();
    }
    value
}

fn step_json(step: &StepView) -> Value {
    json!({
        "index": step.index, "name": step.name, "kind": step.kind, "phase": step.phase, "conclusion": step.conclusion,
        "durationMs": step.duration_ms, "exitCode": step.exit_code, "reason": step.reason, "log": step.log,
        "logLines": step.log_lines, "annotations": step.annotations,
    })
}
