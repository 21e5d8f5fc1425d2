//! A builder in a world of its own, and what the tests ask of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use sluice_builder::{Config, StaticVault};
use sluice_bus::{Bus, BusConfig, Expected, From, Recorded, Store};
use sluice_chassis::config::ConfigFile;
use sluice_chassis::{Process, Secret};
use sluice_schemas::events::{
    Commit, Event, JobFinished, PushReceived, PushSource, Repository, RunFinished, RunRefused, StepFinished,
};
use sluice_schemas::ids::{PushId, RepoSlug};
use sluice_schemas::log::LogLine;
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Filter, Sha, Timestamp};
use sluice_test_nats::NatsServer;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub(crate) bus: Bus,
    pub(crate) directory: TempDir,
    pub(crate) repository: Repository,
    copy: PathBuf,
    processes: Vec<Process>,
    nats: NatsServer,
}

/// A repository on the platform's Git server with one workflow and a script, and no builder yet.
pub(crate) async fn world(name: &str, files: &[(&str, &str)]) -> World {
    if let Ok(level) = std::env::var("SLUICE_LOG__LEVEL") {
        sluice_chassis::telemetry::init(&sluice_chassis::telemetry::LogConfig {
            level,
            ..Default::default()
        });
    }
    let nats = NatsServer::start();
    let directory = tempfile::tempdir().expect("a directory");
    let full_name = format!("builder-it/{name}-{:08x}", rand::random::<u32>());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/platform/platform");
    let made = Command::new(script).args(["repo", &full_name]).output().expect("the platform runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let clone_url = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let copy = directory.path().join("copy");
    std::fs::create_dir_all(&copy).expect("made");
    let repository = Repository {
        slug: RepoSlug::from_full_name(&full_name),
        full_name,
        html_url: clone_url.trim_end_matches(".git").to_owned(),
        clone_url,
        default_branch: "main".to_owned(),
    };
    let process = Process::new(ConfigFile::parse("none".into(), String::new(), []).expect("empty"));
    let config = BusConfig { url: nats.url(), lease_seconds: 3, storage_gib: 1, ..BusConfig::default() };
    let bus = Bus::connect(&process.service("test"), &config).await.expect("connects");
    bus.provision().await.expect("provisions");
    let mut world = World { bus, directory, repository, copy, processes: vec![process], nats };
    world.git(&["init", "-q", "-b", "main"]);
    world.commit(files, "Begin");
    world
}

impl World {
    /// Starts a builder; several may run, each with directories of its own.
    pub(crate) async fn builder(&mut self, secrets: &[(&str, &str)]) -> Process {
        self.builder_with_warm(secrets, 0).await
    }

    /// As [`World::builder`], with `warm` containers ahead of jobs.
    pub(crate) async fn builder_with_warm(&mut self, secrets: &[(&str, &str)], warm: usize) -> Process {
        let process = Process::new(ConfigFile::parse("none".into(), String::new(), []).expect("empty"));
        let service = process.service("builder");
        let config =
            BusConfig { url: self.nats.url(), lease_seconds: 3, storage_gib: 1, ..BusConfig::default() };
        let bus = Bus::connect(&service, &config).await.expect("connects");
        let secrets: BTreeMap<String, Secret> =
            secrets.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        let vault = StaticVault { secrets, credentials: None };
        let config = Config {
            data: self.directory.path().join(format!("builder-{}", self.processes.len())),
            docker: Some(docker()),
            image: image(),
            warm,
            publish_timeout_seconds: 30,
            notify_timeout_seconds: 30,
            registries: [("registry.digitalocean.com".to_owned(), "registry.test:5000".to_owned())].into(),
            ..Config::default()
        };
        sluice_builder::run_with(service, config, bus, Arc::new(vault)).await.expect("starts");
        self.processes.push(process.clone());
        process
    }

    pub(crate) fn commit(&mut self, files: &[(&str, &str)], message: &str) -> Sha {
        for (path, content) in files {
            let path = self.copy.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, content).expect("written");
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        let url = self.repository.clone_url.replace("://", "://dev:dev@");
        self.git(&["push", "-q", &url, "HEAD"]);
        self.head()
    }

    pub(crate) fn head(&self) -> Sha {
        self.git(&["rev-parse", "HEAD"]).parse().expect("a commit")
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(&self.copy)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.invalid")])
            .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.invalid")])
            .args(arguments)
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The fact that ingress would append for the head of main.
    pub(crate) fn push_fact(&self) -> PushReceived {
        let sha = self.head();
        PushReceived {
            push: PushId::from_text(&format!("p{}", sha.short())),
            repository: self.repository.clone(),
            git_ref: "refs/heads/main".to_owned(),
            before: Sha::NULL.parse().expect("a commit"),
            after: sha.clone(),
            created: false,
            deleted: false,
            forced: false,
            head_commit: Some(Commit {
                sha,
                message: self.git(&["log", "-1", "--format=%B"]),
                author_name: "Ada".to_owned(),
                author_email: "ada@example.invalid".to_owned(),
                time: None,
            }),
            superseded: false,
            pusher: "ada".to_owned(),
            changed_files: Vec::new(),
            changed_files_complete: false,
            delivery: None,
            source: PushSource::Webhook,
            received_at: Timestamp::now(),
        }
    }

    pub(crate) async fn push(&self) -> PushReceived {
        let fact = self.push_fact();
        let cause =
            Cause::root(sluice_schemas::envelope::correlation_of(fact.push.as_str()), fact.push.as_str());
        self.bus.append(&fact, &cause, Expected::Absent).await.expect("appended");
        fact
    }

    /// The first fact that `pick` takes, from the beginning of the log on.
    pub(crate) async fn fact<T>(&self, entity: Entity, pick: impl Fn(&Recorded) -> Option<T>) -> T {
        let filter = Filter::facts(entity, Some(self.repository.slug.as_str()), None, None);
        let mut facts = self.bus.facts(&filter, From::Start).await.expect("a reader");
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(fact) = facts.next().await {
                if let Some(found) = pick(&fact.expect("readable")) {
                    return Some(found);
                }
            }
            None
        });
        found.await.expect("in time").expect("a fact")
    }

    pub(crate) async fn run_finished(&self) -> RunFinished {
        self.fact(Entity::Run, |fact| match &fact.event {
            Event::RunFinished(fact) => Some((**fact).clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn run_refused(&self) -> RunRefused {
        self.fact(Entity::Run, |fact| match &fact.event {
            Event::RunRefused(fact) => Some((**fact).clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn facts(&self, entity: Entity) -> Vec<Recorded> {
        let filter = Filter::facts(entity, Some(self.repository.slug.as_str()), None, None);
        self.bus.aggregate(&filter).await.expect("readable")
    }

    pub(crate) async fn steps(&self, key: &str) -> Vec<StepFinished> {
        let facts = self.facts(Entity::Job).await;
        facts
            .into_iter()
            .filter_map(|fact| match fact.event {
                Event::StepFinished(fact) if fact.job.as_str().ends_with(&format!("-{key}")) => Some(*fact),
                _ => None,
            })
            .collect()
    }

    pub(crate) async fn jobs(&self) -> BTreeMap<String, JobFinished> {
        let facts = self.facts(Entity::Job).await;
        facts
            .into_iter()
            .filter_map(|fact| match fact.event {
                Event::JobFinished(fact) => Some((fact.key.clone(), *fact)),
                _ => None,
            })
            .collect()
    }

    /// The archived log of a step as text.
    pub(crate) async fn log(&self, step: &StepFinished) -> String {
        let Some(digest) = &step.log else { return String::new() };
        let bytes = self.bus.objects(Store::Logs).get(digest).await.expect("archived");
        String::from_utf8_lossy(&bytes)
            .lines()
            .map(|line| serde_json::from_str::<LogLine>(line).expect("a line").text + "\n")
            .collect()
    }

    /// Everything that was ever said on the log subjects, as text.
    pub(crate) async fn live_log(&self, step: &StepFinished) -> String {
        let chunks =
            self.bus.log_chunks(&self.repository.slug, &step.job, Some(step.step), From::Start).await;
        let mut chunks = chunks.expect("a reader");
        let mut text = String::new();
        while let Ok(Some(chunk)) = tokio::time::timeout(Duration::from_secs(10), chunks.next()).await {
            let chunk = chunk.expect("readable").chunk;
            for line in &chunk.lines {
                text.push_str(&line.text);
                text.push('\n');
            }
            if chunk.last {
                break;
            }
        }
        text
    }

    /// Names of containers and networks in the engine that belong to this world's jobs.
    pub(crate) fn leftovers(&self) -> String {
        let mut found = String::new();
        for what in
            [vec!["ps", "-a", "--format", "{{.Names}}"], vec!["network", "ls", "--format", "{{.Name}}"]]
        {
            let output = Command::new("docker")
                .env("DOCKER_HOST", docker())
                .args(&what)
                .output()
                .expect("docker runs");
            for name in String::from_utf8_lossy(&output.stdout).lines() {
                if name.contains(self.repository.slug.as_str()) {
                    found.push_str(name);
                    found.push(' ');
                }
            }
        }
        found
    }

    pub(crate) async fn end(self) {
        for process in &self.processes {
            process.tasks().shutdown().cancel();
        }
        for process in &self.processes {
            process.tasks().wait(Duration::from_secs(20)).await;
        }
    }
}

pub(crate) fn docker() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap_or_default();
        format!("unix://{home}/.cache/sluice-platform/run/docker.sock")
    })
}

pub(crate) fn image() -> String {
    std::env::var("SLUICE_IMAGE_RUNNER").unwrap_or_else(|_| "127.0.0.1:5000/platform/runner:1".to_owned())
}
