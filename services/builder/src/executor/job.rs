//! One job from its preparation to its end: the steps in order, what they hand to each other, how the job fares.

mod prepare;
mod scripts;
mod step;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sluice_bus::ObjectError;
use sluice_chassis::Secret;
use sluice_schemas::events::{Annotation, AnnotationLevel, Conclusion, RunRef, StepFinished, StepKind};
use sluice_schemas::ids::JobId;
use sluice_workflow::Workflow;

use super::contexts::{JobContexts, StepRecord};
use super::facts::Facts;
use super::slot::Slot;
use super::stop::{AFTERMATH, Stop};
use super::{ExecuteError, Executor};
use crate::log::mask::Masker;
use crate::log::writer::{LogTarget, LogWriter};

pub(crate) use prepare::PrepareError;
pub(crate) use step::StepEnd;

/// How a job ended.
#[derive(Debug, Clone)]
pub(crate) struct JobEnd {
    pub(crate) conclusion: Conclusion,
    pub(crate) outputs: BTreeMap<String, String>,
    pub(crate) reason: Option<String>,
}

impl JobEnd {
    pub(super) fn failed(reason: String) -> Self {
        Self { conclusion: Conclusion::Failure, outputs: BTreeMap::new(), reason: Some(reason) }
    }

    pub(super) fn cancelled(reason: &str) -> Self {
        Self { conclusion: Conclusion::Cancelled, outputs: BTreeMap::new(), reason: Some(reason.to_owned()) }
    }
}

/// A job under way.
pub(crate) struct Job {
    pub(crate) executor: Executor,
    pub(crate) run: RunRef,
    pub(crate) id: JobId,
    pub(crate) key: String,
    workflow: Arc<Workflow>,
    pub(crate) contexts: JobContexts,
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) masker: Masker,
    slot: Slot,
    stop: Stop,
    target: LogTarget,
    limit: Duration,
    /// The job names its own image.
    in_container: bool,
    /// Something that the repository wrote has run in the container; our side is careful from then on.
    pub(crate) strangers_ran: bool,
    /// The job was to stop before the present step began: the step runs in spite of that, and is not interrupted.
    in_spite: bool,
    /// Images built so far: the ordinal of the next one's id.
    pub(crate) images: u32,
    image_path: Option<String>,
}

impl Drop for Job {
    /// Also when the job is cut off: nothing of it may stay.
    fn drop(&mut self) {
        self.slot.clean_up(&self.executor.service);
    }
}

impl Job {
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Runs the steps and computes the outputs.
    pub(crate) async fn run(&mut self, facts: &mut Facts) -> Result<JobEnd, ExecuteError> {
        let workflow = Arc::clone(&self.workflow);
        let Some(definition) = workflow.jobs.get(&self.key) else {
            return Ok(JobEnd::failed(format!("there is no job `{}` in {}", self.key, workflow.file)));
        };
        let began = std::time::Instant::now();
        let mut aftermath: Option<std::time::Instant> = None;
        let mut reason: Option<String> = None;
        for (index, step) in definition.steps.iter().enumerate() {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            self.watch_limit(began);
            if let Some(stopped) = self.stop.reason() {
                self.in_spite = true;
                self.contexts.status = Conclusion::Cancelled;
                reason.get_or_insert_with(|| stopped.words());
                let since = *aftermath.get_or_insert_with(std::time::Instant::now);
                if since.elapsed() > AFTERMATH {
                    break;
                }
            }
            let mut log = LogWriter::new(self.target.clone(), self.masker.clone(), number);
            let started = std::time::Instant::now();
            let end = Box::pin(self.step(step, number, &mut log, facts, began)).await?;
            if let Some(reason) = &end.reason {
                log.line(&format!("##[error]{reason}")).await;
            }
            let archived = log.finish().await;
            let fact = self.record(step, number, end, started.elapsed(), archived, facts);
            if fact.conclusion == Conclusion::Failure {
                let why = fact.reason.as_deref().unwrap_or("failed");
                reason.get_or_insert_with(|| format!("step `{}`: {why}", fact.name));
            }
            facts.step(&fact).await?;
        }
        self.watch_limit(began);
        if let Some(stopped) = self.stop.reason() {
            self.contexts.status = Conclusion::Cancelled;
            reason.get_or_insert_with(|| stopped.words());
        }
        let outputs = self.outputs(definition);
        let conclusion = match (self.contexts.status, self.stop.reason()) {
            // To people a job that never ends is broken, not cancelled.
            (_, Some(super::stop::StopReason::TimedOut { .. })) => Conclusion::Failure,
            (status, _) => status,
        };
        let reason =
            reason.filter(|_| conclusion != Conclusion::Success).map(|reason| self.masker.mask(&reason));
        Ok(JobEnd { conclusion, outputs, reason })
    }

