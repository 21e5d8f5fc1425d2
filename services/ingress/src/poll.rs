//! The slow look at the heads: pushes whose webhook never came.
//!
//! Level-triggered: what Git says now is compared with what was recorded, every so often, and for one repository when a
//! doubtful webhook came. Invariants: one process looks (lease); a difference must stand for a while, for its webhook may be
//! on the way; what stood there at the first look is no push. Called by nobody: a timer.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_bus::{Bus, KvError, Lease};
use sluice_chassis::{Service, TaskKind};
use sluice_git::{FetchError, Mirror, Mirrors, Remote, RemoteHeads, RemoteUrl};
use sluice_schemas::Timestamp;
use sluice_schemas::events::{Commit, PushSource, Repository};
use sluice_schemas::ids::RepoSlug;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::Config;
use crate::differences::{Difference, compare};
use crate::metrics::IngressMetrics;
use crate::payload;
use crate::record::{News, RecordError, Recorded, record};
use crate::repositories::{Directory, KnownRepository};

/// Nudges that wait; more are dropped, for the next regular look makes up for them.
const NUDGES: usize = 64;
/// One repository is looked at because of nudges at most this often.
const NUDGE_INTERVAL: Duration = Duration::from_secs(5);
/// The first look after the start: the repositories have been read by then.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// How far back a forced push is looked for.
const MAX_HISTORY: usize = 250;
/// Lease of whoever makes the regular look.
const LEASE: &str = "ingress.poll";

/// Asks for a look at one repository. Cheap to clone; never waits.
#[derive(Clone)]
pub(crate) struct Nudge(mpsc::Sender<RepoSlug>);

impl Nudge {
    pub(crate) fn look_at(&self, repository: &RepoSlug) {
        if self.0.try_send(repository.clone()).is_err() {
            tracing::debug!(%repository, "no look now; the next regular one comes");
        }
    }
}

/// A pair of ends for nudges.
pub(crate) fn nudges() -> (Nudge, mpsc::Receiver<RepoSlug>) {
    let (sender, receiver) = mpsc::channel(NUDGES);
    (Nudge(sender), receiver)
}

