//! Landing an image reference on a branch of a deploy repository.
//!
//! Invariants: a bump's commit appears once, however often this runs, because its
//! id stands in the commit as a trailer and the branch is searched for it first; a
//! person's commit that races ours is kept, because ours is made anew on top of it
//! and never forced; the files' other bytes are kept ([`crate::edit`]); an image of
//! an older run never replaces one of a newer run. The caller holds the lease of
//! the branch. Called by [`crate::bump`] and [`crate::promote`].

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng as _;
use sluice_git::{
    CommitError, CommitInfo, Edit, FetchError, Mirror, NewCommit, PathError, PushError, ReadError,
    ReadLimits, RefName, RefNameError, RepoPath, Signature, Want,
};
use sluice_schemas::Sha;
use sluice_schemas::events::{BumpRef, ImageChange};
use sluice_schemas::ids::Correlation;
use time::OffsetDateTime;

use crate::edit::{Wanted, edit, is_manifest};

pub const TRAILER_BUMP: &str = "Sluice-Bump";
pub const TRAILER_CORRELATION: &str = "Sluice-Correlation";
pub const TRAILER_RUN: &str = "Sluice-Run";
pub const TRAILER_IMAGE: &str = "Sluice-Image";
pub const TRAILER_PERSON: &str = "Sluice-Person";

/// Pushes that may lose before the message is given back to the bus.
const TRIES: u32 = 10;
/// How far back the branch is searched: months of a busy deploy repository.
const HISTORY: usize = 500;

/// What is to land.
#[derive(Debug, Clone)]
pub struct Order {
    pub bump: BumpRef,
    /// The service's name in the commit's subject.
    pub name: String,
    pub correlation: Correlation,
    /// Repository and number of the run that built the image.
    pub run: Option<(String, u64)>,
    pub committer: Signature,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landed {
    Committed { commit: Sha, changes: Vec<ImageChange>, retries: u32 },
    Unchanged { reason: String },
}

#[derive(Debug, thiserror::Error)]
pub enum LandError {
    #[error("the deploy repository's branch or directory is not valid: {0}")]
    Settings(String),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error("{url} has no branch {branch}; create it, or set `publisher.deploy[].branch`")]
    NoBranch { url: String, branch: String },
    #[error("{TRIES} pushes to {branch} of {url} lost against other pushes; this is tried again")]
    Crowded { url: String, branch: String },
    #[error("another publisher took over the branch; this is tried again")]
    LeaseLost,
}

impl LandError {
    /// Whether trying again later can help without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        let fetch = |error: &FetchError| error.is_passing();
        match self {
            Self::Read(ReadError::Fetch(error)) | Self::Push(PushError::Transfer(error)) => fetch(error),
            Self::Read(ReadError::Damaged { .. }) | Self::Commit(CommitError::Git { .. }) => true,
            Self::Push(PushError::Rejected { .. }) | Self::Crowded { .. } | Self::LeaseLost => true,
            _ => false,
        }
    }
}

impl From<FetchError> for LandError {
    fn from(error: FetchError) -> Self {
        Self::Read(ReadError::Fetch(error))
    }
}

impl From<RefNameError> for LandError {
    fn from(error: RefNameError) -> Self {
        Self::Settings(error.to_string())
    }
}

impl From<PathError> for LandError {
    fn from(error: PathError) -> Self {
        Self::Settings(error.to_string())
    }
}

