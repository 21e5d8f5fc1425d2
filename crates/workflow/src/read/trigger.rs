//! `on:` as text, list or mapping.
//!
//! Every event that GitHub knows is accepted with its keys, so that a workflow need not be changed; only
//! `push` starts runs in this version, and the plan names what did not.

use super::fields::Reader;
use crate::model::{PushFilter, Remark, Triggers};
use crate::pattern::Patterns;
use crate::source::Location;
use crate::yaml::{Data, Node};

/// Events with the keys that each may carry.
const EVENTS: &[(&str, &[&str])] = &[
    ("branch_protection_rule", &["types"]),
    ("check_run", &["types"]),
    ("check_suite", &["types"]),
    ("create", &[]),
    ("delete", &[]),
    ("deployment", &[]),
    ("deployment_status", &[]),
    ("discussion", &["types"]),
    ("discussion_comment", &["types"]),
    ("fork", &[]),
    ("gollum", &[]),
    ("image_version", &["names", "versions"]),
    ("issue_comment", &["types"]),
    ("issues", &["types"]),
    ("label", &["types"]),
    ("merge_group", &["types", "branches", "branches-ignore"]),
    ("milestone", &["types"]),
    ("page_build", &[]),
    ("project", &["types"]),
    ("project_card", &["types"]),
    ("project_column", &["types"]),
    ("public", &[]),
    ("pull_request", PULL_REQUEST),
    ("pull_request_comment", &["types"]),
    ("pull_request_review", &["types"]),
    ("pull_request_review_comment", &["types"]),
    ("pull_request_target", PULL_REQUEST),
    ("push", PUSH),
    ("registry_package", &["types"]),
    ("release", &["types"]),
    ("repository_dispatch", &["types"]),
    ("schedule", &["cron", "timezone"]),
    ("status", &[]),
    ("watch", &["types"]),
    ("workflow_call", &["inputs", "outputs", "secrets"]),
    ("workflow_dispatch", &["inputs"]),
    ("workflow_run", &["types", "workflows", "branches", "branches-ignore"]),
];
const PUSH: &[&str] = &["branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore"];
const PULL_REQUEST: &[&str] = &["types", "branches", "branches-ignore", "paths", "paths-ignore"];

pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<Triggers> {
    let mut triggers = Triggers::default();
    match &node.data {
        Data::String(_) => {
            let name = reader.plain_text(node)?;
            event(reader, &mut triggers, &name, node.at, None);
        }
        Data::Sequence(items) => {
            for item in items {
                if let Some(name) = reader.plain_text(item) {
                    event(reader, &mut triggers, &name, item.at, None);
                }
            }
        }
        Data::Mapping(_) => {
            for (name, at, config) in reader.fields(node)?.into_entries() {
                event(reader, &mut triggers, &name, at, Some(&config));
            }
        }
        _ => {
            reader.wrong_kind(node);
            return None;
        }
    }
    Some(triggers)
}

fn event(reader: &mut Reader, triggers: &mut Triggers, name: &str, at: Location, config: Option<&Node>) {
    let Some((_, keys)) = EVENTS.iter().find(|(known, _)| *known == name) else {
        reader.notes.add(at, format!("Unexpected value '{name}'"));
        return;
    };
    let config = config.filter(|config| config.data != Data::Null);
    if name == "push" {
        triggers.push = Some(config.and_then(|config| push(reader, config)).unwrap_or_default());
        return;
    }
    triggers.others.push(name.to_owned());
    let Some(config) = config else { return };
    match &config.data {
        Data::Sequence(_) if name == "schedule" => {}
        Data::Mapping(_) if name != "schedule" => {
            if let Some(mut fields) = reader.fields(config) {
                for key in *keys {
                    drop(fields.take(key));
                }
                reader.no_others(fields, keys);
            }
        }
        _ => reader.wrong_kind(config),
    }
}

fn push(reader: &mut Reader, config: &Node) -> Option<PushFilter> {
    let mut fields = reader.fields(config)?;
    let mut list = |key: &str| {
        let node = fields.take(key)?;
        let patterns = reader.texts(&node)?;
        for pattern in &patterns {
            if let Err(error) = Patterns::new(&[pattern]) {
                reader.notes.add(node.at, error.to_string());
            }
        }
        Some((patterns, node.at))
    };
    let lists = PUSH.iter().map(|key| list(key)).collect::<Vec<_>>();
    let pairs = [(0, "branches"), (2, "tags"), (4, "paths")];
    for (first, key) in pairs {
        if let (Some(_), Some((_, at))) = (&lists[first], &lists[first + 1]) {
            reader.remarks.push(Remark {
                at: *at,
                message: format!("you may only define one of `{key}` and `{key}-ignore` for a single event"),
                fatal: true,
            });
        }
    }
    reader.no_others(fields, PUSH);
    let mut lists = lists.into_iter().map(|list| list.map(|(patterns, _)| patterns));
    let mut next = || lists.next().flatten();
    Some(PushFilter {
        branches: next(),
        branches_ignore: next(),
        tags: next(),
        tags_ignore: next(),
        paths: next(),
        paths_ignore: next(),
    })
}
