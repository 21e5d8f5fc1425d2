//! Runs as pages show them, folded from run and job facts.
//!
//! Invariant: facts of an older epoch than the newest seen of a job change nothing. Called by [`super::fold`].

use serde::Serialize;
use sluice_schemas::events::{
    Annotation, Conclusion, JobFinished, JobStarted, PlannedJob, RunFinished, RunQueued, RunRef, RunRefused,
    StepFinished, StepKind,
};
use sluice_schemas::ids::{Correlation, JobId};
use sluice_schemas::{Digest, Timestamp};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RunPhase {
    /// Planned.
    Queued,
    /// A job has begun.
    Running,
    /// All jobs ended.
    Finished,
    /// The workflow file is broken.
    Refused,
}

/// Where a job or step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobPhase {
    /// Not begun.
    Waiting,
    /// Under way.
    Running,
    /// Ended.
    Finished,
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct RunView {
    /// Which.
    pub(crate) run: RunRef,
    /// From 1.
    pub(crate) attempt: u32,
    /// First line of the commit.
    pub(crate) title: String,
    /// Author of the commit.
    pub(crate) author: String,
    /// Where it stands.
    pub(crate) phase: RunPhase,
    /// How it ended.
    pub(crate) conclusion: Option<Conclusion>,
    /// Why it failed.
    pub(crate) reason: Option<String>,
    /// When the push came in.
    pub(crate) received_at: Timestamp,
    /// When it was planned.
    pub(crate) queued_at: Timestamp,
    /// When the first job began.
    pub(crate) started_at: Option<Timestamp>,
    /// When the last ended.
    pub(crate) finished_at: Option<Timestamp>,
    /// The chain.
    pub(crate) correlation: Correlation,
    /// Mistakes and remarks of the planner.
    pub(crate) annotations: Vec<Annotation>,
    /// In the file's order.
    pub(crate) jobs: Vec<JobView>,
}

/// A job of a run.
#[derive(Debug, Clone)]
pub(crate) struct JobView {
    /// As planned.
    pub(crate) planned: PlannedJob,
    /// Where it stands.
    pub(crate) phase: JobPhase,
    /// How it ended.
    pub(crate) conclusion: Option<Conclusion>,
    /// Why it failed or was skipped.
    pub(crate) reason: Option<String>,
    /// When it began.
    pub(crate) started_at: Option<Timestamp>,
    /// When it ended.
    pub(crate) finished_at: Option<Timestamp>,
    /// Who executes it.
    pub(crate) executor: String,
    /// Why it was started again.
    pub(crate) note: Option<String>,
    /// Fencing token.
    pub(crate) epoch: u64,
    /// In the file's order.
    pub(crate) steps: Vec<StepView>,
}

/// A step of a job.
#[derive(Debug, Clone)]
pub(crate) struct StepView {
    /// From 0.
    pub(crate) index: u32,
    /// For people.
    pub(crate) name: String,
    /// What kind of work.
    pub(crate) kind: Option<StepKind>,
    /// Where it stands.
    pub(crate) phase: JobPhase,
    /// How it ended.
    pub(crate) conclusion: Option<Conclusion>,
    /// How long.
    pub(crate) duration_ms: u64,
    /// When it began, as far as known.
    pub(crate) started_at: Option<Timestamp>,
    /// Of a script.
    pub(crate) exit_code: Option<i32>,
    /// Why it failed.
    pub(crate) reason: Option<String>,
    /// What it reported.
    pub(crate) annotations: Vec<Annotation>,
    /// The archived log.
    pub(crate) log: Option<Digest>,
    /// Its lines.
    pub(crate) log_lines: u64,
}

impl RunView {
    /// A run that was planned. A further attempt keeps what the earlier one left until a job begins again.
    #[must_use]
    pub(crate) fn queued(
        fact: &RunQueued,
        at: Timestamp,
        correlation: Correlation,
        earlier: Option<&Self>,
    ) -> Self {
        let before = |id: &JobId| earlier.filter(|_| fact.attempt > 1)?.job(id).cloned();
        Self {
            run: fact.run.clone(),
            attempt: fact.attempt,
            title: fact.title.clone(),
            author: fact.author.clone(),
            phase: RunPhase::Queued,
            conclusion: None,
            reason: None,
            received_at: fact.received_at,
            queued_at: at,
            started_at: None,
            finished_at: None,
            correlation,
            annotations: fact.annotations.clone(),
            jobs: fact
                .jobs
                .iter()
                .map(|job| before(&job.id).unwrap_or_else(|| JobView::planned(job)))
                .collect(),
        }
    }

