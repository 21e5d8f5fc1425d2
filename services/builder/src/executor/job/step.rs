//! One step: its condition, its variables, then its script or native action.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use sluice_schemas::events::{Annotation, Conclusion, StepKind};
use sluice_workflow::expression::{Environment, Object, Value};
use sluice_workflow::model::{self, StepKind as Definition};
use sluice_workflow::template::Failure;
use sluice_workflow::{Step, Template};

use super::Job;
use crate::actions::{self, ActionError};
use crate::commands::files;
use crate::executor::contexts::{CommandFiles, variables};
use crate::executor::facts::Facts;
use crate::executor::inputs::Inputs;
use crate::executor::script::{Said, Script, ScriptEnd};
use crate::executor::shell::{Shell, content};
use crate::executor::{ExecuteError, stop::AFTERMATH};
use crate::log::writer::LogWriter;
use crate::sandbox::container::Command;
use crate::sandbox::paths;

/// How a step ended.
pub(crate) struct StepEnd {
    pub(crate) name: String,
    pub(crate) kind: StepKind,
    pub(crate) outcome: Conclusion,
    pub(crate) continue_on_error: bool,
    pub(crate) exit_code: Option<i32>,
    pub(crate) reason: Option<String>,
    pub(crate) outputs: IndexMap<String, String>,
    pub(crate) annotations: Vec<Annotation>,
}

impl StepEnd {
    fn fail(mut self, reason: impl Into<String>) -> Self {
        self.outcome = Conclusion::Failure;
        self.reason = Some(reason.into());
        self
    }
}

impl Job {
    pub(super) async fn step(
        &mut self,
        step: &Step,
        number: u32,
        log: &mut LogWriter,
        facts: &Facts,
        began: Instant,
    ) -> Result<StepEnd, ExecuteError> {
        let sources = self.slot.workspace().sources();
        let kind = kind_of(&step.kind);
        let mut end = StepEnd::new(step.title(step.name.as_ref().map(Template::source).as_deref()), kind);
        // The condition sees the job's variables; the step's own may depend on secrets, which it may not.
        let wanted = condition(&step.condition, &self.contexts.scope(&sources));
        match wanted {
            Ok(true) => {}
            Ok(false) => {
                end.outcome = Conclusion::Skipped;
                return Ok(end);
            }
            Err(failure) => return Ok(end.fail(self.at(&failure))),
        }
        let own = match step.env.as_ref().map(|env| env.value(&self.contexts.scope(&sources))).transpose() {
            Ok(value) => own_variables(value),
            Err(failure) => return Ok(end.fail(self.at(&failure))),
        };
        let prepared = self.settings(step, &own, began);
        let settings = match prepared {
            Ok(settings) => settings,
            Err(failure) => return Ok(end.fail(self.at(&failure))),
        };
        if let Some(name) = settings.name {
            end.name = name;
        }
        end.continue_on_error = settings.continue_on_error;
        match &step.kind {
            Definition::Run { script, shell, working_directory } => {
                let call = RunCall { script, shell: shell.as_ref(), directory: working_directory.as_ref() };
                self.run_step(call, &own, settings.limit, number, log, end).await
            }
            Definition::Uses { action, at, with } => {
                let reference = action.written();
                let Some(native) = action.slug().as_deref().and_then(actions::find) else {
                    return Ok(end.fail(format!(
                        "{}:{at}: the action `{reference}` is not one that this version of Sluice has built in ({}); replace it by a `run` step",
                        self.workflow.file,
                        actions::NAMES.join(", ")
                    )));
                };
                let scope = self.contexts.step_scope(&sources, &own);
                let known = self.secrets.keys().cloned().collect();
                let place = (self.workflow.file.as_str(), *at);
                let inputs = Inputs::evaluate(with, &scope, place, &self.run.repository.full_name, known);
                drop(scope);
                let inputs = match inputs {
                    Ok(inputs) => inputs,
                    Err(error) => return Ok(end.fail(error.to_string())),
                };
                log.line(&format!("##[group]Run {reference}")).await;
                for name in inputs.unknown(native.inputs()) {
                    let known = native.inputs().join(", ");
                    log.line(&format!("##[warning]Unexpected input '{name}', valid inputs are: {known}"))
                        .await;
                }
                log.line("##[endgroup]").await;
                self.native_step(native, &inputs, settings.limit, number, log, facts, end).await
            }
        }
    }

