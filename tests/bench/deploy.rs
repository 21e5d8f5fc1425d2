//! Push to the deploy repository → applied on dev, against the same push whose webhook does nothing.
//!
//! Applied is what the cluster says of the live object, not what Sluice says.

use anyhow::Context;
use sluice_e2e::Event;
use sluice_e2e::git::Copy;
use sluice_e2e::story::{SOON, about};

use crate::chain::Stage;
use crate::clock;
use crate::figure::{Figure, Samples, Spans, Target};
use crate::live::Live;
use crate::report::Report;

const FILE: &str = "dev/web/configmap.yaml";

pub(crate) async fn measure(stage: &Stage, samples: u16, report: &mut Report) -> anyhow::Result<()> {
    report.note(&format!("{samples} pushes to the deploy repository (about {} s)", samples * 5));
    let world = &stage.world;
    stage.shop.deploy.pull().await?;
    let live = Live::watch(world, &world.names.dev, "configmap/web", "{.data.STAGE}")?;
    let (mut measured, mut limit, mut spans) = (Samples::default(), Samples::default(), Spans::default());
    for sample in 0..=samples {
        let began = change(&stage.by_hand.deploy, sample).await?;
        stage.by_hand.deploy.push().await?;
        let bare = clock::millis(began, clock::now());
        let (millis, points) = deploy(stage, &live, sample).await?;
        if sample > 0 {
            limit.add(bare);
            measured.add(millis);
            spans.walk(points[0].1, &points[1..]);
        }
    }
    let figure = Figure::new("deploy push → applied on dev", measured);
    let what = "the bare push, its webhook to a sink";
    report.add(figure.limit(what, limit).target(Target::Over(150.0)).spans(spans));
    Ok(())
}

/// Commits a change; answers the time at which the push may begin.
async fn change(copy: &Copy, sample: u16) -> anyhow::Result<u64> {
    let text = copy.read(FILE)?;
    let old = text.lines().find(|line| line.contains("STAGE:")).context("the stage")?.to_owned();
    copy.replace(FILE, &old, &format!("  STAGE: bench-{sample}"))?;
    copy.commit(&format!("bench {sample}")).await?;
    Ok(clock::now())
}

async fn deploy(stage: &Stage, live: &Live, sample: u16) -> anyhow::Result<(f64, Vec<(&'static str, u64)>)> {
    let witness = stage.world.witness()?;
    let since = witness.now();
    let began = change(&stage.shop.deploy, sample).await?;
    stage.shop.deploy.push().await?;
    let ended = clock::now();
    let wanted = format!("bench-{sample}");
    let applied = live.when(began, SOON, |stage| stage == wanted).await?;
    let dev = |e: &Event| about(e, "shop-dev");
    let pushed = witness.wait_after(since, "push.received", SOON, |_| true).await?;
    let rendered = witness.wait_after(since, "render.succeeded", SOON, dev).await?;
    let started = witness.wait_after(since, "sync.started", SOON, dev).await?;
    let finished = witness.wait_after(since, "sync.finished", SOON, dev).await?;
    let received = clock::parse(&pushed.data["received_at"])?;
    let points = vec![
        ("git push begins", began),
        ("… until the webhook arrives", received),
        ("… until the push is a fact", pushed.time),
        ("… until it is rendered (fetch, read)", rendered.time),
        ("… until the sync begins (compare)", started.time),
        ("… until the object is live", applied),
        ("… until the sync is a fact (after the object)", finished.time),
        ("… until git push had ended (negative: it was first)", ended),
    ];
    // Comparing afterwards is not to disturb the next one.
    let compared = |e: &Event| dev(e) && e.data["sync"] == "Synced";
    witness.wait_after(started.sequence, "app.compared", SOON, compared).await?;
    Ok((clock::millis(began, applied), points))
}
