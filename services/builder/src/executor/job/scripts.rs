//! `run:` steps: from the template to the process and back to what it wrote for later steps.

use std::time::Duration;

use sluice_schemas::events::Conclusion;
use sluice_workflow::Template;
use sluice_workflow::expression::Object;

use super::Job;
use super::step::{StepEnd, minutes};
use crate::commands::files;
use crate::executor::ExecuteError;
use crate::executor::contexts::{CommandFiles, variables};
use crate::executor::script::{Said, Script, ScriptEnd, stopped};
use crate::executor::shell::{Shell, content};
use crate::log::writer::LogWriter;
use crate::sandbox::container::Command;
use crate::sandbox::paths;

pub(super) struct RunCall<'a> {
    pub(super) script: &'a Template,
    pub(super) shell: Option<&'a Template>,
    pub(super) directory: Option<&'a Template>,
}

impl Job {
    pub(super) async fn run_step(
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
        let stop = (!self.in_spite).then(|| self.stop.clone());
        let started = tokio::select! {
            started = self.slot.sandbox() => started,
            () = stopped(stop.as_ref()) => {
                end.outcome = Conclusion::Cancelled;
                return Ok(end);
            }
        };
        let sandbox = match started {
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
}
