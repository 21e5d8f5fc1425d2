//! The repositories that Sluice knows, with their webhook secrets: read from labelled Kubernetes Secrets, kept, and read
//! again every so often and when an unknown repository knocks.
//!
//! Invariants: a repository without a webhook secret never verifies; when the cluster is away the last good reading is
//! used; readings are at least [`MIN_INTERVAL`] apart, so strangers cannot make us hammer the API server.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sluice_chassis::{Secret, Service, TaskKind};
use sluice_git::Credentials;
use sluice_kubernetes::Cluster;
use sluice_kubernetes::secrets::RepositorySecret;
use sluice_schemas::ids::RepoSlug;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Readings are at least this far apart.
const MIN_INTERVAL: Duration = Duration::from_secs(2);
/// Component name in `/readyz`.
const COMPONENT: &str = "repositories";

/// A repository that Sluice knows. No `Debug`: it holds secrets.
#[derive(Clone)]
pub struct KnownRepository {
    /// The token on subjects.
    pub slug: RepoSlug,
    /// `owner/name`, as the person wrote it who added the repository.
    pub full_name: String,
    /// Clone URL without credentials: this one is used, whatever a webhook says.
    pub url: String,
    /// For reading it.
    pub credentials: Option<Credentials>,
    /// The active webhook secrets: one, or two while a person rotates.
    pub secrets: Vec<Secret>,
}

/// Why the repositories could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the repository Secrets cannot be read: {0}")]
pub struct SourceError(pub String);

/// What reading a source gives, later.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<Vec<KnownRepository>, SourceError>> + Send + 'a>>;

/// Where repositories come from.
pub trait RepositorySource: Send + Sync + 'static {
    /// All of them.
    fn read(&self) -> Reading<'_>;
}

/// Labelled Secrets in a cluster.
pub struct ClusterSource(pub Cluster);

impl RepositorySource for ClusterSource {
    fn read(&self) -> Reading<'_> {
        Box::pin(async move {
            let found = self.0.repositories().await.map_err(|error| SourceError(chain(&error)))?;
            Ok(found.into_iter().map(KnownRepository::from).collect())
        })
    }
}

/// A fixed list, for tests.
pub struct StaticSource(pub Vec<KnownRepository>);

impl RepositorySource for StaticSource {
    fn read(&self) -> Reading<'_> {
        Box::pin(async move { Ok(self.0.clone()) })
    }
}

impl From<RepositorySecret> for KnownRepository {
    fn from(secret: RepositorySecret) -> Self {
        let secrets = [secret.webhook_secret, secret.webhook_secret_next];
        let credentials = secret.password.map(|password| Credentials {
            username: secret.username.map(|name| name.expose().to_owned()).unwrap_or_default(),
            password,
        });
        Self {
            slug: secret.slug,
            full_name: secret.full_name,
            url: secret.url,
            credentials,
            secrets: secrets.into_iter().flatten().filter(|secret| !secret.is_empty()).collect(),
        }
    }
}

/// The repositories as last read. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Directory {
    source: Arc<dyn RepositorySource>,
    known: Arc<RwLock<Arc<Vec<KnownRepository>>>>,
    /// When the source was last asked; held while asking, so that one question serves all who wait.
    asked: Arc<Mutex<Option<Instant>>>,
    health: sluice_chassis::Health,
}

impl Directory {
    pub(crate) fn new(service: &Service, source: Arc<dyn RepositorySource>) -> Self {
        Self { source, known: Arc::default(), asked: Arc::default(), health: service.health().clone() }
    }

    /// Reads the source now and then until shutdown.
    pub(crate) fn keep_fresh(&self, service: &Service, every: Duration) {
        let (directory, shutdown) = (self.clone(), service.shutdown().clone());
        service.tasks().spawn(TaskKind::Timer, "repositories", async move {
            loop {
                directory.refresh().await;
                // A cluster that is not there yet is asked again soon.
                let pause = if directory.is_ready() { every } else { MIN_INTERVAL };
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        });
    }

    /// All known repositories.
    pub(crate) fn all(&self) -> Arc<Vec<KnownRepository>> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those called `full_name`, which may be several on different hosts. Reads the source when there is none.
    pub(crate) async fn called(&self, full_name: &str) -> Vec<KnownRepository> {
        let found = self.look(|known| known.full_name.eq_ignore_ascii_case(full_name));
        if !found.is_empty() || !self.refresh().await {
            return found;
        }
        self.look(|known| known.full_name.eq_ignore_ascii_case(full_name))
    }

    /// The one with this slug. Reads the source when there is none.
    pub(crate) async fn with_slug(&self, slug: &RepoSlug) -> Option<KnownRepository> {
        let found = self.look(|known| &known.slug == slug);
        if found.is_empty() && self.refresh().await {
            return self.look(|known| &known.slug == slug).pop();
        }
        found.into_iter().next()
    }

    /// Whether the last reading succeeded.
    pub(crate) fn is_ready(&self) -> bool {
        !self.health.problems().iter().any(|(component, _)| component == COMPONENT)
    }

    fn look(&self, wanted: impl Fn(&KnownRepository) -> bool) -> Vec<KnownRepository> {
        self.all().iter().filter(|known| wanted(known)).cloned().collect()
    }

    /// Reads the source, unless that was done a moment ago. Returns whether something new may be known.
    async fn refresh(&self) -> bool {
        let before = Instant::now();
        let mut asked = self.asked.lock().await;
        if let Some(last) = *asked
            && last.elapsed() < MIN_INTERVAL
        {
            // Somebody asked while we waited for the lock: the answer is as good as our own.
            return last >= before;
        }
        let read = tokio::time::timeout(Duration::from_secs(5), self.source.read()).await;
        *asked = Some(Instant::now());
        match read.unwrap_or_else(|_| Err(SourceError("no answer within 5 s".to_owned()))) {
            Ok(repositories) => {
                let without = repositories.iter().filter(|known| known.secrets.is_empty()).count();
                tracing::debug!(
                    repositories = repositories.len(),
                    without_secret = without,
                    "repositories read"
                );
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(repositories);
                self.health.ready(COMPONENT);
                true
            }
            Err(error) => {
                self.health.not_ready(COMPONENT, error.to_string());
                false
            }
        }
    }
}

/// An error with everything under it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
