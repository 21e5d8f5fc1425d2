//! `app ls`, `app get`, `app diff`, `app wait`.

use serde_json::{Value, json};

use crate::client::Client;
use crate::context::{Context, until};
use crate::failure::{Failure, Kind, Outcome};
use crate::output::{Output, Table, Tone};
use crate::value::{Fields, segment};

/// The API's path of an application.
pub(crate) fn path(name: &str) -> String {
    format!("/api/v1/apps/{}", segment(name))
}

/// An application; for a name that does not exist the nearest one is suggested.
pub(crate) async fn fetch(client: &Client, name: &str) -> Outcome<Value> {
    match client.get(&path(name)).await {
        Err(failure) if failure.kind == Kind::Failed => Err(suggest(client, name, failure).await),
        answer => answer,
    }
}

pub(crate) async fn ls(context: &Context) -> Outcome {
    let answer = context.client()?.get("/api/v1/apps").await?;
    if context.output.data(&answer)? {
        return Ok(());
    }
    if answer.list("items").is_empty() {
        context.output.note("There is no application. Create one: `sluice app create -f app.yaml`");
        return Ok(());
    }
    let mut table = Table::new(&[
        "NAME",
        "SYNC",
        "HEALTH",
        "REVISION",
        "SYNCED",
        "GATED",
        "+PROJECT",
        "+REPOSITORY",
        "+PATH",
        "+IMAGES",
        "+COMPARED",
    ]);
    for app in answer.list("items") {
        table.row([
            app.text("name"),
            app.text("sync"),
            app.text("health"),
            app.short("revision"),
            app.short("syncedRevision"),
            if app.is("gated") { "gated".to_owned() } else { "auto".to_owned() },
            app.text("project"),
            app.text("repository"),
            app.text("path"),
            app.text("images"),
            app.age("comparedAt"),
        ]);
    }
    table.print(context.output)
}

pub(crate) async fn get(context: &Context, name: &str, refresh: bool) -> Outcome {
    let client = context.client()?;
    let mut app = fetch(&client, name).await?;
    if refresh {
        let before = app.text("comparedAt");
        client.post(&format!("{}/refresh", path(name)), &json!({"hard": false})).await?;
        app = until("the comparison", 60, async || {
            let app = client.get(&path(name)).await?;
            Ok((app.text("comparedAt") != before).then_some(app))
        })
        .await?;
    }
    if context.output.data(&app)? {
        return Ok(());
    }
    show(context.output, &app)
}

fn show(output: Output, app: &Value) -> Outcome {
    let gate =
        if app.is("gated") { format!("gated: {}", app.text("gateReason")) } else { "automated".to_owned() };
    let health = [output.status(&app.text("health")), app.text("healthMessage")].join("  ");
    let lines = [
        ("Name", output.paint(Tone::Strong, &app.text("name"))),
        ("Project", app.text("project")),
        (
            "Source",
            format!("{}  {}  {}", app.text("repository"), app.text("path"), app.text("targetRevision")),
        ),
        ("Gate", gate),
        ("Sync", output.status(&app.text("sync"))),
        ("Health", health.trim_end().to_owned()),
        ("Compared", format!("{}  {} ago", app.short("revision"), app.age("comparedAt"))),
        ("Synced to", app.short("syncedRevision")),
        ("Desired", app.text("images")),
        ("Running", app.text("liveImages")),
    ];
    for (what, text) in lines {
        output.line(format!("{what:<10} {text}").trim_end())?;
    }
    for condition in app.list("conditions") {
        let kind = output.paint(Tone::Bad, &condition.text("type"));
        output.line(format!("{kind}  {}", condition.text("message")))?;
    }
    let operation = app.at("operation");
    if !operation.is_null() {
        let outcome =
            if operation.at("outcome").is_null() { "Running".to_owned() } else { operation.text("outcome") };
        let text = format!(
            "{}  {}  {}",
            output.status(&outcome),
            operation.short("revision"),
            operation.text("message")
        );
        output.line(format!("{:<10} {}", "Last sync", text.trim_end()))?;
    }
    let mut history = Table::new(&["ID", "REVISION", "BY", "AGE"]);
    for entry in app.list("history") {
        history.row([entry.text("id"), entry.short("revision"), entry.text("by"), entry.age("deployedAt")]);
    }
    if !app.list("history").is_empty() {
        output.line("")?;
        history.print(output)?;
    }
    if app.text("sync") == "OutOfSync" {
        output.note(format!(
            "\nWhat a sync would change: `sluice app diff {0}`; do it: `sluice app sync {0}`",
            app.text("name")
        ));
    }
    Ok(())
}

