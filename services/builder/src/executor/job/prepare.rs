//! Everything that a job needs before its first step, gathered at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use sluice_schemas::commands::ExecuteJob;
use sluice_schemas::events::Conclusion;
use sluice_schemas::state::RunState;
use sluice_workflow::Workflow;
use sluice_workflow::expression::{Object, Value, to_json};
use sluice_workflow::model::StepKind;
use sluice_workflow::plan::PlannedJob;
use sluice_workflow::schedule::{self, JobResult, Results};
use sluice_workflow::template::Token;

use super::Job;
use crate::context::{RunContext, github};
use crate::coordinator::push_of;
use crate::executor::Executor;
use crate::executor::contexts::JobContexts;
use crate::executor::stop::Stop;
use crate::log::mask::Masker;
use crate::log::writer::LogTarget;
use crate::sandbox::paths;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// The workflow cannot be carried out: the job fails.
    #[error("{0}")]
    Workflow(String),
    /// Not the workflow's fault: the job is tried again.
    #[error("{0}")]
    Passing(String),
}

impl Job {
    pub(crate) async fn prepare(
        executor: &Executor,
        command: &ExecuteJob,
        state: &RunState,
        epoch: u64,
        stop: Stop,
    ) -> Result<Self, PrepareError> {
        let run = command.run.clone();
        let (workflow, push, secrets) = tokio::join!(
            executor.source.workflow(&run),
            push_of(&executor.bus, &run),
            executor.vault.secrets(&run.repository.slug),
        );
        let workflow = workflow.map_err(|error| match error.is_passing() {
            true => PrepareError::Passing(error.to_string()),
            false => PrepareError::Workflow(error.to_string()),
        })?;
        let passing = |error: &dyn std::error::Error| PrepareError::Passing(error.to_string());
        let push = push.map_err(|error| passing(&error))?;
        let secrets = secrets.map_err(|error| passing(&error))?;
        let github = github(&run, push.as_ref(), state.attempt);
        let context = RunContext { github: Value::object(github.clone()), cancelled: false };
        let plan = sluice_workflow::plan::expand(&workflow, &context)
            .map_err(|mistakes| PrepareError::Workflow(mistakes.to_string()))?;
        let place = state.jobs.iter().position(|job| job.planned.id == command.job);
        let planned = place.and_then(|place| plan.jobs.get(place)).ok_or_else(|| {
            PrepareError::Workflow(format!("job `{}` is not a job of this run", command.job))
        })?;
        let definition = workflow.jobs.get(&planned.key).ok_or_else(|| {
            PrepareError::Workflow(format!("there is no job `{}` in {}", planned.key, workflow.file))
        })?;
        let masker = Masker::new(secrets.values().map(|secret| secret.expose()));
        let mut contexts = JobContexts {
            github,
            env: Object::case_sensitive(),
            secrets: secrets
                .iter()
                .map(|(name, secret)| (name.as_str(), secret.expose()))
                .collect::<Object>()
                .into(),
            needs: schedule::needs_context(planned, &plan.jobs, &results(&plan.jobs, state)),
            matrix: planned.matrix.as_ref().map_or(Value::Null, sluice_workflow::matrix::context),
            strategy: strategy(planned),
            steps: IndexMap::new(),
            path: Vec::new(),
            container: String::new(),
            status: Conclusion::Success,
        };
        contexts.github.insert("job", planned.key.as_str());
        contexts.github.insert("workspace", paths::WORKSPACE);
        contexts.github.insert("event_path", format!("{}/event.json", paths::COMMANDS));
        let nowhere = std::path::PathBuf::new();
        for env in [&workflow.env, &definition.env].into_iter().flatten() {
            let value = evaluate(&workflow, env, &contexts, &nowhere)?;
            if let Value::Object(entries) = value {
                for (name, value) in entries.iter() {
                    contexts.env.insert(name, value.to_text());
                }
            }
        }
        let image = image(executor, &workflow, definition, &contexts)?;
        let limit = limit(executor, &workflow, definition, &contexts)?;
        let executes = definition.steps.iter().any(|step| matches!(step.kind, StepKind::Run { .. }));
        let slot = executor
            .slot(&format!("{}-{}", run.repository.slug, command.job), &image.0, epoch, executes)
            .map_err(PrepareError::Passing)?;
        contexts.container =
            slot.workspace().root().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let event = to_json(contexts.github.get("event").unwrap_or(&Value::Null));
        let written = slot.workspace().write_command("event.json", event.as_bytes());
        written.map_err(|error| passing(&error))?;
        let target = LogTarget {
            bus: executor.bus.clone(),
            repository: run.repository.slug.clone(),
            job: command.job.clone(),
            epoch,
        };
        Ok(Self {
            executor: executor.clone(),
            run,
            id: command.job.clone(),
            key: planned.key.clone(),
            workflow: Arc::clone(&workflow),
            contexts,
            secrets,
            masker,
            slot,
            stop,
            target,
            limit,
            in_container: image.1,
            strangers_ran: false,
            in_spite: false,
            images: 0,
            image_path: None,
        })
    }
}

