//! What expressions and scripts of one job can see: the contexts, and the variables of each step's process.
//!
//! Pure. A [`Scope`] is the view of one moment: the job's contexts, and how the job fares so far.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use sluice_schemas::events::{Conclusion, RunRef};
use sluice_workflow::expression::{Environment, Object, Value};

use super::hash_files::hash_files;
use crate::coordinator::word;
use crate::sandbox::paths;

/// Everything that lasts longer than a step.
pub(crate) struct JobContexts {
    pub(crate) github: Object,
    /// Accumulates: workflow, job, then what steps add.
    pub(crate) env: Object,
    pub(crate) secrets: Value,
    pub(crate) needs: Value,
    pub(crate) matrix: Value,
    pub(crate) strategy: Value,
    pub(crate) steps: IndexMap<String, StepRecord>,
    /// Put in front of `PATH`, the first one first.
    pub(crate) path: Vec<String>,
    pub(crate) container: String,
    pub(crate) status: Conclusion,
}

/// What `steps.<id>` is.
#[derive(Debug, Clone)]
pub(crate) struct StepRecord {
    pub(crate) outcome: Conclusion,
    pub(crate) conclusion: Conclusion,
    pub(crate) outputs: IndexMap<String, String>,
}

/// The contexts at one moment.
pub(crate) struct Scope<'a> {
    pub(crate) job: &'a JobContexts,
    /// The `env` context here: the job's and the step's.
    pub(crate) env: Value,
    pub(crate) sources: &'a Path,
}

impl JobContexts {
    pub(crate) fn scope<'a>(&'a self, sources: &'a Path) -> Scope<'a> {
        Scope { job: self, env: Value::object(self.env.clone()), sources }
    }

    /// With the step's own variables over the job's.
    pub(crate) fn step_scope<'a>(&'a self, sources: &'a Path, step: &Object) -> Scope<'a> {
        let mut env = self.env.clone();
        for (name, value) in step.iter() {
            env.insert(name, value.clone());
        }
        Scope { job: self, env: Value::object(env), sources }
    }
}

impl Environment for Scope<'_> {
    fn context(&self, name: &str) -> Option<Value> {
        Some(match name.to_ascii_lowercase().as_str() {
            "github" => Value::object(self.job.github.clone()),
            "env" => self.env.clone(),
            "secrets" => self.job.secrets.clone(),
            "needs" => self.job.needs.clone(),
            "matrix" => self.job.matrix.clone(),
            "strategy" => self.job.strategy.clone(),
            "steps" => self.steps(),
            "job" => self.job(),
            "runner" => runner(),
            "vars" | "inputs" => Object::new().into(),
            _ => return None,
        })
    }

    fn success(&self, _jobs: &[Value]) -> bool {
        self.job.status == Conclusion::Success
    }

    fn failure(&self, _jobs: &[Value]) -> bool {
        self.job.status == Conclusion::Failure
    }

    fn cancelled(&self) -> bool {
        self.job.status == Conclusion::Cancelled
    }

    fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
        hash_files(self.sources, patterns)
    }
}

impl Scope<'_> {
    fn steps(&self) -> Value {
        let mut steps = Object::new();
        for (id, record) in &self.job.steps {
            let outputs: Object =
                record.outputs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let mut step = Object::new();
            step.insert("outputs", outputs);
            step.insert("outcome", word(record.outcome));
            step.insert("conclusion", word(record.conclusion));
            steps.insert(id.as_str(), step);
        }
        steps.into()
    }

    fn job(&self) -> Value {
        let mut container = Object::new();
        container.insert("id", self.job.container.as_str());
        container.insert("network", self.job.container.as_str());
        let mut job = Object::new();
        job.insert("status", word(self.job.status));
        job.insert("container", container);
        job.insert("services", Object::new());
        job.into()
    }
}

fn runner() -> Value {
    let mut runner = Object::new();
    for (key, value) in [
        ("os", "Linux"),
        ("arch", architecture()),
        ("name", "sluice"),
        ("temp", paths::TEMP),
        ("tool_cache", paths::TOOLS),
        ("workspace", "/github"),
        ("environment", "self-hosted"),
        ("debug", ""),
    ] {
        runner.insert(key, value);
    }
    runner.into()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "ARM64",
        "arm" => "ARM",
        "x86" => "X86",
        _ => "X64",
    }
}

