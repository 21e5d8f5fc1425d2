//! The API server's JSON, read leniently: what is missing is left out, what is new is not looked at.

use serde_json::Value;
use sluice_schemas::Sha;

use super::{ApiTrouble, AppSummary, Preview, RunSummary, id};
use crate::story::PreviewCard;

/// Objects of a diff that are shown whole.
const DIFF_LINES: usize = 80;

pub(super) fn list<'a>(answer: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    answer[field].as_array().or(answer.as_array()).into_iter().flatten()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn application(app: &Value) -> AppSummary {
    AppSummary {
        name: text(&app["name"]),
        sync: app["sync"].as_str().unwrap_or("Unknown").to_owned(),
        health: app["health"].as_str().unwrap_or("Unknown").to_owned(),
        gated: app["gated"] == true,
        revision: app["revision"].as_str().map(|sha| sha.chars().take(8).collect()),
        images: list(app, "liveImages").map(text).collect(),
        conditions: list(app, "conditions").map(|condition| text(&condition["message"])).collect(),
    }
}

pub(super) fn run(run: &Value) -> RunSummary {
    let state = run["conclusion"].as_str().or(run["phase"].as_str()).unwrap_or("unknown");
    RunSummary {
        repository: text(&run["repository"]["fullName"]),
        number: run["number"].as_u64().unwrap_or_default(),
        state: state.to_owned(),
        title: text(&run["title"]),
    }
}

pub(super) fn preview(preview: &Value) -> Result<Preview, ApiTrouble> {
    let unreadable = || ApiTrouble::Away("the API server's preview cannot be read".to_owned());
    Ok(Preview {
        project: text(&preview["project"]),
        revision: id(preview, "revision").ok_or_else(unreadable)?,
        manifests: id(preview, "manifestDigest").ok_or_else(unreadable)?,
        card: PreviewCard {
            namespace: text(&preview["destinationNamespace"]),
            objects: list(preview, "objects").map(object).collect(),
            pruned: preview["counts"]["prune"]
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or_default(),
            images: list(preview, "images").map(image).collect(),
            commits: list(preview, "commits").map(commit).collect(),
            warnings: list(preview, "warnings").map(text).collect(),
        },
    })
}

fn object(object: &Value) -> String {
    let mark = match object["action"].as_str() {
        Some("create") => "+",
        Some("prune") => "−",
        Some("keep") => "=",
        _ if object["error"].is_string() => "!",
        _ => "~",
    };
    let namespace = object["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let place = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let why = object["error"].as_str().or(object["summary"].as_str()).filter(|why| !why.is_empty());
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    format!("{mark} {} {place}{}{why}", text(&object["kind"]), text(&object["name"]))
}

fn image(image: &Value) -> String {
    let tag = |value: &Value| {
        let reference = value.as_str()?;
        let name = reference.rsplit('/').next().unwrap_or(reference);
        Some(name.split_once([':', '@']).map_or(name, |(_, tag)| tag).to_owned())
    };
    let name = image["name"].as_str().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or(name);
    match (tag(&image["from"]), tag(&image["to"])) {
        (Some(from), Some(to)) => format!("{name}: {from} → {to}"),
        (None, Some(to)) => format!("{name}: new, {to}"),
        (Some(from), None) => format!("{name}: {from} goes"),
        (None, None) => name.to_owned(),
    }
}

fn commit(commit: &Value) -> String {
    let sha: Option<Sha> = id(commit, "sha");
    let sha = sha.as_ref().map(Sha::short).unwrap_or_default();
    let source = &commit["source"];
    match source["title"].as_str().filter(|title| !title.is_empty()) {
        Some(title) => format!("• {sha} {title} ({})", text(&source["author"])),
        None => format!("• {sha} {}", text(&commit["title"])),
    }
}

/// The lines of the diffs of all objects that differ.
pub(super) fn diff(answer: &Value) -> String {
    let mut lines = Vec::new();
    for object in list(answer, "items") {
        let Some(diff) = object["diff"].as_str().filter(|diff| !diff.is_empty()) else { continue };
        lines.push(format!("{} {}", text(&object["kind"]), text(&object["name"])));
        lines.extend(diff.lines().map(str::to_owned));
    }
    let surplus = lines.len().saturating_sub(DIFF_LINES);
    lines.truncate(DIFF_LINES);
    if surplus > 0 {
        lines.push(format!("… {surplus} more lines"));
    }
    lines.join("\n")
}
