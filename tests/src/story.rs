//! The main job as a sequence of steps, each with what must be true after it.
//!
//! One telling for all: the end-to-end tests run the steps and look closer where they want to; the demo
//! runs them with a [`Teller`] that prints; the benches time them. A step fails with what it waited for
//! and what happened instead.

pub mod grant;
mod ledger;
pub mod report;

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::cli::Cli;
use crate::registry;
use crate::witness::Event;
use crate::world::{Shop, World};

pub use ledger::ledger;
pub use report::{Report, Teller};

/// No single hand-over takes this long, even on a busy machine.
pub const SOON: Duration = Duration::from_secs(90);
/// Nothing happened for this long: the system rests.
pub const QUIET: Duration = Duration::from_secs(3);

/// One change on its way from commit to pod.
#[derive(Debug, Clone)]
pub struct Chain {
    pub commit: String,
    /// The commit's first 8 characters.
    pub tag: String,
    pub correlation: String,
    pub run: u64,
    /// `host/path:tag`.
    pub image: String,
    pub digest: String,
    /// The last fact before the push.
    pub since: u64,
    pub version: String,
}

/// Step 1: a developer changes the version and pushes. Ends when the run has.
pub async fn push(world: &World, shop: &Shop, version: &str, report: &Report) -> anyhow::Result<Chain> {
    let since = world.witness()?.now();
    shop.web.write("VERSION", &format!("{version}\n"))?;
    let commit = shop.web.commit(&format!("shop-web {version}")).await?;
    report.note(&format!("git push  {} \"shop-web {version}\"", &commit[..8]));
    shop.web.push().await?;
    follow(world, commit, version, since, report).await
}

/// Follows the run of a commit that was pushed.
pub async fn follow(
    world: &World,
    commit: String,
    version: &str,
    since: u64,
    report: &Report,
) -> anyhow::Result<Chain> {
    let witness = world.witness()?;
    let pushed =
        witness.wait_after(since, "push.received", SOON, |e| e.data["after"] == commit.as_str()).await?;
    report.fact(&pushed, "ingress took the push");
    let correlation = pushed.correlation().to_owned();
    ensure!(!correlation.is_empty(), "the push has no correlation id: {pushed:?}");
    let ours = |e: &Event| e.correlation() == correlation;

    let queued = witness.wait_after(since, "run.queued", SOON, ours).await?;
    let run = queued.data["run"]["number"].as_u64().context("the run's number")?;
    report.fact(&queued, &format!("run {run} planned: {}", jobs(&queued)));
    for key in ["test", "build"] {
        let started =
            witness.wait_after(since, "job.started", SOON, |e| ours(e) && e.data["key"] == key).await?;
        report.fact(&started, &format!("job {key} started"));
        if key == "build" {
            let built = witness.wait_after(since, "image.built", SOON, ours).await?;
            report.fact(&built, &format!("image built {}", short(&built.data["manifest"])));
            let published = witness.wait_after(since, "image.published", SOON, ours).await?;
            report.fact(&published, &format!("image pushed, {} bytes", published.data["bytes_sent"]));
        }
        let finished =
            witness.wait_after(since, "job.finished", SOON, |e| ours(e) && e.data["key"] == key).await?;
        report.fact(&finished, &format!("job {key}: {}", text(&finished.data["conclusion"])));
        ensure!(
            finished.data["conclusion"] == "success",
            "job {key}: {}\n{}",
            finished.data,
            witness.story(since)
        );
    }
    let finished = witness.wait_after(since, "run.finished", SOON, ours).await?;
    report.fact(&finished, &format!("run {run}: {}", text(&finished.data["conclusion"])));

    let tag = commit[..8].to_owned();
    let published = witness.wait_after(since, "image.published", SOON, ours).await?;
    let digest = text(&published.data["digest"]);
    let tagged = registry::digest(&world.platform, &world.image_path(), &tag).await?;
    report.expect(
        "the tag in the registry is the digest that was published",
        tagged.as_deref() == Some(&digest),
    )?;
    let sent = witness.wait_after(since, "chat.sent", SOON, ours).await?;
    report.fact(&sent, "Telegram message");
    let image = format!("{}:{tag}", world.image());
    Ok(Chain { commit, tag, correlation, run, image, digest, since, version: version.to_owned() })
}

