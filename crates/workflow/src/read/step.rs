//! Steps: `run` or `uses`, and what both may carry.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::bad_identifier;
use super::fields::Reader;
use crate::availability::{STEP, STEP_IF};
use crate::model::{ActionReference, Condition, Step, StepKind};
use crate::template::Template;
use crate::yaml::{Data, Node};

const KEYS: &[&str] = &[
    "id",
    "if",
    "name",
    "uses",
    "run",
    "working-directory",
    "shell",
    "with",
    "env",
    "continue-on-error",
    "timeout-minutes",
];

pub(super) fn read_all(reader: &mut Reader, node: &Node) -> Vec<Step> {
    let Data::Sequence(items) = &node.data else {
        reader.wrong_kind(node);
        return Vec::new();
    };
    let mut ids = HashSet::new();
    let mut steps = Vec::new();
    for item in items {
        let Some(step) = read(reader, item) else { continue };
        if let Some(id) = &step.id
            && !ids.insert(id.to_lowercase())
        {
            reader.notes.add(
                item.at,
                format!("The identifier '{id}' may not be used more than once within the same scope."),
            );
        }
        steps.push(step);
    }
    steps
}

fn read(reader: &mut Reader, node: &Node) -> Option<Step> {
    let mut fields = reader.fields(node)?;
    let id = fields.take("id").and_then(|node| {
        let id = reader.required_text(&node)?;
        if let Some(message) = bad_identifier(&id) {
            reader.notes.add(node.at, message);
        }
        Some(id)
    });
    let condition = match fields.take("if") {
        Some(node) => reader.condition(&node, STEP_IF),
        None => Condition::absent(),
    };
    let name = fields.take("name").and_then(|node| reader.template(&node, Some(STEP)));
    let env = fields.take("env").and_then(|node| reader.mapping_token(&node, STEP));
    let continue_on_error = fields.take("continue-on-error").and_then(|node| reader.switch(&node, STEP));
    let timeout_minutes = fields.take("timeout-minutes").and_then(|node| reader.number(&node, STEP));
    let kind = match (fields.take("uses"), fields.take("run")) {
        (Some(uses), None) => {
            let with = fields.take("with").map(|node| inputs(reader, &node)).unwrap_or_default();
            let action = reader.required_text(&uses).and_then(|text| {
                let action = action(&text);
                if action.is_none() {
                    reader.notes.add(
                        uses.at,
                        format!("Expected format {{org}}/{{repo}}[/path]@ref. Actual '{text}'"),
                    );
                }
                action
            });
            action.map(|action| StepKind::Uses { action, at: uses.at, with })
        }
        (None, Some(run)) => {
            let shell = fields.take("shell").and_then(|node| reader.template(&node, Some(STEP)));
            let working_directory =
                fields.take("working-directory").and_then(|node| reader.template(&node, Some(STEP)));
            let script = reader.template(&run, Some(STEP));
            script.map(|script| StepKind::Run { script, shell, working_directory })
        }
        (Some(_), Some(run)) => {
            reader.notes.add(run.at, "a step is either `uses` or `run`, not both");
            None
        }
        (None, None) => {
            for key in ["shell", "working-directory", "with"] {
                drop(fields.take(key));
            }
            reader.notes.add(node.at, "Required property is missing: run");
            None
        }
    };
    reader.no_others(fields, KEYS);
    Some(Step { at: node.at, id, name, condition, env, continue_on_error, timeout_minutes, kind: kind? })
}

fn inputs(reader: &mut Reader, node: &Node) -> IndexMap<String, Template> {
    let mut inputs = IndexMap::new();
    if node.data == Data::Null {
        return inputs;
    }
    let Some(fields) = reader.fields(node) else { return inputs };
    for (key, _, value) in fields.into_entries() {
        if let Some(template) = reader.template(&value, Some(STEP)) {
            // Inputs are known to an action without regard to case.
            inputs.insert(key.to_lowercase(), template);
        }
    }
    inputs
}

fn action(text: &str) -> Option<ActionReference> {
    if let Some(image) = text.strip_prefix("docker://") {
        return Some(ActionReference::Docker { image: image.to_owned() });
    }
    if text.starts_with("./") || text.starts_with(".\\") {
        return Some(ActionReference::Local { path: text.to_owned() });
    }
    let (name, reference) = text.split_once('@')?;
    if reference.is_empty() || reference.contains('@') {
        return None;
    }
    let mut segments = name.split(['/', '\\']);
    let (owner, repository) = (segments.next()?, segments.next()?);
    if owner.is_empty() || repository.is_empty() {
        return None;
    }
    let path = segments.filter(|segment| !segment.is_empty()).collect::<Vec<_>>().join("/");
    Some(ActionReference::Repository {
        owner: owner.to_owned(),
        repository: repository.to_owned(),
        path,
        reference: reference.to_owned(),
    })
}
