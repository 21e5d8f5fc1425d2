//! From what people write (branch, tag, `HEAD`, commit) to a commit.
//!
//! Invariant: the remote is asked, because a mirror may be old; only a full commit
//! id that is here already is answered without it. A branch wins over a tag of the
//! same name.

use git2::Oid;
use sluice_schemas::Sha;

use crate::command::Git;
use crate::fetch::{FetchError, Want};
use crate::mirror::Mirror;
use crate::object::{self, blocking};
use crate::refs::{RefName, RemoteHeads};

/// The shortest commit id that is taken for one.
const MIN_ABBREVIATION: usize = 7;

#[derive(Debug, thiserror::Error, Clone)]
pub enum ResolveError {
    #[error("{url} has no branch, tag or commit {revision:?}; check the spelling, or push it first")]
    Unknown { url: String, revision: String },
    #[error("{revision:?} is the beginning of several commits of {url}; give more digits")]
    Ambiguous { url: String, revision: String },
    #[error("{url} is empty: it has no commit yet; push one first")]
    Empty { url: String },
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl Mirror {
    /// Asks the remote what it has. With `names`, only those refs (and `HEAD`).
    pub async fn ls_remote(&self, names: &[RefName]) -> Result<RemoteHeads, FetchError> {
        let mut operands = vec![self.remote.url.to_string()];
        if !names.is_empty() {
            operands.push("HEAD".to_owned());
            operands.extend(names.iter().flat_map(|name| [name.to_string(), format!("{name}^{{}}")]));
        }
        let output = Git::new("ls-remote", &self.shared.root, self.shared.settings.fetch_timeout)
            .credentials(self.remote.credentials.as_ref())
            .option("--quiet")
            .option("--symref")
            .operands(operands)
            .run()
            .await
            .map_err(|error| self.classify(&error, &[]))?;
        Ok(RemoteHeads::parse(&output))
    }

    /// The commit that `revision` names at the remote now, which is then here.
    /// An empty revision is `HEAD`.
    pub async fn resolve(&self, revision: &str) -> Result<Sha, ResolveError> {
        let revision = revision.trim();
        if let Ok(sha) = revision.parse::<Sha>() {
            self.ensure(&sha, None).await?;
            return Ok(sha);
        }
        let is_head = revision.is_empty() || revision == "HEAD";
        let candidates: Vec<RefName> = if is_head {
            Vec::new()
        } else if revision.starts_with("refs/") {
            RefName::parse(revision).into_iter().collect()
        } else {
            [RefName::branch(revision), RefName::tag(revision)].into_iter().flatten().collect()
        };
        if !is_head && candidates.is_empty() {
            return Err(self.unknown(revision));
        }
        let heads = self.ls_remote(&candidates).await?;
        if is_head {
            let Some(sha) = heads.head_sha else {
                return Err(ResolveError::Empty { url: self.remote.url.to_string() });
            };
            self.ensure(&sha, heads.head.as_ref()).await?;
            return Ok(sha);
        }
        for name in &candidates {
            if let Some(sha) = heads.get(name) {
                self.ensure(sha, Some(name)).await?;
                return Ok(sha.clone());
            }
        }
        self.abbreviation(revision).await
    }

    async fn abbreviation(&self, revision: &str) -> Result<Sha, ResolveError> {
        let plausible = (MIN_ABBREVIATION..40).contains(&revision.len())
            && revision.bytes().all(|b| b.is_ascii_hexdigit());
        if !plausible {
            return Err(self.unknown(revision));
        }
        for fetched in [false, true] {
            if fetched {
                self.fetch(Want::Heads).await?;
            }
            let (shared, digits) = (self.shared.clone(), revision.to_lowercase());
            let found = blocking(move || {
                let repository = shared.open_existing()?;
                Some(find_prefix(&repository, &digits))
            })
            .await;
            match found {
                Some(Ok(Some(oid))) => return Ok(object::sha(oid)),
                Some(Err(_)) => {
                    return Err(ResolveError::Ambiguous {
                        url: self.remote.url.to_string(),
                        revision: revision.to_owned(),
                    });
                }
                Some(Ok(None)) | None => {}
            }
        }
        Err(self.unknown(revision))
    }

    fn unknown(&self, revision: &str) -> ResolveError {
        ResolveError::Unknown {
            url: self.remote.url.to_string(),
            revision: revision.chars().take(200).collect(),
        }
    }
}

/// `Err` when several objects begin so.
fn find_prefix(repository: &git2::Repository, digits: &str) -> Result<Option<Oid>, git2::Error> {
    match repository.find_commit_by_prefix(digits) {
        Ok(commit) => Ok(Some(commit.id())),
        Err(error) if error.code() == git2::ErrorCode::Ambiguous => Err(error),
        Err(_) => Ok(None),
    }
}