    /// Runs a native action until its end, its time limit, or the job's stop.
    #[expect(clippy::too_many_arguments, reason = "one step with all that surrounds it")]
    async fn native_step(
        &mut self,
        native: actions::Native,
        inputs: &Inputs,
        limit: Duration,
        number: u32,
        log: &mut LogWriter,
        facts: &Facts,
        mut end: StepEnd,
    ) -> Result<StepEnd, ExecuteError> {
        let (stop, in_spite) = (self.stop.clone(), self.in_spite);
        let result = tokio::select! {
            result = Box::pin(native.run(self, inputs, number, log, facts)) => result,
            () = tokio::time::sleep(limit) => {
                Err(ActionError::Failed(format!("it took longer than its limit of {} minutes", minutes(limit))))
            }
            () = stop.triggered(), if !in_spite => Err(ActionError::Stopped),
        };
        match result {
            Ok(outputs) => end.outputs = outputs,
            Err(ActionError::Failed(reason)) => return Ok(end.fail(reason)),
            Err(ActionError::Stopped) => end.outcome = Conclusion::Cancelled,
            Err(ActionError::Passing(reason)) => return Err(ExecuteError::Passing(reason)),
        }
        Ok(end)
    }

    async fn run_step(
        &mut self,
        call: RunCall<'_>,
        own: &Object,
        limit: Duration,
        number: u32,
        log: &mut LogWriter,
        mut end: StepEnd,
    ) -> Result<StepEnd, ExecuteError> {
        let prepared = self.script(&call, own);
        let (script, shell, directory) = match prepared {
            Ok(prepared) => prepared,
            Err(reason) => return Ok(end.fail(reason)),
        };
        let first = script.trim().lines().next().unwrap_or_default().to_owned();
        log.line(&format!("##[group]Run {first}")).await;
        for line in script.trim_end().lines() {
            log.line(line).await;
        }
        log.line("##[endgroup]").await;
        log.tick().await;
        let sandbox = match self.slot.sandbox().await {
            Ok(sandbox) => sandbox,
            Err(failure) if failure.passing => return Err(ExecuteError::Passing(failure.reason)),
            Err(failure) => return Ok(end.fail(failure.reason)),
        };
        if !self.contexts.path.is_empty() && self.image_path.is_none() {
            self.image_path = sandbox.image_path().await;
        }
        let files = CommandFiles::fresh();
        let name = format!("{:032x}{}", rand::random::<u128>(), shell.extension);
        let workspace = self.slot.workspace().clone();
        let written = files
            .all()
            .iter()
            .try_for_each(|file| workspace.write_command(file, b""))
            .and_then(|()| workspace.write_temp(&name, content(&shell, &script).as_bytes()));
        if let Err(error) = written {
            return Ok(end.fail(error.to_string()));
        }
        let action = format!("__run_{number}");
        let path = self.image_path.as_deref();
        let command = Command {
            arguments: shell.command(&format!("{}/{name}", paths::TEMP)),
            environment: variables(&self.contexts, &self.run, &self.key, &action, own, &files, path),
            directory,
        };
        self.strangers_ran = true;
        let stop = (!self.in_spite).then(|| self.stop.clone());
        let mut running = Script { sandbox: &sandbox, log, masker: &self.masker, limit, stop: stop.as_ref() };
        let result = running.run(command).await;
        workspace.remove_temp(&name);
        let (ended, said) = match result {
            Ok(result) => result,
            Err(error) => return Ok(end.fail(error.to_string())),
        };
        end.outputs = said.outputs.clone();
        end.annotations = said.annotations.clone();
        match ended {
            ScriptEnd::Exited(0) => end.exit_code = Some(0),
            ScriptEnd::Exited(code) => {
                end.exit_code = Some(code);
                end = end.fail(format!("exit code {code}"));
            }
            ScriptEnd::TimedOut => {
                end = end.fail(format!("it took longer than its limit of {} minutes", minutes(limit)));
            }
            ScriptEnd::Stopped => end.outcome = Conclusion::Cancelled,
        }
        Ok(self.take_files(&files, &said, log, end).await)
    }

