//! A workflow as read: every key in its place, expressions parsed, nothing evaluated.
//!
//! Invariants: `needs` names existing jobs without a cycle; ids are unique without regard to case. Made by
//! `read`, used by the planner and the builder.

use indexmap::IndexMap;

use crate::expression::Value;
use crate::source::Location;
use crate::template::{Template, Token};

#[derive(Debug, Clone)]
pub struct Workflow {
    /// Path in the repository, the name where the file gives none.
    pub file: String,
    pub name: Option<String>,
    pub run_name: Option<Template>,
    pub triggers: Triggers,
    pub env: Option<Token>,
    pub defaults: Defaults,
    pub jobs: IndexMap<String, Job>,
    /// What reads well but cannot be carried out as written; the plan says so instead of leaving it out.
    pub remarks: Vec<Remark>,
}

impl Workflow {
    /// What `github.workflow` is: the name, else the path of the file.
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.file)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    pub at: Location,
    pub message: String,
    /// Without it the job would do something else than was written: the run must not start.
    pub fatal: bool,
}

/// What starts the workflow.
#[derive(Debug, Clone, Default)]
pub struct Triggers {
    pub push: Option<PushFilter>,
    /// The other events, by name.
    pub others: Vec<String>,
}

/// Filters of `on.push`; `None` where the key is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushFilter {
    pub branches: Option<Vec<String>>,
    pub branches_ignore: Option<Vec<String>>,
    pub tags: Option<Vec<String>>,
    pub tags_ignore: Option<Vec<String>>,
    pub paths: Option<Vec<String>>,
    pub paths_ignore: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default)]
pub struct Defaults {
    pub shell: Option<Template>,
    pub working_directory: Option<Template>,
}

#[derive(Debug, Clone)]
pub struct Job {
    pub key: String,
    pub at: Location,
    pub name: Option<Template>,
    pub needs: Vec<String>,
    pub condition: Condition,
    pub env: Option<Token>,
    pub outputs: IndexMap<String, Template>,
    pub runs_on: Option<Token>,
    pub container: Option<Container>,
    pub strategy: Option<Strategy>,
    pub timeout_minutes: Option<Template>,
    pub continue_on_error: Option<Template>,
    pub defaults: Defaults,
    pub steps: Vec<Step>,
}

/// An `if`. Absent means `success()`, and `success() &&` is put before one that names no status function.
#[derive(Debug, Clone)]
pub struct Condition {
    pub template: Option<Template>,
    pub implied_success: bool,
}

impl Condition {
    pub fn absent() -> Self {
        Self { template: None, implied_success: true }
    }

    pub fn of(template: Template) -> Self {
        let implied_success = !template.calls_status_function();
        Self { template: Some(template), implied_success }
    }
}

/// `container:` as text or mapping; an empty image means none.
#[derive(Debug, Clone)]
pub struct Container {
    pub at: Location,
    pub image: Token,
    pub env: Option<Token>,
}

#[derive(Debug, Clone)]
pub struct Strategy {
    pub at: Location,
    pub matrix: Option<Token>,
    pub fail_fast: Option<Template>,
    pub max_parallel: Option<Template>,
}

#[derive(Debug, Clone)]
pub struct Step {
    pub at: Location,
    /// The id that other steps know it by, if it was given.
    pub id: Option<String>,
    pub name: Option<Template>,
    pub condition: Condition,
    pub env: Option<Token>,
    pub continue_on_error: Option<Template>,
    pub timeout_minutes: Option<Template>,
    pub kind: StepKind,
}

#[derive(Debug, Clone)]
pub enum StepKind {
    Run { script: Template, shell: Option<Template>, working_directory: Option<Template> },
    Uses { action: ActionReference, at: Location, with: IndexMap<String, Template> },
}

/// What `uses:` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionReference {
    Repository { owner: String, repository: String, path: String, reference: String },
    Local { path: String },
    Docker { image: String },
}

impl ActionReference {
    /// `owner/repository[/path]` in lower case, for looking an action up.
    pub fn slug(&self) -> Option<String> {
        match self {
            Self::Repository { owner, repository, path, .. } if path.is_empty() => {
                Some(format!("{owner}/{repository}").to_lowercase())
            }
            Self::Repository { owner, repository, path, .. } => {
                Some(format!("{owner}/{repository}/{path}").to_lowercase())
            }
            Self::Local { .. } | Self::Docker { .. } => None,
        }
    }

    /// As it is written in a workflow.
    pub fn written(&self) -> String {
        match self {
            Self::Repository { owner, repository, path, reference } if path.is_empty() => {
                format!("{owner}/{repository}@{reference}")
            }
            Self::Repository { owner, repository, path, reference } => {
                format!("{owner}/{repository}/{path}@{reference}")
            }
            Self::Local { path } => path.clone(),
            Self::Docker { image } => format!("docker://{image}"),
        }
    }
}

impl Step {
    /// What a list of steps shows for it, as GitHub words it.
    pub fn title(&self, name: Option<&str>) -> String {
        if let Some(name) = name {
            return name.to_owned();
        }
        match &self.kind {
            StepKind::Run { script, .. } => {
                let source = script.source();
                let first = source.trim_start().lines().next().unwrap_or_default().trim_end().to_owned();
                format!("Run {first}")
            }
            StepKind::Uses { action, .. } => format!("Run {}", action.written()),
        }
    }
}

/// One combination of a matrix: what `matrix` is in a job.
pub type MatrixRow = IndexMap<String, Value>;
