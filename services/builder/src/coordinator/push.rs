//! A push arrives: which workflows does it start?
//!
//! Happy: a run is queued for each workflow that the push triggers. Duplicate: the same numbers, the same facts, so
//! nothing new. Broken file: a refused run that names every mistake. Undecodable messages never get here.

use std::sync::Arc;

use sluice_bus::{AppendError, Delivery, Expected};
use sluice_schemas::events::{
    Annotation, AnnotationLevel, Conclusion, PlannedJob, PushReceived, RunQueued, RunRef, RunRefused,
};
use sluice_schemas::ids::{JobId, RunNumber};
use sluice_schemas::state::{JobState, Phase, RunState};
use sluice_schemas::{Cause, Fact, Timestamp};
use sluice_workflow::model::StepKind;
use sluice_workflow::plan::{Decision, Plan, Push};
use sluice_workflow::{Mistake, Mistakes, Workflow, read_workflow};

use super::{Coordinator, CoordinatorError};
use crate::context::{RunContext, github};
use crate::failpoint;
use crate::source::WorkflowFile;

impl Coordinator {
    pub(super) async fn on_push(&self, delivery: &Delivery<PushReceived>) -> Result<(), CoordinatorError> {
        let push = &delivery.message;
        if push.deleted || push.after.is_null() {
            return Ok(());
        }
        let started = std::time::Instant::now();
        let files = self.source.files(&push.repository, &push.after, &push.git_ref).await?;
        let facts = self.facts_of(push, &files).await?;
        for file in files {
            self.on_file(push, &facts, file, &delivery.cause()).await?;
        }
        self.metrics.phases.with_label_values(&["plan"]).observe(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// What filters look at. The list of changed files is worked out only when somebody asks for it.
    async fn facts_of(&self, push: &PushReceived, files: &[WorkflowFile]) -> Result<Push, CoordinatorError> {
        let mut facts = Push {
            reference: push.git_ref.clone(),
            deleted: push.deleted,
            head_message: push.head_commit.as_ref().map(|commit| commit.message.clone()).unwrap_or_default(),
            changed_files: push.changed_files.clone(),
            files_complete: push.changed_files_complete,
        };
        let wanted = files.iter().any(|file| file.text.contains("paths"));
        if wanted && !facts.files_complete {
            let mirror = self.source.mirror(&push.repository).await?;
            match mirror.changes(Some(&push.before), &push.after).await {
                Ok(changes) => {
                    facts.changed_files = changes.paths;
                    facts.files_complete = changes.complete;
                }
                // Then every path filter lets the push through, which is the safe side.
                Err(error) => tracing::warn!(%error, push = %push.push, "the changed files are not known"),
            }
        }
        Ok(facts)
    }

    async fn on_file(
        &self,
        push: &PushReceived,
        facts: &Push,
        file: WorkflowFile,
        cause: &Cause,
    ) -> Result<(), CoordinatorError> {
        let workflow = match read_workflow(&file.path, &file.text) {
            Ok(workflow) => Arc::new(workflow),
            Err(mistakes) => return self.refuse(push, &file.path, &file.path, mistakes, cause).await,
        };
        // The number is not known yet; nothing that is planned may depend on it.
        let run = run_ref(push, &workflow, RunNumber(0));
        let context = RunContext { github: github(&run, Some(push), 1).into(), cancelled: false };
        match sluice_workflow::plan(&workflow, facts, &context) {
            Ok(Decision::Skip(reason)) => {
                tracing::info!(
                    repository = push.repository.full_name,
                    file = file.path,
                    reason,
                    "not started"
                );
                self.metrics.runs.with_label_values(&["not_triggered"]).inc();
                Ok(())
            }
            Ok(Decision::Run(plan)) => {
                self.source.keep(&push.repository, &push.after, Arc::clone(&workflow));
                self.queue(push, &workflow, &plan, cause).await
            }
            Err(mistakes) => self.refuse(push, &file.path, workflow.title(), mistakes, cause).await,
        }
    }

    async fn queue(
        &self,
        push: &PushReceived,
        workflow: &Workflow,
        plan: &Plan,
        cause: &Cause,
    ) -> Result<(), CoordinatorError> {
        let number = self.runs.number(&push.push, &push.repository.slug, &workflow.file).await?;
        let run = run_ref(push, workflow, number);
        let queued = RunQueued {
            event: "push".to_owned(),
            attempt: 1,
            title: push.head_commit.as_ref().map(|c| c.title().to_owned()).unwrap_or_default(),
            author: push.head_commit.as_ref().map_or(&push.pusher, |c| &c.author_name).clone(),
            jobs: planned_jobs(workflow, plan, number, 1),
            annotations: annotations(&plan.warnings, AnnotationLevel::Warning),
            received_at: push.received_at,
            run,
        };
        self.append_new(&queued, cause).await?;
        failpoint::hit(failpoint::RUN_QUEUED);
        self.runs.create(&state_of(&queued)).await?;
        self.metrics.runs.with_label_values(&["queued"]).inc();
        self.advance(&queued.run, cause).await
    }

    async fn refuse(
        &self,
        push: &PushReceived,
        file: &str,
        name: &str,
        mistakes: Mistakes,
        cause: &Cause,
    ) -> Result<(), CoordinatorError> {
        let number = self.runs.number(&push.push, &push.repository.slug, file).await?;
        let run = RunRef {
            repository: push.repository.clone(),
            number,
            workflow_file: file.to_owned(),
            workflow_name: name.to_owned(),
            sha: push.after.clone(),
            git_ref: push.git_ref.clone(),
            push: push.push.clone(),
        };
        let annotations = annotations(&mistakes.0, AnnotationLevel::Error);
        let refused = RunRefused { run, annotations, received_at: push.received_at };
        self.append_new(&refused, cause).await?;
        let first = mistakes.0.first().map(ToString::to_string).unwrap_or_default();
        let now = Timestamp::now();
        self.runs
            .create(&RunState {
                run: refused.run,
                attempt: 1,
                phase: Phase::Finished,
                conclusion: Some(Conclusion::Failure),
                reason: Some(format!("the workflow file is broken: {first}")),
                title: push.head_commit.as_ref().map(|c| c.title().to_owned()).unwrap_or_default(),
                author: push.head_commit.as_ref().map_or(&push.pusher, |c| &c.author_name).clone(),
                received_at: push.received_at,
                queued_at: now,
                finished_at: Some(now),
                jobs: Vec::new(),
                annotations: refused.annotations,
                cancelled_by: None,
            })
            .await?;
        self.metrics.runs.with_label_values(&["refused"]).inc();
        Ok(())
    }

    /// The first fact of a run; a second delivery finds it there.
    async fn append_new<F: Fact>(&self, fact: &F, cause: &Cause) -> Result<(), CoordinatorError> {
        let seed = format!("{}#1", fact.subject());
        match self.bus.append(fact, &cause.seeded(seed), Expected::AggregateLast(0)).await {
            Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn run_ref(push: &PushReceived, workflow: &Workflow, number: RunNumber) -> RunRef {
    RunRef {
        repository: push.repository.clone(),
        number,
        workflow_file: workflow.file.clone(),
        workflow_name: workflow.title().to_owned(),
        sha: push.after.clone(),
        git_ref: push.git_ref.clone(),
        push: push.push.clone(),
    }
}

/// The jobs of a plan as facts and states have them, in the same order.
pub(super) fn planned_jobs(
    workflow: &Workflow,
    plan: &Plan,
    number: RunNumber,
    attempt: u32,
) -> Vec<PlannedJob> {
    plan.jobs
        .iter()
        .map(|job| PlannedJob {
            id: job_id(number, &job.id, attempt),
            key: job.key.clone(),
            name: job.name.clone(),
            needs: job.needs.clone(),
            steps: workflow.jobs.get(&job.key).map(step_titles).unwrap_or_default(),
        })
        .collect()
}

fn job_id(number: RunNumber, id: &str, attempt: u32) -> JobId {
    match attempt {
        1 => JobId::from_text(&format!("{number}-{id}")),
        attempt => JobId::from_text(&format!("{number}-{id}-attempt{attempt}")),
    }
}

fn step_titles(job: &sluice_workflow::Job) -> Vec<String> {
    job.steps
        .iter()
        .map(|step| match (&step.name, &step.kind) {
            (Some(name), _) => name.source(),
            (None, StepKind::Uses { action, .. }) => action.written(),
            (None, StepKind::Run { .. }) => step.title(None),
        })
        .collect()
}

/// The state that a queued run starts with.
pub(super) fn state_of(queued: &RunQueued) -> RunState {
    RunState {
        run: queued.run.clone(),
        attempt: queued.attempt,
        phase: Phase::Queued,
        conclusion: None,
        reason: None,
        title: queued.title.clone(),
        author: queued.author.clone(),
        received_at: queued.received_at,
        queued_at: Timestamp::now(),
        finished_at: None,
        jobs: queued.jobs.iter().cloned().map(waiting).collect(),
        annotations: queued.annotations.clone(),
        cancelled_by: None,
    }
}

pub(super) fn waiting(planned: PlannedJob) -> JobState {
    JobState {
        planned,
        phase: Phase::Waiting,
        conclusion: None,
        epoch: 0,
        outputs: std::collections::BTreeMap::new(),
        reason: None,
        started_at: None,
        finished_at: None,
    }
}

fn annotations(mistakes: &[Mistake], level: AnnotationLevel) -> Vec<Annotation> {
    mistakes
        .iter()
        .map(|mistake| Annotation {
            level,
            file: mistake.file.clone(),
            line: mistake.at.line,
            column: mistake.at.column,
            message: mistake.message.clone(),
        })
        .collect()
}
