//! Jobs and their steps. Written by the builder's executor under its lease, read by the coordinator, api and notifier.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Annotation, Conclusion, RunRef, fact};
use crate::ids::JobId;
use crate::subject::Entity;
use crate::{Digest, Subject};

/// `evt.job.<repo>.<job>.started`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobStarted {
    /// Its run.
    pub run: RunRef,
    /// The job.
    pub job: JobId,
    /// Its key in the workflow.
    pub key: String,
    /// Fencing token of the executor; facts of a lower epoch than the newest are void.
    pub epoch: u64,
    /// The executor, for people.
    pub executor: String,
    /// From queued to started.
    pub queued_ms: u64,
    /// Why it starts again: set when an earlier executor was lost.
    pub note: Option<String>,
}

/// `evt.job.<repo>.<job>.step_finished`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepFinished {
    /// Its run.
    pub run: RunRef,
    /// The job.
    pub job: JobId,
    /// Fencing token.
    pub epoch: u64,
    /// From 0, in the file's order.
    pub step: u32,
    /// For people.
    pub name: String,
    /// What kind of work, for the time ledger.
    pub kind: StepKind,
    /// Before `continue-on-error`.
    pub outcome: Conclusion,
    /// After `continue-on-error`.
    pub conclusion: Conclusion,
    /// How long.
    pub duration_ms: u64,
    /// Exit code of a `run` step.
    pub exit_code: Option<i32>,
    /// Why it failed, masked; absent on success.
    pub reason: Option<String>,
    /// Warnings and errors that the step reported.
    pub annotations: Vec<Annotation>,
    /// The archived log in the object store; absent when there was no output.
    pub log: Option<Digest>,
    /// Lines in that log.
    pub log_lines: u64,
}

/// What kind of work a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Brings the sources.
    Checkout,
    /// A script.
    Run,
    /// Builds and publishes an image.
    Image,
    /// Tells somebody.
    Notify,
    /// Any other action.
    Action,
}

/// `evt.job.<repo>.<job>.finished`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobFinished {
    /// Its run.
    pub run: RunRef,
    /// The job.
    pub job: JobId,
    /// Its key in the workflow.
    pub key: String,
    /// Fencing token; 0 for a job that never started (skipped, cancelled).
    pub epoch: u64,
    /// How.
    pub conclusion: Conclusion,
    /// From started to finished.
    pub duration_ms: u64,
    /// Outputs, without those that hold a secret.
    pub outputs: BTreeMap<String, String>,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
}

fact!(
    JobStarted,
    "job.started",
    |this| Subject::fact(Entity::Job, &this.run.repository.slug, &this.job, "started"),
    {
        Self {
            run: crate::catalogue::run(),
            job: JobId::from_text("42-test"),
            key: "test".to_owned(),
            epoch: 7,
            executor: "builder-1".to_owned(),
            queued_ms: 40,
            note: None,
        }
    }
);
fact!(
    StepFinished,
    "job.step_finished",
    |this| Subject::fact(Entity::Job, &this.run.repository.slug, &this.job, "step_finished"),
    {
        Self {
            run: crate::catalogue::run(),
            job: JobId::from_text("42-test"),
            epoch: 7,
            step: 1,
            name: "Run tests".to_owned(),
            kind: StepKind::Run,
            outcome: Conclusion::Failure,
            conclusion: Conclusion::Failure,
            duration_ms: 1_870,
            exit_code: Some(1),
            reason: Some("exit code 1".to_owned()),
            annotations: vec![],
            log: Some(Digest::of(b"log")),
            log_lines: 14,
        }
    }
);
fact!(
    JobFinished,
    "job.finished",
    |this| Subject::fact(Entity::Job, &this.run.repository.slug, &this.job, "finished"),
    {
        Self {
            run: crate::catalogue::run(),
            job: JobId::from_text("42-test"),
            key: "test".to_owned(),
            epoch: 7,
            conclusion: Conclusion::Success,
            duration_ms: 2_410,
            outputs: BTreeMap::from([("version".to_owned(), "1.4.2".to_owned())]),
            reason: None,
        }
    }
);
