//! `trace`: the chain from commit to pod with its time ledger, who granted what, and the command that replays it.

use serde_json::{Value, json};

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Kind, Outcome};
use crate::output::{Output, Table, Tone};
use crate::value::{Fields, duration, segment};

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

/// The images of a pod (`name` or `namespace/name`) in the trees of the applications.
async fn images_of_pod(client: &Client, what: &str) -> Outcome<Vec<String>> {
    let what = what.strip_prefix("pod/").unwrap_or(what);
    let (namespace, name) =
        what.split_once('/').map_or((None, what), |(namespace, name)| (Some(namespace), name));
    let apps = client.get("/api/v1/apps").await?;
    for app in apps.list("items") {
        let path = format!("/api/v1/applications/{}/resource-tree", segment(&app.text("name")));
        // One application that cannot be read must not hide the pod of another.
        let Ok(tree) = client.get(&path).await else { continue };
        let pod = tree.list("nodes").iter().find(|node| {
            node.text("kind") == "Pod"
                && node.text("name") == name
                && namespace.is_none_or(|namespace| node.text("namespace") == namespace)
        });
        if let Some(pod) = pod {
            return Ok(pod.list("images").iter().map(|image| image.text("")).collect());
        }
    }
    Ok(Vec::new())
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
    fn images_are_cut_to_what_tells_them_apart() {
        assert_eq!(tag_or_digest("127.0.0.1:5000/dev/web:cc846571"), "cc846571");
        assert_eq!(tag_or_digest("127.0.0.1:5000/dev/web"), "127.0.0.1:5000/dev/web");
        assert_eq!(tag_or_digest("h/web@sha256:0123"), "sha256:0123");
        assert_eq!(tag_or_digest("sha256:0123"), "sha256:0123");
        assert_eq!(tag_or_digest("cc846571"), "cc846571");
    }
}
