//! Commit → pod on dev, against the same work by hand; and the stage on which everything but the front door is measured.

use anyhow::Context;
use serde_json::json;
use sluice_e2e::git::Copy;
use sluice_e2e::story::{self, SOON, about};
use sluice_e2e::world::Shop;
use sluice_e2e::{Event, World, seed, shell};

use crate::figure::{Figure, Samples, Spans, Target};
use crate::live::Live;
use crate::report::Report;
use crate::sink::Sink;
use crate::{by_hand, clock, first_step};

const FILES: [&str; 4] =
    ["dev/namespace.yaml", "dev/web/configmap.yaml", "dev/web/service.yaml", "dev/web/deployment.yaml"];

/// What tells that a Deployment has rolled out, for [`rolled_out`].
pub(crate) const PODS: &str = "{.spec.template.spec.containers[0].image} {.metadata.generation} {.status.observedGeneration} \
                               {.spec.replicas} {.status.replicas} {.status.updatedReplicas} {.status.readyReplicas}";

/// The world with its repositories; `sluice up` runs in it after [`Stage::start`].
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) shop: Shop,
    pub(crate) steps: Copy,
    /// The same shop, whose webhooks go to nobody, for what is done by hand.
    pub(crate) by_hand: Shop,
    /// Name space of what is deployed by hand.
    pub(crate) hand: String,
    sink: Sink,
}

impl Stage {
    /// All repositories, and the shop deployed by hand.
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let mut world = World::new("bench").await?;
        // The benches tell the chat more a minute than Telegram would take; a real team's chat is slower than its pipeline.
        world.settings = json!({"notifier": {"messages_per_minute": 600}, "builder": {"warm": 1}});
        let sink = Sink::start().await?;
        let hand = format!("{}-hand", world.names.dev);
        let web = seed::repository(&world, "shop-web").await?;
        let deploy = seed::repository(&world, "deploy").await?;
        let by_hand = Shop {
            web: likeness(&world, &web, "hand-web", &hand).await?,
            deploy: likeness(&world, &deploy, "hand-deploy", &hand).await?,
        };
        let steps = first_step::prepare(&world).await?;
        let stage = Self { shop: Shop { web, deploy }, by_hand, hand, steps, sink, world };
        for name in ["hand-web", "hand-deploy"] {
            stage.to_sink(name).await?;
        }
        seed::image(&stage.world, &stage.shop.web, seed::FIRST_TAG).await?;
        for file in FILES {
            stage.world.kube.apply(&stage.by_hand.deploy.read(file)?).await?;
        }
        let image = format!("{}:{}", stage.world.image(), seed::FIRST_TAG);
        stage.world.kube.rolled_out(&stage.hand, "web", &image, SOON).await?;
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

    async fn to_sink(&self, repository: &str) -> anyhow::Result<()> {
        let mut command = self.world.platform.script();
        command.args(["repo", &self.world.full_name(repository), &self.sink.url]);
        command.env("WEBHOOK_SECRET", &self.world.planted.webhook);
        shell::run(command, "").await?.ok("platform repo")?;
        Ok(())
    }
}

impl Drop for Stage {
    /// The world removes the name spaces that it knows.
    fn drop(&mut self) {
        let mut kubectl = self.world.kube.command().into_std();
        kubectl.args(["delete", "namespace", &self.hand, "--ignore-not-found", "--wait=false"]);
        // What fails here must not hide what was measured.
        kubectl.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status().ok();
    }
}

/// A second repository with the contents of `of`, for the name space `hand`.
async fn likeness(world: &World, of: &Copy, name: &str, hand: &str) -> anyhow::Result<Copy> {
    let copy = seed::empty(world, name).await?;
    for file in of.git(&["ls-files"]).await?.lines() {
        copy.write(file, &of.read(file)?.replace(&world.names.dev, hand))?;
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

/// By turns: a change by Sluice, the same by hand.
pub(crate) async fn measure(stage: &Stage, samples: u16, report: &mut Report) -> anyhow::Result<()> {
    report.note(&format!(
        "{samples} changes from commit to pod, and the same by hand (about {} s)",
        samples * 30
    ));
    let live = Live::watch(&stage.world, &stage.world.names.dev, "deployment/web", PODS)?;
    let by_hand = Live::watch(&stage.world, &stage.hand, "deployment/web", PODS)?;
    let (mut whole, mut first, mut limit) = (Samples::default(), Samples::default(), Samples::default());
    // No content that an earlier bench left in the engine's cache.
    let salt = sluice_e2e::world::token(6);
    let (mut spans, mut spans_by_hand) = (Spans::default(), Spans::default());
    // The first one fills the caches, and is not counted.
    for sample in 0..=samples {
        let (hand_began, hand_points) = by_hand::once(stage, &by_hand, &format!("0.{sample}-{salt}")).await?;
        let since = stage.world.witness()?.now();
        let (began, points) = once(stage, &live, &format!("1.{sample}-{salt}")).await?;
        if sample > 0 {
            whole.add(clock::millis(began, last(&points)?));
            limit.add(clock::millis(hand_began, last(&hand_points)?));
            first.add(until_checkout(stage, since).await?);
            spans.walk(began, &points);
            spans_by_hand.walk(hand_began, &hand_points);
        }
    }
    let name = "push (webhook arrives) → first step, a checkout";
    report.add(Figure::new(name, first).target(Target::AtMost(300.0)));
    let figure = Figure::new("commit → pod on dev", whole).limit("the same work by hand", limit.clone());
    report.add(figure.target(Target::Over(2000.0)).spans(spans));
    report.add(Figure::new("the same work by hand", limit).spans(spans_by_hand));
    Ok(())
}

fn last(points: &[(&str, u64)]) -> anyhow::Result<u64> {
    points.iter().map(|(_, at)| *at).max().context("no time")
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
