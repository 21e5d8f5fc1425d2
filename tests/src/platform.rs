//! Where the real parts are: what `tests/platform/platform env` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::shell;

/// Addresses of the running platform.
#[derive(Debug, Clone)]
pub struct Platform {
    /// The repository's root.
    pub root: PathBuf,
    /// Programs that the platform built: `nats-server`, `nats`, `kubectl`.
    pub bin: PathBuf,
    pub directory: PathBuf,
    pub docker_host: String,
    pub kubeconfig: PathBuf,
    pub nats_url: String,
    /// Host and port.
    pub registry: String,
    pub git_url: String,
    pub git_user: String,
    pub git_password: String,
    pub prometheus_url: String,
    pub image_busybox: String,
    pub image_runner: String,
    /// Parts that are the user's own: never stopped, never cleaned.
    pub given: Vec<String>,
    docker_config: PathBuf,
}

impl Platform {
    /// The platform, which must be up.
    pub async fn get() -> anyhow::Result<Self> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository's root")?.to_owned();
        let mut command = Command::new(root.join("tests/platform/platform"));
        command.arg("env");
        let text = shell::run(command, "").await?.ok("platform env")?;
        let values: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        let get = |name: &str| {
            values
                .get(name)
                .map(|v| (*v).to_owned())
                .with_context(|| format!("the platform does not tell {name}"))
        };
        let directory = PathBuf::from(get("SLUICE_PLATFORM_DIR")?);
        let platform = Self {
            bin: directory.join("bin"),
            directory,
            docker_host: get("DOCKER_HOST")?,
            docker_config: get("DOCKER_CONFIG")?.into(),
            kubeconfig: get("KUBECONFIG")?.into(),
            nats_url: get("NATS_URL")?,
            registry: get("SLUICE_REGISTRY")?,
            git_url: get("SLUICE_GIT_URL")?,
            git_user: get("SLUICE_GIT_USER")?,
            git_password: get("SLUICE_GIT_PASSWORD")?,
            prometheus_url: get("SLUICE_PROMETHEUS_URL")?,
            image_busybox: get("SLUICE_IMAGE_BUSYBOX")?,
            image_runner: get("SLUICE_IMAGE_RUNNER")?,
            given: get("SLUICE_GIVEN_PARTS")?.split_whitespace().map(str::to_owned).collect(),
            root,
        };
        Ok(platform)
    }

    /// Makes sure that everything runs that a world needs.
    pub async fn check(&self) -> anyhow::Result<()> {
        let mut command = self.script();
        command.arg("status");
        let status = shell::run(command, "").await?.stdout;
        let down: Vec<_> = ["docker", "registry", "images", "git", "kube"]
            .into_iter()
            .filter(|part| !status.lines().any(|l| l.split_whitespace().take(2).eq([*part, "up"])))
            .collect();
        if !down.is_empty() {
            bail!("the platform is not up ({}): run `make up`", down.join(", "));
        }
        Ok(())
    }

    /// Whether a part (`docker`, `kube`, `nats`) is the platform's own, to be cleaned as it likes.
    pub fn owns(&self, part: &str) -> bool {
        !self.given.iter().any(|given| given == part)
    }

    pub fn script(&self) -> Command {
        Command::new(self.root.join("tests/platform/platform"))
    }

    /// A program that the platform built.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.bin.join(name))
    }

    pub fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        // The classic builder: the other one needs a plug-in that Debian does not have.
        command
            .env("DOCKER_HOST", &self.docker_host)
            .env("DOCKER_CONFIG", &self.docker_config)
            .env("DOCKER_BUILDKIT", "0");
        command
    }

    /// A program of ours from `target/debug`, or from `$SLUICE_TARGET`.
    pub fn ours(&self, name: &str) -> PathBuf {
        let target =
            std::env::var_os("SLUICE_TARGET").map_or_else(|| self.root.join("target/debug"), PathBuf::from);
        target.join(name)
    }
}
