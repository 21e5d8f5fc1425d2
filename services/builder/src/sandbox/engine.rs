//! The Docker engine: connecting, starting sandboxes, sweeping up after a crash.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::Docker;
use bollard::errors::Error as DockerError;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, NetworkCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
    ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures::StreamExt as _;
use sluice_schemas::ids::hash_token;

use super::container::Sandbox;
use super::workspace::Workspace;
use crate::config::Config;

const LABEL_BUILDER: &str = "sluice.builder";
const LABEL_JOB: &str = "sluice.job";
/// The engine speaks at least this (Docker 20.10).
const API: &bollard::ClientVersion = &bollard::ClientVersion { major_version: 1, minor_version: 41 };

#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error(
        "the Docker engine at {address} cannot be reached: {reason}; set `builder.docker` or DOCKER_HOST"
    )]
    Connect { address: String, reason: String },
    #[error("the image {image} cannot be pulled: {reason}")]
    Pull { image: String, reason: String },
    #[error("the job's container cannot be started: {reason}")]
    Start { reason: String },
}

impl EngineError {
    /// Whether another try, perhaps elsewhere, may help: it is not the workflow's fault.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }
}

/// A connected engine and the limits of its sandboxes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    docker: Docker,
    settings: Arc<Settings>,
}

struct Settings {
    builder: String,
    jobs: PathBuf,
    /// The same directory as the engine sees it.
    engine_jobs: PathBuf,
    memory: i64,
    nano_cpus: i64,
    pids: i64,
    capabilities: Vec<String>,
}

impl Engine {
    /// Connects, and removes what an earlier life of this builder left behind.
    pub(crate) async fn connect(config: &Config) -> Result<Self, EngineError> {
        let address = address(config);
        let fail = |reason: String| EngineError::Connect { address: address.clone(), reason };
        let docker = match address.strip_prefix("unix://") {
            Some(path) => Docker::connect_with_unix(path, 600, API),
            None => Docker::connect_with_http(&address, 600, API),
        };
        let docker = docker.map_err(|error| fail(error.to_string()))?;
        let docker = docker.negotiate_version().await.map_err(|error| fail(error.to_string()))?;
        let jobs = config.data.join("jobs");
        std::fs::create_dir_all(&jobs).map_err(|error| fail(format!("{}: {error}", jobs.display())))?;
        let jobs = jobs.canonicalize().map_err(|error| fail(format!("{}: {error}", jobs.display())))?;
        let engine_jobs = config.docker_data.as_ref().map_or_else(|| jobs.clone(), |data| data.join("jobs"));
        let settings = Settings {
            builder: hash_token(&[&jobs.to_string_lossy()])[..12].to_owned(),
            jobs,
            engine_jobs,
            memory: i64::try_from(config.memory_mib).unwrap_or(4096) << 20,
            nano_cpus: (config.cpus * 1e9) as i64,
            pids: config.pids,
            capabilities: config.capabilities.clone(),
        };
        let engine = Self { docker, settings: Arc::new(settings) };
        engine.sweep().await;
        Ok(engine)
    }

    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Where the directories of jobs lie.
    pub(crate) fn jobs(&self) -> &Path {
        &self.settings.jobs
    }

