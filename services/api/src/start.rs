//! Starting: bus, cluster, first account, grant key, service token, read model, listener.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sluice_bus::{Bus, BusConfig};
use sluice_chassis::{Secret, Service, http};
use sluice_kubernetes::secrets::SecretType;
use sluice_kubernetes::{Cluster, client};

use crate::access::{Accounts, Links, Policy, Sessions, Throttle, token};
use crate::gate::{Comparisons, Once, load_or_create};
use crate::metrics::ApiMetrics;
use crate::model::{Limits, Model, follow};
use crate::{Api, Config, Parts, rest};

/// The Secret (of type `telegram`, which the notifier reads) that holds its token for us.
const SERVICE_SECRET: &str = "notifier-api";
/// The key in it.
const SERVICE_KEY: &str = "api-token";
/// Lease under which what is made once is made.
const BOOTSTRAP: &str = "api-bootstrap";

/// A running API server.
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
}

/// Starts the API server and returns; it lives until shutdown.
///
/// # Errors
/// When the configuration cannot work, or bus, cluster or address are not to be had.
pub async fn run(service: Service, config: Config) -> anyhow::Result<()> {
    start(&service, config).await.map(drop)
}

/// As [`run`], and tells the address: for tests, which listen on any port.
///
/// # Errors
/// As [`run`].
pub async fn start(service: &Service, config: Config) -> anyhow::Result<Started> {
    let policy = Policy::new(&config.policy, &config.policy_default)?;
    let listener = http::bind(&config.listen).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let bus_config: BusConfig = service.config().section("bus")?;
    let kubernetes: client::Config = service.config().section("kubernetes")?;
    let bus = Bus::connect(service, &bus_config).await?;
    if bus_config.provision {
        bus.provision().await?;
    }
    let cluster = client::connect(&kubernetes).await?;
    let accounts = Accounts::new(cluster.clone());
    let (signing_key, service_token) = bootstrap(service, &bus, &cluster, &accounts, &config).await?;
    let model = Model::new(Limits { runs: config.runs_per_repository, chains: config.deliveries });
    follow(service, &bus, &model);
    let api = Api(Arc::new(Parts {
        policy,
        accounts,
        sessions: Sessions::new(&bus),
        links: Links::new(&bus),
        throttle: Throttle::default(),
        once: Once::new(&bus),
        model,
        comparisons: Comparisons::new(&bus),
        signing_key,
        service_token,
        http: reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("no HTTP client could be made")?,
        metrics: ApiMetrics::new(service.metrics()),
        shutdown: service.shutdown().clone(),
        bus,
        cluster,
        config,
    }));
    http::serve(service, "api", listener, rest::router(api));
    Ok(Started { address })
}

/// Makes what is made once, under a lease: two replicas that start together must not make two keys.
async fn bootstrap(
    service: &Service,
    bus: &Bus,
    cluster: &Cluster,
    accounts: &Accounts,
    config: &Config,
) -> anyhow::Result<(ed25519_dalek::SigningKey, Secret)> {
    let lease = loop {
        match bus.leases().acquire(service, BOOTSTRAP).await? {
            Some(lease) => break lease,
            None => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    };
    cluster.ensure_namespace(cluster.namespace()).await.or_else(|error| {
        // Where the namespace is the operator's business, this right is missing and the namespace is there.
        tracing::debug!(%error, "the namespace was not made");
        Ok::<(), anyhow::Error>(())
    })?;
    accounts.ensure_admin(config.initial_password_file.as_deref()).await?;
    let key = load_or_create(cluster).await?;
    let stored = cluster.secret_entry(SecretType::Telegram, SERVICE_SECRET).await?;
    let service_token = match stored.and_then(|mut entry| entry.data.remove(SERVICE_KEY)) {
        Some(token) => token,
        None => {
            let token = token::secret("sls_");
            let data = BTreeMap::from([(SERVICE_KEY.to_owned(), token.clone())]);
            let none = BTreeMap::new();
            cluster.put_secret(SecretType::Telegram, SERVICE_SECRET, &none, &none, &data).await?;
            token
        }
    };
    drop(lease);
    Ok((key, service_token))
}
