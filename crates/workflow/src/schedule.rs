//! Which jobs of a plan may start now, which are skipped, and how the run ended.
//!
//! Pure: the coordinator folds events into [`Results`] and asks again after each; the same results always give
//! the same answer, so that a restart or a second delivery changes nothing.

use std::collections::HashMap;

use indexmap::IndexMap;

use crate::expression::{Environment, Object, Value};
use crate::model::Workflow;
use crate::plan::{PlannedJob, by_key};
use crate::source::Mistake;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    Success,
    Failure,
    Cancelled,
    Skipped,
}

impl Conclusion {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// How a job ended, as far as others care.
#[derive(Debug, Clone)]
pub struct JobResult {
    pub conclusion: Conclusion,
    pub outputs: IndexMap<String, String>,
    /// Its failure does not fail the run.
    pub continue_on_error: bool,
}

/// Finished jobs by their id in the plan.
pub type Results = HashMap<String, JobResult>;

/// What to do with a job that has not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Start,
    Skip,
    /// Its `if` cannot be evaluated.
    Fail(Mistake),
}

/// The answers for all jobs whose needs have finished and that `started` does not name.
///
/// Skips count at once: one call says everything that follows from the results.
pub fn next(
    workflow: &Workflow,
    jobs: &[PlannedJob],
    results: &Results,
    started: &dyn Fn(&str) -> bool,
    environment: &dyn Environment,
    cancelled: bool,
) -> Vec<(String, Next)> {
    let keys = by_key(jobs);
    let mut results = results.clone();
    let mut answers: Vec<(String, Next)> = Vec::new();
    loop {
        let before = answers.len();
        for job in jobs {
            let answered = answers.iter().any(|(id, _)| *id == job.id);
            if answered || results.contains_key(&job.id) || started(&job.id) {
                continue;
            }
            let Some(needs) = needs_of(job, jobs, &keys, &results) else { continue };
            let answer = decide(workflow, job, &needs, jobs, &keys, &results, environment, cancelled);
            if answer != Next::Start {
                let conclusion = if answer == Next::Skip { Conclusion::Skipped } else { Conclusion::Failure };
                let result = JobResult { conclusion, outputs: IndexMap::new(), continue_on_error: false };
                results.insert(job.id.clone(), result);
            }
            answers.push((job.id.clone(), answer));
        }
        if answers.len() == before {
            return answers;
        }
    }
}

/// The conclusion of a run whose jobs have all finished; `None` while one has not.
pub fn conclusion(jobs: &[PlannedJob], results: &Results, cancelled: bool) -> Option<Conclusion> {
    let mut all_skipped = true;
    let (mut failed, mut some_cancelled) = (false, cancelled);
    for job in jobs {
        let result = results.get(&job.id)?;
        all_skipped &= result.conclusion == Conclusion::Skipped;
        failed |= result.conclusion == Conclusion::Failure && !result.continue_on_error;
        some_cancelled |= result.conclusion == Conclusion::Cancelled;
    }
    Some(match () {
        () if failed => Conclusion::Failure,
        () if some_cancelled => Conclusion::Cancelled,
        () if all_skipped => Conclusion::Skipped,
        () => Conclusion::Success,
    })
}

/// The `needs` context of a job whose needs have finished.
pub fn needs_context(job: &PlannedJob, jobs: &[PlannedJob], results: &Results) -> Value {
    let keys = by_key(jobs);
    let mut context = Object::new();
    for need in &job.needs {
        let Some(members) = keys.get(&need.to_lowercase()) else { continue };
        let mut outputs = Object::new();
        for result in members.iter().filter_map(|index| results.get(&jobs[*index].id)) {
            for (name, value) in &result.outputs {
                // Of a matrix the last value that says something stands.
                if !value.is_empty() || outputs.get(name).is_none() {
                    outputs.insert(name.as_str(), value.as_str());
                }
            }
        }
        let mut entry = Object::new();
        entry.insert("result", combined(members, jobs, results).as_str());
        entry.insert("outputs", outputs);
        context.insert(need.as_str(), entry);
    }
    Value::object(context)
}

/// All direct needs with their combined results, or `None` while one is unfinished.
fn needs_of(
    job: &PlannedJob,
    jobs: &[PlannedJob],
    keys: &IndexMap<String, Vec<usize>>,
    results: &Results,
) -> Option<Vec<(String, Conclusion)>> {
    job.needs
        .iter()
        .map(|need| {
            let members = keys.get(&need.to_lowercase())?;
            let finished = members.iter().all(|index| results.contains_key(&jobs[*index].id));
            finished.then(|| (need.clone(), combined(members, jobs, results)))
        })
        .collect()
}