/// Runs until the order has landed or needs no landing. `is_ours` says whether the
/// lease is still held; it is asked right before each push.
pub async fn land(
    mirror: &Mirror,
    order: &Order,
    is_ours: &(dyn Fn() -> bool + Sync),
) -> Result<Landed, LandError> {
    let branch = RefName::branch(&order.bump.branch)?;
    let directory = RepoPath::parse(&order.bump.directory)?;
    let mut retries = 0;
    // The mirror's own tip is good enough for a first try: when it is old the push
    // is refused and we fetch. That saves a round trip on every bump but the first.
    let mut fresh = false;
    for _ in 0..TRIES {
        let tip = match mirror.tip(&branch).await {
            Some(tip) => tip,
            None => {
                fetch(mirror, order, &branch).await?;
                fresh = true;
                mirror.tip(&branch).await.ok_or_else(|| no_branch(order))?
            }
        };
        if let Some(found) = find(mirror, &tip, order).await? {
            let changes = match found.parents.first() {
                Some(parent) => plan(mirror, parent, &directory, order).await?.changes,
                None => Vec::new(),
            };
            return Ok(Landed::Committed { commit: found.sha, changes, retries });
        }
        let newer = newer_run(mirror, &tip, order).await?;
        let plan = match newer {
            None => plan(mirror, &tip, &directory, order).await?,
            Some(_) => Plan::default(),
        };
        if plan.edits.is_empty() {
            if !fresh {
                fetch(mirror, order, &branch).await?;
                fresh = true;
                continue;
            }
            let reason = match newer {
                Some(number) => format!("superseded: run #{number} has put a newer image there"),
                None if plan.named > 0 => "already there".to_owned(),
                None => format!("no file below {directory} names the image {}", order.bump.image),
            };
            return Ok(Landed::Unchanged { reason });
        }
        let new = NewCommit {
            base: tip.clone(),
            edits: plan.edits,
            author: order.committer.clone(),
            committer: order.committer.clone(),
            message: message(order),
            time: OffsetDateTime::now_utc(),
        };
        let commit = mirror.commit(new).await?;
        fail::fail_point!("publisher-before-push");
        if !is_ours() {
            return Err(LandError::LeaseLost);
        }
        match mirror.push(&commit, &tip, &branch).await {
            Ok(()) => {
                fail::fail_point!("publisher-pushed-before-event");
                return Ok(Landed::Committed { commit, changes: plan.changes, retries });
            }
            Err(PushError::Rejected { reason, .. }) => {
                retries += 1;
                tracing::info!(bump = %order.bump.bump, retries, reason, "a push lost a race; applying it again on top");
                let jitter = rand::rng().random_range(5..=40) * u64::from(retries.min(8));
                tokio::time::sleep(Duration::from_millis(jitter)).await;
                fetch(mirror, order, &branch).await?;
                fresh = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(LandError::Crowded { url: order.bump.deploy_url.clone(), branch: order.bump.branch.clone() })
}

/// The commit's message: what people wrote by hand so far, and the trailers that
/// carry the chain on.
fn message(order: &Order) -> String {
    let bump = &order.bump;
    let mut text = format!("update({}): {}\n\n", order.name, bump.tag);
    if let Some(person) = &bump.person {
        text.push_str(&format!("Promoted to {} by {person}.\n\n", bump.directory));
    }
    let mut image = format!("{}:{}", bump.image, bump.tag);
    if let Some(digest) = &bump.digest {
        image.push_str(&format!("@{digest}"));
    }
    let mut trailers = vec![(TRAILER_CORRELATION, order.correlation.to_string())];
    if let Some((repository, number)) = &order.run {
        trailers.push((TRAILER_RUN, format!("{repository}#{number}")));
    }
    trailers.push((TRAILER_IMAGE, image));
    if let Some(person) = &bump.person {
        trailers.push((TRAILER_PERSON, person.to_string()));
    }
    trailers.push((TRAILER_BUMP, bump.bump.to_string()));
    for (key, value) in trailers {
        text.push_str(&format!("{key}: {value}\n"));
    }
    text
}

#[derive(Default)]
struct Plan {
    edits: BTreeMap<RepoPath, Edit>,
    changes: Vec<ImageChange>,
    named: usize,
}

/// What the order changes at a commit.
async fn plan(mirror: &Mirror, commit: &Sha, directory: &RepoPath, order: &Order) -> Result<Plan, LandError> {
    let (directory, bump) = (directory.clone(), order.bump.clone());
    let limits = ReadLimits::default();
    let plan = mirror
        .read(commit, None, limits, move |tree| {
            let mut plan = Plan::default();
            let entries = match tree.list(&directory, true) {
                Ok(entries) => entries,
                Err(ReadError::NotFound { .. }) => return Ok(plan),
                Err(error) => return Err(error),
            };
            let wanted = Wanted {
                image: &bump.image,
                tag: &bump.tag,
                digest: bump.digest.as_ref().map(|digest| digest.as_str()),
            };
            for entry in entries {
                // A link's target is edited where it lies, if it lies below the directory.
                if !matches!(entry.kind, sluice_git::EntryKind::File { .. })
                    || !is_manifest(entry.path.as_str())
                {
                    continue;
                }
                let content = match tree.read_entry(&entry) {
                    Ok(content) => content,
                    Err(ReadError::TooLarge { .. }) => continue,
                    Err(error) => return Err(error),
                };
                let edited = edit(entry.path.as_str(), &content, &wanted);
                plan.named += edited.named;
                plan.changes.extend(edited.changes);
                if let Some(content) = edited.content {
                    plan.edits.insert(entry.path, Edit::Write(content));
                }
            }
            Ok(plan)
        })
        .await?;
    Ok(plan)
}

async fn find(mirror: &Mirror, tip: &Sha, order: &Order) -> Result<Option<CommitInfo>, LandError> {
    let id = order.bump.bump.to_string();
    Ok(mirror.find_commit(tip, HISTORY, move |info| info.has_trailer(TRAILER_BUMP, &id)).await?)
}

/// The number of a newer run of the same repository whose image of the same name landed already.
async fn newer_run(mirror: &Mirror, tip: &Sha, order: &Order) -> Result<Option<u64>, LandError> {
    let Some((repository, number)) = order.run.clone() else { return Ok(None) };
    let image = format!("{}:", order.bump.image);
    let found = mirror
        .find_commit(tip, HISTORY, move |info| {
            info.trailer(TRAILER_IMAGE).is_some_and(|found| found.starts_with(&image))
                && run_of(info, &repository).is_some_and(|found| found > number)
        })
        .await?;
    Ok(found.and_then(|info| run_of(&info, &order.run.as_ref()?.0)))
}

fn run_of(info: &CommitInfo, repository: &str) -> Option<u64> {
    let (found, number) = info.trailer(TRAILER_RUN)?.rsplit_once('#')?;
    if found == repository { number.parse().ok() } else { None }
}

async fn fetch(mirror: &Mirror, order: &Order, branch: &RefName) -> Result<(), LandError> {
    match mirror.fetch(Want::Ref(branch.clone())).await {
        Err(FetchError::NoRef { .. }) => Err(no_branch(order)),
        result => Ok(result?),
    }
}

fn no_branch(order: &Order) -> LandError {
    LandError::NoBranch { url: order.bump.deploy_url.clone(), branch: order.bump.branch.clone() }
}