/// Step 2: the tag is written into `deploy/dev`, and dev follows by itself until its pods are ready.
pub async fn dev(world: &World, shop: &Shop, chain: &Chain, report: &Report) -> anyhow::Result<()> {
    let witness = world.witness()?;
    let ours = |e: &Event| e.correlation() == chain.correlation;
    let bumped = witness
        .wait_after(chain.since, "bump.committed", SOON, |e| ours(e) && e.data["bump"]["kind"] == "bump")
        .await?;
    report.fact(&bumped, &format!("deploy/dev: {}", bumped.data["changes"][0]["to"]));
    shop.deploy.pull().await?;
    let commit = text(&bumped.data["commit"]);
    one_line(shop, &commit, "dev/web/deployment.yaml", &chain.image, report).await?;
    let pushed = witness
        .wait_after(chain.since, "push.received", SOON, |e| e.data["after"] == commit.as_str())
        .await?;
    report.fact(&pushed, "the commit came back by webhook");
    report.expect("one correlation id from commit to commit", ours(&pushed))?;
    let rendered = witness
        .wait_after(chain.since, "render.succeeded", SOON, |e| {
            about(e, "shop-dev") && e.data["render"]["revision"] == commit.as_str()
        })
        .await?;
    report.fact(&rendered, &format!("rendered: {} objects", rendered.data["objects"]));
    let compared = witness
        .wait_after(chain.since, "app.compared", SOON, |e| {
            about(e, "shop-dev") && e.data["sync"] == "OutOfSync"
        })
        .await?;
    report.fact(&compared, "shop-dev is OutOfSync");
    let synced = witness
        .wait_after(compared.sequence, "sync.finished", SOON, |e| {
            about(e, "shop-dev") && e.data["sync"]["revision"] == commit.as_str()
        })
        .await?;
    report.fact(&synced, &format!("sync {}", text(&synced.data["outcome"])));
    report.expect("dev is synced by itself", synced.data["outcome"] == "Succeeded")?;
    world.kube.rolled_out(&world.names.dev, "web", &chain.image, SOON).await?;
    let healthy = witness
        .wait_after(compared.sequence, "app.health_changed", SOON, |e| {
            about(e, "shop-dev") && e.data["to"] == "Healthy"
        })
        .await?;
    report.fact(&healthy, "shop-dev is Healthy");
    serves(world, &world.names.dev, &chain.version, report).await
}

/// Step 3: a person promotes, prod turns OutOfSync, and nothing else happens.
pub async fn promote(
    world: &World,
    shop: &Shop,
    chain: &Chain,
    cli: &Cli,
    report: &Report,
) -> anyhow::Result<String> {
    let witness = world.witness()?;
    let before = live_image(world).await?;
    let since = witness.now();
    report.note("sluice promote shop-web");
    cli.ok(&["promote", "shop-web"]).await?;
    let bumped =
        witness.wait_after(since, "bump.committed", SOON, |e| e.data["bump"]["kind"] == "promotion").await?;
    report.fact(&bumped, &format!("deploy/prod: {}", bumped.data["changes"][0]["to"]));
    shop.deploy.pull().await?;
    let commit = text(&bumped.data["commit"]);
    one_line(shop, &commit, "prod/web/deployment.yaml", &chain.image, report).await?;
    let compared = witness
        .wait_after(since, "app.compared", SOON, |e| {
            about(e, "shop-prod") && e.data["sync"] == "OutOfSync" && e.data["revision"] == commit.as_str()
        })
        .await?;
    report.fact(&compared, "shop-prod is OutOfSync and waits for a person");
    witness.settle(QUIET, SOON).await?;
    let synced = witness.all("sync.started").iter().any(|e| e.sequence > since && about(e, "shop-prod"));
    report.expect("nothing else happens to prod", !synced && live_image(world).await? == before)?;
    Ok(commit)
}