/// Names of the files that a step writes to.
pub(crate) struct CommandFiles {
    pub(crate) env: String,
    pub(crate) output: String,
    pub(crate) path: String,
    pub(crate) state: String,
    pub(crate) summary: String,
}

impl CommandFiles {
    pub(crate) fn fresh() -> Self {
        let id = format!("{:032x}", rand::random::<u128>());
        Self {
            env: format!("set_env_{id}"),
            output: format!("set_output_{id}"),
            path: format!("add_path_{id}"),
            state: format!("save_state_{id}"),
            summary: format!("step_summary_{id}"),
        }
    }

    pub(crate) fn all(&self) -> [&str; 5] {
        [&self.env, &self.output, &self.path, &self.state, &self.summary]
    }
}

/// The variables of a step's process. What the workflow sets cannot change the defaults.
pub(crate) fn variables(
    contexts: &JobContexts,
    run: &RunRef,
    job_key: &str,
    action: &str,
    step: &Object,
    files: &CommandFiles,
    image_path: Option<&str>,
) -> Vec<String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    all.insert("HOME".to_owned(), paths::HOME.to_owned());
    for (name, value) in contexts.env.iter().chain(step.iter()) {
        all.insert(name.to_owned(), value.to_text().to_string());
    }
    if !contexts.path.is_empty() {
        let base = all.get("PATH").cloned().or_else(|| image_path.map(str::to_owned));
        let base =
            base.unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        all.insert("PATH".to_owned(), format!("{}:{base}", contexts.path.join(":")));
    }
    all.entry("CI".to_owned()).or_insert_with(|| "true".to_owned());
    for name in [
        "actor",
        "api_url",
        "base_ref",
        "event_name",
        "head_ref",
        "ref",
        "ref_name",
        "ref_type",
        "repository",
        "repository_owner",
        "run_attempt",
        "run_id",
        "run_number",
        "server_url",
        "sha",
        "triggering_actor",
        "workflow",
        "workflow_ref",
        "workflow_sha",
    ] {
        let value = contexts.github.get(name).map(|value| value.to_text().to_string()).unwrap_or_default();
        all.insert(format!("GITHUB_{}", name.to_uppercase()), value);
    }
    let command = |name: &str| format!("{}/{name}", paths::COMMANDS);
    for (name, value) in [
        ("GITHUB_ACTIONS", "true".to_owned()),
        ("GITHUB_ACTION", action.to_owned()),
        ("GITHUB_JOB", job_key.to_owned()),
        ("GITHUB_REF_PROTECTED", "false".to_owned()),
        ("GITHUB_RETENTION_DAYS", "90".to_owned()),
        ("GITHUB_WORKSPACE", paths::WORKSPACE.to_owned()),
        ("GITHUB_EVENT_PATH", command("event.json")),
        ("GITHUB_ENV", command(&files.env)),
        ("GITHUB_OUTPUT", command(&files.output)),
        ("GITHUB_PATH", command(&files.path)),
        ("GITHUB_STATE", command(&files.state)),
        ("GITHUB_STEP_SUMMARY", command(&files.summary)),
        ("RUNNER_OS", "Linux".to_owned()),
        ("RUNNER_ARCH", architecture().to_owned()),
        ("RUNNER_NAME", "sluice".to_owned()),
        ("RUNNER_ENVIRONMENT", "self-hosted".to_owned()),
        ("RUNNER_TEMP", paths::TEMP.to_owned()),
        ("RUNNER_TOOL_CACHE", paths::TOOLS.to_owned()),
        ("RUNNER_WORKSPACE", "/github".to_owned()),
        ("SLUICE_RUN", format!("{}#{}", run.repository.full_name, run.number)),
    ] {
        all.insert(name.to_owned(), value);
    }
    all.into_iter()
        .filter(|(name, _)| !name.is_empty() && !name.contains(['=', '\0']))
        .map(|(name, value)| format!("{name}={}", value.replace('\0', "")))
        .collect()
}
