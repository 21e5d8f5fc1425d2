//! Commit → pod on dev, against the same work by hand; and the stage on which everything but the front door is measured.

use anyhow::Context;
use serde_json::json;
use sluice_e2e::git::Copy;
use sluice_e2e::story::{self, SOON, about};
use sluice_e2e::world::Shop;
use sluice_e2e::{Event, World, seed, shell};

use crate::by_hand::ByHand;
use crate::figure::{Figure, Samples, Spans, Target};
use crate::live::Live;
use crate::report::Report;
use crate::sink::Sink;
use crate::{clock, first_step};

/// What tells that a Deployment has rolled out, for [`rolled_out`].
pub(crate) const PODS: &str = "{.spec.template.spec.containers[0].image} {.metadata.generation} {.status.observedGeneration} \
                               {.spec.replicas} {.status.replicas} {.status.updatedReplicas} {.status.readyReplicas}";

/// The world with its repositories; `sluice up` runs in it after [`Stage::start`].
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) shop: Shop,
    /// As deploy, but its webhook goes nowhere.
    pub(crate) bare: Copy,
    pub(crate) steps: Copy,
    sink: Sink,
}

impl Stage {
    /// All repositories, with webhooks to the sink, and dev running as if it had been deployed by hand.
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let mut world = World::new("bench").await?;
        // The benches tell the chat more a minute than Telegram would take; a real team's chat is slower than its pipeline.
        world.settings = json!({"notifier": {"messages_per_minute": 600, "edit_interval_ms": 1000}});
        let sink = Sink::start().await?;
        let web = seed::repository(&world, "shop-web").await?;
        let deploy = seed::repository(&world, "deploy").await?;
        let bare = bare(&world, &deploy).await?;
        let steps = first_step::prepare(&world).await?;
        let stage = Self { shop: Shop { web, deploy }, bare, steps, sink, world };
        for name in ["shop-web", "deploy", "bare"] {
            stage.hook(name).await?;
        }
        seed::image(&stage.world, &stage.shop.web, seed::FIRST_TAG).await?;
        let files = [
            "dev/namespace.yaml",
            "dev/web/configmap.yaml",
            "dev/web/service.yaml",
            "dev/web/deployment.yaml",
        ];
        for file in files {
            stage.world.kube.apply(&stage.shop.deploy.read(file)?).await?;
        }
        let image = format!("{}:{}", stage.world.image(), seed::FIRST_TAG);
        stage.world.kube.rolled_out(&stage.world.names.dev, "web", &image, SOON).await?;
        Ok(stage)
    }

    /// `sluice up`, with webhooks and Applications, until dev is in sync and healthy.
    pub(crate) async fn start(&mut self, report: &Report) -> anyhow::Result<()> {
        report.note("sluice up");
        for name in ["shop-web", "deploy"] {
            self.world.hook(name).await?;
        }
        seed::running(&self.world, &self.shop.deploy, "prod", "shop-prod").await?;
        for stage in ["dev", "prod"] {
            self.world.kube.apply(&self.shop.deploy.read(&format!("{stage}/app.yaml"))?).await?;
        }
        self.world.up().await?;
        let synced = |e: &Event| about(e, "shop-dev") && e.data["sync"] == "Synced";
        self.world.witness()?.wait("app.compared", SOON, synced).await?;
        Ok(())
    }

    async fn hook(&self, repository: &str) -> anyhow::Result<()> {
        let mut command = self.world.platform.script();
        command.args(["repo", &self.world.full_name(repository), &self.sink.url]);
        command.env("WEBHOOK_SECRET", &self.world.planted.webhook);
        shell::run(command, "").await?.ok("platform repo")?;
        Ok(())
    }
}

/// A second repository with the deploy repository's contents.
async fn bare(world: &World, deploy: &Copy) -> anyhow::Result<Copy> {
    let copy = seed::empty(world, "bare").await?;
    for file in deploy.git(&["ls-files"]).await?.lines() {
        copy.write(file, &deploy.read(file)?)?;
    }
    copy.ship("first").await?;
    Ok(copy)
}

/// Whether a line of [`PODS`] tells that all replicas run `image`.
pub(crate) fn rolled_out(line: &str, image: &str) -> bool {
    let words: Vec<_> = line.split(' ').collect();
    matches!(words[..], [now, generation, observed, wanted, replicas, updated, ready]
        if now == image && generation == observed && [replicas, updated, ready].iter().all(|count| *count == wanted))
}