/// After a grant: prod runs the image, written by exactly one operation.
pub async fn prod(
    world: &World,
    chain: &Chain,
    since: u64,
    surface: &str,
    report: &Report,
) -> anyhow::Result<()> {
    let witness = world.witness()?;
    let about_prod = |e: &Event| about(e, "shop-prod");
    let issued = witness.wait_after(since, "grant.issued", SOON, about_prod).await?;
    report.fact(
        &issued,
        &format!("grant for {} by {}", short(&issued.data["revision"]), text(&issued.data["person"])),
    );
    report.expect("the grant tells where it was given", issued.data["surface"] == surface)?;
    let consumed = witness
        .wait_after(since, "grant.consumed", SOON, |e| e.data["grant"] == issued.data["grant"])
        .await?;
    report.fact(&consumed, "grant consumed");
    let synced = witness.wait_after(since, "sync.finished", SOON, about_prod).await?;
    report.fact(&synced, &format!("sync {}", text(&synced.data["outcome"])));
    report.expect(
        "what was granted is what was applied",
        synced.data["sync"]["revision"] == issued.data["revision"],
    )?;
    ensure!(synced.data["outcome"] == "Succeeded", "the sync of prod: {}", synced.data);
    world.kube.rolled_out(&world.names.prod, "web", &chain.image, SOON).await?;
    let healthy = witness
        .wait_after(since, "app.health_changed", SOON, |e| about_prod(e) && e.data["to"] == "Healthy")
        .await?;
    report.fact(&healthy, "shop-prod is Healthy");
    serves(world, &world.names.prod, &chain.version, report).await
}

/// Whether a fact is about this application.
pub fn about(event: &Event, app: &str) -> bool {
    [&event.data["app"]["app"], &event.data["sync"]["app"]["app"], &event.data["render"]["app"]]
        .iter()
        .any(|a| **a == app)
}

/// The image that prod's Deployment runs now.
pub async fn live_image(world: &World) -> anyhow::Result<String> {
    let object =
        world.kube.get(&world.names.prod, "deployment/web").await?.context("prod has no Deployment")?;
    Ok(text(&object["spec"]["template"]["spec"]["containers"][0]["image"]))
}

/// A bump changes one line of one file and keeps every other byte.
async fn one_line(shop: &Shop, commit: &str, file: &str, image: &str, report: &Report) -> anyhow::Result<()> {
    let stat = shop.deploy.git(&["show", "--numstat", "--format=", commit]).await?;
    report.expect("one line of one file changed", stat.trim() == format!("1\t1\t{file}"))?;
    let (before, after) = (
        shop.deploy.git(&["show", &format!("{commit}~:{file}")]).await?,
        shop.deploy.git(&["show", &format!("{commit}:{file}")]).await?,
    );
    let old = before
        .split_whitespace()
        .find(|w| w.starts_with(image.split_at(image.len() - 8).0))
        .context("the old image")?;
    report.expect("every other byte is kept", before.replace(old, image) == after)
}

/// The pods answer with the version that was pushed.
async fn serves(world: &World, namespace: &str, version: &str, report: &Report) -> anyhow::Result<()> {
    let arguments =
        ["-n", namespace, "exec", "deployment/web", "--", "wget", "-qO-", "http://127.0.0.1:8080/version"];
    let answer = world.kube.ok(&arguments).await?;
    report.note(&format!("GET /version in {namespace}: {}", answer.trim()));
    report.expect(
        "the pod serves the version that was pushed",
        answer.contains(&format!("\"version\": \"{version}\"")),
    )
}

fn jobs(queued: &Event) -> String {
    let jobs = queued.data["jobs"].as_array().into_iter().flatten();
    jobs.map(|j| text(&j["key"])).collect::<Vec<_>>().join(" → ")
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn short(value: &Value) -> String {
    let text = text(value);
    let bare = text.strip_prefix("sha256:").unwrap_or(&text);
    bare.chars().take(8).collect()
}
