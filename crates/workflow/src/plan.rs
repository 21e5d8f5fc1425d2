//! Does this push start this workflow, and with which jobs?
//!
//! Pure and total: a plan, the reason why there is none, or mistakes at their places. The plan is complete:
//! the matrix is expanded, every need is resolved to the jobs it stands for. Called by the builder's
//! coordinator; `schedule` then says what may start.

use indexmap::IndexMap;

use crate::expression::{Environment, Value};
use crate::matrix;
use crate::model::{Job, MatrixRow, PushFilter, Workflow};
use crate::pattern::Patterns;
use crate::source::{Mistake, Mistakes};

const MAX_JOBS: usize = 256;
const SKIP_MARKS: &[&str] = &["[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]"];

/// What the planner has to know about a push.
#[derive(Debug, Clone, Default)]
pub struct Push {
    /// `refs/heads/…` or `refs/tags/…`.
    pub reference: String,
    pub deleted: bool,
    pub head_message: String,
    pub changed_files: Vec<String>,
    /// False when the list is cut off or unknown; then path filters let everything through.
    pub files_complete: bool,
}

#[derive(Debug, Clone)]
pub enum Decision {
    Run(Plan),
    /// Not started; the text completes "not started because …".
    Skip(String),
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub jobs: Vec<PlannedJob>,
    /// Valid keys that are not carried out, for the person to read.
    pub warnings: Vec<Mistake>,
}

/// One job to run: a job of the file in one combination of its matrix.
#[derive(Debug, Clone)]
pub struct PlannedJob {
    /// The key in the file.
    pub key: String,
    /// Unique in the plan: the key, with the number of the row behind it when there are several.
    pub id: String,
    pub name: String,
    /// Keys of the jobs that must have finished before.
    pub needs: Vec<String>,
    pub matrix: Option<MatrixRow>,
    pub job_index: usize,
    pub job_total: usize,
}

/// Plans a run. `environment` offers what is known before any job ran: github, vars, inputs.
pub fn plan(workflow: &Workflow, push: &Push, environment: &dyn Environment) -> Result<Decision, Mistakes> {
    match not_triggered(workflow, push) {
        Some(reason) => Ok(Decision::Skip(reason)),
        None => expand(workflow, environment).map(Decision::Run),
    }
}

