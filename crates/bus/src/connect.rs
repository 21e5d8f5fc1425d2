//! The connection: version floor, readiness, permission errors made visible.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, kv, object_store};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use sluice_chassis::{Health, Service};
use tokio::sync::{OnceCell, watch};

use crate::consume::Redeliveries;
use crate::metrics::BusMetrics;
use crate::{BusConfig, lease};

/// The oldest server that keeps all of our configuration: older ones drop unknown fields silently, lack TTLs for
/// single keys, and lock aggregates at random.
pub const MINIMUM_VERSION: (u64, u64) = (2, 12);

/// Component name in `/readyz`.
const COMPONENT: &str = "bus";
/// A publish or API call is given up after this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No URL.
    #[error("bus.url is not set; give the URL of a NATS server, or start everything with `sluice up`")]
    NoUrl,
    /// Not an address.
    #[error("bus.url: `{url}` is not the address of a NATS server: {source}")]
    Url {
        url: String,
        #[source]
        source: std::io::Error,
    },
    /// A file named in the configuration cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// No server, or it refused us.
    #[error("no connection to NATS at {url}: {source}")]
    Connect {
        url: String,
        #[source]
        source: async_nats::ConnectError,
    },
    /// Too old.
    #[error("NATS at {url} is version {version}; Sluice needs {}.{} or newer", MINIMUM_VERSION.0, MINIMUM_VERSION.1)]
    Version { url: String, version: String },
}

/// A connected bus. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) js: jetstream::Context,
    pub(crate) config: BusConfig,
    /// CloudEvents source of everything that this service says.
    pub(crate) source: String,
    pub(crate) metrics: BusMetrics,
    pub(crate) redeliveries: Redeliveries,
    pub(crate) kv_stores: Mutex<HashMap<&'static str, kv::Store>>,
    pub(crate) object_stores: Mutex<HashMap<&'static str, object_store::ObjectStore>>,
    pub(crate) mover: OnceCell<()>,
    /// Counts connections: each is to a server that may know nothing of us.
    pub(crate) connections: watch::Sender<u64>,
}

impl Bus {
    /// Connects as `service`. Waits for a server that is not up yet; readiness says so meanwhile.
    ///
    /// # Errors
    /// When the configuration cannot work or the server is too old.
    pub async fn connect(service: &Service, config: &BusConfig) -> Result<Self, ConnectError> {
        if config.url.is_empty() {
            return Err(ConnectError::NoUrl);
        }
        let health = service.health().clone();
        health.not_ready(COMPONENT, format!("connecting to {}", config.url));
        let metrics = BusMetrics::new(service.metrics());
        let connections = watch::Sender::new(0);
        let options =
            options(service.name(), config, health.clone(), metrics.clone(), connections.clone()).await?;
        let servers = servers(&config.url)?;
        let connecting = async_nats::connect_with_options(servers, options);
        let client =
            connecting.await.map_err(|source| ConnectError::Connect { url: config.url.clone(), source })?;
        let version = wait_for_server(&client).await;
        if !at_least(&version, MINIMUM_VERSION) {
            return Err(ConnectError::Version { url: config.url.clone(), version });
        }
        health.ready(COMPONENT);
        let mut js = jetstream::new(client.clone());
        js.set_timeout(REQUEST_TIMEOUT);
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                js,
                config: config.clone(),
                source: service.source(),
                metrics,
                redeliveries: Redeliveries::default(),
                kv_stores: Mutex::default(),
                object_stores: Mutex::default(),
                mover: OnceCell::new(),
                connections,
            }),
        })
    }

    /// The server's version.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.inner.client.server_info().version
    }

    /// Whether the connection is up at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.inner.client.connection_state(), async_nats::connection::State::Connected)
    }

    /// Leases on this bus.
    #[must_use]
    pub fn leases(&self) -> lease::Leases {
        lease::Leases::new(self.clone())
    }

    /// Sends what is buffered. The last thing before a process ends.
    pub async fn flush(&self) {
        if let Err(error) = self.inner.client.flush().await {
            tracing::warn!(%error, "messages may not have left");
        }
    }
}

