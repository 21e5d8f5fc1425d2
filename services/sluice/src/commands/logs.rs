//! `run logs`: what there is, and with `--follow` what comes.

use futures::StreamExt;
use serde_json::{Value, json};

use super::run::{RunName, path, standing};
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::value::{Fields, segment};

/// Which lines.
pub(crate) struct Wanted {
    pub(crate) job: Option<String>,
    pub(crate) step: Option<u32>,
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    pub(crate) failed: bool,
}

pub(crate) async fn logs(context: &Context, run: Option<&str>, wanted: &Wanted) -> Outcome {
    let client = context.client()?;
    let run = RunName::parse(run)?.must_find(&client).await?;
    if wanted.failed {
        return failed_steps(context, &client, &run).await;
    }
    let query = query(&run, wanted)?;
    if wanted.follow {
        return follow(context, &client, &format!("{query}&follow=true"), wanted.timestamps).await;
    }
    let text = client.get_text(&query).await?;
    if !context.output.data(&json!({"log": text}))? {
        context.output.text(&text)?;
    }
    Ok(())
}

/// The last lines of a step, for `run watch`.
pub(crate) async fn tail(
    client: &Client,
    run: &Value,
    job: &str,
    step: u64,
    lines: usize,
) -> Outcome<Vec<String>> {
    let base = path(&run.text("repository.slug"), run.number("number"));
    let text = client.get_text(&format!("{base}/logs?job={}&step={step}", segment(job))).await?;
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect())
}

async fn follow(context: &Context, client: &Client, path: &str, timestamps: bool) -> Outcome {
    let mut events = client.events(path).await?;
    while let Some(sent) = events.next().await {
        let sent = sent?;
        let data: Value = serde_json::from_str(&sent.data).unwrap_or_default();
        if sent.event == "end" {
            break;
        }
        if sent.event != "line" || context.output.record(&data)? {
            continue;
        }
        let time = if timestamps { format!("{} ", data.text("at")) } else { String::new() };
        context.output.line(format!("{time}{}", data.text("text")))?;
    }
    Ok(())
}

async fn failed_steps(context: &Context, client: &Client, run: &Value) -> Outcome {
    let base = path(&run.text("repository.slug"), run.number("number"));
    for job in run.list("jobs").iter().filter(|job| standing(job) == "failure") {
        for step in job.list("steps").iter().filter(|step| standing(step) == "failure") {
            let heading = format!("{} / {}", job.text("name"), step.text("name"));
            context.output.line(context.output.paint(Tone::Strong, &heading))?;
            let query = format!("{base}/logs?job={}&step={}", segment(&job.text("id")), step.number("index"));
            context.output.text(&client.get_text(&query).await?)?;
        }
    }
    Ok(())
}

fn query(run: &Value, wanted: &Wanted) -> Outcome<String> {
    let mut query = format!("{}/logs?", path(&run.text("repository.slug"), run.number("number")));
    if let Some(named) = &wanted.job {
        let jobs = run.list("jobs");
        let job = jobs.iter().find(|job| ["id", "key", "name"].iter().any(|field| job.text(field) == *named));
        let Some(job) = job else {
            let names: Vec<String> = jobs.iter().map(|job| job.text("key")).collect();
            return Err(Failure::failed(
                format_args!("there is no job `{named}` in this run"),
                format!("its jobs: {}", names.join(", ")),
            ));
        };
        query.push_str(&format!("job={}", segment(&job.text("id"))));
    }
    if let Some(step) = wanted.step {
        query.push_str(&format!("&step={step}"));
    }
    if wanted.timestamps {
        query.push_str("&timestamps=true");
    }
    Ok(query)
}
