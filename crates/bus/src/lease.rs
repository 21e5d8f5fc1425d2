//! Leases: who owns long work. A lease is a key that ages out unless renewed; the revision of its creation is the
//! fencing token that goes with every side effect, because no lock over a network is exclusive by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_chassis::{CancellationToken, Service, TaskKind};
use sluice_schemas::Timestamp;

use crate::topology::Bucket;
use crate::{Bus, Kv, KvError};

/// Why a lease could not be asked for.
#[derive(Debug, thiserror::Error)]
#[error("the lease `{key}` cannot be asked for: {source}")]
pub struct LeaseError {
    key: String,
    #[source]
    source: KvError,
}

/// Who holds a lease, for people who look.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Holder {
    holder: String,
    since: Timestamp,
    renewed: Timestamp,
}

/// Leases on a bus.
#[derive(Clone)]
pub struct Leases {
    bus: Bus,
}

/// A lease that is held. Dropping it gives it back.
pub struct Lease {
    key: String,
    epoch: u64,
    lost: CancellationToken,
    stop: CancellationToken,
}

impl Leases {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// Asks for a lease. `None`: somebody else has it. `key` consists of subject tokens separated by dots. The lease
    /// is renewed in the background until it is dropped.
    ///
    /// # Errors
    /// When the broker fails.
    pub async fn acquire(&self, service: &Service, key: &str) -> Result<Option<Lease>, LeaseError> {
        let kv: Kv<Holder> = self.bus.kv(Bucket::Leases);
        let now = Timestamp::now();
        let holder =
            Holder { holder: format!("{}-{}", service.name(), std::process::id()), since: now, renewed: now };
        let epoch = match kv.create(key, &holder).await {
            Ok(revision) => revision,
            Err(KvError::Conflict { .. }) => return Ok(None),
            Err(source) => return Err(LeaseError { key: key.to_owned(), source }),
        };
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let ttl = Duration::from_secs(self.bus.inner.config.lease_seconds);
        let renewal = renew(kv, key.to_owned(), holder, epoch, ttl, lost.clone(), stop.clone());
        service.tasks().spawn(TaskKind::Lease, "lease", renewal);
        Ok(Some(Lease { key: key.to_owned(), epoch, lost, stop }))
    }
}

impl Lease {
    /// The fencing token: higher than that of every earlier holder.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Cancelled when the lease could not be renewed in time: stop at once, another may hold it.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Renews every third of the time to live; gives the lease back at the end.
async fn renew(
    kv: Kv<Holder>,
    key: String,
    mut holder: Holder,
    mut revision: u64,
    ttl: Duration,
    lost: CancellationToken,
    stop: CancellationToken,
) {
    let mut renewed = std::time::Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(ttl / 3) => {}
            () = stop.cancelled() => {
                if let Err(error) = kv.delete_revision(&key, revision).await {
                    tracing::debug!(key, %error, "the lease was not given back; it ages out");
                }
                return;
            }
        }
        holder.renewed = Timestamp::now();
        match kv.update(&key, &holder, revision).await {
            Ok(next) => {
                revision = next;
                renewed = std::time::Instant::now();
            }
            Err(KvError::Conflict { .. }) => break,
            Err(error) => {
                tracing::warn!(key, %error, "the lease was not renewed");
                if renewed.elapsed() >= ttl.mul_f64(0.9) {
                    break;
                }
            }
        }
    }
    tracing::warn!(key, "the lease is lost");
    lost.cancel();
}