/// The image that the job runs in, and whether the job names it itself.
fn image(
    executor: &Executor,
    workflow: &Workflow,
    definition: &sluice_workflow::Job,
    contexts: &JobContexts,
) -> Result<(String, bool), PrepareError> {
    let nowhere = std::path::PathBuf::new();
    if let Some(container) = &definition.container {
        let image = evaluate(workflow, &container.image, contexts, &nowhere)?;
        let image = match &image {
            Value::Object(object) => object.get("image").map(Value::to_text).unwrap_or_default(),
            other => other.to_text(),
        };
        if !image.is_empty() {
            return Ok((image.to_string(), true));
        }
    }
    let labels: Vec<String> = match &definition.runs_on {
        Some(token) => match evaluate(workflow, token, contexts, &nowhere)? {
            Value::Array(items) => items.iter().map(|item| item.to_text().to_string()).collect(),
            Value::Object(object) => match object.get("labels") {
                Some(Value::Array(items)) => items.iter().map(|item| item.to_text().to_string()).collect(),
                Some(label) => vec![label.to_text().to_string()],
                None => Vec::new(),
            },
            label => vec![label.to_text().to_string()],
        },
        None => Vec::new(),
    };
    let foreign = labels.iter().find(|label| {
        let label = label.to_ascii_lowercase();
        label.starts_with("windows") || label.starts_with("macos")
    });
    if let Some(label) = foreign {
        return Err(PrepareError::Workflow(format!(
            "`runs-on: {label}` cannot be had: jobs run in Linux containers here"
        )));
    }
    let configured = labels.iter().find_map(|label| executor.config.images.get(label));
    Ok((configured.unwrap_or(&executor.config.image).clone(), false))
}

fn limit(
    executor: &Executor,
    workflow: &Workflow,
    definition: &sluice_workflow::Job,
    contexts: &JobContexts,
) -> Result<Duration, PrepareError> {
    let longest = Duration::from_secs(executor.config.job_timeout_minutes * 60);
    let Some(template) = &definition.timeout_minutes else { return Ok(longest) };
    let nowhere = std::path::PathBuf::new();
    let value = template.value(&contexts.scope(&nowhere)).map_err(|failure| {
        PrepareError::Workflow(format!("{}:{}: {}", workflow.file, failure.at, failure.source))
    })?;
    let minutes = value.to_number();
    if !(minutes > 0.0 && minutes.is_finite()) {
        return Err(PrepareError::Workflow(format!(
            "{}:{}: `timeout-minutes` must be a positive number",
            workflow.file,
            template.at()
        )));
    }
    Ok(longest.min(Duration::from_secs_f64(minutes.min(1e6) * 60.0)))
}

fn evaluate(
    workflow: &Workflow,
    token: &Token,
    contexts: &JobContexts,
    sources: &std::path::Path,
) -> Result<Value, PrepareError> {
    token.value(&contexts.scope(sources)).map_err(|failure| {
        PrepareError::Workflow(format!("{}:{}: {}", workflow.file, failure.at, failure.source))
    })
}

fn strategy(planned: &PlannedJob) -> Value {
    let mut strategy = Object::new();
    strategy.insert("fail-fast", true);
    strategy.insert("job-index", planned.job_index as f64);
    strategy.insert("job-total", planned.job_total as f64);
    strategy.insert("max-parallel", planned.job_total as f64);
    strategy.into()
}

/// The finished jobs as `needs` sees them.
fn results(jobs: &[PlannedJob], state: &RunState) -> Results {
    let mut results: Results = Results::new();
    for (job, known) in jobs.iter().zip(&state.jobs) {
        let Some(conclusion) = known.conclusion else { continue };
        let conclusion = match conclusion {
            Conclusion::Success => schedule::Conclusion::Success,
            Conclusion::Failure => schedule::Conclusion::Failure,
            Conclusion::Cancelled => schedule::Conclusion::Cancelled,
            Conclusion::Skipped => schedule::Conclusion::Skipped,
        };
        let outputs: BTreeMap<_, _> = known.outputs.clone();
        let outputs = outputs.into_iter().collect();
        results.insert(job.id.clone(), JobResult { conclusion, outputs, continue_on_error: false });
    }
    results
}