/// The jobs of a workflow whatever started it: the same workflow and environment give the same jobs in the same order.
pub fn expand(workflow: &Workflow, environment: &dyn Environment) -> Result<Plan, Mistakes> {
    let mut mistakes = Vec::new();
    let mut warnings = Vec::new();
    for remark in &workflow.remarks {
        let list = if remark.fatal { &mut mistakes } else { &mut warnings };
        let (file, message) = (workflow.file.clone(), remark.message.clone());
        list.push(Mistake { file, at: remark.at, message });
    }
    let mut jobs = Vec::new();
    for job in workflow.jobs.values() {
        match rows(workflow, job, environment) {
            Ok(rows) => add_job(&mut jobs, job, &rows, environment),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if jobs.len() > MAX_JOBS {
        let message = format!("the workflow makes more than {MAX_JOBS} jobs");
        mistakes.push(Mistake { file: workflow.file.clone(), at: Default::default(), message });
    }
    if mistakes.is_empty() { Ok(Plan { jobs, warnings }) } else { Err(Mistakes(mistakes)) }
}

/// Why the push does not start the workflow; `None` when it does.
pub fn not_triggered(workflow: &Workflow, push: &Push) -> Option<String> {
    let Some(filter) = &workflow.triggers.push else {
        let others = &workflow.triggers.others;
        let others = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
        return Some(format!("it is not triggered by push (it is triggered by {others})"));
    };
    if push.deleted {
        return Some("the push deletes the ref".to_owned());
    }
    if let Some(mark) = SKIP_MARKS.iter().find(|mark| push.head_message.contains(*mark)) {
        return Some(format!("the head commit says {mark}"));
    }
    reference_filtered(filter, &push.reference).or_else(|| paths_filtered(filter, push))
}

fn reference_filtered(filter: &PushFilter, reference: &str) -> Option<String> {
    let (kind, name, wanted, ignored, others) = if let Some(name) = reference.strip_prefix("refs/heads/") {
        let others = filter.tags.is_some() || filter.tags_ignore.is_some();
        ("branch", name, &filter.branches, &filter.branches_ignore, others)
    } else if let Some(name) = reference.strip_prefix("refs/tags/") {
        let others = filter.branches.is_some() || filter.branches_ignore.is_some();
        ("tag", name, &filter.tags, &filter.tags_ignore, others)
    } else {
        return Some(format!("'{reference}' is neither a branch nor a tag"));
    };
    match (wanted, ignored) {
        (Some(wanted), _) if !allows(wanted, name) => {
            Some(format!("{kind} '{name}' does not match its filter ({})", wanted.join(", ")))
        }
        (Some(_), _) => None,
        (None, Some(ignored)) if allows(ignored, name) => {
            Some(format!("{kind} '{name}' is ignored ({})", ignored.join(", ")))
        }
        (None, Some(_)) => None,
        // Filters for one kind of ref only: the other kind does not start it.
        (None, None) if others => Some(format!("its push filter names no {kind}")),
        (None, None) => None,
    }
}

fn paths_filtered(filter: &PushFilter, push: &Push) -> Option<String> {
    if push.reference.starts_with("refs/tags/") || !push.files_complete {
        return None;
    }
    let files = &push.changed_files;
    if let Some(wanted) = &filter.paths
        && let Ok(patterns) = Patterns::new(wanted)
        && !files.iter().any(|file| patterns.allows(file))
    {
        return Some(format!("no changed file matches its paths ({})", wanted.join(", ")));
    }
    if let Some(ignored) = &filter.paths_ignore
        && let Ok(patterns) = Patterns::new(ignored)
        && files.iter().all(|file| patterns.allows(file))
    {
        return Some(format!("every changed file is ignored by its paths-ignore ({})", ignored.join(", ")));
    }
    None
}

/// The reader has refused broken patterns, so one here counts as not matching.
fn allows(patterns: &[String], name: &str) -> bool {
    Patterns::new(patterns).is_ok_and(|patterns| patterns.allows(name))
}

fn rows(
    workflow: &Workflow,
    job: &Job,
    environment: &dyn Environment,
) -> Result<Vec<Option<MatrixRow>>, Mistake> {
    let Some(matrix) = job.strategy.as_ref().and_then(|strategy| strategy.matrix.as_ref()) else {
        return Ok(vec![None]);
    };
    let mistake = |message: String| Mistake { file: workflow.file.clone(), at: matrix.at(), message };
    if !matrix.references("needs").is_empty() {
        return Err(mistake(
            "a matrix made from `needs` is not supported by this version of Sluice; write its values out"
                .to_owned(),
        ));
    }
    let value = matrix.value(environment).map_err(|failure| mistake(failure.source.to_string()))?;
    let rows = matrix::expand(&value).map_err(|error| mistake(error.to_string()))?;
    Ok(rows.into_iter().map(Some).collect())
}

fn add_job(jobs: &mut Vec<PlannedJob>, job: &Job, rows: &[Option<MatrixRow>], environment: &dyn Environment) {
    for (index, row) in rows.iter().enumerate() {
        let name = match (&job.name, row) {
            (Some(name), row) => {
                let environment = WithMatrix { below: environment, row: row.as_ref() };
                name.text(&environment).unwrap_or_else(|_| name.source())
            }
            (None, Some(row)) => format!("{} ({})", job.key, matrix::title(row)),
            (None, None) => job.key.clone(),
        };
        let id = if rows.len() == 1 { job.key.clone() } else { format!("{}-{}", job.key, index + 1) };
        jobs.push(PlannedJob {
            key: job.key.clone(),
            id: unused(jobs, id),
            name,
            needs: job.needs.clone(),
            matrix: row.clone(),
            job_index: index,
            job_total: rows.len(),
        });
    }
}

/// A job may be called what a row of another one is called.
fn unused(jobs: &[PlannedJob], mut id: String) -> String {
    while jobs.iter().any(|job| job.id.eq_ignore_ascii_case(&id)) {
        id.push_str("-x");
    }
    id
}

struct WithMatrix<'a> {
    below: &'a dyn Environment,
    row: Option<&'a MatrixRow>,
}

impl Environment for WithMatrix<'_> {
    fn context(&self, name: &str) -> Option<Value> {
        if name.eq_ignore_ascii_case("matrix") {
            return self.row.map(matrix::context);
        }
        self.below.context(name)
    }

    fn success(&self, jobs: &[Value]) -> bool {
        self.below.success(jobs)
    }

    fn failure(&self, jobs: &[Value]) -> bool {
        self.below.failure(jobs)
    }

    fn cancelled(&self) -> bool {
        self.below.cancelled()
    }

    fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
        self.below.hash_files(patterns)
    }
}

/// Jobs of a plan by their key in the file.
pub fn by_key(jobs: &[PlannedJob]) -> IndexMap<String, Vec<usize>> {
    let mut keys: IndexMap<String, Vec<usize>> = IndexMap::new();
    for (index, job) in jobs.iter().enumerate() {
        keys.entry(job.key.to_lowercase()).or_default().push(index);
    }
    keys
}

#[cfg(test)]
mod tests;
