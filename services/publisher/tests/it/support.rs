//! A nats-server and a deploy repository of each test's own; the platform's registry.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use sluice_bus::{Bus, BusConfig, Store};
use sluice_chassis::config::ConfigFile;
use sluice_chassis::{Process, Service};
use sluice_publisher::Config;
use sluice_publisher::config::Deploy;
use sluice_publisher::registry::Logins;
use sluice_publisher::secrets::Anonymous;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{Blob, ImageBuilt, ImagePublished};
use sluice_schemas::ids::{ImageId, RunNumber};
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Digest, Event, Filter, Message, Sha};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(crate) struct World {
    pub(crate) bus: Bus,
    pub(crate) service: Service,
    pub(crate) work: PathBuf,
    pub(crate) bare: PathBuf,
    nats: Child,
    port: u16,
    dir: TempDir,
}

impl World {
    /// With a deploy repository that has these files; the publisher not yet started.
    pub(crate) async fn new(files: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let nats = start_nats(&dir, port);
        let service =
            Process::new(ConfigFile::parse(PathBuf::new(), String::new(), []).unwrap()).service("publisher");
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
        let world = Self { bus, service, work, bare, nats, port, dir };
        for (path, content) in files {
            world.write(path, content);
        }
        world.push("first");
        world
    }

    pub(crate) async fn start(&self) {
        self.start_with(Arc::new(Anonymous)).await;
    }

    pub(crate) async fn start_with(&self, logins: Arc<dyn Logins>) {
        let deploy = Deploy {
            repository: self.deploy_url(),
            branch: "main".to_owned(),
            dev: "dev".to_owned(),
            prod: "prod".to_owned(),
        };
        let config =
            Config { data_dir: self.dir.path().join("git"), deploy: vec![deploy], ..Config::default() };
        sluice_publisher::start(&self.service, &config, &self.bus, logins, Arc::new(Anonymous))
            .await
            .unwrap();
    }

