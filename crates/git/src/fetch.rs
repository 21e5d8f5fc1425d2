//! Getting objects from the remote.
//!
//! Invariants: what is here already is not fetched again; one transfer at a time
//! per repository ([`crate::flight`]); a failure says whose fault it is; a damaged
//! mirror is thrown away and fetched anew within the same call.

use std::collections::BTreeMap;

use sluice_schemas::Sha;

use crate::command::Git;
use crate::mirror::{Mirror, Shared};
use crate::object::{self, blocking};
use crate::refs::RefName;

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// All branches and tags; those that are gone at the remote go here too.
    Heads,
    Ref(RefName),
    /// A commit that no known ref names. Not every Git server gives those out.
    Commit(Sha),
}

/// A want, and the commit whose presence makes it needless.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wish {
    want: Want,
    until: Option<Sha>,
}

#[derive(Debug, thiserror::Error, Clone)]
pub enum FetchError {
    #[error(
        "the Git server of {url} refused us ({reason}); store a user and token that may read it in the repository's Secret"
    )]
    Denied { url: String, reason: String },
    #[error(
        "there is no Git repository at {url} that we may read ({reason}); check the URL, or store credentials for it"
    )]
    NoRepository { url: String, reason: String },
    #[error("{url} has no branch or tag {name}; it may have been deleted since")]
    NoRef { url: String, name: String },
    #[error("{url} does not hand out commit {sha}; it may have been removed by a forced push")]
    NoCommit { url: String, sha: Sha },
    #[error("the Git server of {url} cannot be reached ({reason}); this is tried again")]
    Unavailable { url: String, reason: String },
    #[error("the Git mirror of {url} is damaged ({reason}) and could not be made anew")]
    Damaged { url: String, reason: String },
    #[error("fetching {url} failed: {reason}")]
    Other { url: String, reason: String },
}

impl FetchError {
    /// Whether trying again later can help without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Damaged { .. } | Self::Other { .. })
    }
}

impl Mirror {
    /// Fetches `want` in a transfer that starts after this call.
    pub async fn fetch(&self, want: Want) -> Result<(), FetchError> {
        self.fly(Wish { want, until: None }).await
    }

    /// Sees to it that the commit and its root tree are here. Touches the network
    /// only when they are not; `hint` is the ref that is said to contain it.
    pub async fn ensure(&self, sha: &Sha, hint: Option<&RefName>) -> Result<(), FetchError> {
        if self.has(sha).await {
            return Ok(());
        }
        let first = hint.map_or(Want::Heads, |name| Want::Ref(name.clone()));
        let fetched = self.fly(Wish { want: first, until: Some(sha.clone()) }).await;
        if self.has(sha).await {
            return Ok(());
        }
        match fetched {
            Ok(()) | Err(FetchError::NoRef { .. }) => {}
            Err(error) => return Err(error),
        }
        self.fly(Wish { want: Want::Commit(sha.clone()), until: Some(sha.clone()) }).await?;
        if self.has(sha).await {
            return Ok(());
        }
        // The remote says that we have it, our files say that we do not.
        self.start_anew().await;
        self.fly(Wish { want: Want::Heads, until: Some(sha.clone()) }).await?;
        if self.has(sha).await { Ok(()) } else { Err(self.no_commit(sha)) }
    }

    /// Whether the commit and its root tree can be read here.
    pub async fn has(&self, sha: &Sha) -> bool {
        let (shared, sha) = (self.shared.clone(), sha.clone());
        blocking(move || shared.holds(&sha)).await
    }

    /// Where the mirror believes `name` to be: what the last fetch or push of it left.
    pub async fn tip(&self, name: &RefName) -> Option<Sha> {
        let (shared, name) = (self.shared.clone(), name.to_string());
        blocking(move || Some(object::sha(shared.open_existing()?.refname_to_id(&name).ok()?))).await
    }

    pub(crate) async fn start_anew(&self) {
        tracing::warn!(url = %self.remote.url, "a damaged Git mirror is deleted and fetched again");
        let shared = self.shared.clone();
        blocking(move || shared.discard()).await;
    }

    async fn fly(&self, wish: Wish) -> Result<(), FetchError> {
        // Boxed: the transfer's state is large and most calls never get there.
        self.shared.flight.join(wish, |wishes| Box::pin(self.carry_out(wishes))).await
    }

