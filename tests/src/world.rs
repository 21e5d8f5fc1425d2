//! One isolated world: names, repositories, a bus, a Telegram, secrets and the programs that run in it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use sluice_schemas::ids::RepoSlug;
use sluice_telegram_fake::{Fake, Options};

use crate::config;
use crate::git::Copy;
use crate::kubectl::Kubectl;
use crate::nats::{Nats, free_port};
use crate::platform::Platform;
use crate::process::{Process, Start};
use crate::seed;
use crate::witness::Witness;

pub const READY_WITHIN: Duration = Duration::from_secs(60);

/// The services that `sluice up` runs, each with a program of its own.
pub const SERVICES: [&str; 7] =
    ["ingress", "builder", "publisher", "renderer", "reconciler", "notifier", "api"];

/// Names that a world owns on the shared platform.
#[derive(Debug, Clone)]
pub struct Names {
    /// Owner of the repositories.
    pub owner: String,
    /// Name spaces: Sluice's secrets, the Applications, and the two stages.
    pub system: String,
    pub apps: String,
    pub dev: String,
    pub prod: String,
}

impl Names {
    /// As a team would have them; one world at a time.
    pub fn plain() -> Self {
        let name = str::to_owned;
        Self {
            owner: name("demo"),
            system: name("sluice"),
            apps: name("argocd"),
            dev: name("web-dev"),
            prod: name("web-prod"),
        }
    }

    /// For a cluster that is not ours, where `argocd` may be somebody's real one.
    pub fn careful() -> Self {
        let name = |part: &str| format!("sluice-demo-{part}");
        Self {
            owner: "demo".to_owned(),
            system: name("system"),
            apps: name("apps"),
            dev: name("dev"),
            prod: name("prod"),
        }
    }

    /// Nobody else's.
    pub fn fresh() -> Self {
        let id = format!("e{}", token(6));
        let name = |part: &str| format!("{id}-{part}");
        Self { system: name("sluice"), apps: name("apps"), dev: name("dev"), prod: name("prod"), owner: id }
    }
}

/// Values that must be found nowhere.
#[derive(Debug, Clone)]
pub struct Planted {
    pub webhook: String,
    pub digitalocean: String,
    pub bot_token: String,
}

#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub ingress: u16,
    pub api: u16,
    pub operations: u16,
}

pub struct World {
    pub platform: Platform,
    pub names: Names,
    pub directory: PathBuf,
    pub planted: Planted,
    pub ports: Ports,
    pub kube: Kubectl,
    pub nats: Nats,
    pub telegram: Fake,
    pub http: reqwest::Client,
    pub processes: Vec<Process>,
    /// Laid over the generated configuration before each start.
    pub settings: Value,
    /// Chats go to the real Bot API instead of the fake.
    pub real_telegram: bool,
    /// The team's chat.
    pub chat: i64,
    witness: Option<Witness>,
    keep: bool,
}

impl World {
    /// A fresh world for the test `name`: a bus, a Telegram, name spaces, secrets. Nothing of Sluice runs yet.
    pub async fn new(name: &str) -> anyhow::Result<Self> {
        crate::install_crypto();
        let platform = Platform::get().await?;
        platform.check().await?;
        let directory = platform.root.join("target/e2e").join(name);
        let nats_directory = directory.join("nats");
        if directory.exists() {
            std::fs::remove_dir_all(&directory).with_context(|| format!("{}", directory.display()))?;
        }
        let nats = Nats::start(&platform, &nats_directory).await?;
        let ports = Ports { ingress: free_port()?, api: free_port()?, operations: free_port()? };
        let bot_token = format!("7{}:AA{}", &token(9).replace(|c: char| !c.is_ascii_digit(), "5"), token(33));
        let telegram = Fake::start(Options { token: bot_token.clone(), ..Options::default() }).await?;
        Self::assemble(platform, Names::fresh(), directory, nats, ports, telegram, (bot_token, -100_200))
            .await
    }

    /// A world from parts that the caller made; the demo's.
    pub async fn assemble(
        platform: Platform,
        names: Names,
        directory: PathBuf,
        nats: Nats,
        ports: Ports,
        telegram: Fake,
        (bot_token, chat): (String, i64),
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let planted = Planted {
            webhook: format!("whsec-{}", token(24)),
            digitalocean: format!("dop_v1_{}", token(40)),
            bot_token,
        };
        let world = Self {
            kube: Kubectl::new(&platform),
            http: reqwest::Client::builder().no_proxy().build()?,
            platform,
            names,
            directory,
            planted,
            ports,
            nats,
            telegram,
            processes: Vec::new(),
            settings: json!({}),
            real_telegram: false,
            chat,
            witness: None,
            keep: false,
        };
        world.make_definitions().await?;
        world.make_secrets().await?;
        Ok(world)
    }