    /// A run whose workflow file is broken.
    #[must_use]
    pub(crate) fn refused(fact: &RunRefused, at: Timestamp, correlation: Correlation) -> Self {
        let first = fact.annotations.first();
        Self {
            run: fact.run.clone(),
            attempt: 1,
            title: String::new(),
            author: String::new(),
            phase: RunPhase::Refused,
            conclusion: Some(Conclusion::Failure),
            reason: first.map(place),
            received_at: fact.received_at,
            queued_at: at,
            started_at: None,
            finished_at: Some(at),
            correlation,
            annotations: fact.annotations.clone(),
            jobs: Vec::new(),
        }
    }

    /// The job with this id.
    #[must_use]
    pub(crate) fn job(&self, id: &JobId) -> Option<&JobView> {
        self.jobs.iter().find(|job| &job.planned.id == id)
    }

    /// The job that a page opens with: the first that failed, else the one that runs, else the first.
    #[must_use]
    pub(crate) fn interesting_job(&self) -> Option<&JobView> {
        let failed = self.jobs.iter().find(|job| job.conclusion == Some(Conclusion::Failure));
        failed
            .or_else(|| self.jobs.iter().find(|job| job.phase == JobPhase::Running))
            .or_else(|| self.jobs.first())
    }

    /// From planned to ended, or to `now`.
    #[must_use]
    pub(crate) fn duration_ms(&self, now: Timestamp) -> u64 {
        self.finished_at.unwrap_or(now).millis_since(self.queued_at)
    }

    /// All that was found wrong: by the planner, then by steps that failed.
    #[must_use]
    pub(crate) fn all_annotations(&self) -> Vec<&Annotation> {
        let steps = self.jobs.iter().flat_map(|job| &job.steps).flat_map(|step| &step.annotations);
        self.annotations.iter().chain(steps).collect()
    }

    pub(super) fn job_started(&mut self, fact: &JobStarted, at: Timestamp) {
        if self.phase == RunPhase::Queued {
            self.phase = RunPhase::Running;
            self.started_at = self.started_at.or(Some(at));
        }
        let Some(job) = self.job_mut(&fact.job, fact.epoch) else { return };
        *job = JobView {
            executor: fact.executor.clone(),
            note: fact.note.clone(),
            ..JobView::planned(&job.planned)
        };
        job.epoch = fact.epoch;
        job.phase = JobPhase::Running;
        job.started_at = Some(at);
        job.begin_next(0, at);
    }

    pub(super) fn step_finished(&mut self, fact: &StepFinished, at: Timestamp) {
        let Some(job) = self.job_mut(&fact.job, fact.epoch) else { return };
        let index = fact.step as usize;
        // Post steps of actions may come after those planned.
        while job.steps.len() <= index && job.steps.len() < 500 {
            job.steps.push(StepView::planned(job.steps.len(), ""));
        }
        let Some(step) = job.steps.get_mut(index) else { return };
        step.name.clone_from(&fact.name);
        step.kind = Some(fact.kind);
        step.phase = JobPhase::Finished;
        step.conclusion = Some(fact.conclusion);
        step.duration_ms = fact.duration_ms;
        step.started_at = Some(before(at, fact.duration_ms));
        step.exit_code = fact.exit_code;
        step.reason.clone_from(&fact.reason);
        step.annotations.clone_from(&fact.annotations);
        step.log.clone_from(&fact.log);
        step.log_lines = fact.log_lines;
        job.begin_next(index + 1, at);
    }

    pub(super) fn job_finished(&mut self, fact: &JobFinished, at: Timestamp) {
        let epoch = if fact.epoch == 0 { u64::MAX } else { fact.epoch };
        let Some(job) = self.job_mut(&fact.job, epoch) else { return };
        job.phase = JobPhase::Finished;
        job.conclusion = Some(fact.conclusion);
        job.reason.clone_from(&fact.reason);
        job.finished_at = Some(at);
        for step in job.steps.iter_mut().filter(|step| step.phase != JobPhase::Finished) {
            step.phase = JobPhase::Finished;
            step.conclusion = Some(Conclusion::Skipped);
        }
    }