    async fn carry_out(&self, wishes: Vec<Wish>) -> BTreeMap<Wish, Result<(), FetchError>> {
        let _lock = match self.shared.lock_file().await {
            Ok(lock) => lock,
            Err(error) => {
                let error = self.other(format!("the lock file of the mirror: {error}"));
                return wishes.into_iter().map(|wish| (wish, Err(error.clone()))).collect();
            }
        };
        let shared = self.shared.clone();
        let (mut results, open) = blocking(move || {
            let (held, open): (Vec<Wish>, Vec<Wish>) =
                wishes.into_iter().partition(|wish| wish.until.as_ref().is_some_and(|sha| shared.holds(sha)));
            (held.into_iter().map(|wish| (wish, Ok(()))).collect::<BTreeMap<_, _>>(), open)
        })
        .await;
        let mut wants: Vec<Want> = open.iter().map(|wish| wish.want.clone()).collect();
        wants.sort();
        wants.dedup();
        if wants.is_empty() {
            return results;
        }
        let together = self.transfer(&wants).await;
        for wish in open {
            // One missing ref fails a whole transfer: the others then get their own.
            let result = match &together {
                Err(error) if wants.len() > 1 && !error.is_passing() => {
                    self.transfer(std::slice::from_ref(&wish.want)).await
                }
                result => result.clone(),
            };
            results.insert(wish, result);
        }
        results
    }

    async fn transfer(&self, wants: &[Want]) -> Result<(), FetchError> {
        match self.git_fetch(wants).await {
            Err(FetchError::Damaged { .. }) => {
                self.start_anew().await;
                self.git_fetch(wants).await
            }
            // A branch `a` that is now `a/b` blocks its name here until pruned.
            Err(FetchError::Other { reason, .. }) if reason.contains("cannot lock ref") => {
                self.git_fetch(&[Want::Heads]).await
            }
            result => result,
        }
    }

    async fn git_fetch(&self, wants: &[Want]) -> Result<(), FetchError> {
        let shared = self.shared.clone();
        blocking(move || shared.open().map(drop))
            .await
            .map_err(|error| self.other(error.message().to_owned()))?;
        self.shared.count_fetch();
        let mut git = Git::new("fetch", &self.shared.root, self.shared.settings.fetch_timeout)
            .git_dir(&self.shared.dir)
            .credentials(self.remote.credentials.as_ref())
            .option("--quiet")
            .option("--force")
            .option("--no-tags")
            .option("--no-write-fetch-head");
        let all = wants.contains(&Want::Heads);
        if all {
            git = git.option("--prune");
        }
        let mut operands = vec![self.remote.url.to_string()];
        if all {
            operands.extend(["+refs/heads/*:refs/heads/*".to_owned(), "+refs/tags/*:refs/tags/*".to_owned()]);
        }
        operands.extend(wants.iter().filter_map(|want| match want {
            Want::Heads => None,
            Want::Ref(name) if all && is_head(name) => None,
            Want::Ref(name) => Some(format!("+{name}:{name}")),
            Want::Commit(sha) => Some(format!("+{sha}:refs/sluice/commits/{sha}")),
        }));
        let started = std::time::Instant::now();
        let result = git.operands(operands).run().await;
        tracing::debug!(url = %self.remote.url, ?wants, milliseconds = started.elapsed().as_millis() as u64,
            failed = result.is_err(), "fetched");
        result.map(drop).map_err(|error| self.classify(&error, wants))
    }

    pub(crate) fn no_commit(&self, sha: &Sha) -> FetchError {
        FetchError::NoCommit { url: self.remote.url.to_string(), sha: sha.clone() }
    }

    fn other(&self, reason: String) -> FetchError {
        FetchError::Other { url: self.remote.url.to_string(), reason }
    }
}

impl Shared {
    /// Whether commit and root tree are readable. Blocking.
    pub(crate) fn holds(&self, sha: &Sha) -> bool {
        let Some(oid) = object::oid(sha) else { return false };
        let Some(repository) = self.open_existing() else { return false };
        repository.find_commit(oid).and_then(|commit| commit.tree()).is_ok()
    }
}

fn is_head(name: &RefName) -> bool {
    name.as_str().starts_with("refs/heads/") || name.as_str().starts_with("refs/tags/")
}
