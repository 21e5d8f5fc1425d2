//! A bus of the test's own, and the real `nats` command as an independent look at any bus.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use crate::platform::Platform;
use crate::shell::{self, Output};
use crate::until::until;

/// A bus: one that a test started, or the platform's.
pub struct Nats {
    platform: Platform,
    pub url: String,
    own: Option<Own>,
}

struct Own {
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Nats {
    /// The platform's bus, or the user's.
    pub fn of_platform(platform: &Platform) -> Self {
        Self { platform: platform.clone(), url: platform.nats_url.clone(), own: None }
    }

    /// A server on a free port, with its data below `directory`.
    pub async fn start(platform: &Platform, directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let port = free_port()?;
        let config = directory.join("nats.conf");
        // Left to itself, the server lets three quarters of the free disk be reserved, and a full disk too little to begin.
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nmax_payload: 8MB\njetstream {{ store_dir: \"{}\", max_file_store: 16GB, sync_interval: always }}\n",
            directory.join("store").display()
        );
        std::fs::write(&config, text)?;
        let own = Own { config, log: directory.join("nats.log"), child: None };
        let mut nats =
            Self { platform: platform.clone(), url: format!("nats://127.0.0.1:{port}"), own: Some(own) };
        nats.resume().await?;
        Ok(nats)
    }

    /// Starts the server again on its data.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let own = self.own.as_mut().context("the platform's bus is not ours to start")?;
        let log = std::fs::File::options().create(true).append(true).open(&own.log)?;
        let mut command = Command::new(self.platform.bin.join("nats-server"));
        command.arg("--config").arg(&own.config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        own.child = Some(command.kill_on_drop(true).spawn().context("nats-server cannot be started")?);
        until("nats-server answers", Duration::from_secs(10), async || {
            self.command(&["account", "info"]).await?.ok("")
        })
        .await?;
        Ok(())
    }

    /// Kills the server, as a crash does.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let own = self.own.as_mut().context("the platform's bus is not ours to kill")?;
        if let Some(mut child) = own.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    pub async fn command(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        shell::run(self.cli(arguments), "").await
    }

    /// The `nats` command with this bus's address and no context of the user's.
    pub fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = self.platform.program("nats");
        command.env("NATS_URL", &self.url).env("XDG_CONFIG_HOME", "/nonexistent").args(arguments);
        command
    }

    /// Standard output of a successful `nats` command.
    pub async fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.command(arguments).await?.ok(&format!("nats {}", arguments.join(" ")))
    }

    /// Publishes `body`, which goes over standard input.
    pub async fn publish(&self, subject: &str, headers: &[(&str, &str)], body: &str) -> anyhow::Result<()> {
        let headers: Vec<String> = headers.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        let mut arguments = vec!["pub", "--force-stdin", subject];
        for header in &headers {
            arguments.extend(["-H", header]);
        }
        shell::run(self.cli(&arguments), body).await?.ok(&format!("nats pub {subject}"))?;
        Ok(())
    }

    /// The number of messages in a stream, and its last sequence.
    pub async fn state(&self, stream: &str) -> anyhow::Result<(u64, u64)> {
        let text = self.ok(&["stream", "info", stream, "--json"]).await?;
        let info: serde_json::Value = serde_json::from_str(&text)?;
        let number = |key: &str| info["state"][key].as_u64().context("the stream's state");
        Ok((number("messages")?, number("last_seq")?))
    }
}

/// A TCP port that nobody listens on.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
