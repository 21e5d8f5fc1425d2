//! `make bench`: how far Sluice is from what the machine can do, each figure beside the limit measured in the same run.
//!
//! Purpose: say where time goes, as ratios, so that a busy or slow machine changes both sides. Invariants: the load is
//! bounded; the limits are taken from the very parts that Sluice uses (its broker, its Docker, its Git server, its
//! cluster), beside the figure that they belong to; times of different processes are compared by the machine's one clock.
//! Writes `target/bench/report.json` and a table. Ends with 1 only when it could not measure, or with `--strict` when a
//! target was missed.

mod by_hand;
mod chain;
mod clock;
mod deploy;
mod figure;
mod first_step;
mod front_door;
mod live;
mod memory;
mod report;
mod sink;

use std::process::ExitCode;

use clap::Parser;

use crate::report::Report;

/// Ratios against the limit measured in the same run.
#[derive(Parser)]
struct Arguments {
    /// Times each thing is done; the median counts
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=50))]
    samples: u16,
    /// Whole chains from commit to pod; each takes about half a minute together with its limit
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=10))]
    chains: u16,
    /// Only these: webhook, step, deploy, chain, memory
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// End with 1 when a target is missed
    #[arg(long)]
    strict: bool,
}

impl Arguments {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut report = Report::begin();
    let outcome = measure(&arguments, &mut report).await;
    let written = report.write();
    report.print();
    let failed = [outcome, written].into_iter().filter_map(Result::err).inspect(|error| {
        report::say(&format!("sluice-bench: {error:#}"));
    });
    if failed.count() > 0 || (arguments.strict && !report.held()) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

async fn measure(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    if arguments.wants("webhook") {
        front_door::measure(report).await?;
    }
    if !["step", "deploy", "chain", "memory"].iter().any(|part| arguments.wants(part)) {
        return Ok(());
    }
    let mut stage = chain::Stage::new().await?;
    let outcome = on(&mut stage, arguments, report).await;
    // In order, so that nothing stays behind in the Docker engine.
    for process in &mut stage.world.processes {
        process.stop().await?;
    }
    outcome
}

async fn on(stage: &mut chain::Stage, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    stage.start(report).await?;
    if arguments.wants("memory") {
        memory::idle(&mut stage.world, report).await?;
    }
    if arguments.wants("step") {
        first_step::measure(stage, arguments.samples, report).await?;
    }
    if arguments.wants("deploy") {
        deploy::measure(stage, arguments.samples, report).await?;
    }
    if arguments.wants("chain") {
        chain::measure(stage, arguments.chains, report).await?;
    }
    if arguments.wants("memory") {
        memory::after(&mut stage.world, report).await?;
    }
    Ok(())
}
