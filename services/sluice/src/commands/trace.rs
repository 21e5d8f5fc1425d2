//! `trace`: the chain from commit to pod with its time ledger, who granted what, and the command that replays it.

use serde_json::{Value, json};

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Kind, Outcome};
use crate::output::{Output, Table, Tone};
use crate::value::{Fields, duration, segment};

/// What pods are named after.
const WORKLOADS: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"];

pub(crate) async fn trace(context: &Context, what: &str) -> Outcome {
    let client = context.client()?;
    let found = find(&client, what).await?;
    let Some(newest) = found.first() else { return Err(nothing(what)) };
    let delivery =
        client.get(&format!("/api/v1/deliveries/{}", segment(&newest.text("correlation")))).await?;
    if context.output.data(&delivery)? {
        return Ok(());
    }
    show(context.output, &delivery)?;
    if found.len() > 1 {
        let others: Vec<String> = found[1..].iter().map(|other| other.text("correlation")).collect();
        context.output.note(format!("\nOlder chains about it: {}", others.join(", ")));
    }
    Ok(())
}

/// The chains about a commit, image, tag, digest, correlation or pod, newest first.
pub(crate) async fn find(client: &Client, what: &str) -> Outcome<Vec<Value>> {
    let what = what.trim();
    // The API knows tags and digests; the rest of an image's name only says where it is.
    for wanted in [what, tag_or_digest(what)] {
        let found = about(client, wanted).await?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    for image in images_of_pod(client, what).await? {
        let found = about(client, tag_or_digest(&image)).await?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

pub(crate) fn nothing(what: &str) -> Failure {
    Failure::failed(
        format_args!("no chain is known about `{what}`"),
        "give a commit (7 digits or more), an image's tag or digest, or a pod of an application; `sluice run ls` lists commits",
    )
}

async fn about(client: &Client, what: &str) -> Outcome<Vec<Value>> {
    match client.get(&format!("/api/v1/trace/{}", segment(what))).await {
        Ok(answer) => Ok(answer.list("items").to_vec()),
        // It names nothing that the API can look for.
        Err(failure)
            if matches!(failure.kind, Kind::Failed | Kind::Usage) && !failure.message.contains("reached") =>
        {
            Ok(Vec::new())
        }
        Err(failure) => Err(failure),
    }
}

/// The images of a pod (`name` or `namespace/name`), from the trees of the applications: the pod itself where a tree has
/// it, else the workload that it is named after.
async fn images_of_pod(client: &Client, what: &str) -> Outcome<Vec<String>> {
    let what = what.strip_prefix("pod/").unwrap_or(what);
    let (namespace, name) =
        what.split_once('/').map_or((None, what), |(namespace, name)| (Some(namespace), name));
    let apps = client.get("/api/v1/apps").await?;
    let mut found: Vec<Vec<String>> = Vec::new();
    for app in apps.list("items") {
        let path = format!("/api/v1/applications/{}/resource-tree", segment(&app.text("name")));
        // One application that cannot be read must not hide the pod of another.
        let Ok(tree) = client.get(&path).await else { continue };
        found.extend(images_in(&tree, namespace, name));
    }
    found.sort();
    found.dedup();
    match found.len() {
        0 | 1 => Ok(found.pop().unwrap_or_default()),
        _ => Err(Failure::usage(
            format_args!("several applications have a pod called {name}"),
            format!("say where it runs: `sluice trace NAMESPACE/{name}`"),
        )),
    }
}

fn images_in(tree: &Value, namespace: Option<&str>, pod: &str) -> Option<Vec<String>> {
    let here = |node: &&Value| namespace.is_none_or(|namespace| node.text("namespace") == namespace);
    let nodes = || tree.list("nodes").iter().filter(here);
    let exact = nodes().find(|node| node.text("kind") == "Pod" && node.text("name") == pod);
    let named_after = || {
        let workloads = nodes().filter(|node| WORKLOADS.contains(&node.text("kind").as_str()));
        let named = workloads.filter(|node| pod.starts_with(&format!("{}-", node.text("name"))));
        named.max_by_key(|node| node.text("name").len())
    };
    let images: Vec<String> =
        exact.or_else(named_after)?.list("images").iter().map(|image| image.text("")).collect();
    (!images.is_empty()).then_some(images)
}

/// `host/path:tag` → `tag`, `host/path@sha256:…` → `sha256:…`.
fn tag_or_digest(image: &str) -> &str {
    if let Some((_, digest)) = image.split_once('@') {
        return digest;
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') && name != "sha256" => tag,
        _ => image,
    }
}

fn show(output: Output, delivery: &Value) -> Outcome {
    let run = delivery.at("run");
    let run = if run.is_number() { format!("#{run}") } else { run.text("number") };
    output.line(format!(
        "{}  {}  {}  {}",
        output.paint(Tone::Strong, &delivery.short("sha")),
        delivery.text("title"),
        delivery.text("author"),
        output.paint(Tone::Faint, &delivery.text("correlation")),
    ))?;
    output.line(
        format!(
            "{}  run {run}  {}  {}",
            delivery.text("repository"),
            delivery.text("status"),
            delivery.text("message")
        )
        .trim_end(),
    )?;
    if !delivery.text("image").is_empty() {
        output.line(format!("{}  {}", delivery.text("image"), delivery.text("digest")))?;
    }
    output.line("")?;
    ledger(output, delivery)?;
    for grant in delivery.list("grants") {
        let used = if grant.at("consumedAt").is_null() { "not used" } else { "used" };
        output.line(format!(
            "granted by {} ({}) for {} at {}, {used}: revision {}",
            grant.text("person"),
            grant.text("surface"),
            grant.text("app"),
            grant.text("issuedAt"),
            grant.short("revision"),
        ))?;
    }
    output.line(format!("\nReplay it:\n  {}", delivery.text("replay")))
}

fn ledger(output: Output, delivery: &Value) -> Outcome {
    let mut table = Table::new(&["STAGE", "WHAT", "APP", "TOOK", "+STARTED", "+SERVICE", "+EVIDENCE"]);
    for part in delivery.list("segments") {
        let waits = if part.is("waits") { " (waits)" } else { "" };
        table.row([
            part.text("kind"),
            format!("{}{waits}", part.text("what")),
            part.text("app"),
            duration(part.number("ms")),
            part.text("startedAt"),
            part.text("service"),
            part.text("evidence"),
        ]);
    }
    table.print(output)?;
    let sums =
        [("push → dev", "pushToDevMs"), ("waited at the gate", "gateMs"), ("grant → prod", "grantToProdMs")];
    let sums: Vec<String> = sums
        .iter()
        .filter_map(|(what, field)| Some(format!("{what} {}", duration(delivery.at(field).as_u64()?))))
        .collect();
    let totals = delivery.at("totals").as_object().cloned().unwrap_or_default();
    let totals: Vec<String> =
        totals.iter().filter_map(|(kind, ms)| Some(format!("{kind} {}", duration(ms.as_u64()?)))).collect();
    output.line(
        format!("\n{}\n{}", output.paint(Tone::Strong, &sums.join(" · ")), totals.join(", ")).trim_end(),
    )
}

/// What `replay` needs of a chain.
pub(crate) fn span(delivery: &Value) -> (u64, u64) {
    let sequence = |fact: Option<&Value>| fact.map_or(0, |fact| fact.number("sequence"));
    (sequence(delivery.list("facts").first()), sequence(delivery.list("facts").last()))
}

/// An answer's facts as `replay -o json` has them without payloads.
pub(crate) fn heading(delivery: &Value) -> Value {
    json!({"correlation": delivery.text("correlation"), "sha": delivery.text("sha"), "title": delivery.text("title")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_found_by_itself_or_by_its_workload() {
        let node = |kind, namespace, name, image| json!({"kind": kind, "namespace": namespace, "name": name, "images": [image]});
        let tree = json!({"nodes": [node("Deployment", "prod", "web", "r/web:1"), node("Deployment", "prod", "web-admin", "r/admin:1"),
            node("Pod", "prod", "web-a1-b2", "r/web:2"), {"kind": "Service", "name": "web"}]});
        let images = |namespace, pod| images_in(&tree, namespace, pod).map(|images| images.join(","));
        assert_eq!(images(None, "web-a1-b2").as_deref(), Some("r/web:2"));
        assert_eq!(images(Some("prod"), "web-a1-x9").as_deref(), Some("r/web:1"));
        assert_eq!(images(None, "web-admin-a1-x9").as_deref(), Some("r/admin:1"));
        assert_eq!((images(Some("dev"), "web-a1-b2"), images(None, "till-a1")), (None, None));
    }

    #[test]
    fn images_are_cut_to_what_tells_them_apart() {
        assert_eq!(tag_or_digest("127.0.0.1:5000/dev/web:cc846571"), "cc846571");
        assert_eq!(tag_or_digest("127.0.0.1:5000/dev/web"), "127.0.0.1:5000/dev/web");
        assert_eq!(tag_or_digest("h/web@sha256:0123"), "sha256:0123");
        assert_eq!(tag_or_digest("sha256:0123"), "sha256:0123");
        assert_eq!(tag_or_digest("cc846571"), "cc846571");
    }
}