    /// What the step wrote for later steps. Counts even when the step failed.
    async fn take_files(
        &mut self,
        names: &CommandFiles,
        said: &Said,
        log: &mut LogWriter,
        mut end: StepEnd,
    ) -> StepEnd {
        let workspace = self.slot.workspace().clone();
        let taken = sluice_chassis::blocking("read file commands", {
            let names = names.all().map(str::to_owned);
            move || names.map(|name| workspace.take_command(&name, files::MAX_FILE))
        });
        let Ok([env, output, path, _, summary]) = taken.await else { return end };
        let mut problems: Vec<String> = Vec::new();
        match output
            .map_err(|error| error.to_string())
            .and_then(|text| files::pairs(&text).map_err(|e| e.to_string()))
        {
            Ok(pairs) => {
                end.outputs = said.outputs.clone();
                end.outputs.extend(pairs);
            }
            Err(problem) => problems.push(format!("GITHUB_OUTPUT: {problem}")),
        }
        match env
            .map_err(|error| error.to_string())
            .and_then(|text| files::environment(&text).map_err(|e| e.to_string()))
        {
            Ok(pairs) => {
                for (name, value) in pairs {
                    self.contexts.env.insert(name, value);
                }
            }
            Err(problem) => problems.push(format!("GITHUB_ENV: {problem}")),
        }
        match path {
            Ok(text) => {
                for directory in files::paths(&text) {
                    self.contexts.path.retain(|known| *known != directory);
                    self.contexts.path.insert(0, directory);
                }
            }
            Err(problem) => problems.push(format!("GITHUB_PATH: {problem}")),
        }
        if let Ok(summary) = summary
            && !summary.trim().is_empty()
        {
            log.line("##[group]Step summary").await;
            for line in summary.trim_end().lines() {
                log.line(line).await;
            }
            log.line("##[endgroup]").await;
        }
        if problems.is_empty() || end.outcome != Conclusion::Success {
            end
        } else {
            end.fail(problems.join("; "))
        }
    }

    fn script(&self, call: &RunCall<'_>, own: &Object) -> Result<(String, Shell, String), String> {
        let sources = self.slot.workspace().sources();
        let scope = self.contexts.step_scope(&sources, own);
        let text = |template: &Template| template.text(&scope).map_err(|failure| self.at(&failure));
        let script = text(call.script)?;
        let job = self.workflow.jobs.get(&self.key);
        let defaults = [job.map(|job| &job.defaults), Some(&self.workflow.defaults)];
        let shell = call.shell.or_else(|| defaults.iter().flatten().find_map(|d| d.shell.as_ref()));
        let shell = shell.map(text).transpose()?;
        let shell = Shell::choose(shell.as_deref(), self.in_container).map_err(|error| error.to_string())?;
        let directory =
            call.directory.or_else(|| defaults.iter().flatten().find_map(|d| d.working_directory.as_ref()));
        let directory = directory.map(text).transpose()?.unwrap_or_default();
        let directory = if directory.starts_with('/') {
            directory
        } else {
            let relative = directory.trim_start_matches("./").trim_end_matches('/');
            if relative.is_empty() {
                paths::WORKSPACE.to_owned()
            } else {
                format!("{}/{relative}", paths::WORKSPACE)
            }
        };
        Ok((script, shell, directory))
    }

    fn settings(&self, step: &Step, own: &Object, began: Instant) -> Result<Settings, Failure> {
        let sources: PathBuf = self.slot.workspace().sources();
        let scope = self.contexts.step_scope(&sources, own);
        let name = step.name.as_ref().map(|name| name.text(&scope)).transpose()?;
        let continue_on_error = match &step.continue_on_error {
            Some(switch) => switch.value(&scope)?.to_text().eq_ignore_ascii_case("true"),
            None => false,
        };
        let left = if self.in_spite { AFTERMATH } else { self.limit.saturating_sub(began.elapsed()) };
        let limit = match &step.timeout_minutes {
            Some(limit) => {
                let minutes = limit.value(&scope)?.to_number();
                let wanted =
                    if minutes > 0.0 { Duration::from_secs_f64(minutes.min(1e6) * 60.0) } else { left };
                left.min(wanted)
            }
            None => left,
        };
        Ok(Settings { name: name.filter(|name| !name.trim().is_empty()), continue_on_error, limit })
    }

    fn at(&self, failure: &Failure) -> String {
        format!("{}:{}: {}", self.workflow.file, failure.at, failure.source)
    }
}

struct Settings {
    name: Option<String>,
    continue_on_error: bool,
    limit: Duration,
}

struct RunCall<'a> {
    script: &'a Template,
    shell: Option<&'a Template>,
    directory: Option<&'a Template>,
}

fn condition(condition: &model::Condition, scope: &dyn Environment) -> Result<bool, Failure> {
    if condition.implied_success && !scope.success(&[]) {
        return Ok(false);
    }
    match &condition.template {
        Some(template) => Ok(template.value(scope)?.is_truthy()),
        None => Ok(true),
    }
}

fn own_variables(value: Option<Value>) -> Object {
    let mut own = Object::case_sensitive();
    if let Some(Value::Object(entries)) = value {
        for (name, value) in entries.iter() {
            own.insert(name, value.to_text());
        }
    }
    own
}

fn kind_of(kind: &Definition) -> StepKind {
    match kind {
        Definition::Run { .. } => StepKind::Run,
        Definition::Uses { action, .. } => match action.slug().as_deref().and_then(actions::find) {
            Some(native) => native.kind(),
            None => StepKind::Action,
        },
    }
}

fn minutes(limit: Duration) -> f64 {
    (limit.as_secs_f64() / 60.0 * 100.0).round() / 100.0
}