/// Why a repository could not be looked at.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("{0}")]
    Address(#[from] sluice_git::AddressError),
    #[error("{0}")]
    Git(#[from] FetchError),
    #[error("{0}")]
    Heads(#[from] KvError),
    #[error("{0}")]
    Record(#[from] RecordError),
}

/// Looks.
pub(crate) struct Poller {
    pub(crate) service: Service,
    pub(crate) bus: Bus,
    pub(crate) directory: Directory,
    pub(crate) mirrors: Mirrors,
    pub(crate) metrics: IngressMetrics,
    pub(crate) config: Config,
}

impl Poller {
    pub(crate) fn start(self, mut nudged: mpsc::Receiver<RepoSlug>) {
        let (service, shutdown) = (self.service.clone(), self.service.shutdown().clone());
        service.tasks().spawn(TaskKind::Timer, "poll", async move {
            let every = Duration::from_secs(self.config.poll_seconds);
            let mut next = Instant::now() + FIRST_LOOK.min(every.max(Duration::from_millis(1)));
            let mut lease = None;
            let mut looked: BTreeMap<RepoSlug, Instant> = BTreeMap::new();
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep_until(next), if !every.is_zero() => {
                        if self.is_mine(&mut lease).await {
                            let all = self.directory.all();
                            tokio::select! { () = self.look_at(&all) => {}, () = shutdown.cancelled() => return }
                        }
                        next = Instant::now() + every;
                    }
                    Some(slug) = nudged.recv() => {
                        looked.retain(|_, at| at.elapsed() < NUDGE_INTERVAL);
                        if !looked.contains_key(&slug)
                            && let Some(known) = self.directory.with_slug(&slug).await
                        {
                            looked.insert(slug, Instant::now());
                            let one = [known];
                            tokio::select! { () = self.look_at(&one) => {}, () = shutdown.cancelled() => return }
                        }
                    }
                }
            }
        });
    }

    async fn is_mine(&self, lease: &mut Option<Lease>) -> bool {
        if lease.as_ref().is_some_and(|lease| !lease.lost().is_cancelled()) {
            return true;
        }
        match self.bus.leases().acquire(&self.service, LEASE).await {
            Ok(acquired) => *lease = acquired,
            Err(error) => tracing::warn!(%error, "no look at the heads"),
        }
        lease.is_some()
    }

    /// Looks twice: only what is still different after the grace is a push whose webhook is missing.
    async fn look_at(&self, repositories: &[KnownRepository]) {
        let mut suspects = Vec::new();
        for known in repositories {
            match self.differences(known).await {
                Ok(differences) if differences.is_empty() => {
                    self.metrics.polls.with_label_values(&["unchanged"]).inc();
                }
                Ok(_) => suspects.push(known),
                Err(error) => self.failed(known, &error),
            }
        }
        if suspects.is_empty() {
            return;
        }
        tokio::time::sleep(self.config.grace()).await;
        for known in suspects {
            if let Err(error) = self.make_up_for(known).await {
                self.failed(known, &error);
            }
        }
    }

    fn failed(&self, known: &KnownRepository, error: &LookError) {
        self.metrics.polls.with_label_values(&["failed"]).inc();
        tracing::warn!(repository = known.full_name, %error, "the heads could not be looked at");
    }

    async fn make_up_for(&self, known: &KnownRepository) -> Result<(), LookError> {
        let mirror = self.mirror(known)?;
        let heads = mirror.ls_remote(&[]).await?;
        for difference in compare(&self.bus, known, &heads).await? {
            let news = self.news(known, &mirror, &heads, difference).await;
            if let Recorded::New(push) = record(&self.bus, &news, None).await? {
                self.metrics.pushes.with_label_values(&["poll"]).inc();
                tracing::warn!(
                    repository = known.full_name, git_ref = news.git_ref, %push,
                    "a push was found whose webhook never came; check the webhook's deliveries at the Git host"
                );
            }
        }
        self.metrics.polls.with_label_values(&["made_up"]).inc();
        Ok(())
    }

    async fn differences(&self, known: &KnownRepository) -> Result<Vec<Difference>, LookError> {
        let heads = self.mirror(known)?.ls_remote(&[]).await?;
        Ok(compare(&self.bus, known, &heads).await?)
    }

    async fn news(
        &self,
        known: &KnownRepository,
        mirror: &Mirror,
        heads: &RemoteHeads,
        difference: Difference,
    ) -> News {
        let Difference { git_ref, before, after } = difference;
        let (created, deleted) = (before.is_null(), after.is_null());
        let mut news = News {
            repository: Repository {
                slug: known.slug.clone(),
                full_name: known.full_name.clone(),
                clone_url: known.url.clone(),
                html_url: known.url.trim_end_matches('/').trim_end_matches(".git").to_owned(),
                default_branch: heads
                    .head
                    .as_ref()
                    .map_or_else(|| "main".to_owned(), |r| r.short().to_owned()),
            },
            git_ref,
            before,
            after,
            created,
            deleted,
            forced: false,
            head_commit: None,
            correlation: None,
            pusher: String::new(),
            changed_files: Vec::new(),
            changed_files_complete: false,
            delivery: None,
            source: PushSource::Poll,
            received_at: Timestamp::now(),
        };
        if !deleted {
            self.describe(mirror, &mut news).await;
        }
        news
    }

    /// Who, what and which files. A mirror that cannot be read leaves the fields empty: the push counts all the same.
    async fn describe(&self, mirror: &Mirror, news: &mut News) {
        match mirror.commit_info(&news.after).await {
            Ok(info) => {
                news.correlation = payload::correlation(&info.message);
                news.pusher = info.author_name.clone();
                news.head_commit = Some(Commit {
                    sha: info.sha,
                    message: payload::bounded_message(info.message),
                    author_name: info.author_name,
                    author_email: info.author_email,
                    time: Some(Timestamp::from(info.time)),
                });
            }
            Err(error) => tracing::warn!(%error, "a polled push's commit cannot be read"),
        }
        if news.created {
            return;
        }
        if let Ok(changes) = mirror.changes(Some(&news.before), &news.after).await {
            news.changed_files_complete = changes.complete && payload::fit(&changes.paths);
            news.changed_files = if news.changed_files_complete { changes.paths } else { Vec::new() };
        }
        let before = news.before.clone();
        let found = mirror.find_commit(&news.after, MAX_HISTORY, move |commit| commit.sha == before).await;
        news.forced = matches!(found, Ok(None));
    }

    fn mirror(&self, known: &KnownRepository) -> Result<Mirror, LookError> {
        let url = RemoteUrl::parse(&known.url)?;
        Ok(self.mirrors.mirror(Remote { url, credentials: known.credentials.clone() }))
    }
}
