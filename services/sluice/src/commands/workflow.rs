//! `workflow`: the workflow language without a server. Pure: it reads files and prints.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sluice_workflow::expression::{Names, from_json, to_json};
use sluice_workflow::{Environment, Expression, Mistakes, StepKind, Workflow, read_workflow};

use crate::arguments::WorkflowCommand;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Tone};

/// Where workflows lie in a repository.
const FOLDER: &str = ".github/workflows";

pub(crate) fn workflow(context: &Context, command: WorkflowCommand) -> Outcome {
    match command {
        WorkflowCommand::Lint { files } => lint(context.output, files),
        WorkflowCommand::Parse { file } => parse(context.output, &file),
        WorkflowCommand::Eval { expression, context: contexts } => {
            evaluate(context.output, &expression, contexts.as_deref())
        }
    }
}

fn lint(output: Output, files: Vec<PathBuf>) -> Outcome {
    let files = if files.is_empty() { in_folder()? } else { files };
    let mut found = Vec::new();
    let mut wrong = 0;
    for file in &files {
        match read_workflow(&file.display().to_string(), &read(file)?) {
            Err(Mistakes(mistakes)) => {
                wrong += mistakes.len();
                found.extend(mistakes.iter().map(|it| {
                    json!({"file": it.file, "line": it.at.line, "column": it.at.column, "level": "error", "message": it.message})
                }));
            }
            Ok(workflow) => {
                wrong += workflow.remarks.iter().filter(|remark| remark.fatal).count();
                found.extend(workflow.remarks.iter().map(|it| {
                    let level = if it.fatal { "error" } else { "warning" };
                    json!({"file": workflow.file, "line": it.at.line, "column": it.at.column, "level": level, "message": it.message})
                }));
            }
        }
    }
    if !output.data(&json!({"items": found}))? {
        for it in &found {
            let tone = if it["level"] == "error" { Tone::Bad } else { Tone::Waiting };
            let level = output.paint(tone, it["level"].as_str().unwrap_or_default());
            let place =
                format!("{}:{}:{}", it["file"].as_str().unwrap_or_default(), it["line"], it["column"]);
            output.line(format!("{place}: {level}: {}", it["message"].as_str().unwrap_or_default()))?;
        }
    }
    if wrong > 0 {
        return Err(Failure::failed(
            format_args!("{wrong} mistake(s) in {} file(s)", files.len()),
            "mend the places named above",
        ));
    }
    output.note(format!("{} file(s) can be run.", files.len()));
    Ok(())
}

fn parse(output: Output, file: &Path) -> Outcome {
    let workflow = read_workflow(&file.display().to_string(), &read(file)?).map_err(|mistakes| {
        Failure::failed(mistakes, "`sluice workflow lint` lists the mistakes of all files")
    })?;
    let value = understood(&workflow);
    if output.data(&value)? {
        return Ok(());
    }
    output.line(serde_saphyr::to_string(&value).unwrap_or_default().trim_end())
}

/// How a file is understood, as data.
fn understood(workflow: &Workflow) -> Value {
    let push = workflow.triggers.push.as_ref().map(|it| {
        json!({"branches": it.branches, "branchesIgnore": it.branches_ignore, "tags": it.tags, "tagsIgnore": it.tags_ignore,
            "paths": it.paths, "pathsIgnore": it.paths_ignore})
    });
    let jobs: Vec<Value> = workflow
        .jobs
        .values()
        .map(|job| {
            let steps: Vec<Value> = job
                .steps
                .iter()
                .map(|step| {
                    let uses = match &step.kind {
                        StepKind::Uses { action, .. } => Some(action.written()),
                        StepKind::Run { .. } => None,
                    };
                    let condition = step.condition.template.as_ref().map(sluice_workflow::Template::source);
                    let name = step.name.as_ref().map(sluice_workflow::Template::source);
                    json!({"line": step.at.line, "id": step.id, "name": step.title(name.as_deref()), "uses": uses, "if": condition})
                })
                .collect();
            let condition = job.condition.template.as_ref().map(sluice_workflow::Template::source);
            json!({"key": job.key, "line": job.at.line, "needs": job.needs, "if": condition, "steps": steps})
        })
        .collect();
    json!({"file": workflow.file, "name": workflow.title(), "on": {"push": push, "others": workflow.triggers.others}, "jobs": jobs})
}

fn evaluate(output: Output, expression: &str, contexts: Option<&Path>) -> Outcome {
    let source = expression.trim();
    let source = source.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")).unwrap_or(source).trim();
    let parsed = Expression::parse(source, Names::Any)
        .map_err(|error| Failure::usage(error, "quote texts with '…', as on GitHub"))?;
    let given = Given(match contexts {
        Some(path) => contexts_of(path)?,
        None => sluice_workflow::Value::Null,
    });
    let value = parsed
        .evaluate(&given)
        .map_err(|error| Failure::failed(error, "check the expression's functions and texts"))?;
    let json: Value = serde_json::from_str(&to_json(&value)).unwrap_or_default();
    if output.data(&json)? {
        return Ok(());
    }
    if value.is_primitive() { output.line(value.to_text()) } else { output.line(to_json(&value)) }
}

fn contexts_of(path: &Path) -> Outcome<sluice_workflow::Value> {
    let value: Value = serde_saphyr::from_str(&read(path)?).map_err(|error| {
        Failure::usage(format_args!("{}: {error}", path.display()), "give JSON or YAML: {\"github\": {…}}")
    })?;
    from_json(&value.to_string())
        .map_err(|error| Failure::usage(error, "give JSON or YAML: {\"github\": {…}}"))
}

/// The contexts of a file; all is well so far.
struct Given(sluice_workflow::Value);

impl Environment for Given {
    fn context(&self, name: &str) -> Option<sluice_workflow::Value> {
        Some(self.0.get(name))
    }

    fn success(&self, _jobs: &[sluice_workflow::Value]) -> bool {
        true
    }

    fn failure(&self, _jobs: &[sluice_workflow::Value]) -> bool {
        false
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn hash_files(&self, _patterns: &[String]) -> Result<String, String> {
        Err("there is no workspace here".to_owned())
    }
}

fn in_folder() -> Outcome<Vec<PathBuf>> {
    let none = || {
        Failure::usage(
            format_args!("there are no workflows in {FOLDER}"),
            "name the files, or go to the repository's top",
        )
    };
    let entries = std::fs::read_dir(FOLDER).map_err(|_| none())?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml"))
        .collect();
    files.sort();
    if files.is_empty() { Err(none()) } else { Ok(files) }
}

fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format_args!("{} cannot be read: {error}", path.display()), "check the path")
    })
}
