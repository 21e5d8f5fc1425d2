//! Runs: a workflow at a commit. Written by the builder's coordinator, read by api, notifier and the builder itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Repository, fact};
use crate::ids::{JobId, PushId, RunNumber};
use crate::subject::Entity;
use crate::{Sha, Subject, Timestamp};

/// How something ended. GitHub's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// All went well.
    Success,
    /// Something failed.
    Failure,
    /// A person or a newer run stopped it.
    Cancelled,
    /// Its condition was false, or what it needs did not succeed.
    Skipped,
}

/// A mistake or remark with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Annotation {
    /// How bad.
    pub level: AnnotationLevel,
    /// Path in the repository; empty when it has none.
    pub file: String,
    /// From 1; 0 when unknown.
    pub line: u32,
    /// From 1; 0 when unknown.
    pub column: u32,
    /// What, why, and what to do.
    pub message: String,
}

/// How bad an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnnotationLevel {
    /// Remark.
    Notice,
    /// Might be wrong.
    Warning,
    /// Is wrong.
    Error,
}

/// A job as it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedJob {
    /// Its id.
    pub id: JobId,
    /// Its key in the workflow.
    pub key: String,
    /// For people.
    pub name: String,
    /// Keys of the jobs that it waits for.
    pub needs: Vec<String>,
    /// Names of its steps, in order.
    pub steps: Vec<String>,
}

/// What a run belongs to; part of every run fact, so that each can be read by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRef {
    /// Where.
    pub repository: Repository,
    /// Which.
    pub number: RunNumber,
    /// Path of the workflow file.
    pub workflow_file: String,
    /// Its `name`, or the path.
    pub workflow_name: String,
    /// The commit.
    pub sha: Sha,
    /// The ref.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// The push that caused it.
    pub push: PushId,
}

/// `evt.run.<repo>.<n>.queued`: planned, not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunQueued {
    /// The run.
    pub run: RunRef,
    /// The event name, `push`.
    pub event: String,
    /// From 1; a re-run is the next attempt.
    pub attempt: u32,
    /// Title of the commit.
    pub title: String,
    /// Author of the commit.
    pub author: String,
    /// Its jobs, in the file's order.
    pub jobs: Vec<PlannedJob>,
    /// Remarks of the planner.
    pub annotations: Vec<Annotation>,
    /// When the push was received; start of the time ledger.
    pub received_at: Timestamp,
}

/// `evt.run.<repo>.<n>.started`: the first job began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// The run.
    pub run: RunRef,
    /// Attempt.
    pub attempt: u32,
}

/// `evt.run.<repo>.<n>.finished`: all jobs ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunFinished {
    /// The run.
    pub run: RunRef,
    /// Attempt.
    pub attempt: u32,
    /// How.
    pub conclusion: Conclusion,
    /// From queued to now.
    pub duration_ms: u64,
    /// The job and step that failed first, in words; absent on success.
    pub reason: Option<String>,
}

/// `evt.run.<repo>.<n>.refused`: the workflow file is broken; no job ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRefused {
    /// The run.
    pub run: RunRef,
    /// Every mistake found.
    pub annotations: Vec<Annotation>,
    /// When the push was received.
    pub received_at: Timestamp,
}

fact!(
    RunQueued,
    "run.queued",
    |this| Subject::fact(Entity::Run, &this.run.repository.slug, this.run.number, "queued"),
    {
        Self {
            run: crate::catalogue::run(),
            event: "push".to_owned(),
            attempt: 1,
            title: "Show the basket's total".to_owned(),
            author: "Ada".to_owned(),
            jobs: vec![
                PlannedJob {
                    id: JobId::from_text("42-test"),
                    key: "test".to_owned(),
                    name: "test".to_owned(),
                    needs: vec![],
                    steps: vec!["actions/checkout@v2".to_owned(), "Run tests".to_owned()],
                },
                PlannedJob {
                    id: JobId::from_text("42-build"),
                    key: "build".to_owned(),
                    name: "build".to_owned(),
                    needs: vec!["test".to_owned()],
                    steps: vec![
                        "actions/checkout@v2".to_owned(),
                        "DigitalOcean Docker Image Publish".to_owned(),
                    ],
                },
            ],
            annotations: vec![],
            received_at: Timestamp::from_unix_millis(1_790_000_000_250),
        }
    }
);
fact!(
    RunStarted,
    "run.started",
    |this| Subject::fact(Entity::Run, &this.run.repository.slug, this.run.number, "started"),
    Self { run: crate::catalogue::run(), attempt: 1 }
);
fact!(
    RunFinished,
    "run.finished",
    |this| Subject::fact(Entity::Run, &this.run.repository.slug, this.run.number, "finished"),
    {
        Self {
            run: crate::catalogue::run(),
            attempt: 1,
            conclusion: Conclusion::Failure,
            duration_ms: 22_180,
            reason: Some("job `test`, step `Run tests`: exit code 1".to_owned()),
        }
    }
);
fact!(
    RunRefused,
    "run.refused",
    |this| Subject::fact(Entity::Run, &this.run.repository.slug, this.run.number, "refused"),
    {
        Self {
            run: crate::catalogue::run(),
            annotations: vec![Annotation {
                level: AnnotationLevel::Error,
                file: ".github/workflows/build.yml".to_owned(),
                line: 12,
                column: 7,
                message:
                    "job `build` needs `tests`, which is not a job of this workflow; did you mean `test`?"
                        .to_owned(),
            }],
            received_at: Timestamp::from_unix_millis(1_790_000_000_250),
        }
    }
);
