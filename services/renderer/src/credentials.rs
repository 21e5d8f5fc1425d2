//! Credentials of Git repositories, from labelled Secrets, remembered for a moment.
//!
//! Invariants: a credential is handed only to the repository whose Secret it is in;
//! without a cluster, or without a Secret, repositories are read anonymously.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sluice_git::{Credentials, RemoteUrl};
use sluice_kubernetes::Cluster;

/// A push brings many renderings of one repository at once: one look-up for all.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Where credentials come from.
pub trait CredentialSource: Send + Sync + 'static {
    fn find<'a>(&'a self, url: &'a RemoteUrl) -> BoxFuture<'a, Result<Option<Credentials>, String>>;
}

/// No credentials at all: for installations without a cluster.
pub struct Anonymous;

impl CredentialSource for Anonymous {
    fn find<'a>(&'a self, _: &'a RemoteUrl) -> BoxFuture<'a, Result<Option<Credentials>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl CredentialSource for Cluster {
    fn find<'a>(&'a self, url: &'a RemoteUrl) -> BoxFuture<'a, Result<Option<Credentials>, String>> {
        Box::pin(async move {
            let found = self.repository_by_url(url.as_str()).await.map_err(|error| error.to_string())?;
            Ok(found.and_then(|repository| {
                let password = repository.password?;
                // Git hosts that take tokens do not look at the name, but want one.
                let username =
                    repository.username.map_or_else(|| "git".to_owned(), |name| name.expose().to_owned());
                Some(Credentials { username, password })
            }))
        })
    }
}

/// Remembers what a source said.
pub struct Remembering {
    source: Arc<dyn CredentialSource>,
    known: Mutex<HashMap<RemoteUrl, (Instant, Option<Credentials>)>>,
}

impl Remembering {
    pub fn new(source: Arc<dyn CredentialSource>) -> Self {
        Self { source, known: Mutex::default() }
    }

    pub async fn find(&self, url: &RemoteUrl) -> Result<Option<Credentials>, String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned();
        if let Some((since, credentials)) = known
            && since.elapsed() < REMEMBERED
        {
            return Ok(credentials);
        }
        let found = self.source.find(url).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
        known.insert(url.clone(), (Instant::now(), found.clone()));
        Ok(found)
    }

    /// After a refusal: the Secret may have been mended since.
    pub fn forget(&self, url: &RemoteUrl) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
    }
}