    /// Leaves name spaces and repositories in place when this is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    pub fn full_name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.names.owner)
    }

    pub fn slug(&self, repository: &str) -> String {
        RepoSlug::from_full_name(&self.full_name(repository)).to_string()
    }

    pub fn clone_url(&self, repository: &str) -> String {
        format!("{}/{}.git", self.platform.git_url, self.full_name(repository))
    }

    /// Path of the service's image in the registry.
    pub fn image_path(&self) -> String {
        format!("{}/shop-web", self.names.owner)
    }

    /// The service's image, without a tag.
    pub fn image(&self) -> String {
        format!("{}/{}", self.platform.registry, self.image_path())
    }

    pub fn webhook_url(&self) -> String {
        format!("http://127.0.0.1:{}/webhooks/github", self.ports.ingress)
    }

    /// Where the API server writes the first admin password.
    pub fn password_file(&self) -> PathBuf {
        self.directory.join("admin-password")
    }

    /// The first admin password.
    pub fn password(&self) -> anyhow::Result<String> {
        let path = self.password_file();
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.api)
    }

    /// A text of the demo repositories with this world's addresses and names.
    pub fn rewrite(&self, text: &str) -> String {
        let names = &self.names;
        text.replace("127.0.0.1:5000/demo/shop-web", &self.image())
            .replace("127.0.0.1:5000", &self.platform.registry)
            .replace("http://127.0.0.1:3080/demo/", &format!("{}/{}/", self.platform.git_url, names.owner))
            .replace("namespace: argocd", &format!("namespace: {}", names.apps))
            .replace("web-dev", &names.dev)
            .replace("web-prod", &names.prod)
    }

    /// The two repositories with their webhooks, prod running as it did before Sluice came, and both
    /// Applications. Call it before or after the start of Sluice.
    pub async fn populate(&self) -> anyhow::Result<Shop> {
        let web = seed::repository(self, "shop-web").await?;
        let deploy = seed::repository(self, "deploy").await?;
        seed::image(self, &web, seed::FIRST_TAG).await?;
        seed::running(self, &deploy, "prod", "shop-prod").await?;
        for name in ["shop-web", "deploy"] {
            self.hook(name).await?;
        }
        for stage in ["dev", "prod"] {
            self.kube.apply(&deploy.read(&format!("{stage}/app.yaml"))?).await?;
        }
        Ok(Shop { web, deploy })
    }

    /// Points a repository's webhook here.
    pub async fn hook(&self, repository: &str) -> anyhow::Result<()> {
        let mut command = self.platform.script();
        command
            .args(["repo", &self.full_name(repository), &self.webhook_url()])
            .env("WEBHOOK_SECRET", &self.planted.webhook);
        crate::shell::run(command, "").await?.ok("platform repo")?;
        Ok(())
    }

    /// Takes the repository's webhook away.
    pub async fn unhook(&self, repository: &str) -> anyhow::Result<()> {
        let path = self
            .platform
            .directory
            .join(format!("git/repos/{}.git/platform-webhook", self.full_name(repository)));
        std::fs::remove_file(&path).with_context(|| format!("{}", path.display()))
    }

    /// Starts `sluice up` and waits until it is ready.
    pub async fn up(&mut self) -> anyhow::Result<()> {
        self.up_with(&[]).await
    }

    pub async fn up_with(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        let config = config::write(self)?;
        let start = Start {
            program: "sluice",
            arguments: &["up"],
            config: &config,
            operations: self.ports.operations,
            name: "sluice",
            environment,
            directory: &self.directory,
        };
        let mut process = Process::start(&self.platform, start)?;
        process.ready(READY_WITHIN).await?;
        self.processes.push(process);
        self.watch().await
    }

    /// Starts one service in a process of its own; with a failpoint, it may end before it is ready.
    pub async fn start_service(
        &mut self,
        service: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<&mut Process> {
        let config = config::write(self)?;
        let start = Start {
            program: &format!("sluice-{service}"),
            arguments: &[],
            config: &config,
            operations: free_port()?,
            name: service,
            environment,
            directory: &self.directory,
        };
        let process = Process::start(&self.platform, start)?;
        self.processes.retain(|p| p.name != service);
        self.processes.push(process);
        self.processes.last_mut().context("the process just started")
    }

    /// Starts all seven services, each in its own process.
    pub async fn up_apart(&mut self) -> anyhow::Result<()> {
        for service in SERVICES {
            self.start_service(service, &[]).await?;
        }
        for process in &mut self.processes {
            process.ready(READY_WITHIN).await?;
        }
        self.watch().await
    }

    pub fn process(&mut self, name: &str) -> anyhow::Result<&mut Process> {
        self.processes.iter_mut().find(|p| p.name == name).with_context(|| format!("{name} was not started"))
    }

    /// Begins to witness the bus; done by the `up` functions.
    pub async fn watch(&mut self) -> anyhow::Result<()> {
        if self.witness.is_none() {
            self.witness = Some(Witness::start(&self.nats).await?);
        }
        Ok(())
    }

    pub fn witness(&self) -> anyhow::Result<&Witness> {
        self.witness.as_ref().context("Sluice was not started, so there is nothing to witness")
    }

    /// After the bus was away.
    pub async fn watch_again(&mut self) -> anyhow::Result<()> {
        let witness = self.witness.as_mut().context("nothing was watched before")?;
        witness.follow(&self.nats)
    }

    /// The definitions of Applications and projects, name spaces, and the project `default`.
    async fn make_definitions(&self) -> anyhow::Result<()> {
        let there = self.kube.run(&["get", "crd", "applications.argoproj.io"], "").await?.code == 0;
        let folder = self.platform.root.join("k8s/base/crds");
        for entry in std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
            let path = entry?.path();
            // In somebody's cluster, the definitions that Argo CD brought are good.
            let keep = there && !self.platform.owns("kube");
            if !keep && path.extension().is_some_and(|e| e == "yaml") && !path.ends_with("kustomization.yaml")
            {
                self.kube.apply(&std::fs::read_to_string(path)?).await?;
            }
        }
        self.kube
            .ok(&[
                "wait",
                "--for=condition=Established",
                "crd/applications.argoproj.io",
                "crd/appprojects.argoproj.io",
            ])
            .await?;
        let names = &self.names;
        let space =
            |name: &String| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let project = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "default", "namespace": names.apps},
            "spec": {"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}],
                     "clusterResourceWhitelist": [{"group": "*", "kind": "*"}]},
        });
        self.apply(&[space(&names.system), space(&names.apps), project]).await
    }

    async fn make_secrets(&self) -> anyhow::Result<()> {
        let repositories = ["shop-web", "deploy"].map(|name| self.repository_secret(name));
        let ci = [
            ("IMAGE_PATH", self.image_path()),
            ("DIGITALOCEAN_ACCESS_TOKEN", self.planted.digitalocean.clone()),
            ("chat", self.chat.to_string()),
            ("token", self.planted.bot_token.clone()),
        ];
        let telegram = self.secret("telegram", "telegram", &[], json!({"token": self.planted.bot_token}));
        let mut all = repositories.to_vec();
        all.extend([self.ci_secret("shop-web", &ci), telegram]);
        self.apply(&all).await
    }

    /// Makes a repository known to Sluice, with its webhook's secret and the right to push.
    pub fn repository_secret(&self, name: &str) -> Value {
        let annotations =
            [("sluice.dev/url", self.clone_url(name)), ("sluice.dev/full-name", self.full_name(name))];
        let data = json!({
            "username": self.platform.git_user, "password": self.platform.git_password, "webhook-secret": self.planted.webhook,
        });
        self.secret("repository", name, &annotations, data)
    }

    /// The secrets of a repository's workflows.
    pub fn ci_secret(&self, repository: &str, values: &[(&str, String)]) -> Value {
        let data: serde_json::Map<_, _> = values.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        let mut secret = self.secret("ci", repository, &[], Value::Object(data));
        secret["metadata"]["labels"]["sluice.dev/repository"] = json!(self.slug(repository));
        secret
    }

    fn secret(&self, kind: &str, name: &str, annotations: &[(&str, String)], data: Value) -> Value {
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        json!({
            "apiVersion": "v1", "kind": "Secret", "stringData": data,
            "metadata": {"name": format!("{kind}-{name}"), "namespace": self.names.system, "annotations": annotations,
                         "labels": {"sluice.dev/secret-type": kind}},
        })
    }

    /// Applies objects; they go over standard input.
    pub async fn apply(&self, objects: &[Value]) -> anyhow::Result<()> {
        let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
        self.kube.apply(&documents.join("\n---\n")).await
    }
}

