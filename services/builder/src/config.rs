//! Section `builder` of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// How jobs are run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where mirrors, workspaces and what is known of layers lie.
    pub data: PathBuf,
    /// `data` as the Docker engine sees it, when the engine has other mounts than this process.
    pub docker_data: Option<PathBuf>,
    /// The engine: `unix:///path` or `tcp://host:port`. Absent: `DOCKER_HOST`, then the engine's usual socket.
    pub docker: Option<String>,
    /// Image that jobs without `container` run in.
    pub image: String,
    /// Other images by `runs-on` label.
    pub images: BTreeMap<String, String>,
    /// Jobs at once in this process.
    pub jobs: usize,
    /// Containers of `image` that run ahead of jobs, so that a job in it begins at once; 0 turns it off.
    pub warm: usize,
    /// Memory of a job.
    pub memory_mib: u64,
    /// Processors of a job.
    pub cpus: f64,
    /// Processes of a job.
    pub pids: i64,
    /// Capabilities that a job's container keeps; none are needed to build and test. `CHOWN`, `DAC_OVERRIDE`,
    /// `FOWNER`, `SETGID` and `SETUID` together let a job install Debian packages.
    pub capabilities: Vec<String>,
    /// Longest life of a job without `timeout-minutes`.
    pub job_timeout_minutes: u64,
    /// How long a step waits for the publisher.
    pub publish_timeout_seconds: u64,
    /// How long a step waits for the notifier.
    pub notify_timeout_seconds: u64,
    /// Registry hosts that stand for others: `registry.digitalocean.com: 127.0.0.1:5000`.
    pub registries: BTreeMap<String, String>,
    /// This process plans runs.
    pub coordinate: bool,
    /// This process runs jobs.
    pub execute: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data/builder"),
            docker_data: None,
            docker: None,
            image: "docker.io/library/buildpack-deps:bookworm".to_owned(),
            images: BTreeMap::new(),
            jobs: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            warm: 1,
            memory_mib: 4096,
            cpus: 2.0,
            pids: 2048,
            capabilities: Vec::new(),
            job_timeout_minutes: 360,
            publish_timeout_seconds: 600,
            notify_timeout_seconds: 60,
            registries: BTreeMap::new(),
            coordinate: true,
            execute: true,
        }
    }
}
