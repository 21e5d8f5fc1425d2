//! A process: what its services share, and its life from arguments to exit code.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigFile, ServerConfig};
use crate::telemetry::LogConfig;
use crate::{Health, Metrics, Tasks, http, telemetry};

/// Exit code for a configuration that cannot be used (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;

/// What the services of one process share. Cheap to clone.
#[derive(Clone)]
pub struct Process {
    config: ConfigFile,
    health: Health,
    metrics: Metrics,
    tasks: Tasks,
}

impl Process {
    /// A process with this configuration.
    #[must_use]
    pub fn new(config: ConfigFile) -> Self {
        crate::failpoints::arm();
        Self {
            config,
            health: Health::default(),
            metrics: Metrics::default(),
            tasks: Tasks::new(CancellationToken::new()),
        }
    }

    /// The service called `name`.
    #[must_use]
    pub fn service(&self, name: &'static str) -> Service {
        Service { name, process: self.clone() }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ConfigFile {
        &self.config
    }

    /// Conditions of this process.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Metrics of this process.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tasks of this process.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Serves the operations listener, runs `body`, and ends in an orderly way: at a signal, when `body` ends, or
    /// when a vital task is gone. A second signal ends at once.
    ///
    /// # Errors
    /// What `body` or the listener fail with.
    pub async fn run<F>(&self, body: F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let server: ServerConfig = self.config.section("server")?;
        let listener = http::bind(&server.listen).await?;
        let operations = http::operations(self.health.clone(), self.metrics.clone());
        http::serve(&self.service("operations"), "operations", listener, operations);
        let shutdown = self.tasks.shutdown().clone();
        let result = tokio::select! {
            result = body => result,
            () = stop_signal() => Ok(()),
            () = shutdown.cancelled() => Err(anyhow::anyhow!("a task that must run has ended; see the log")),
        };
        tracing::info!("stopping");
        shutdown.cancel();
        tokio::select! {
            all_ended = self.tasks.wait(Duration::from_secs(server.grace_seconds)) => {
                if !all_ended {
                    tracing::warn!(seconds = server.grace_seconds, "some work did not end in time");
                }
            }
            () = stop_signal() => tracing::warn!("a second signal: ending at once"),
        }
        result
    }
}

/// One service within a process.
#[derive(Clone)]
pub struct Service {
    name: &'static str,
    process: Process,
}

impl Service {
    /// Its name: `builder`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its CloudEvents source: `/sluice/builder`.
    #[must_use]
    pub fn source(&self) -> String {
        format!("/sluice/{}", self.name)
    }

    /// The whole configuration, for the sections that services share (`bus`, `kubernetes`).
    #[must_use]
    pub fn config(&self) -> &ConfigFile {
        &self.process.config
    }

    /// See [`Process::health`].
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.process.health
    }

    /// See [`Process::metrics`].
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.process.metrics
    }

    /// See [`Process::tasks`].
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.process.tasks
    }

    /// Cancelled when the process is to end.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        self.process.tasks.shutdown()
    }
}

/// Arguments that every service takes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Configuration file.
    #[arg(long, env = "SLUICE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the configuration in force and end.
    #[arg(long)]
    dump_config: bool,
}

/// The `main` of a service's own program: arguments, configuration, telemetry, `run`, exit code. `run` starts the
/// service's tasks and returns; the process then lives until a signal.
pub fn main<C, F, Fut>(name: &'static str, run: F) -> ExitCode
where
    C: DeserializeOwned,
    F: FnOnce(Service, C) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let Arguments { config, dump_config } = Arguments::parse();
    let loaded = ConfigFile::load(config.as_deref()).and_then(|file| {
        let log: LogConfig = file.section("log")?;
        let section: C = file.section(name)?;
        Ok((file, log, section))
    });
    let (file, log, section) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return usage_error(name, &error.to_string()),
    };
    if dump_config {
        return dump(&file);
    }
    telemetry::init(&log);
    install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return usage_error(name, &format!("no runtime could be started: {error}")),
    };
    let process = Process::new(file);
    let service = process.service(name);
    tracing::info!(service = name, version = env!("CARGO_PKG_VERSION"), "starting");
    // A bus that answers is not yet a service that listens.
    process.health().not_ready(name, "starting");
    let health = process.health().clone();
    let result = runtime.block_on(process.run(async move {
        run(service, section).await?;
        health.ready(name);
        std::future::pending().await
    }));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(service = name, error = format!("{error:#}"), "failed");
            ExitCode::FAILURE
        }
    }
}

/// Makes ring the one TLS implementation. Must come before the first connection; a second call does nothing.
pub fn install_crypto() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("TLS was set up before");
    }
}

#[expect(clippy::print_stderr, reason = "logging is not configured yet, and the person sits at the terminal")]
fn usage_error(name: &str, message: &str) -> ExitCode {
    eprintln!("{name}: {message}");
    ExitCode::from(EXIT_USAGE)
}

#[expect(clippy::print_stdout, reason = "the output of --dump-config")]
fn dump(file: &ConfigFile) -> ExitCode {
    println!("{}", file.dump());
    ExitCode::SUCCESS
}

/// Completes at SIGINT or SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
        // Without signal handlers the default action ends the process, which is as good.
        _ => std::future::pending().await,
    }
}
