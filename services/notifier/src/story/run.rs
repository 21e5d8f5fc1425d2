//! The story of a workflow run, folded from its facts. What it looks like is in [`view`].

mod view;

pub(in crate::story) use view::place_of;

use serde::{Deserialize, Serialize};
use sluice_schemas::events::{
    Annotation, AnnotationLevel, Conclusion, ImageFailed, ImagePublished, JobFinished, JobStarted,
    RunFinished, RunQueued, RunRef, RunRefused, StepFinished,
};
use sluice_schemas::ids::JobId;

/// Lines of a failed step's log that a message quotes.
pub(crate) const TAIL_LINES: usize = 15;

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunStory {
    /// Which.
    pub(crate) run: RunRef,
    /// Attempt, from 1.
    pub(crate) attempt: u32,
    /// Title of the commit.
    pub(crate) title: String,
    /// Its author.
    pub(crate) author: String,
    /// Jobs in the file's order.
    pub(crate) jobs: Vec<JobLine>,
    /// Images published by it.
    pub(crate) images: Vec<String>,
    /// What went wrong first.
    pub(crate) failure: Option<Failure>,
    /// Mistakes in the workflow file; then nothing ran.
    pub(crate) mistakes: Vec<Annotation>,
    /// How it ended.
    pub(crate) conclusion: Option<Conclusion>,
    /// Why, in the builder's words.
    pub(crate) reason: Option<String>,
    /// How long it took.
    pub(crate) duration_ms: u64,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobLine {
    pub(crate) id: JobId,
    pub(crate) name: String,
    /// Names of its steps.
    pub(crate) steps: Vec<String>,
    /// Highest fencing token seen.
    pub(crate) epoch: u64,
    pub(crate) started: bool,
    /// Steps done.
    pub(crate) done: u32,
    pub(crate) conclusion: Option<Conclusion>,
    pub(crate) duration_ms: u64,
}

/// What went wrong first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) job: JobId,
    pub(crate) job_name: String,
    /// Number and name of the step; absent when the job failed outside of any.
    pub(crate) step: Option<(u32, String)>,
    pub(crate) reason: String,
    /// File and line, when something named them.
    pub(crate) place: Option<(String, u32)>,
    /// What stands there.
    pub(crate) message: String,
    /// The end of the step's log, masked by the builder.
    pub(crate) tail: Vec<String>,
}

impl RunStory {
    /// A run of which nothing but its name is known yet.
    #[must_use]
    pub(crate) fn new(run: RunRef) -> Self {
        Self {
            run,
            attempt: 1,
            title: String::new(),
            author: String::new(),
            jobs: Vec::new(),
            images: Vec::new(),
            failure: None,
            mistakes: Vec::new(),
            conclusion: None,
            reason: None,
            duration_ms: 0,
        }
    }

    /// Whether it is over.
    #[must_use]
    pub(crate) fn is_terminal(&self) -> bool {
        self.conclusion.is_some() || !self.mistakes.is_empty()
    }

    /// It was planned, or planned again.
    pub(crate) fn queued(&mut self, fact: &RunQueued) {
        if fact.attempt < self.attempt {
            return;
        }
        if fact.attempt > self.attempt {
            *self = Self { attempt: fact.attempt, ..Self::new(fact.run.clone()) };
        }
        self.title.clone_from(&fact.title);
        self.author.clone_from(&fact.author);
        for planned in &fact.jobs {
            let line = self.job_mut(&planned.id, &planned.key);
            line.name.clone_from(&planned.name);
            line.steps.clone_from(&planned.steps);
        }
    }

    /// A job began, perhaps for the second time.
    pub(crate) fn job_started(&mut self, fact: &JobStarted) {
        let line = self.job_mut(&fact.job, &fact.key);
        if fact.epoch < line.epoch || line.conclusion.is_some() {
            return;
        }
        if fact.epoch > line.epoch {
            line.done = 0;
        }
        line.epoch = fact.epoch;
        line.started = true;
    }

    /// A step ended. Says whether it is the failure to tell of: then its log's end is wanted.
    pub(crate) fn step_finished(&mut self, fact: &StepFinished) -> bool {
        let line = self.job_mut(&fact.job, fact.job.as_str());
        if fact.epoch < line.epoch {
            return false;
        }
        line.started = true;
        line.done = line.done.max(fact.step + 1);
        let job_name = line.name.clone();
        if fact.conclusion != Conclusion::Failure || self.failure.is_some() {
            return false;
        }
        let error = fact.annotations.iter().find(|a| a.level == AnnotationLevel::Error);
        self.failure = Some(Failure {
            job: fact.job.clone(),
            job_name,
            step: Some((fact.step, fact.name.clone())),
            reason: fact.reason.clone().unwrap_or_else(|| exit_reason(fact.exit_code)),
            place: error.filter(|a| !a.file.is_empty()).map(|a| (a.file.clone(), a.line)),
            message: error.map(|a| a.message.clone()).unwrap_or_default(),
            tail: Vec::new(),
        });
        true
    }