/// The addresses in a list separated by commas.
fn servers(urls: &str) -> Result<Vec<ServerAddr>, ConnectError> {
    let address = |url: &str| {
        let url = url.trim();
        url.parse().map_err(|source| ConnectError::Url { url: url.to_owned(), source })
    };
    urls.split(',').filter(|url| !url.trim().is_empty()).map(address).collect()
}

async fn options(
    name: &'static str,
    config: &BusConfig,
    health: Health,
    metrics: BusMetrics,
    connections: watch::Sender<u64>,
) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(format!("sluice-{name}"))
        .custom_inbox_prefix(format!("_INBOX.{name}"))
        .retry_on_initial_connect()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .reconnect_delay_callback(|attempts| Duration::from_millis((50 * attempts as u64).min(1000)))
        .event_callback(move |event| {
            if matches!(event, Event::Connected) {
                connections.send_modify(|count| *count += 1);
            }
            let (health, metrics) = (health.clone(), metrics.clone());
            async move { observe(&event, &health, &metrics) }
        });
    if let Some(user) = &config.user {
        let password = match &config.password_file {
            Some(path) => read(path).await?,
            None => String::new(),
        };
        options = options.user_and_password(user.clone(), password.trim_end().to_owned());
    }
    if let Some(path) = &config.credentials_file {
        let credentials = read(path).await?;
        options = options
            .credentials(&credentials)
            .map_err(|source| ConnectError::Read { path: path.clone(), source })?;
    }
    Ok(options)
}

async fn read(path: &PathBuf) -> Result<String, ConnectError> {
    tokio::fs::read_to_string(path).await.map_err(|source| ConnectError::Read { path: path.clone(), source })
}

/// A denied permission shows up only as a time-out where it happened; here it becomes a condition with its text.
fn observe(event: &Event, health: &Health, metrics: &BusMetrics) {
    match event {
        Event::Connected => health.ready(COMPONENT),
        Event::Disconnected => health.not_ready(COMPONENT, "the connection to NATS is down"),
        Event::ServerError(error) => {
            metrics.server_errors.with_label_values(&["server"]).inc();
            let text = error.to_string();
            if text.to_ascii_lowercase().contains("permissions violation") {
                health.not_ready("bus-permissions", text);
            } else {
                tracing::warn!(error = text, "NATS reports an error");
            }
        }
        Event::SlowConsumer(_) => metrics.server_errors.with_label_values(&["slow_consumer"]).inc(),
        Event::ClientError(error) => tracing::debug!(%error, "NATS client"),
        other => tracing::debug!(event = %other, "NATS connection"),
    }
}

/// The server's information arrives with the first connection.
async fn wait_for_server(client: &Client) -> String {
    loop {
        let version = client.server_info().version;
        if !version.is_empty() {
            return version;
        }
        // A flush completes only over a live connection; with none it errs at once, hence the pause.
        if client.flush().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

fn at_least(version: &str, (major, minor): (u64, u64)) -> bool {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u64>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found >= (major, minor)
}

#[cfg(test)]
mod tests {
    use super::{at_least, servers};

    #[test]
    fn several_servers_are_separated_by_commas() {
        let three = servers("nats://a:4222, nats://b:4223,nats://c:4224").expect("addresses");
        assert_eq!(three.iter().map(|server| server.port()).collect::<Vec<_>>(), [4222, 4223, 4224]);
        assert!(servers("nats://a:port").is_err());
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(at_least("2.15.2", (2, 12)));
        assert!(at_least("2.12.0-beta.1", (2, 12)));
        assert!(at_least("3.0.0", (2, 12)));
        assert!(!at_least("2.9.10", (2, 12)));
        assert!(!at_least("", (2, 12)));
    }
}
