//! YAML tree to [`Workflow`], noting every mistake on the way.
//!
//! `fields` walks mappings, `trigger`, `job` and `step` read their parts, and this file the top level and what
//! holds between the jobs (`needs`). Entry point: [`read_workflow`], called by the builder's coordinator.

mod fields;
mod job;
mod needs;
mod step;
mod trigger;

use indexmap::IndexMap;

use crate::availability::{JOB_DEFAULTS, RUN_NAME, WORKFLOW_CONCURRENCY, WORKFLOW_ENV};
use crate::model::{Remark, Workflow};
use crate::source::{Location, Mistakes, Notes};
use crate::yaml;
use fields::{Fields, Reader};

const KEYS: &[&str] =
    &["on", "name", "description", "run-name", "permissions", "env", "defaults", "concurrency", "jobs"];

/// Reads a workflow file. `file` is its path in the repository, for messages and as the name of last resort.
pub fn read_workflow(file: &str, text: &str) -> Result<Workflow, Mistakes> {
    let mut reader = Reader { notes: Notes::new(file), remarks: Vec::new() };
    let workflow = yaml::parse(text, &mut reader.notes).and_then(|root| workflow(&mut reader, file, &root));
    reader.notes.finish(workflow)
}

fn workflow(reader: &mut Reader, file: &str, root: &yaml::Node) -> Option<Workflow> {
    let mut fields = reader.fields(root)?;
    let name = fields.take("name").and_then(|node| reader.plain_text(&node));
    let run_name = fields.take("run-name").and_then(|node| reader.template(&node, Some(RUN_NAME)));
    let description = fields.take("description");
    drop(description);
    let triggers = match fields.take("on") {
        Some(node) => trigger::read(reader, &node),
        None => {
            reader.notes.add(root.at, "Required property is missing: on");
            None
        }
    };
    let env = fields.take("env").and_then(|node| reader.mapping_token(&node, WORKFLOW_ENV));
    let defaults = match fields.take("defaults") {
        Some(node) => reader.defaults(&node, JOB_DEFAULTS),
        None => crate::model::Defaults::default(),
    };
    if let Some(node) = fields.take("permissions") {
        reader.unsupported(node.at, "permissions", false);
    }
    if let Some(node) = fields.take("concurrency") {
        concurrency(reader, &node, WORKFLOW_CONCURRENCY);
    }
    let jobs = match fields.take("jobs") {
        Some(node) => jobs(reader, &node),
        None => {
            reader.notes.add(root.at, "Required property is missing: jobs");
            None
        }
    };
    reader.no_others(fields, KEYS);
    let jobs = jobs?;
    needs::check(reader, &jobs);
    let mut remarks: Vec<Remark> = std::mem::take(&mut reader.remarks);
    remarks.sort_by_key(|remark| remark.at);
    Some(Workflow {
        file: file.to_owned(),
        name,
        run_name,
        triggers: triggers?,
        env,
        defaults,
        jobs,
        remarks,
    })
}

fn jobs(reader: &mut Reader, node: &yaml::Node) -> Option<IndexMap<String, crate::model::Job>> {
    let fields: Fields = reader.fields(node)?;
    let mut jobs = IndexMap::new();
    for (key, at, value) in fields.into_entries() {
        if let Some(message) = bad_identifier(&key) {
            reader.notes.add(at, message);
        }
        if let Some(job) = job::read(reader, &key, at, &value) {
            jobs.insert(key, job);
        }
    }
    if jobs.is_empty() {
        reader.notes.add(node.at, "The workflow must contain at least one job with no dependencies.");
    }
    Some(jobs)
}

/// `concurrency:` is read and checked, and named as not carried out.
fn concurrency(reader: &mut Reader, node: &yaml::Node, availability: crate::availability::Availability) {
    if let yaml::Data::Mapping(_) = node.data {
        let Some(mut fields) = reader.fields(node) else { return };
        if fields.take("group").and_then(|node| reader.template(&node, Some(availability))).is_none() {
            reader.notes.add(node.at, "Required property is missing: group");
        }
        for key in ["cancel-in-progress", "queue"] {
            if let Some(node) = fields.take(key) {
                drop(reader.template(&node, Some(availability)));
            }
        }
        reader.no_others(fields, &["group", "cancel-in-progress", "queue"]);
    } else {
        drop(reader.template(node, Some(availability)));
    }
    reader.unsupported(node.at, "concurrency", false);
}

/// Ids of jobs, steps, inputs and outputs.
fn bad_identifier(id: &str) -> Option<String> {
    if id.starts_with("__") {
        return Some(format!("The identifier '{id}' is invalid. IDs starting with '__' are reserved."));
    }
    let valid = id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        && id.len() <= 100;
    if valid {
        return None;
    }
    Some(format!(
        "The identifier '{id}' is invalid. IDs may only contain alphanumeric characters, '_', and '-'. IDs must start with a letter or '_' and must be less than 100 characters."
    ))
}

impl Reader {
    fn unsupported(&mut self, at: Location, what: &str, fatal: bool) {
        let message = if fatal {
            format!("{what}: not supported by this version of Sluice; remove it to run the workflow here")
        } else {
            format!("{what}: not carried out by this version of Sluice; the run goes on without it")
        };
        self.remarks.push(Remark { at, message, fatal });
    }
}

#[cfg(test)]
mod tests;