    /// Notes a step's end in the contexts and makes its fact.
    fn record(
        &mut self,
        step: &sluice_workflow::Step,
        number: u32,
        end: StepEnd,
        duration: Duration,
        archived: Result<(Option<sluice_schemas::Digest>, u64), ObjectError>,
        facts: &Facts,
    ) -> StepFinished {
        let conclusion = match end.outcome {
            Conclusion::Failure if end.continue_on_error => Conclusion::Success,
            outcome => outcome,
        };
        match conclusion {
            Conclusion::Failure if self.contexts.status == Conclusion::Success => {
                self.contexts.status = Conclusion::Failure;
            }
            Conclusion::Cancelled => self.contexts.status = Conclusion::Cancelled,
            _ => {}
        }
        if let Some(id) = &step.id {
            let record = StepRecord { outcome: end.outcome, conclusion, outputs: end.outputs };
            self.contexts.steps.insert(id.clone(), record);
        }
        let reason = end.reason.map(|reason| self.masker.mask(&reason));
        let mut annotations = end.annotations;
        if let (Conclusion::Failure, Some(reason)) = (conclusion, &reason) {
            annotations.push(Annotation {
                level: AnnotationLevel::Error,
                file: self.workflow.file.clone(),
                line: step.at.line,
                column: step.at.column,
                message: format!("step `{}`: {reason}", self.masker.mask(&end.name)),
            });
        }
        let (log, log_lines) = match archived {
            Ok(archived) => archived,
            Err(error) => {
                tracing::warn!(%error, job = %self.id, step = number, "the step's log is not archived");
                (None, 0)
            }
        };
        StepFinished {
            run: self.run.clone(),
            job: self.id.clone(),
            epoch: facts.epoch(),
            step: number,
            name: self.masker.mask(&end.name),
            kind: end.kind,
            outcome: end.outcome,
            conclusion,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            exit_code: end.exit_code,
            reason,
            annotations,
            log,
            log_lines,
        }
    }

    /// The job's outputs, without those that hold a secret.
    fn outputs(&self, definition: &sluice_workflow::Job) -> BTreeMap<String, String> {
        let sources = self.slot.workspace().sources();
        let scope = self.contexts.scope(&sources);
        let mut outputs = BTreeMap::new();
        for (name, template) in &definition.outputs {
            match template.text(&scope) {
                Ok(value) if self.masker.touches(&value) => {
                    tracing::warn!(job = %self.id, output = name, "an output holds a secret and is dropped");
                }
                Ok(value) => {
                    outputs.insert(name.clone(), value);
                }
                Err(failure) => {
                    tracing::warn!(job = %self.id, output = name, %failure, "an output has no value")
                }
            }
        }
        outputs
    }

    fn watch_limit(&self, began: std::time::Instant) {
        if began.elapsed() >= self.limit {
            let minutes = self.limit.as_secs_f64() / 60.0;
            self.stop.trigger(super::stop::StopReason::TimedOut { minutes });
        }
    }
}

/// A step that did not fail and said nothing, to be changed by its maker.
impl StepEnd {
    pub(super) fn new(name: String, kind: StepKind) -> Self {
        Self {
            name,
            kind,
            outcome: Conclusion::Success,
            continue_on_error: false,
            exit_code: None,
            reason: None,
            outputs: indexmap::IndexMap::new(),
            annotations: Vec::<Annotation>::new(),
        }
    }
}
