//! Step 5: where the time went, and the command that replays it.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Chain, Report, text};
use crate::cli::Cli;
use crate::shell;
use crate::world::World;

/// What a whole chain has in its ledger.
const KINDS: [&str; 9] = ["queue", "fetch", "test", "build", "push", "bump", "render", "apply", "rollout"];

/// Shows the ledger of a chain that ended on prod, and replays it with the real `nats` command.
pub async fn ledger(world: &World, cli: &Cli, chain: &Chain, report: &Report) -> anyhow::Result<()> {
    for line in cli.ok(&["trace", &chain.commit]).await?.lines() {
        report.note(line);
    }
    let trace: Value = serde_json::from_str(&cli.ok(&["trace", &chain.commit, "-o", "json"]).await?)?;
    let segments = trace["segments"].as_array().context("the ledger's segments")?;
    let missing: Vec<_> = KINDS.iter().filter(|kind| !segments.iter().any(|s| s["kind"] == **kind)).collect();
    report.expect(&format!("the ledger accounts for {}", KINDS.join(", ")), missing.is_empty())?;
    report.expect("it says who granted", trace["grants"].as_array().is_some_and(|g| !g.is_empty()))?;
    let command = text(&trace["replay"]);
    report.note(&format!("NATS_URL={} {command}", world.nats.url));
    let replayed = replay(world, &command).await?;
    let first = |entity: &str| replayed.iter().position(|s| s.starts_with(&format!("evt.{entity}.")));
    // The deploy repository's own push may be told of before the commit that made it, so these are not in an order.
    let parts = ["push", "run", "job", "image", "bump", "render", "sync", "grant"];
    ensure!(parts.iter().all(|e| first(e).is_some()), "the replay lacks a part of the chain: {replayed:?}");
    let places: Vec<_> = ["push", "run", "job", "image", "sync"].iter().map(|e| first(e)).collect();
    report.expect("the replay tells the chain in order", places.is_sorted())
}

/// Subjects that the command prints, in order.
async fn replay(world: &World, command: &str) -> anyhow::Result<Vec<String>> {
    let mut run = tokio::process::Command::new("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    run.args(["-c", command])
        .env("NATS_URL", &world.nats.url)
        .env("PATH", format!("{}:{path}", world.platform.bin.display()));
    let output = shell::run(run, "").await?.ok(command)?;
    let subjects = output.split(|c: char| c.is_whitespace() || c == '"').filter(|w| w.starts_with("evt."));
    Ok(subjects.map(|w| w.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()).collect())
}