/// The working copies of the demo's two repositories.
pub struct Shop {
    pub web: Copy,
    pub deploy: Copy,
}

impl Drop for World {
    fn drop(&mut self) {
        self.processes.clear();
        if self.keep {
            return;
        }
        let names = &self.names;
        let mut kubectl = self.kube.command().into_std();
        kubectl.args(["delete", "namespace", "--ignore-not-found", "--wait=false"]);
        kubectl.args([&names.system, &names.apps, &names.dev, &names.prod]);
        quietly(&mut kubectl);
        let images = format!("reference={}/{}/*", self.platform.registry, names.owner);
        let mut list = self.platform.docker().into_std();
        list.args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &images]);
        if let Ok(found) = list.output() {
            let mut remove = self.platform.docker().into_std();
            remove.args(["image", "rm", "-f"]).args(String::from_utf8_lossy(&found.stdout).lines());
            quietly(&mut remove);
        }
        let repositories = self.platform.directory.join("git/repos").join(&names.owner);
        // A world that never made a repository has no such folder.
        std::fs::remove_dir_all(repositories).ok();
    }
}

fn quietly(command: &mut std::process::Command) {
    use std::process::Stdio;
    // Cleaning up after a test: what fails here must not hide what the test found.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().ok();
}

/// Random characters of a-z and 0-9.
pub fn token(length: usize) -> String {
    use std::hash::{BuildHasher, RandomState};
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..length)
        .map(|at| {
            // The standard library's random keys; a test needs no better randomness.
            let random = RandomState::new().hash_one(at);
            char::from(ALPHABET[usize::try_from(random % 36).unwrap_or(0)])
        })
        .collect()
}