/// Several rows of a matrix have one result.
fn combined(members: &[usize], jobs: &[PlannedJob], results: &Results) -> Conclusion {
    let of = |index: &usize| {
        let result = results.get(&jobs[*index].id);
        result.map_or(Conclusion::Skipped, |result| match result.conclusion {
            Conclusion::Failure if result.continue_on_error => Conclusion::Success,
            conclusion => conclusion,
        })
    };
    let all: Vec<Conclusion> = members.iter().map(of).collect();
    for worst in [Conclusion::Failure, Conclusion::Cancelled, Conclusion::Success] {
        if all.contains(&worst) {
            return worst;
        }
    }
    Conclusion::Skipped
}

#[expect(clippy::too_many_arguments, reason = "one decision over all that is known of a run")]
fn decide(
    workflow: &Workflow,
    job: &PlannedJob,
    needs: &[(String, Conclusion)],
    jobs: &[PlannedJob],
    keys: &IndexMap<String, Vec<usize>>,
    results: &Results,
    environment: &dyn Environment,
    cancelled: bool,
) -> Next {
    let Some(definition) = workflow.jobs.get(&job.key) else { return Next::Skip };
    let ancestors = ancestors(job, jobs, keys, results);
    let around = AroundJob {
        below: environment,
        needs: needs_context(job, jobs, results),
        direct: needs,
        ancestors: &ancestors,
        cancelled,
    };
    let condition = &definition.condition;
    if condition.implied_success && !around.success(&[]) {
        return Next::Skip;
    }
    match &condition.template {
        None => Next::Start,
        Some(template) => match template.value(&around) {
            Ok(value) if value.is_truthy() => Next::Start,
            Ok(_) => Next::Skip,
            Err(failure) => Next::Fail(Mistake {
                file: workflow.file.clone(),
                at: failure.at,
                message: format!("the `if` of job '{}' failed: {}", job.key, failure.source),
            }),
        },
    }
}

/// `success()` and `failure()` of a job look at everything before it, not only at its direct needs.
fn ancestors(
    job: &PlannedJob,
    jobs: &[PlannedJob],
    keys: &IndexMap<String, Vec<usize>>,
    results: &Results,
) -> Vec<Conclusion> {
    let mut seen = vec![false; jobs.len()];
    let mut open: Vec<&str> = job.needs.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    while let Some(need) = open.pop() {
        let Some(members) = keys.get(&need.to_lowercase()) else { continue };
        let mut fresh = false;
        for &index in members {
            fresh |= !std::mem::replace(&mut seen[index], true);
        }
        if fresh {
            found.push(combined(members, jobs, results));
            open.extend(members.iter().flat_map(|&index| jobs[index].needs.iter().map(String::as_str)));
        }
    }
    found
}

struct AroundJob<'a> {
    below: &'a dyn Environment,
    needs: Value,
    direct: &'a [(String, Conclusion)],
    ancestors: &'a [Conclusion],
    cancelled: bool,
}

impl Environment for AroundJob<'_> {
    fn context(&self, name: &str) -> Option<Value> {
        if name.eq_ignore_ascii_case("needs") { Some(self.needs.clone()) } else { self.below.context(name) }
    }

    fn success(&self, jobs: &[Value]) -> bool {
        if !jobs.is_empty() {
            return !self.cancelled && self.named(jobs).all(|conclusion| conclusion == Conclusion::Success);
        }
        // A skipped need skips what depends on it, unless that says otherwise itself.
        !self.cancelled
            && self.direct.iter().all(|(_, conclusion)| *conclusion == Conclusion::Success)
            && self
                .ancestors
                .iter()
                .all(|conclusion| matches!(conclusion, Conclusion::Success | Conclusion::Skipped))
    }

    fn failure(&self, jobs: &[Value]) -> bool {
        if !jobs.is_empty() {
            return self.named(jobs).any(|conclusion| conclusion == Conclusion::Failure);
        }
        self.ancestors.contains(&Conclusion::Failure)
    }

    fn cancelled(&self) -> bool {
        self.cancelled
    }

    fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
        self.below.hash_files(patterns)
    }
}

impl<'a> AroundJob<'a> {
    fn named<'b>(&'b self, jobs: &'b [Value]) -> impl Iterator<Item = Conclusion> + use<'a, 'b> {
        self.direct
            .iter()
            .filter(|(name, _)| jobs.iter().any(|job| job.to_text().eq_ignore_ascii_case(name)))
            .map(|(_, conclusion)| *conclusion)
    }
}

#[cfg(test)]
mod tests;
