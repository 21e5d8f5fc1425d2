//! One entry of `jobs:`.

use indexmap::IndexMap;

use super::fields::Reader;
use super::{bad_identifier, concurrency, step};
use crate::availability::{
    CONTAINER_CREDENTIALS, CONTAINER_ENV, JOB, JOB_DEFAULTS, JOB_ENV, JOB_IF, JOB_OUTPUTS, JOB_STRATEGY,
};
use crate::model::{Condition, Container, Defaults, Job, Strategy};
use crate::source::Location;
use crate::template::Template;
use crate::yaml::{Data, Node};

const KEYS: &[&str] = &[
    "name",
    "needs",
    "permissions",
    "runs-on",
    "environment",
    "concurrency",
    "outputs",
    "env",
    "defaults",
    "if",
    "steps",
    "timeout-minutes",
    "cancel-timeout-minutes",
    "strategy",
    "continue-on-error",
    "container",
    "services",
    "snapshot",
    "uses",
    "with",
    "secrets",
];

pub(super) fn read(reader: &mut Reader, key: &str, at: Location, node: &Node) -> Option<Job> {
    let mut fields = reader.fields(node)?;
    let name = fields.take("name").and_then(|node| reader.template(&node, Some(JOB)));
    let needs = fields.take("needs").and_then(|node| reader.texts(&node)).unwrap_or_default();
    let condition = match fields.take("if") {
        Some(node) => reader.condition(&node, JOB_IF),
        None => Condition::absent(),
    };
    let strategy = fields.take("strategy").and_then(|node| strategy(reader, &node));
    let runs_on = fields.take("runs-on");
    let has_runs_on = runs_on.is_some();
    let runs_on = runs_on.and_then(|node| reader.token(&node, JOB));
    let env = fields.take("env").and_then(|node| reader.mapping_token(&node, JOB_ENV));
    let container = fields.take("container").and_then(|node| container(reader, &node));
    let outputs = fields.take("outputs").and_then(|node| outputs(reader, &node)).unwrap_or_default();
    let timeout_minutes = fields.take("timeout-minutes").and_then(|node| reader.number(&node, JOB));
    if let Some(node) = fields.take("cancel-timeout-minutes") {
        drop(reader.number(&node, JOB));
    }
    let continue_on_error = fields.take("continue-on-error").and_then(|node| reader.switch(&node, JOB));
    let defaults = match fields.take("defaults") {
        Some(node) => reader.defaults(&node, JOB_DEFAULTS),
        None => Defaults::default(),
    };
    unsupported_keys(reader, &mut fields);
    let (uses, steps) = (fields.take("uses"), fields.take("steps"));
    if uses.is_none() {
        if !has_runs_on {
            reader.notes.add(node.at, "Required property is missing: runs-on");
        }
        if steps.is_none() {
            reader.notes.add(node.at, "Required property is missing: steps");
        }
    }
    if let Some(uses) = &uses {
        reader.unsupported(uses.at, "reusable workflows (a job with `uses`)", true);
        for key in ["with", "secrets"] {
            drop(fields.take(key));
        }
    }
    let steps = steps.map(|steps| step::read_all(reader, &steps)).unwrap_or_default();
    reader.no_others(fields, KEYS);
    Some(Job {
        key: key.to_owned(),
        at,
        name,
        needs,
        condition,
        env,
        outputs,
        runs_on,
        container,
        strategy,
        timeout_minutes,
        continue_on_error,
        defaults,
        steps,
    })
}

fn unsupported_keys(reader: &mut Reader, fields: &mut super::fields::Fields) {
    if let Some(node) = fields.take("concurrency") {
        concurrency(reader, &node, JOB);
    }
    for key in ["permissions", "environment", "snapshot"] {
        if let Some(node) = fields.take(key) {
            reader.unsupported(node.at, key, false);
        }
    }
    if let Some(node) = fields.take("services") {
        services(reader, &node);
    }
}

fn outputs(reader: &mut Reader, node: &Node) -> Option<IndexMap<String, Template>> {
    let mut outputs = IndexMap::new();
    for (key, at, value) in reader.fields(node)?.into_entries() {
        if let Some(message) = bad_identifier(&key) {
            reader.notes.add(at, message);
        }
        if let Some(template) = reader.template(&value, Some(JOB_OUTPUTS)) {
            outputs.insert(key, template);
        }
    }
    Some(outputs)
}

fn container(reader: &mut Reader, node: &Node) -> Option<Container> {
    if !matches!(node.data, Data::Mapping(_)) {
        return Some(Container { at: node.at, image: reader.token(node, JOB)?, env: None });
    }
    let mut fields = reader.fields(node)?;
    let image = match fields.take("image") {
        Some(image) if image.data == Data::Null => {
            reader.wrong_kind(&image);
            None
        }
        Some(image) => reader.token(&image, JOB),
        None => {
            reader.notes.add(node.at, "Required property is missing: image");
            None
        }
    };
    let env = fields.take("env").and_then(|node| reader.mapping_token(&node, CONTAINER_ENV));
    if let Some(node) = fields.take("credentials") {
        reader.unsupported(node.at, "container.credentials", true);
        if let Some(mut fields) = reader.fields(&node) {
            for key in ["username", "password"] {
                drop(fields.take(key).and_then(|node| reader.template(&node, Some(CONTAINER_CREDENTIALS))));
            }
            reader.no_others(fields, &["username", "password"]);
        }
    }
    for key in ["ports", "volumes", "options"] {
        if let Some(node) = fields.take(key) {
            drop(reader.token(&node, JOB));
            reader.unsupported(node.at, &format!("container.{key}"), true);
        }
    }
    reader.no_others(fields, &["image", "env", "ports", "volumes", "options", "credentials"]);
    Some(Container { at: node.at, image: image?, env })
}

/// Read for its mistakes; the jobs that need services are refused by the plan.
fn services(reader: &mut Reader, node: &Node) {
    reader.unsupported(node.at, "services", true);
    if !matches!(node.data, Data::Mapping(_)) {
        drop(reader.mapping_token(node, JOB));
        return;
    }
    let Some(fields) = reader.fields(node) else { return };
    for (_, _, service) in fields.into_entries() {
        let Data::Mapping(entries) = &service.data else {
            drop(reader.token(&service, JOB));
            continue;
        };
        let kept = entries.iter().filter(
            |(key, _)| !matches!(&key.data, Data::String(name) if name == "command" || name == "entrypoint"),
        );
        let plain = Node { at: service.at, data: Data::Mapping(kept.cloned().collect()) };
        drop(container(reader, &plain));
    }
}

fn strategy(reader: &mut Reader, node: &Node) -> Option<Strategy> {
    let mut fields = reader.fields(node)?;
    let matrix = fields.take("matrix").and_then(|node| match node.data {
        Data::Mapping(_) | Data::String(_) => reader.token(&node, JOB_STRATEGY),
        _ => {
            reader.wrong_kind(&node);
            None
        }
    });
    for key in ["fail-fast", "max-parallel"] {
        if let Some(at) = fields.at(key) {
            reader.unsupported(at, &format!("strategy.{key}"), false);
        }
    }
    let fail_fast = fields.take("fail-fast").and_then(|node| reader.switch(&node, JOB_STRATEGY));
    let max_parallel = fields.take("max-parallel").and_then(|node| reader.number(&node, JOB_STRATEGY));
    reader.no_others(fields, &["matrix", "fail-fast", "max-parallel"]);
    Some(Strategy { at: node.at, matrix, fail_fast, max_parallel })
}
