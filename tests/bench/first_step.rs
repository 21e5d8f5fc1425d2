//! Push → first step running, against a bare `docker run` of the same image.
//!
//! The step itself says when it runs: it hands the container's clock out as an output of its job. The push begins, for
//! Sluice, when the webhook arrives.

use anyhow::Context;
use sluice_e2e::git::Copy;
use sluice_e2e::story::SOON;
use sluice_e2e::{Event, World, seed, shell};

use crate::chain::Stage;
use crate::clock;
use crate::figure::{Figure, Samples, Spans, Target};
use crate::report::Report;

pub(crate) const REPOSITORY: &str = "steps";

const WORKFLOW: &str = "name: steps
on: push
jobs:
  first:
    runs-on: ubuntu-latest
    outputs:
      clock: ${{ steps.clock.outputs.clock }}
    steps:
      - id: clock
        run: echo \"clock=$(date +%s%N)\" >> \"$GITHUB_OUTPUT\"
";

/// The repository, before Sluice starts.
pub(crate) async fn prepare(world: &World) -> anyhow::Result<Copy> {
    world.apply(&[world.repository_secret(REPOSITORY)]).await?;
    let copy = seed::empty(world, REPOSITORY).await?;
    copy.write(".github/workflows/steps.yml", WORKFLOW)?;
    copy.ship("first").await?;
    world.hook(REPOSITORY).await?;
    Ok(copy)
}

pub(crate) async fn measure(stage: &Stage, samples: u16, report: &mut Report) -> anyhow::Result<()> {
    report.note(&format!("{samples} pushes until their first step runs (about {} s)", samples * 4));
    let (mut measured, mut limit, mut spans) = (Samples::default(), Samples::default(), Spans::default());
    // The first one fetches everything, and is not counted.
    for sample in 0..=samples {
        let bare = docker_run(&stage.world).await?;
        let (millis, points) = push(stage, sample).await?;
        if sample > 0 {
            limit.add(bare);
            measured.add(millis);
            spans.walk(points[0].1, &points[1..]);
        }
    }
    let figure = Figure::new("push (webhook arrives) → first step, a script", measured);
    report.add(
        figure.limit("bare `docker run` of the image", limit).target(Target::AtMost(300.0)).spans(spans),
    );
    Ok(())
}

/// From the webhook's arrival until the first step read the clock, and the facts between.
async fn push(stage: &Stage, sample: u16) -> anyhow::Result<(f64, Vec<(&'static str, u64)>)> {
    let (world, copy) = (&stage.world, &stage.steps);
    let witness = world.witness()?;
    let since = witness.now();
    copy.write("sample", &format!("{sample}\n"))?;
    let commit = copy.ship(&format!("sample {sample}")).await?;
    let pushed =
        witness.wait_after(since, "push.received", SOON, |e| e.data["after"] == commit.as_str()).await?;
    let ours = |e: &Event| e.correlation() == pushed.correlation();
    let queued = witness.wait_after(since, "run.queued", SOON, ours).await?;
    let started = witness.wait_after(since, "job.started", SOON, ours).await?;
    let finished = witness.wait_after(since, "job.finished", SOON, ours).await?;
    let said = finished.data["outputs"]["clock"].as_str();
    let running: u64 = said.with_context(|| format!("the job's clock: {}", finished.data))?.parse()?;
    let received = clock::parse(&pushed.data["received_at"])?;
    let points = vec![
        ("the webhook arrives", received),
        ("… until the push is a fact (stored, understood)", pushed.time),
        ("… until the run is planned (fetch, workflow)", queued.time),
        ("… until the job is taken (lease)", started.time),
        ("… until its first step runs (container)", running),
    ];
    // The next push must not find this one still working.
    witness.wait_after(since, "run.finished", SOON, ours).await?;
    Ok((clock::millis(received, running), points))
}

/// From the command until the container read the clock.
async fn docker_run(world: &World) -> anyhow::Result<f64> {
    let mut command = world.platform.docker();
    command.args(["run", "--rm", &world.platform.image_runner, "date", "+%s%N"]);
    let began = clock::now();
    let text = shell::run(command, "").await?.ok("docker run")?;
    Ok(clock::millis(began, text.trim().parse().context("the container's clock")?))
}
