//! The work itself: what must be done for a commit to become a pod, done by hand with the plain tools, one after the other.

use anyhow::Context;
use sluice_e2e::git::Copy;
use sluice_e2e::story::SOON;
use sluice_e2e::{World, shell};
use tokio::process::Command;

use crate::chain::{Stage, rolled_out};
use crate::clock;
use crate::live::Live;

/// One change; the time at which it began, and what had happened until when.
pub(crate) async fn once(
    stage: &Stage,
    live: &Live,
    version: &str,
) -> anyhow::Result<(u64, Vec<(&'static str, u64)>)> {
    let (world, web, deploy) = (&stage.world, &stage.by_hand.web, &stage.by_hand.deploy);
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
