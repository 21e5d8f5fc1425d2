//! `app sync`: look, confirm, grant, follow.
//!
//! Invariant: what is granted is exactly what was shown, by revision and digest of the manifests; scripts must name both, and
//! the server refuses whatever is not what it would show now.

use serde_json::{Value, json};

use super::app::{fetch, object, path};
use crate::arguments::SyncArgs;
use crate::client::Client;
use crate::context::{Context, until};
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Table, Tone};
use crate::terminal;
use crate::value::Fields;

pub(crate) async fn sync(context: &Context, arguments: SyncArgs) -> Outcome {
    let client = context.client()?;
    let output = context.output;
    // A name that does not exist gets a suggestion.
    fetch(&client, &arguments.name).await?;
    let preview = client.get(&format!("{}/preview", path(&arguments.name))).await?;
    let agreed = agreed(&arguments, &preview)?;
    let (revision, manifests) = wanted(&arguments, &preview);
    let stale = revision != preview.text("revision") || manifests != preview.text("manifestDigest");
    let in_words = output.for_people();
    if in_words && !stale {
        show(output, &preview)?;
    }
    if arguments.preview {
        return output.data(&preview).map(drop);
    }
    if preview.is("nothingToDo") && !stale {
        if !output.data(&preview)? {
            output.line(format!(
                "{} is in sync with {}: nothing to do.",
                arguments.name,
                preview.short("revision")
            ))?;
        }
        return Ok(());
    }
    if !agreed {
        confirm(context, &arguments, &preview).await?;
    }
    let body = json!({
        "revision": revision, "manifestDigest": manifests,
        "prune": arguments.prune || preview.is("prune"),
    });
    let granted = client.post_once(&format!("{}/grants", path(&arguments.name)), &body).await?;
    if in_words {
        let grant = granted.text("grant");
        let by = if grant.is_empty() {
            String::new()
        } else {
            format!(", granted to {} as {grant}", granted.text("person"))
        };
        output.line(format!(
            "Sync {} of {} to {}{by}.",
            granted.text("sync"),
            arguments.name,
            granted.short("revision")
        ))?;
    }
    if arguments.no_wait {
        return output.data(&granted).map(drop);
    }
    follow(context, &client, &arguments, &granted).await
}

/// What is asked for: what the person named, else what stands there now.
fn wanted(arguments: &SyncArgs, preview: &Value) -> (String, String) {
    let or = |named: &Option<String>, key: &str| named.clone().unwrap_or_else(|| preview.text(key));
    (or(&arguments.revision, "revision"), or(&arguments.manifests, "manifestDigest"))
}

/// Whether the person agreed beforehand, and to what stands there now.
fn agreed(arguments: &SyncArgs, preview: &Value) -> Outcome<bool> {
    let (revision, digest) = (preview.text("revision"), preview.text("manifestDigest"));
    let named = arguments.revision.is_some() && arguments.manifests.is_some();
    // At a gate the server compares, so that an attempt at something else is on record.
    if arguments.yes && named && preview.is("gated") {
        return Ok(true);
    }
    for (what, flag, given, found) in [
        ("revision", "--revision", &arguments.revision, &revision),
        ("manifests", "--manifests", &arguments.manifests, &digest),
    ] {
        if given.as_ref().is_some_and(|given| given != found) {
            return Err(Failure::failed(
                format_args!(
                    "{} would now be synced to {what} {found}, not to what {flag} names",
                    arguments.name
                ),
                format!("look again: `sluice app sync {} --preview`", arguments.name),
            ));
        }
    }
    if !arguments.yes {
        return Ok(false);
    }
    if preview.is("gated") && !preview.is("nothingToDo") {
        return Err(Failure::usage(
            format_args!(
                "{} is gated ({}): --yes alone does not say to what",
                arguments.name,
                preview.text("gateReason")
            ),
            format!("`sluice app sync {} --yes --revision {revision} --manifests {digest}`", arguments.name),
        ));
    }
    Ok(true)
}

fn show(output: Output, preview: &Value) -> Outcome {
    let from = preview.short("fromRevision");
    let from = if from.is_empty() { "nothing".to_owned() } else { from };
    output.line(format!(
        "{}  {from} → {}  manifests {}",
        output.paint(Tone::Strong, &preview.text("app")),
        preview.short("revision"),
        preview.text("manifestDigest"),
    ))?;
    section(output, "Commits", preview.list("commits"), |commit| {
        let source = commit.at("source");
        let came_from = if source.is_null() {
            String::new()
        } else {
            format!(
                "\n            ← {}@{}  {}  {}",
                source.text("repository"),
                source.short("sha"),
                source.text("title"),
                source.text("author")
            )
        };
        format!("{}  {}  {}{came_from}", commit.short("sha"), commit.text("title"), commit.text("author"))
    })?;
    section(output, "Images", preview.list("images"), |image| {
        let or_nothing = |text: String| if text.is_empty() { "nothing".to_owned() } else { text };
        let (from, to) = (or_nothing(image.text("from")), or_nothing(image.text("to")));
        format!("{}  {from} → {to}", image.text("name"))
    })?;
    let changed: Vec<Value> = preview
        .list("objects")
        .iter()
        .filter(|object| object.text("action") != "none" || !object.text("error").is_empty())
        .cloned()
        .collect();
    section(output, "Objects", &changed, |item| {
        let tone = if item.text("action") == "prune" { Tone::Bad } else { Tone::Plain };
        let action = output.paint(tone, &format!("{:<7}", item.text("action")));
        format!("{action} {}  {}{}", object(item), item.text("summary"), item.text("error"))
    })?;
    section(output, "Warnings", preview.list("warnings"), |warning| {
        output.paint(Tone::Waiting, &warning.text(""))
    })
}

