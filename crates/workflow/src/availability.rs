//! Which contexts and functions may be named under which key of a workflow, as GitHub documents it.
//!
//! Data only. The reader parses every expression against the entry for its place.

use crate::expression::Names;

/// What one place in a workflow may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Availability {
    pub contexts: &'static [&'static str],
    pub functions: &'static [&'static str],
}

impl Availability {
    pub fn names(&self) -> Names<'static> {
        Names::Only { contexts: self.contexts, functions: self.functions }
    }
}

const STATUS: &[&str] = &["always", "cancelled", "success", "failure"];
const STATUS_AND_FILES: &[&str] = &["always", "cancelled", "success", "failure", "hashFiles"];
const FILES: &[&str] = &["hashFiles"];
const NO_FUNCTIONS: &[&str] = &[];

const fn only(contexts: &'static [&'static str]) -> Availability {
    Availability { contexts, functions: NO_FUNCTIONS }
}

/// Nothing may be computed here.
pub const NOTHING: Option<Availability> = None;

pub const RUN_NAME: Availability = only(&["github", "inputs", "vars"]);
pub const WORKFLOW_CONCURRENCY: Availability = only(&["github", "inputs", "vars"]);
pub const WORKFLOW_ENV: Availability = only(&["github", "secrets", "inputs", "vars"]);

pub const JOB_STRATEGY: Availability = only(&["github", "needs", "vars", "inputs"]);
/// `name`, `runs-on`, `container`, `services`, `environment`, `timeout-minutes`, `continue-on-error`, `concurrency`.
pub const JOB: Availability = only(&["github", "needs", "strategy", "matrix", "vars", "inputs"]);
pub const JOB_DEFAULTS: Availability =
    only(&["github", "needs", "strategy", "matrix", "env", "vars", "inputs"]);
pub const JOB_ENV: Availability =
    only(&["github", "needs", "strategy", "matrix", "vars", "secrets", "inputs"]);
pub const JOB_IF: Availability =
    Availability { contexts: &["github", "needs", "vars", "inputs"], functions: STATUS };
pub const CONTAINER_ENV: Availability =
    only(&["github", "needs", "strategy", "matrix", "job", "runner", "env", "vars", "secrets", "inputs"]);
pub const CONTAINER_CREDENTIALS: Availability =
    only(&["github", "needs", "strategy", "matrix", "env", "vars", "secrets", "inputs"]);

const STEP_CONTEXTS: &[&str] =
    &["github", "needs", "strategy", "matrix", "job", "runner", "env", "vars", "secrets", "steps", "inputs"];
pub const JOB_OUTPUTS: Availability = only(STEP_CONTEXTS);
/// `run`, `with`, `env`, `name`, `working-directory`, `timeout-minutes`, `continue-on-error` of a step.
pub const STEP: Availability = Availability { contexts: STEP_CONTEXTS, functions: FILES };
pub const STEP_IF: Availability = Availability {
    contexts: &["github", "needs", "strategy", "matrix", "job", "runner", "env", "vars", "steps", "inputs"],
    functions: STATUS_AND_FILES,
};
