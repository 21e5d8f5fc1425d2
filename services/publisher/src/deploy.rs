//! Deploy repositories: who writes to a branch, and what became of it as a fact.
//!
//! Invariants: one writer per repository and branch: within this process by a
//! mutex, between processes by a lease whose loss stops the push (and Git's own
//! compare-and-swap behind it); a bump has one end, whoever writes it. Called by
//! [`crate::bump`] and [`crate::promote`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluice_bus::{AppendError, Bus, Delivery, Expected, Lease, Outcome, PublishError};
use sluice_chassis::Service;
use sluice_git::{Mirrors, Remote, RemoteUrl, Signature};
use sluice_schemas::events::{BumpCommitted, BumpFailed, BumpKind, BumpRef, BumpUnchanged};
use sluice_schemas::ids::hash_token;
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Event, Fact, Filter};

use crate::land::{LandError, Landed, Order, land};
use crate::metrics::PublisherMetrics;
use crate::secrets::CredentialSource;

/// How long a message waits here for a branch that another process writes to.
const LEASE_PATIENCE: Duration = Duration::from_secs(10);
/// Deliveries after which a passing failure is told to people instead of tried again.
pub const PATIENCE: i64 = 12;

#[derive(Clone)]
pub struct Deploys {
    inner: Arc<Inner>,
}

struct Inner {
    service: Service,
    bus: Bus,
    mirrors: Mirrors,
    credentials: Arc<dyn CredentialSource>,
    committer: Signature,
    metrics: PublisherMetrics,
    branches: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What is to be written, before it is known who asks.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub bump: BumpRef,
    /// The service's name in the commit's subject.
    pub name: String,
    /// Repository and number of the run that built the image.
    pub run: Option<(String, u64)>,
}

enum Failure {
    /// Later it may work.
    Passing(String),
    Lasting(String),
}

impl Deploys {
    pub fn new(
        service: &Service,
        bus: &Bus,
        mirrors: Mirrors,
        credentials: Arc<dyn CredentialSource>,
        committer: Signature,
        metrics: PublisherMetrics,
    ) -> Self {
        let inner = Inner {
            service: service.clone(),
            bus: bus.clone(),
            mirrors,
            credentials,
            committer,
            metrics,
            branches: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Lands the bump and says what became of it. A bump that has ended is left alone.
    pub async fn write<T: Sync>(&self, delivery: &Delivery<T>, ordinal: u64, wanted: Wanted) -> Outcome {
        match self.has_ended(&wanted.bump).await {
            Ok(true) => return Outcome::Done,
            Ok(false) => {}
            Err(reason) => return Outcome::retry(delivery, reason),
        }
        let cause = delivery.cause().nth(ordinal);
        let started = Instant::now();
        let order = Order {
            bump: wanted.bump.clone(),
            name: wanted.name,
            correlation: delivery.envelope.correlation.clone(),
            run: wanted.run,
            committer: self.inner.committer.clone(),
        };
        let (result, said) = match self.land(&order).await {
            Ok(Landed::Committed { commit, changes, retries }) => {
                tracing::info!(bump = %wanted.bump.bump, %commit, files = changes.len(), retries, "the image landed in the deploy repository");
                self.inner.metrics.races.with_label_values::<&str>(&[]).inc_by(u64::from(retries));
                let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let fact = BumpCommitted { bump: wanted.bump.clone(), commit, changes, retries, duration_ms };
                ("committed", self.say(&fact, &cause).await)
            }
            Ok(Landed::Unchanged { reason }) => {
                tracing::info!(bump = %wanted.bump.bump, reason, "the deploy repository stays as it is");
                let fact = BumpUnchanged { bump: wanted.bump.clone(), reason };
                ("unchanged", self.say(&fact, &cause).await)
            }
            Err(Failure::Passing(reason)) if delivery.delivered < PATIENCE => {
                return Outcome::retry(delivery, reason);
            }
            Err(Failure::Passing(reason) | Failure::Lasting(reason)) => {
                tracing::warn!(bump = %wanted.bump.bump, reason, "the deploy repository could not be written");
                let fact = BumpFailed { bump: wanted.bump.clone(), reason };
                ("failed", self.say(&fact, &cause).await)
            }
        };
        if let Err(error) = said {
            return Outcome::retry(delivery, error);
        }
        let kind = kind_word(wanted.bump.kind);
        self.inner.metrics.bumps.with_label_values(&[kind, result]).inc();
        self.inner.metrics.bump_seconds.with_label_values(&[kind]).observe(started.elapsed().as_secs_f64());
        Outcome::Done
    }

    async fn land(&self, order: &Order) -> Result<Landed, Failure> {
        let inner = &self.inner;
        let url =
            RemoteUrl::parse(&order.bump.deploy_url).map_err(|error| Failure::Lasting(error.to_string()))?;
        let branch = hash_token(&[url.identity(), &order.bump.branch]);
        let turn = self.branch(&branch);
        let _turn = turn.lock().await;
        let lease = self.lease(&format!("deploy.{branch}")).await?;
        let credentials = inner.credentials.find(&url).await.map_err(Failure::Passing)?;
        let mirror = inner.mirrors.mirror(Remote { url, credentials });
        let lost = lease.lost().clone();
        land(&mirror, order, &|| !lost.is_cancelled()).await.map_err(|error: LandError| {
            if error.is_passing() {
                Failure::Passing(error.to_string())
            } else {
                Failure::Lasting(error.to_string())
            }
        })
    }

    async fn lease(&self, key: &str) -> Result<Lease, Failure> {
        let leases = self.inner.bus.leases();
        let since = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            match leases.acquire(&self.inner.service, key).await {
                Ok(Some(lease)) => return Ok(lease),
                Ok(None) if since.elapsed() > LEASE_PATIENCE => {
                    return Err(Failure::Passing("another publisher writes to this branch".to_owned()));
                }
                // The last holder gives it back in the background: usually it is there at once.
                Ok(None) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(250));
                }
                Err(error) => return Err(Failure::Passing(error.to_string())),
            }
        }
    }

    fn branch(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut branches = self.inner.branches.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(branches.entry(key.to_owned()).or_default())
    }

    async fn has_ended(&self, bump: &BumpRef) -> Result<bool, String> {
        let filter = Filter::facts(Entity::Bump, Some(bump.source.as_str()), Some(bump.bump.as_str()), None);
        let facts = self.inner.bus.aggregate(&filter).await.map_err(|error| error.to_string())?;
        // A failure is an end as well, but one that asking again may overcome.
        Ok(facts.iter().any(|fact| matches!(fact.event, Event::BumpCommitted(_) | Event::BumpUnchanged(_))))
    }

    async fn say<F: Fact>(&self, fact: &F, cause: &Cause) -> Result<(), PublishError> {
        match self.inner.bus.append(fact, cause, Expected::Absent).await {
            Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
            Err(AppendError::Publish(error)) => Err(error),
        }
    }
}

fn kind_word(kind: BumpKind) -> &'static str {
    match kind {
        BumpKind::Bump => "bump",
        BumpKind::Promotion => "promotion",
    }
}