fn section(output: Output, title: &str, items: &[Value], line: impl Fn(&Value) -> String) -> Outcome {
    if items.is_empty() {
        return Ok(());
    }
    output.line(format!("\n{title}"))?;
    for item in items {
        output.line(format!("  {}", line(item)).trim_end())?;
    }
    Ok(())
}

/// A gated application is confirmed by its name, any other one by a yes.
async fn confirm(context: &Context, arguments: &SyncArgs, preview: &Value) -> Outcome {
    let name = &arguments.name;
    let gated = preview.is("gated");
    let question = if gated {
        format!("\n{name} is gated: {}.\nType its name to grant exactly this: ", preview.text("gateReason"))
    } else {
        format!("\nSync {name}? [y/N] ")
    };
    let Some(answer) = terminal::ask(question, context.may_ask).await? else {
        let (revision, digest) = (preview.text("revision"), preview.text("manifestDigest"));
        let flags =
            if gated { format!(" --revision {revision} --manifests {digest}") } else { String::new() };
        return Err(Failure::usage(
            "a confirmation is needed, and there is nobody to ask",
            format!("`sluice app sync {name} --yes{flags}`"),
        ));
    };
    let confirmed =
        if gated { answer == *name } else { matches!(answer.to_lowercase().as_str(), "y" | "yes") };
    if confirmed {
        return Ok(());
    }
    Err(Failure::failed(
        "not confirmed; nothing was changed",
        format!("when you are sure: `sluice app sync {name}`"),
    ))
}

async fn follow(context: &Context, client: &Client, arguments: &SyncArgs, granted: &Value) -> Outcome {
    let output = context.output;
    let at = format!("{}/syncs/{}", path(&arguments.name), crate::value::segment(&granted.text("sync")));
    let mut said = String::new();
    let ended = until(&format!("the sync of {}", arguments.name), arguments.timeout, async || {
        let sync = client.get(&at).await?;
        let phase = sync.text("phase");
        if phase != said && output.for_people() {
            output.note(format!("{} {}", output.status(&phase), sync.text("message")).trim_end());
            said.clone_from(&phase);
        }
        Ok(matches!(phase.as_str(), "Succeeded" | "Failed" | "Error" | "Refused").then_some(sync))
    })
    .await?;
    if !output.data(&ended)? {
        let mut table = Table::new(&["OBJECT", "STATUS", "MESSAGE"]);
        for result in ended.list("results") {
            table.row([object(result), result.text("status"), result.text("message")]);
        }
        if !ended.list("results").is_empty() {
            table.print(output)?;
        }
    }
    let message = format!("the sync of {}: {}", arguments.name, ended.text("message"));
    match ended.text("phase").as_str() {
        "Succeeded" => {
            if output.for_people() {
                output.line(format!(
                    "{} is at {}. Its pods: `sluice app wait {0}`",
                    arguments.name,
                    ended.short("revision")
                ))?;
            }
            Ok(())
        }
        "Refused" => Err(Failure::denied(
            message,
            format!("look and confirm again: `sluice app sync {}`", arguments.name),
        )),
        _ => Err(Failure::failed(
            message,
            format!("see what stands where: `sluice app get {}`", arguments.name),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(yes: bool, revision: Option<&str>, manifests: Option<&str>) -> SyncArgs {
        SyncArgs {
            name: "shop-prod".to_owned(),
            yes,
            revision: revision.map(str::to_owned),
            manifests: manifests.map(str::to_owned),
            prune: false,
            preview: false,
            no_wait: false,
            timeout: 1,
        }
    }

    #[test]
    fn scripts_must_say_what_they_agree_to() {
        let gated =
            json!({"gated": true, "gateReason": "manual", "revision": "aaa", "manifestDigest": "sha256:b"});
        assert_eq!(agreed(&arguments(false, None, None), &gated), Ok(false));
        assert_eq!(agreed(&arguments(true, Some("aaa"), Some("sha256:b")), &gated), Ok(true));
        let failure = agreed(&arguments(true, None, None), &gated).expect_err("too little said");
        assert_eq!(failure.kind.exit_code(), 2);
        assert!(failure.next.contains("--revision aaa --manifests sha256:b"), "{}", failure.next);
        let old = arguments(true, Some("old"), Some("sha256:b"));
        assert_eq!(agreed(&old, &gated), Ok(true));
        assert_eq!(wanted(&old, &gated), ("old".to_owned(), "sha256:b".to_owned()), "the server refuses it");
        let open = json!({"gated": false, "revision": "aaa", "manifestDigest": "sha256:b"});
        assert_eq!(agreed(&old, &open).expect_err("moved").kind.exit_code(), 1);
        assert_eq!(agreed(&arguments(true, None, None), &open), Ok(true));
    }
}
