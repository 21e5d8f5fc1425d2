//! A run's state: bucket `runs`, key `<repo>.<n>`. Written by the builder, read by api and notifier.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::events::{Annotation, Conclusion, PlannedJob, RunRef};
use crate::ids::{JobId, Person, RepoSlug, RunNumber};

/// Where a run or job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Planned; waits for what it needs.
    Waiting,
    /// Handed to the executors.
    Queued,
    /// Under way.
    Running,
    /// Ended.
    Finished,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunState {
    /// Which.
    pub run: RunRef,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Where it stands.
    pub phase: Phase,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Title of the commit.
    pub title: String,
    /// Author of the commit.
    pub author: String,
    /// When the push was received.
    pub received_at: Timestamp,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its jobs, in the file's order.
    pub jobs: Vec<JobState>,
    /// Remarks and mistakes.
    pub annotations: Vec<Annotation>,
    /// Who asked for it to be stopped.
    #[serde(default)]
    pub cancelled_by: Option<Person>,
}

/// A job of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobState {
    /// As planned.
    pub planned: PlannedJob,
    /// Where it stands.
    pub phase: Phase,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// Highest fencing token seen.
    pub epoch: u64,
    /// Outputs, without secrets.
    pub outputs: BTreeMap<String, String>,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// The runs of a push: bucket `runs`, key `push.<push>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunsOfPush {
    /// By workflow file.
    pub runs: BTreeMap<String, RunNumber>,
}

impl RunState {
    /// The key in the bucket.
    #[must_use]
    pub fn key(repository: &RepoSlug, number: RunNumber) -> String {
        format!("{repository}.{number}")
    }

    /// The job with this id.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<&JobState> {
        self.jobs.iter().find(|job| &job.planned.id == id)
    }
}
