//! The work itself: what must be done for a commit to become a pod, done by hand with the plain tools, one after the other.

use anyhow::Context;
use sluice_e2e::git::Copy;
use sluice_e2e::{World, shell};
use tokio::process::Command;

use crate::chain::{PODS, Stage, rolled_out};
use crate::clock;
use crate::figure::{Samples, Spans};
use crate::live::Live;
use crate::report::Report;
use sluice_e2e::story::SOON;

/// Times by hand.
pub(crate) struct ByHand {
    pub(crate) whole: Samples,
    pub(crate) spans: Spans,
}

/// Before Sluice runs, in the same name space and with the same repositories.
pub(crate) async fn measure(stage: &Stage, samples: u16, report: &Report) -> anyhow::Result<ByHand> {
    report.note(&format!("the work of {samples} changes by hand (about {} s)", samples * 12));
    let (mut whole, mut spans) = (Samples::default(), Spans::default());
    let live = Live::watch(&stage.world, &stage.world.names.dev, "deployment/web", PODS)?;
    // The first one fills the caches, and is not counted.
    for sample in 0..=samples {
        let (began, points) = once(stage, &live, &format!("0.{sample}")).await?;
        if sample > 0 {
            whole.add(clock::millis(began, points[points.len() - 1].1));
            spans.walk(began, &points);
        }
    }
    Ok(ByHand { whole, spans })
}

async fn once(stage: &Stage, live: &Live, version: &str) -> anyhow::Result<(u64, Vec<(&'static str, u64)>)> {
    let (world, web, deploy) = (&stage.world, &stage.shop.web, &stage.shop.deploy);
    web.write("VERSION", &format!("{version}\n"))?;
    let commit = web.commit(&format!("by hand {version}")).await?;
    let image = format!("{}:{}", world.image(), &commit[..8]);
    let began = clock::now();
    let mut points = Vec::new();
    let mut done = |what| points.push((what, clock::now()));
    web.push().await?;
    done("git push");
    let sources = clone(world, web, &commit).await?;
    done("git clone");
    let folder = format!("{}:/work", sources.path.display());
    docker(
        world,
        &["run", "--rm", "-v", &folder, "-w", "/work", &world.platform.image_runner, "sh", "test/run.sh"],
    )
    .await?;
    done("the tests, in a container");
    docker(world, &["build", "-q", "-t", &image, &sources.path.to_string_lossy()]).await?;
    done("docker build");
    docker(world, &["push", "-q", &image]).await?;
    done("docker push");
    let file = "dev/web/deployment.yaml";
    let text = deploy.read(file)?;
    let old = text.split_whitespace().find(|word| word.starts_with(&world.image())).context("the image")?;
    deploy.replace(file, old, &image)?;
    deploy.ship(&format!("shop-web {version}")).await?;
    done("git push of the deploy repository");
    world.kube.apply(&deploy.read(file)?).await?;
    done("kubectl apply");
    points.push(("rollout", live.when(began, SOON, |line| rolled_out(line, &image)).await?));
    Ok((began, points))
}

async fn clone(world: &World, web: &Copy, commit: &str) -> anyhow::Result<Copy> {
    let path = world.directory.join("by-hand").join(commit);
    let sources = Copy::init(&world.platform, &path, &web.url).await?;
    sources.git(&["fetch", "-q", "--depth=1", "origin", "main"]).await?;
    sources.git(&["checkout", "-q", "FETCH_HEAD"]).await?;
    Ok(sources)
}

async fn docker(world: &World, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command: Command = world.platform.docker();
    command.args(arguments);
    shell::run(command, "").await?.ok(&format!("docker {}", arguments.join(" ")))?;
    Ok(())
}