pub(crate) async fn diff(context: &Context, name: &str) -> Outcome {
    let client = context.client()?;
    let answer = match client.get(&format!("{}/diff", path(name))).await {
        Err(failure) if failure.kind == Kind::Failed => return Err(suggest(&client, name, failure).await),
        answer => answer?,
    };
    let items = answer.list("items");
    if !context.output.data(&answer)? {
        for item in items {
            show_diff(context.output, item)?;
        }
    }
    if items.is_empty() { Ok(()) } else { Err(Failure::said()) }
}

fn show_diff(output: Output, item: &Value) -> Outcome {
    let heading = format!("{} {}", item.text("action"), object(item));
    output.line(output.paint(Tone::Strong, &heading))?;
    for line in item.text("diff").lines() {
        let tone = match line.chars().next() {
            Some('+') => Tone::Good,
            Some('-') => Tone::Bad,
            Some('@') => Tone::Faint,
            _ => Tone::Plain,
        };
        output.line(output.paint(tone, line))?;
    }
    Ok(())
}

/// `Deployment web-dev/web`.
pub(crate) fn object(item: &Value) -> String {
    let namespace = item.text("namespace");
    let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    format!("{} {place}{}", item.text("kind"), item.text("name"))
}

pub(crate) async fn wait(context: &Context, name: &str, sync: bool, health: bool, timeout: u64) -> Outcome {
    let client = context.client()?;
    fetch(&client, name).await?;
    let mut said = String::new();
    let app = until(&format!("{name} to become synced and healthy"), timeout, async || {
        let app = client.get(&path(name)).await?;
        let now = format!("{}, {}", app.text("sync"), app.text("health"));
        if now != said && context.output.for_people() {
            context.output.note(format!("{name}: {now}"));
            said = now;
        }
        Ok(is_there(&app, sync, health).then_some(app))
    })
    .await?;
    context.output.data(&app).map(drop)
}

/// Without a choice both must be good. An operation under way is not the end.
fn is_there(app: &Value, sync: bool, health: bool) -> bool {
    let both = sync == health;
    let busy = !app.at("operation").is_null() && app.at("operation.finishedAt").is_null();
    let synced = app.text("sync") == "Synced" && !busy;
    let healthy = app.text("health") == "Healthy";
    (synced || !(both || sync)) && (healthy || !(both || health))
}

async fn suggest(client: &Client, name: &str, failure: Failure) -> Failure {
    let Ok(all) = client.get("/api/v1/apps").await else { return failure };
    let names = all.list("items").iter().map(|app| app.text("name"));
    let nearest = names.map(|known| (strsim::damerau_levenshtein(name, &known), known)).min();
    match nearest {
        Some((0, _)) | None => failure,
        Some((distance, known)) if distance <= 3 => {
            Failure { next: format!("did you mean `{known}`? `sluice app ls` lists them all"), ..failure }
        }
        Some(_) => Failure { next: "`sluice app ls` lists them all".to_owned(), ..failure },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_when_what_was_asked_for_is_there() {
        let app = |sync: &str, health: &str| json!({"sync": sync, "health": health, "operation": null});
        assert!(is_there(&app("Synced", "Healthy"), false, false));
        assert!(!is_there(&app("Synced", "Progressing"), false, false));
        assert!(is_there(&app("Synced", "Progressing"), true, false));
        assert!(is_there(&app("OutOfSync", "Healthy"), false, true));
        let busy = json!({"sync": "Synced", "health": "Healthy", "operation": {"finishedAt": null}});
        assert!(!is_there(&busy, false, false));
    }

    #[test]
    fn objects_are_named_with_their_namespace() {
        assert_eq!(
            object(&json!({"kind": "Deployment", "namespace": "dev", "name": "web"})),
            "Deployment dev/web"
        );
        assert_eq!(object(&json!({"kind": "Namespace", "namespace": "", "name": "dev"})), "Namespace dev");
    }
}
