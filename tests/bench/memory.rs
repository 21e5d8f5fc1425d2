//! Resident memory of `sluice up`, without NATS, which runs beside it.

use std::time::Duration;

use anyhow::Context;
use sluice_e2e::World;

use crate::figure::{Figure, Target};
use crate::report::Report;

const REST: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_secs(120);

/// After the start, at rest.
pub(crate) async fn idle(world: &mut World, report: &mut Report) -> anyhow::Result<()> {
    let value = at_rest(world).await?;
    let figure = Figure::new("memory of `sluice up`, idle", [value].into_iter().collect());
    report.add(figure.unit("MB").target(Target::AtMost(150.0)));
    Ok(())
}

/// After everything else, at rest again. No target: it shows what stays.
pub(crate) async fn after(world: &mut World, report: &mut Report) -> anyhow::Result<()> {
    let value = at_rest(world).await?;
    let figure = Figure::new("memory of `sluice up`, after the benches", [value].into_iter().collect());
    report.add(figure.unit("MB"));
    Ok(())
}

async fn at_rest(world: &mut World) -> anyhow::Result<f64> {
    world.witness()?.settle(REST, WITHIN).await?;
    let process = world.process("sluice")?.id().context("sluice does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS")?;
    Ok(kib * 1024.0 / 1e6)
}