    /// Starts a sandbox: its network, its container, waiting for what is executed in it.
    pub(crate) async fn start(
        &self,
        name: &str,
        job: &str,
        image: &str,
        workspace: &Workspace,
    ) -> Result<Sandbox, EngineError> {
        let network = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(self.labels(job)),
            ..NetworkCreateRequest::default()
        };
        let network = self.docker.create_network(network).await.map_err(|error| start_error(&error))?.id;
        let sandbox = Sandbox::new(self.docker.clone(), name.to_owned(), network);
        match self.start_container(&sandbox, job, image, workspace).await {
            Ok(()) => Ok(sandbox),
            Err(error) => {
                sandbox.remove().await;
                Err(error)
            }
        }
    }

    async fn start_container(
        &self,
        sandbox: &Sandbox,
        job: &str,
        image: &str,
        workspace: &Workspace,
    ) -> Result<(), EngineError> {
        let body = self.container(sandbox, job, image, workspace);
        let options = CreateContainerOptionsBuilder::default().name(sandbox.name()).build();
        let created = self.docker.create_container(Some(options.clone()), body.clone()).await;
        match created {
            Ok(_) => {}
            Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => {
                self.pull(image).await?;
                let created = self.docker.create_container(Some(options), body).await;
                created.map_err(|error| start_error(&error))?;
            }
            Err(error) => return Err(start_error(&error)),
        }
        let none = None::<bollard::query_parameters::StartContainerOptions>;
        self.docker.start_container(sandbox.name(), none).await.map_err(|error| start_error(&error))
    }

    fn container(
        &self,
        sandbox: &Sandbox,
        job: &str,
        image: &str,
        workspace: &Workspace,
    ) -> ContainerCreateBody {
        let settings = &self.settings;
        let binds = workspace.mounts().into_iter().map(|(ours, theirs)| {
            let seen = ours
                .strip_prefix(&settings.jobs)
                .map_or(ours.clone(), |rest| settings.engine_jobs.join(rest));
            format!("{}:{theirs}", seen.display())
        });
        let host = HostConfig {
            binds: Some(binds.collect()),
            network_mode: Some(sandbox.network().to_owned()),
            // An init reaps what steps leave behind; the container itself only waits.
            init: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(settings.capabilities.clone()),
            security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
            memory: Some(settings.memory),
            memory_swap: Some(settings.memory),
            nano_cpus: Some(settings.nano_cpus),
            pids_limit: Some(settings.pids),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        };
        ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec!["tail".to_owned()]),
            cmd: Some(vec!["-f".to_owned(), "/dev/null".to_owned()]),
            working_dir: Some(super::paths::WORKSPACE.to_owned()),
            labels: Some(self.labels(job)),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        }
    }

    /// Whether a sandbox that was started ahead still runs, and in what `image` means now.
    pub(crate) async fn is_fit(&self, sandbox: &Sandbox, image: &str) -> bool {
        let none = None::<bollard::query_parameters::InspectContainerOptions>;
        let (container, image) = tokio::join!(
            self.docker.inspect_container(sandbox.name(), none),
            self.docker.inspect_image(image)
        );
        let (Ok(container), Ok(image)) = (container, image) else { return false };
        let runs = container.state.and_then(|state| state.running) == Some(true);
        runs && container.image.is_some() && container.image == image.id
    }

    /// Gets an image that the engine does not have.
    pub(crate) async fn pull(&self, image: &str) -> Result<(), EngineError> {
        let (name, tag) = split_image(image);
        tracing::info!(image, "pulling");
        let options = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
        let mut progress = self.docker.create_image(Some(options), None, None);
        while let Some(step) = progress.next().await {
            step.map_err(|error| EngineError::Pull { image: image.to_owned(), reason: reason(&error) })?;
        }
        Ok(())
    }

    /// Removes containers, networks and directories of this builder that nobody runs any more: all of them, at start.
    async fn sweep(&self) {
        let filter = HashMap::from([("label", vec![format!("{LABEL_BUILDER}={}", self.settings.builder)])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
        let containers = self.docker.list_containers(Some(options)).await.unwrap_or_default();
        for id in containers.into_iter().filter_map(|container| container.id) {
            tracing::info!(container = id, "removing what an earlier life left behind");
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            if let Err(error) = self.docker.remove_container(&id, Some(options)).await {
                tracing::warn!(container = id, %error, "a container stays behind");
            }
        }
        let options = ListNetworksOptionsBuilder::default().filters(&filter).build();
        let networks = self.docker.list_networks(Some(options)).await.unwrap_or_default();
        for id in networks.into_iter().filter_map(|network| network.id) {
            if let Err(error) = self.docker.remove_network(&id).await {
                tracing::warn!(network = id, %error, "a network stays behind");
            }
        }
        for entry in std::fs::read_dir(&self.settings.jobs).into_iter().flatten().flatten() {
            if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "a job's directory stays behind");
            }
        }
    }

    fn labels(&self, job: &str) -> HashMap<String, String> {
        HashMap::from([
            (LABEL_BUILDER.to_owned(), self.settings.builder.clone()),
            (LABEL_JOB.to_owned(), job.to_owned()),
        ])
    }
}

fn address(config: &Config) -> String {
    let given =
        config.docker.clone().or_else(|| std::env::var("DOCKER_HOST").ok()).filter(|it| !it.is_empty());
    given.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
}

/// Name and tag (or digest) as the engine wants them apart.
pub(crate) fn split_image(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        return (name, digest);
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

fn start_error(error: &DockerError) -> EngineError {
    match error {
        DockerError::DockerResponseServerError { .. } => EngineError::Start { reason: reason(error) },
        other => {
            EngineError::Connect { address: "the configured address".to_owned(), reason: other.to_string() }
        }
    }
}

/// What the engine said, without what the client library says around it.
pub(crate) fn reason(error: &DockerError) -> String {
    match error {
        DockerError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        DockerError::DockerStreamError { error } => error.trim().to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::split_image;

    #[test]
    fn images_split_into_name_and_tag() {
        assert_eq!(split_image("debian"), ("debian", "latest"));
        assert_eq!(split_image("127.0.0.1:5000/a/b"), ("127.0.0.1:5000/a/b", "latest"));
        assert_eq!(split_image("127.0.0.1:5000/a/b:1"), ("127.0.0.1:5000/a/b", "1"));
        assert_eq!(split_image("a/b@sha256:00"), ("a/b", "sha256:00"));
    }
}