    pub(crate) fn deploy_url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// A person's commit.
    pub(crate) fn push(&self, message: &str) -> Sha {
        git(&self.work, &["add", "-A"]);
        git(&self.work, &["commit", "-q", "--allow-empty", "-m", message]);
        git(&self.work, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
        git(&self.work, &["rev-parse", "HEAD"]).parse().unwrap()
    }

    /// A person's commit on top of whatever is there, however often it takes.
    pub(crate) fn push_on_top(&self, path: &str, content: &str) {
        for _ in 0..50 {
            git(&self.work, &["fetch", "-q", "origin", "main"]);
            git(&self.work, &["reset", "-q", "--hard", "origin/main"]);
            self.write(path, content);
            git(&self.work, &["add", "-A"]);
            git(&self.work, &["commit", "-q", "-m", path]);
            if try_git(&self.work, &["push", "-q", "origin", "HEAD:refs/heads/main"]).is_ok() {
                return;
            }
        }
        panic!("a person's push never landed");
    }

    pub(crate) fn file(&self, path: &str) -> String {
        String::from_utf8(raw_git(&self.bare, &["show", &format!("main:{path}")]).unwrap()).unwrap()
    }

    pub(crate) fn log(&self, format: &str) -> Vec<String> {
        let text = git(&self.bare, &["log", &format!("--format={format}"), "main"]);
        text.lines().map(str::to_owned).collect()
    }

    /// Puts an image's parts into the object store and describes it.
    pub(crate) async fn image(
        &self,
        registry: &str,
        repository: &str,
        run: u64,
        layers: &[&[u8]],
    ) -> ImageBuilt {
        let objects = self.bus.objects(Store::Artifacts);
        let put = |bytes: Vec<u8>, media_type: &'static str| {
            let objects = objects.clone();
            async move {
                let size = bytes.len() as u64;
                let digest = objects.put(Bytes::from(bytes)).await.unwrap();
                Blob { digest, size, media_type: media_type.to_owned(), stored: true }
            }
        };
        let config = put(
            format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"run\":{run}}}").into_bytes(),
            CONFIG_TYPE,
        )
        .await;
        let mut stored = Vec::new();
        for layer in layers {
            stored.push(put(layer.to_vec(), LAYER_TYPE).await);
        }
        let list: Vec<String> = stored.iter().map(describe).collect();
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{},"layers":[{}]}}"#,
            describe(&config),
            list.join(",")
        );
        let manifest = objects.put(Bytes::from(text)).await.unwrap();
        let mut built = ImageBuilt::example();
        built.image.registry = registry.to_owned();
        built.image.repository = repository.to_owned();
        built.image.image = ImageId::from_text(&format!("{run}-build-1"));
        built.image.run.number = RunNumber(run);
        built.manifest = manifest;
        built.manifest_type = MANIFEST_TYPE.to_owned();
        built.config = config;
        built.layers = stored;
        built.tags = vec![format!("tag{run}"), "latest".to_owned()];
        built
    }

    pub(crate) async fn publish<M: Message>(&self, message: &M, seed: &str) {
        self.bus.publish(message, &Cause::root(correlation_of(seed), seed)).await.unwrap();
    }

    /// The fact that an image is in the registry, without the registry.
    pub(crate) fn published(image: &str, run: u64, tag: &str) -> ImagePublished {
        let mut fact = ImagePublished::example();
        let (registry, repository) = image.split_once('/').unwrap();
        fact.image.registry = registry.to_owned();
        fact.image.repository = repository.to_owned();
        fact.image.image = ImageId::from_text(&format!("{run}-build-1"));
        fact.image.run.number = RunNumber(run);
        fact.digest = Digest::of(tag.as_bytes());
        fact.tags = vec![tag.to_owned()];
        fact
    }

    /// The first `count` facts of an entity that `choose` takes.
    pub(crate) async fn facts<T>(
        &self,
        entity: Entity,
        count: usize,
        choose: impl Fn(Event) -> Option<T>,
    ) -> Vec<T> {
        let filter = Filter::facts(entity, None, None, None);
        let mut facts = self.bus.facts(&filter, sluice_bus::From::Start).await.unwrap();
        let mut chosen = Vec::new();
        let reading = async {
            while chosen.len() < count {
                chosen.extend(choose(facts.next().await.unwrap().unwrap().event));
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the facts did not come");
        chosen
    }

    /// How many facts of an entity there are now.
    pub(crate) async fn count(&self, entity: Entity, fact: &str) -> usize {
        self.bus.aggregate(&Filter::facts(entity, None, None, Some(fact))).await.unwrap().len()
    }

    pub(crate) fn publish_garbage(&self, subject: &str) {
        let server = format!("nats://127.0.0.1:{}", self.port);
        let done = Command::new(program("nats"))
            .args(["--server", &server, "req", subject, "{garbage"])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Waits for `count` dead letters; their subjects and reasons.
    pub(crate) async fn dead_letters(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let letters = self.bus.dead_letters().await.unwrap();
            if letters.len() >= count {
                return letters
                    .into_iter()
                    .map(|letter| format!("{} {}", letter.subject, letter.reason))
                    .collect();
            }
            assert!(Instant::now() < until, "no dead letter");
            tokio::task::yield_now().await;
        }
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

fn describe(blob: &Blob) -> String {
    format!(r#"{{"mediaType":"{}","size":{},"digest":"{}"}}"#, blob.media_type, blob.size, blob.digest)
}

/// The platform's registry.
pub(crate) fn registry() -> String {
    std::env::var("SLUICE_REGISTRY").unwrap_or_else(|_| "127.0.0.1:5000".to_owned())
}

/// A name that no other test or run uses.
pub(crate) fn unique(name: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("publisher-tests/{name}-{}-{}", std::process::id(), now.as_nanos())
}

pub(crate) fn git(dir: &Path, arguments: &[&str]) -> String {
    let bytes = raw_git(dir, arguments).unwrap_or_else(|error| panic!("git {arguments:?}: {error}"));
    String::from_utf8(bytes).unwrap().trim().to_owned()
}

fn try_git(dir: &Path, arguments: &[&str]) -> Result<(), String> {
    raw_git(dir, arguments).map(drop)
}

fn raw_git(dir: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=Tester", "-c", "user.email=tester@example.invalid"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
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