    /// The end of the failed step's log, as soon as it could be read.
    pub(crate) fn quote(&mut self, lines: Vec<String>) {
        let Some(failure) = &mut self.failure else { return };
        if failure.place.is_none() {
            failure.place = lines.iter().find_map(|line| place_in(line));
        }
        failure.tail = lines;
    }

    /// A job ended.
    pub(crate) fn job_finished(&mut self, fact: &JobFinished) {
        let line = self.job_mut(&fact.job, &fact.key);
        if fact.epoch < line.epoch {
            return;
        }
        line.epoch = fact.epoch;
        line.conclusion = Some(fact.conclusion);
        line.duration_ms = fact.duration_ms;
        let job_name = line.name.clone();
        if fact.conclusion == Conclusion::Failure {
            let reason = fact.reason.clone().unwrap_or_else(|| "it failed".to_owned());
            self.failed_outside_of_steps(&fact.job, job_name, reason);
        }
    }

    /// An image reached the registry.
    pub(crate) fn published(&mut self, fact: &ImagePublished) {
        let tag = fact.tags.first().map(|tag| format!(":{tag}")).unwrap_or_default();
        let image = format!("{}{tag}", fact.image.name());
        if !self.images.contains(&image) {
            self.images.push(image);
        }
    }

    /// An image did not reach the registry. The step that built it fails as well and tells the same.
    pub(crate) fn not_published(&mut self, fact: &ImageFailed) {
        let job_name = self.job_mut(&fact.image.job, fact.image.job.as_str()).name.clone();
        self.failed_outside_of_steps(&fact.image.job, job_name, fact.reason.clone());
    }

    /// It is over.
    pub(crate) fn finished(&mut self, fact: &RunFinished) {
        if fact.attempt < self.attempt {
            return;
        }
        self.attempt = fact.attempt;
        self.conclusion = Some(fact.conclusion);
        self.duration_ms = fact.duration_ms;
        self.reason.clone_from(&fact.reason);
    }

    /// The workflow file is broken.
    pub(crate) fn refused(&mut self, fact: &RunRefused) {
        self.mistakes.clone_from(&fact.annotations);
        if self.mistakes.is_empty() {
            self.conclusion = Some(Conclusion::Failure);
        }
    }

    fn failed_outside_of_steps(&mut self, job: &JobId, job_name: String, reason: String) {
        self.failure.get_or_insert_with(|| Failure {
            job: job.clone(),
            job_name,
            step: None,
            reason,
            place: None,
            message: String::new(),
            tail: Vec::new(),
        });
    }

    fn job_mut(&mut self, id: &JobId, name: &str) -> &mut JobLine {
        let at = self.jobs.iter().position(|line| &line.id == id).unwrap_or_else(|| {
            self.jobs.push(JobLine {
                id: id.clone(),
                name: name.to_owned(),
                steps: Vec::new(),
                epoch: 0,
                started: false,
                done: 0,
                conclusion: None,
                duration_ms: 0,
            });
            self.jobs.len() - 1
        });
        &mut self.jobs[at]
    }
}

fn exit_reason(code: Option<i32>) -> String {
    code.map_or_else(|| "it failed".to_owned(), |code| format!("exit code {code}"))
}

/// `src/basket.sh:12: …` in a line of a log: most tools name file and line so.
fn place_in(line: &str) -> Option<(String, u32)> {
    line.split([' ', '\t', '(', '"', '\'']).find_map(|word| {
        let mut parts = word.split(':');
        let file = parts.next().filter(|file| is_path(file))?;
        let number: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
        Some((file.trim_start_matches("./").to_owned(), number.parse().ok().filter(|n| *n > 0)?))
    })
}

fn is_path(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    !stem.is_empty()
        && (1..=5).contains(&extension.len())
        && extension.chars().all(|c| c.is_ascii_alphanumeric())
        && extension.chars().any(|c| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_alphanumeric() || "._-/+@".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_logs() {
        assert_eq!(place_in("error: src/a.rs:7:3 oops"), Some(("src/a.rs".to_owned(), 7)));
        assert_eq!(place_in("./test.sh:12: x: unbound variable"), Some(("test.sh".to_owned(), 12)));
        assert_eq!(place_in("at 12:30:05 connect 10.0.0.1:5000"), None);
    }
}
