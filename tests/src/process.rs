//! Sluice's own programs as child processes: started, looked at, killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::platform::Platform;
use crate::until::until;

/// A running program of ours. Killed when dropped.
pub struct Process {
    pub name: String,
    /// Base URL of its operations listener.
    pub operations: String,
    pub log: PathBuf,
    child: Child,
}

/// What to start.
pub struct Start<'a> {
    /// `sluice` for everything in one process, or a service's own program.
    pub program: &'a str,
    pub arguments: &'a [&'a str],
    pub config: &'a Path,
    /// Port of the operations listener.
    pub operations: u16,
    /// Name of the log file.
    pub name: &'a str,
    pub environment: &'a [(&'a str, &'a str)],
    /// Only for what must find Docker and the cluster by itself.
    pub directory: &'a Path,
}

impl Process {
    pub fn start(platform: &Platform, start: Start<'_>) -> anyhow::Result<Self> {
        let program = platform.ours(start.program);
        if !program.exists() {
            bail!("{} is not built: run `make build`", program.display());
        }
        let log = start.directory.join(format!("{}.log", start.name));
        let file = std::fs::File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(&program);
        command.args(start.arguments).arg("--config").arg(start.config);
        command.env("DOCKER_HOST", &platform.docker_host).env("KUBECONFIG", &platform.kubeconfig);
        command.env("SLUICE_SERVER__LISTEN", format!("127.0.0.1:{}", start.operations));
        // For `sluice up`, which starts a nats-server when it has no address of one.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", platform.bin.display()));
        command.envs(start.environment.iter().copied());
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
        let operations = format!("http://127.0.0.1:{}", start.operations);
        Ok(Self { name: start.name.to_owned(), operations, log, child })
    }

    /// Waits until `/readyz` says yes.
    pub async fn ready(&mut self, within: Duration) -> anyhow::Result<()> {
        let url = format!("{}/readyz", self.operations);
        let http = reqwest::Client::new();
        let log = self.log.clone();
        let what = format!("{} is ready", self.name);
        let ready = until(&what, within, async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(Err(format!("{what}: it ended: {status}\n{}", tail(&log))));
            }
            match http.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => Ok(Ok(())),
                Ok(answer) => Err(answer.text().await.unwrap_or_default()),
                Err(error) => Err(format!("{error}\n{}", tail(&log))),
            }
        });
        ready.await?.map_err(anyhow::Error::msg)
    }

    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("{} could not be killed", self.name))
    }

    /// SIGTERM, and its exit code within the grace period.
    pub async fn stop(&mut self) -> anyhow::Result<Option<i32>> {
        if let Some(pid) = self.child.id() {
            let mut command = Command::new("kill");
            command.args(["-TERM", &pid.to_string()]);
            command.status().await?;
        }
        match timeout(Duration::from_secs(30), self.child.wait()).await {
            Ok(status) => Ok(status?.code()),
            Err(_) => {
                self.kill().await?;
                bail!("{} did not stop within 30 s\n{}", self.name, tail(&self.log))
            }
        }
    }

    /// Waits until it ends by itself, as at a failpoint.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<()> {
        let ended = timeout(within, self.child.wait()).await;
        ended.with_context(|| format!("{} still runs after {within:?}", self.name))??;
        Ok(())
    }
}

/// The end of a log.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