pub(crate) async fn measure(
    stage: &Stage,
    samples: u16,
    by_hand: ByHand,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.note(&format!("{samples} changes from commit to pod (about {} s)", samples * 15));
    let live = Live::watch(&stage.world, &stage.world.names.dev, "deployment/web", PODS)?;
    let (mut whole, mut first, mut spans) = (Samples::default(), Samples::default(), Spans::default());
    // The first one fills the caches, and is not counted.
    for sample in 0..=samples {
        let since = stage.world.witness()?.now();
        let (began, points) = once(stage, &live, &format!("1.{sample}")).await?;
        if sample > 0 {
            let pods = points.iter().map(|(_, at)| *at).max().context("no time")?;
            whole.add(clock::millis(began, pods));
            first.add(until_checkout(stage, since).await?);
            spans.walk(began, &points);
        }
    }
    let name = "push (webhook arrives) → first step, a checkout";
    report.add(Figure::new(name, first).target(Target::AtMost(300.0)));
    let figure =
        Figure::new("commit → pod on dev", whole).limit("the same work by hand", by_hand.whole.clone());
    report.add(figure.target(Target::Over(2000.0)).spans(spans));
    report.add(Figure::new("the same work by hand", by_hand.whole).spans(by_hand.spans));
    Ok(())
}

/// From the webhook's arrival to the beginning of the first step of the first job, which needs no container.
async fn until_checkout(stage: &Stage, since: u64) -> anyhow::Result<f64> {
    let witness = stage.world.witness()?;
    let source = |e: &Event| e.data["changed_files"] == json!(["VERSION"]);
    let pushed = witness.wait_after(since, "push.received", SOON, source).await?;
    let first = |e: &Event| e.data["step"] == 0 && e.correlation() == pushed.correlation();
    let step = witness.wait_after(since, "job.step_finished", SOON, first).await?;
    let took = step.data["duration_ms"].as_f64().context("the step's duration")?;
    Ok(clock::millis(clock::parse(&pushed.data["received_at"])?, step.time) - took)
}

/// The time at which the push began, and what happened from then on.
async fn once(stage: &Stage, live: &Live, version: &str) -> anyhow::Result<(u64, Vec<(&'static str, u64)>)> {
    let (world, shop) = (&stage.world, &stage.shop);
    let witness = world.witness()?;
    let since = witness.now();
    shop.web.write("VERSION", &format!("{version}\n"))?;
    let commit = shop.web.commit(&format!("shop-web {version}")).await?;
    let began = clock::now();
    shop.web.push().await?;
    let chain = story::follow(world, commit, version, since, &story::Report::silent()).await?;
    let ready = live.when(began, SOON, |line| rolled_out(line, &chain.image)).await?;

    let ours = |e: &Event| e.correlation() == chain.correlation;
    let at = async |kind: &str, look: &dyn Fn(&Event) -> bool| {
        witness.wait_after(since, kind, SOON, |e| ours(e) && look(e)).await.map(|event| event.time)
    };
    let of = |wanted: &'static str| move |e: &Event| e.data["key"] == wanted;
    let dev = |e: &Event| about(e, "shop-dev");
    let bumped = witness.wait_after(since, "bump.committed", SOON, ours).await?;
    let written = |e: &Event| e.data["after"] == bumped.data["commit"];
    // Often before the publisher has said that it pushed.
    let back = witness.wait_after(since, "push.received", SOON, written).await?;
    let points = vec![
        ("… until the push is a fact", at("push.received", &|_| true).await?),
        ("… until the run is planned", at("run.queued", &|_| true).await?),
        ("… until the test job is taken", at("job.started", &of("test")).await?),
        ("… until it has ended (container, checkout, tests)", at("job.finished", &of("test")).await?),
        ("… until the build job is taken", at("job.started", &of("build")).await?),
        ("… until the image is built (container, checkout)", at("image.built", &|_| true).await?),
        ("… until it is in the registry", at("image.published", &|_| true).await?),
        ("… until the push to the deploy repository is a fact", back.time),
        ("… until dev is rendered", at("render.succeeded", &dev).await?),
        ("… until the sync begins", at("sync.started", &dev).await?),
        ("… until the sync has ended", at("sync.finished", &dev).await?),
        ("… until the pods are ready", ready),
    ];
    let healthy = |e: &Event| about(e, "shop-dev") && e.data["to"] == "Healthy";
    witness.wait_after(back.sequence, "app.health_changed", SOON, healthy).await?;
    shop.deploy.pull().await?;
    Ok((began, points))
}
