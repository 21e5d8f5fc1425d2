//! The publisher: the only service that writes to registries and deploy repositories.
//!
//! An image that a job built goes to the registry (blobs that are missing there,
//! the manifest by digest, then its tags); its tag goes into the deploy
//! repository's dev directory as a one-line commit; a person's promotion takes what
//! dev has to prod. Invariants: registry credentials are read here alone; the
//! reconciler is never told anything: what lands in Git comes back in as a push.

pub mod blobs;
pub mod config;
pub mod deploy;
pub mod edit;
pub mod handlers;
pub mod image;
pub mod land;
pub mod metrics;
pub mod reference;
pub mod registry;
pub mod secrets;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sluice_bus::topology::{PUBLISHER_BUILT, PUBLISHER_BUMP, PUBLISHER_PROMOTE};
use sluice_bus::{Bus, BusConfig, Store};
use sluice_chassis::Service;
use sluice_git::{MirrorSettings, Mirrors, RefName, RemoteUrl, RepoPath, Signature};
use sluice_schemas::commands::Promote;
use sluice_schemas::events::{ImageBuilt, ImagePublished};
use sluice_schemas::rpc::MissingBlobs;

pub use config::Config;
use deploy::Deploys;
use image::Images;
use metrics::PublisherMetrics;
use registry::{Logins, Registry, RegistrySettings};
use secrets::{Anonymous, ClusterSecrets, CredentialSource};

/// Bumps of different deploy repositories at once; those of one branch wait for each other.
const BUMPS: usize = 8;

/// Starts the service: connects, provisions, consumes.
pub async fn run(service: Service, config: Config) -> anyhow::Result<()> {
    validate(&config)?;
    let bus_config: BusConfig = service.config().section("bus")?;
    let bus = Bus::connect(&service, &bus_config).await?;
    bus.provision().await?;
    let kubernetes: sluice_kubernetes::Config = service.config().section("kubernetes")?;
    match sluice_kubernetes::client::connect(&kubernetes).await {
        Ok(cluster) => {
            let secrets = Arc::new(ClusterSecrets(cluster));
            start(&service, &config, &bus, secrets.clone(), secrets).await
        }
        Err(error) => {
            tracing::warn!(%error, "no cluster: registries and deploy repositories are used without credentials");
            start(&service, &config, &bus, Arc::new(Anonymous), Arc::new(Anonymous)).await
        }
    }
}

/// Starts consuming on a bus that is connected and provisioned.
pub async fn start(
    service: &Service,
    config: &Config,
    bus: &Bus,
    logins: Arc<dyn Logins>,
    credentials: Arc<dyn CredentialSource>,
) -> anyhow::Result<()> {
    let metrics = PublisherMetrics::new(service.metrics());
    let settings = RegistrySettings {
        insecure: config.insecure_registries.iter().cloned().collect(),
        ca_file: config.registry_ca_file.clone(),
    };
    let registry = Registry::new(settings, logins).context("publisher")?;
    let seen = Arc::<blobs::Seen>::default();
    let images =
        Images::new(registry.clone(), bus.objects(Store::Artifacts), Arc::clone(&seen), metrics.clone());
    let timeout = Duration::from_secs(config.git_timeout_seconds.max(1));
    let mirrors =
        Mirrors::open(&config.data_dir, MirrorSettings { fetch_timeout: timeout, push_timeout: timeout })
            .context("publisher.data_dir")?;
    let committer = Signature { name: config.author_name.clone(), email: config.author_email.clone() };
    let deploys = Deploys::new(service, bus, mirrors, credentials, committer, metrics.clone());

    bus.answer::<MissingBlobs, _, _>(service, move |question| {
        let (registry, seen) = (registry.clone(), Arc::clone(&seen));
        async move { blobs::missing(&registry, &seen, question).await }
    })
    .await?;
    let speaker = bus.clone();
    bus.consume::<ImageBuilt, _, _>(service, PUBLISHER_BUILT, config.uploads, move |delivery| {
        let (bus, images, metrics) = (speaker.clone(), images.clone(), metrics.clone());
        async move { Box::pin(handlers::built(&bus, &images, &metrics, delivery)).await }
    })
    .await?;
    let configured: Arc<[config::Deploy]> = config.deploy.clone().into();
    let (writer, known) = (deploys.clone(), Arc::clone(&configured));
    bus.consume::<ImagePublished, _, _>(service, PUBLISHER_BUMP, BUMPS, move |delivery| {
        let (deploys, configured) = (writer.clone(), Arc::clone(&known));
        async move { Box::pin(handlers::published(&deploys, &configured, delivery)).await }
    })
    .await?;
    bus.consume::<Promote, _, _>(service, PUBLISHER_PROMOTE, BUMPS, move |delivery| {
        let (deploys, configured) = (deploys.clone(), Arc::clone(&configured));
        async move { Box::pin(handlers::promote(&deploys, &configured, delivery)).await }
    })
    .await?;
    Ok(())
}

/// What can be wrong with the configuration is said at the start, not at the first image.
fn validate(config: &Config) -> anyhow::Result<()> {
    for (number, deploy) in config.deploy.iter().enumerate() {
        let place = format!("publisher.deploy[{number}]");
        RemoteUrl::parse(&deploy.repository).with_context(|| format!("{place}.repository"))?;
        RefName::branch(&deploy.branch).with_context(|| format!("{place}.branch"))?;
        let dev = RepoPath::parse(&deploy.dev).with_context(|| format!("{place}.dev"))?;
        let prod = RepoPath::parse(&deploy.prod).with_context(|| format!("{place}.prod"))?;
        // Otherwise every image would go to production by itself.
        let apart = dev != prod && dev.relative_to(&prod).is_none() && prod.relative_to(&dev).is_none();
        anyhow::ensure!(apart, "{place}: dev ({dev}) and prod ({prod}) must be separate directories");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dev_directory_that_reaches_into_prod_is_refused() {
        let config = |dev: &str, prod: &str| Config {
            deploy: vec![config::Deploy {
                repository: "https://git.example.com/a/deploy.git".to_owned(),
                branch: "main".to_owned(),
                dev: dev.to_owned(),
                prod: prod.to_owned(),
            }],
            ..Config::default()
        };
        assert!(validate(&config("dev", "prod")).is_ok());
        for (dev, prod) in
            [("dev", "./dev/"), (".", "prod"), ("env", "env/prod"), ("prod/dev", "prod"), ("../x", "prod")]
        {
            assert!(validate(&config(dev, prod)).is_err(), "{dev} {prod}");
        }
    }
}
