//! A nats-server and a Git repository of each test's own, and the renderer between them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use sluice_bus::{Bus, BusConfig};
use sluice_chassis::config::ConfigFile;
use sluice_chassis::{Process, Service};
use sluice_renderer::Config;
use sluice_renderer::credentials::Anonymous;
use sluice_schemas::commands::{Render, RenderSource, SourceKind};
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{RenderFailed, RenderSucceeded};
use sluice_schemas::ids::{AppId, ProjectId, RenderId};
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Event, Filter, Sha};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) bus: Bus,
    pub(crate) service: Service,
    pub(crate) work: PathBuf,
    bare: PathBuf,
    nats: Child,
    port: u16,
    dir: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let nats = start_nats(&dir, port);
        let service =
            Process::new(ConfigFile::parse(PathBuf::new(), String::new(), []).unwrap()).service("renderer");
        let config = BusConfig {
            url: format!("nats://127.0.0.1:{port}"),
            lease_seconds: 3,
            storage_gib: 1,
            ..BusConfig::default()
        };
        let bus = Bus::connect(&service, &config).await.unwrap();
        bus.provision().await.unwrap();
        let (bare, work) = (dir.path().join("deploy.git"), dir.path().join("work"));
        git(dir.path(), &["init", "-q", "--bare", "--initial-branch=main", "deploy.git"]);
        git(dir.path(), &["init", "-q", "--initial-branch=main", "work"]);
        git(&work, &["remote", "add", "origin", bare.to_str().unwrap()]);
        Self { bus, service, work, bare, nats, port, dir }
    }

    pub(crate) async fn start(&self) {
        let config = Config { data_dir: self.dir.path().join("git"), ..Config::default() };
        sluice_renderer::start(&self.service, &config, &self.bus, Arc::new(Anonymous)).await.unwrap();
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn push(&self, message: &str) -> Sha {
        git(&self.work, &["add", "-A"]);
        git(&self.work, &["commit", "-q", "-m", message]);
        git(&self.work, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
        git(&self.work, &["rev-parse", "HEAD"]).parse().unwrap()
    }

    pub(crate) fn command(&self, id: &str, path: &str, revision: Option<&Sha>) -> Render {
        Render {
            render: RenderId::from_text(id),
            app: AppId::from_name("shop-dev"),
            project: ProjectId::from_name("default"),
            repository: format!("file://{}", self.bare.display()),
            target_revision: "HEAD".to_owned(),
            revision: revision.cloned(),
            source: RenderSource {
                path: path.to_owned(),
                kind: SourceKind::Detect,
                recurse: true,
                include: String::new(),
                exclude: String::new(),
            },
            hard: false,
        }
    }

    pub(crate) async fn send(&self, command: &Render) {
        let cause = Cause::root(correlation_of("test"), command.render.to_string());
        self.bus.publish(command, &cause).await.unwrap();
    }

    /// Sends a command and waits for its end.
    pub(crate) async fn render(&self, command: Render) -> Result<RenderSucceeded, RenderFailed> {
        self.send(&command).await;
        self.end_of(&command.render).await
    }

    pub(crate) async fn end_of(&self, render: &RenderId) -> Result<RenderSucceeded, RenderFailed> {
        let filter = Filter::facts(Entity::Render, None, Some(render.as_str()), None);
        let mut facts = self.bus.facts(&filter, sluice_bus::From::Start).await.unwrap();
        let next = async {
            loop {
                match facts.next().await.unwrap().unwrap().event {
                    Event::RenderSucceeded(fact) => return Ok(*fact),
                    Event::RenderFailed(fact) => return Err(*fact),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("no end of the rendering")
    }

    pub(crate) async fn facts(&self) -> usize {
        self.bus.aggregate(&Filter::facts(Entity::Render, None, None, None)).await.unwrap().len()
    }

    /// Publishes what no renderer can read, with the real CLI.
    pub(crate) fn publish_garbage(&self, subject: &str) {
        let cli = program("nats");
        let server = format!("nats://127.0.0.1:{}", self.port);
        let done =
            Command::new(cli).args(["--server", &server, "req", subject, "{garbage"]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub(crate) fn fetches(&self) -> u64 {
        let text = self.service.metrics().text();
        let line = text.lines().find(|line| line.starts_with("sluice_renderer_fetches_total")).unwrap_or("0");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.service.shutdown().cancel();
        // A child that is gone already needs nothing.
        drop(self.nats.kill());
        drop(self.nats.wait());
    }
}

pub(crate) fn git(dir: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=Tester", "-c", "user.email=tester@example.invalid"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn start_nats(dir: &TempDir, port: u16) -> Child {
    let config = dir.path().join("nats.conf");
    let store = dir.path().join("nats");
    std::fs::write(
        &config,
        format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n"),
    )
    .unwrap();
    let child = Command::new(program("nats-server"))
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server starts; `make setup` builds it");
    let until = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nats-server does not listen");
        std::thread::yield_now();
    }
    child
}

/// A program that the platform built, or the one on the path.
fn program(name: &str) -> PathBuf {
    let platform = std::env::var_os("SLUICE_PLATFORM_DIR")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/sluice-platform")));
    platform.map(|dir| dir.join("bin").join(name)).filter(|path| path.exists()).unwrap_or_else(|| name.into())
}
