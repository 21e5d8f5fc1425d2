//! The stage: the platform and the world of the demo, set up and struck again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use sluice_e2e::nats::{Nats, free_port};
use sluice_e2e::story::Report;
use sluice_e2e::world::{Names, Ports, World};
use sluice_e2e::{Platform, kubectl::Kubectl, until};
use sluice_telegram_fake::{Fake, Options};
use tokio::process::Command;

use crate::real::Bot;

const PARTS: [&str; 7] = ["docker", "registry", "images", "nats", "git", "kube", "prometheus"];
/// The fake's group of the team.
const TEAM: i64 = -100_200;
const TOKEN: &str = "7000000001:AADemoDemoDemoDemoDemoDemoDemoDemo0";

/// What was set up so far, so that it can be struck whenever the story ends.
#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) world: Option<World>,
    platform: Option<Platform>,
    started: Vec<&'static str>,
    target: Option<PathBuf>,
}

impl Stage {
    /// Starts what is not running yet, on an empty bus.
    pub(crate) async fn platform(&mut self, report: &Report) -> anyhow::Result<()> {
        let platform = Platform::get().await?;
        self.target = Some(platform.root.join("target/demo"));
        let up = running(&platform).await?;
        self.started = PARTS.into_iter().filter(|p| !up.iter().any(|u| u == p)).collect();
        self.platform = Some(platform.clone());
        for part in &PARTS {
            report.note(&format!(
                "{part:<11} {}",
                if self.started.contains(part) { "starting" } else { "is up" }
            ));
        }
        // A bus of an earlier telling would tell of repositories that are gone. One of the user's is not touched.
        if platform.owns("nats") && !self.started.contains(&"nats") {
            script(&platform, &["down", "nats"]).await?;
        }
        script(&platform, &["up"]).await
    }

    /// The world, empty: what an earlier telling left is removed first.
    pub(crate) async fn world(&mut self, real: Option<Bot>) -> anyhow::Result<&mut World> {
        let platform = self.platform.clone().context("the platform")?;
        let names = if platform.owns("kube") { Names::plain() } else { Names::careful() };
        clear(&platform, &names).await?;
        let directory = platform.root.join("target/demo/world");
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir_all(&directory)?;
        let ports = Ports { ingress: port(8081)?, api: port(8080)?, operations: port(9464)? };
        let chat = real.as_ref().map_or(TEAM, |bot| bot.chat);
        let (real_telegram, token) = real.map_or((false, TOKEN.to_owned()), |bot| (true, bot.token));
        let listen = format!("127.0.0.1:{}", port(8085)?).parse()?;
        let fake = Fake::start(Options { listen, token: TOKEN.to_owned(), ..Options::default() }).await?;
        let nats = Nats::of_platform(&platform);
        let mut world = World::assemble(platform, names, directory, nats, ports, fake, (token, chat)).await?;
        world.real_telegram = real_telegram;
        self.scrape(&world)?;
        Ok(self.world.insert(world))
    }

    /// Tells Prometheus where the metrics are.
    fn scrape(&self, world: &World) -> anyhow::Result<()> {
        let targets = json!([{"targets": [format!("127.0.0.1:{}", world.ports.operations)], "labels": {"world": "demo"}}]);
        std::fs::write(targets_file(&world.platform), targets.to_string())
            .context("Prometheus' folder of targets")
    }

    /// Where the report and the pictures go.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        let folder = self.target.clone().context("the platform")?;
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    pub(crate) fn write_report(&self, report: &Value) -> Option<PathBuf> {
        let folder = self.folder().ok()?;
        let file = folder.join("report.json");
        std::fs::write(&file, format!("{report:#}\n")).ok()?;
        Some(file)
    }

    /// Stops everything that was started, and removes what was made.
    pub(crate) async fn strike(&mut self, report: &Report) {
        if let Some(mut world) = self.world.take() {
            report.note("stopping Sluice");
            for process in &mut world.processes {
                process.stop().await.ok();
            }
            // The rest goes when the world is dropped.
            std::fs::remove_file(targets_file(&world.platform)).ok();
        }
        let Some(platform) = self.platform.take() else { return };
        if !self.started.is_empty() {
            report.note(&format!("stopping {}", self.started.join(", ")));
            let mut arguments = vec!["down"];
            arguments.extend(&self.started);
            script(&platform, &arguments).await.ok();
        }
    }
}

async fn running(platform: &Platform) -> anyhow::Result<Vec<String>> {
    let mut command = platform.script();
    command.arg("status");
    let status = sluice_e2e::shell::run(command, "").await?.stdout;
    let up = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        (words.next() == Some("up")).then_some(name)
    };
    Ok(status.lines().filter_map(up).collect())
}

/// Runs the platform's script; it tells what takes long by itself.
async fn script(platform: &Platform, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command: Command = platform.script();
    let status = command.args(arguments).status().await?;
    ensure!(status.success(), "platform {} failed", arguments.join(" "));
    Ok(())
}

async fn clear(platform: &Platform, names: &Names) -> anyhow::Result<()> {
    let kube = Kubectl::new(platform);
    let spaces = [names.apps.as_str(), &names.system, &names.dev, &names.prod];
    kube.delete_namespaces(&spaces).await?;
    until("what an earlier demo left is gone", Duration::from_secs(120), async || {
        for space in spaces {
            if kube
                .get("default", &format!("namespace/{space}"))
                .await
                .map_err(|e| format!("{e:#}"))?
                .is_some()
            {
                return Err(format!("name space {space}"));
            }
        }
        Ok(())
    })
    .await?;
    let repositories = platform.directory.join("git/repos").join(&names.owner);
    if repositories.exists() {
        std::fs::remove_dir_all(repositories)?;
    }
    Ok(())
}

fn targets_file(platform: &Platform) -> PathBuf {
    Path::new(&platform.directory).join("prometheus/targets/demo.json")
}

/// The usual port, or a free one when somebody has it.
fn port(usual: u16) -> anyhow::Result<u16> {
    match std::net::TcpListener::bind(("127.0.0.1", usual)) {
        Ok(_) => Ok(usual),
        Err(_) => free_port(),
    }
}