    pub(super) fn finished(&mut self, fact: &RunFinished, at: Timestamp) {
        self.phase = RunPhase::Finished;
        self.conclusion = Some(fact.conclusion);
        self.reason.clone_from(&fact.reason);
        self.finished_at = Some(at);
    }

    fn job_mut(&mut self, id: &JobId, epoch: u64) -> Option<&mut JobView> {
        self.jobs.iter_mut().find(|job| &job.planned.id == id && job.epoch <= epoch)
    }
}

impl JobView {
    fn planned(job: &PlannedJob) -> Self {
        Self {
            planned: job.clone(),
            phase: JobPhase::Waiting,
            conclusion: None,
            reason: None,
            started_at: None,
            finished_at: None,
            executor: String::new(),
            note: None,
            epoch: 0,
            steps: job.steps.iter().enumerate().map(|(index, name)| StepView::planned(index, name)).collect(),
        }
    }

    /// The step that a page opens with: the first that failed, else the one that runs, else the last with a log.
    #[must_use]
    pub(crate) fn interesting_step(&self) -> u32 {
        let failed = self.steps.iter().find(|step| step.conclusion == Some(Conclusion::Failure));
        let running = || self.steps.iter().find(|step| step.phase == JobPhase::Running);
        let logged = || self.steps.iter().rev().find(|step| step.log.is_some());
        failed.or_else(running).or_else(logged).map_or(0, |step| step.index)
    }

    fn begin_next(&mut self, index: usize, at: Timestamp) {
        if let Some(step) = self.steps.get_mut(index)
            && step.phase == JobPhase::Waiting
        {
            step.phase = JobPhase::Running;
            step.started_at = Some(at);
        }
    }
}

impl StepView {
    fn planned(index: usize, name: &str) -> Self {
        Self {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            name: name.to_owned(),
            kind: None,
            phase: JobPhase::Waiting,
            conclusion: None,
            duration_ms: 0,
            started_at: None,
            exit_code: None,
            reason: None,
            annotations: Vec::new(),
            log: None,
            log_lines: 0,
        }
    }
}

/// `file, line 3: message`.
#[must_use]
pub(crate) fn place(annotation: &Annotation) -> String {
    match (annotation.file.as_str(), annotation.line) {
        ("", _) => annotation.message.clone(),
        (file, 0) => format!("{file}: {}", annotation.message),
        (file, line) => format!("{file}, line {line}: {}", annotation.message),
    }
}

pub(super) fn before(at: Timestamp, millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(at.unix_millis().saturating_sub(i64::try_from(millis).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use sluice_schemas::Message as _;

    use super::*;

    fn view() -> RunView {
        RunView::queued(&RunQueued::example(), Timestamp::now(), Correlation::from_text("c"), None)
    }

    #[test]
    fn facts_of_an_older_epoch_change_nothing() {
        let mut run = view();
        let started = JobStarted { job: run.jobs[0].planned.id.clone(), epoch: 5, ..JobStarted::example() };
        run.job_started(&started, Timestamp::now());
        let late = JobFinished { job: started.job.clone(), epoch: 4, ..JobFinished::example() };
        run.job_finished(&late, Timestamp::now());
        assert_eq!(run.jobs[0].phase, JobPhase::Running);
        run.job_finished(&JobFinished { epoch: 5, ..late }, Timestamp::now());
        assert_eq!(run.jobs[0].phase, JobPhase::Finished);
    }

    #[test]
    fn a_finished_step_begins_the_next() {
        let mut run = view();
        let job = run.jobs[0].planned.id.clone();
        run.job_started(
            &JobStarted { job: job.clone(), epoch: 1, ..JobStarted::example() },
            Timestamp::now(),
        );
        assert_eq!(run.jobs[0].steps[0].phase, JobPhase::Running);
        let fact = StepFinished { job, epoch: 1, step: 0, ..StepFinished::example() };
        run.step_finished(&fact, Timestamp::now());
        assert_eq!(run.jobs[0].steps[0].phase, JobPhase::Finished);
        assert_eq!(run.jobs[0].steps[1].phase, JobPhase::Running);
    }

    #[test]
    fn a_refused_run_names_file_and_line() {
        let run = RunView::refused(&RunRefused::example(), Timestamp::now(), Correlation::from_text("c"));
        let reason = run.reason.expect("a reason");
        assert!(reason.starts_with(".github/workflows/build.yml, line 12:"), "{reason}");
    }
}
