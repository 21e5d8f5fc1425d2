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
use super::scripts::RunCall;
use crate::actions::{self, ActionError};
use crate::executor::facts::Facts;
use crate::executor::inputs::Inputs;
use crate::executor::{ExecuteError, stop::AFTERMATH};
use crate::log::writer::LogWriter;

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
    pub(super) fn fail(mut self, reason: impl Into<String>) -> Self {
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

    pub(super) fn at(&self, failure: &Failure) -> String {
        format!("{}:{}: {}", self.workflow.file, failure.at, failure.source)
    }
}

struct Settings {
    name: Option<String>,
    continue_on_error: bool,
    limit: Duration,
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

pub(super) fn minutes(limit: Duration) -> f64 {
    (limit.as_secs_f64() / 60.0 * 100.0).round() / 100.0
}
