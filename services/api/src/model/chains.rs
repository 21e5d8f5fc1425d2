//! Deliveries: the facts of one chain, from push to pod, and what they add up to.

use serde::Serialize;
use sluice_bus::Recorded;
use sluice_schemas::events::{BumpKind, Conclusion, HealthStatus, Repository, SyncOutcome, SyncStatus};
use sluice_schemas::ids::{AppId, Correlation, RunNumber};
use sluice_schemas::{Digest, Event, Sha, Timestamp};

/// Facts kept of one chain: a run of 100 jobs fits.
const MOST_FACTS: usize = 1000;

/// A fact of a chain.
#[derive(Debug, Clone)]
pub(crate) struct ChainFact {
    /// Place in EVENTS.
    pub(crate) sequence: u64,
    /// When.
    pub(crate) time: Timestamp,
    /// Its subject.
    pub(crate) subject: String,
    /// The fact, without what is long.
    pub(crate) event: Event,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeliveryStatus {
    /// On its way.
    Running,
    /// Something failed.
    Failed,
    /// The run made no image, or nothing deploys it.
    Built,
    /// Runs on dev.
    OnDev,
    /// Waits for a person's SYNC.
    AtGate,
    /// Runs on prod.
    Live,
}

/// What a chain adds up to.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    /// The repository whose push began it.
    pub(crate) repository: Option<Repository>,
    /// The commit.
    pub(crate) sha: Option<Sha>,
    /// Its branch or tag.
    pub(crate) git_ref: String,
    /// First line of its message.
    pub(crate) title: String,
    /// Its author.
    pub(crate) author: String,
    /// When the push came in.
    pub(crate) started_at: Timestamp,
    /// The newest fact.
    pub(crate) last_at: Timestamp,
    /// The first run.
    pub(crate) run: Option<RunNumber>,
    /// How it ended.
    pub(crate) conclusion: Option<Conclusion>,
    /// The image's name, without tag.
    pub(crate) image: Option<String>,
    /// Its tag.
    pub(crate) tag: Option<String>,
    /// Its digest.
    pub(crate) digest: Option<Digest>,
    /// The newest failure, in words.
    pub(crate) failure: Option<String>,
    /// Commits in deploy repositories.
    pub(crate) deploy_commits: Vec<Sha>,
    /// Whether it was promoted.
    pub(crate) promoted: bool,
    /// Applications that it reached: name, gated, state.
    pub(crate) apps: Vec<Reached>,
}

/// An application that a chain reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Which.
    pub(crate) app: AppId,
    /// Whether only a person may sync it.
    pub(crate) gated: bool,
    /// Last sync status of this chain.
    pub(crate) sync: SyncStatus,
    /// Last health of this chain.
    pub(crate) health: HealthStatus,
    /// Whether a sync of this chain succeeded.
    pub(crate) synced: bool,
}

/// A chain.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    /// Its id.
    pub(crate) correlation: Correlation,
    /// Its facts, in order.
    pub(crate) facts: Vec<ChainFact>,
    /// What they add up to.
    pub(crate) summary: Summary,
}

impl Chain {
    pub(super) fn new(correlation: Correlation, at: Timestamp) -> Self {
        let summary = Summary {
            repository: None,
            sha: None,
            git_ref: String::new(),
            title: String::new(),
            author: String::new(),
            started_at: at,
            last_at: at,
            run: None,
            conclusion: None,
            image: None,
            tag: None,
            digest: None,
            failure: None,
            deploy_commits: Vec::new(),
            promoted: false,
            apps: Vec::new(),
        };
        Self { correlation, facts: Vec::new(), summary }
    }

    pub(super) fn push(&mut self, record: &Recorded) {
        self.summarise(record);
        if self.facts.len() < MOST_FACTS {
            self.facts.push(ChainFact {
                sequence: record.sequence,
                time: record.envelope.time,
                subject: record.subject.clone(),
                event: slim(record.event.clone()),
            });
        }
    }

    /// Where it stands.
    #[must_use]
    pub(crate) fn status(&self) -> DeliveryStatus {
        let it = &self.summary;
        let of = |gated: bool| it.apps.iter().filter(move |app| app.gated == gated);
        let lives = |app: &&Reached| app.synced && app.health == HealthStatus::Healthy;
        if of(true).any(|app| lives(&app)) {
            return DeliveryStatus::Live;
        }
        if it.failure.is_some() {
            return DeliveryStatus::Failed;
        }
        if of(true).any(|app| app.sync == SyncStatus::OutOfSync) {
            return DeliveryStatus::AtGate;
        }
        if of(false).any(|app| lives(&app)) {
            return DeliveryStatus::OnDev;
        }
        if it.conclusion == Some(Conclusion::Success) && it.image.is_none() {
            return DeliveryStatus::Built;
        }
        DeliveryStatus::Running
    }

    /// Whether a commit, tag, digest or the chain's own id (whole or its beginning) is this chain's.
    #[must_use]
    pub(crate) fn is_about(&self, text: &str) -> bool {
        let it = &self.summary;
        let digest = text.rsplit('@').next().unwrap_or(text);
        let tag = text.rsplit(':').next().unwrap_or(text);
        self.correlation.as_str() == text
            || (text.len() >= 7 && it.sha.as_ref().is_some_and(|sha| sha.as_str().starts_with(text)))
            || (text.len() >= 7 && it.deploy_commits.iter().any(|sha| sha.as_str().starts_with(text)))
            || it.tag.as_deref() == Some(tag)
            || it.digest.as_ref().is_some_and(|known| {
                known.as_str() == digest || known.hex().starts_with(digest) && digest.len() >= 12
            })
    }

    fn summarise(&mut self, record: &Recorded) {
        let it = &mut self.summary;
        it.last_at = it.last_at.max(record.envelope.time);
        match &record.event {
            Event::PushReceived(push) if it.repository.is_none() => {
                it.repository = Some(push.repository.clone());
                it.sha = Some(push.after.clone());
                it.git_ref.clone_from(&push.git_ref);
                it.started_at = push.received_at;
                if let Some(commit) = &push.head_commit {
                    it.title = commit.title().to_owned();
                    it.author.clone_from(&commit.author_name);
                }
            }
            Event::RunQueued(run) => {
                if it.repository.is_none() {
                    it.repository = Some(run.run.repository.clone());
                    it.sha = Some(run.run.sha.clone());
                    it.title.clone_from(&run.title);
                    it.author.clone_from(&run.author);
                    it.started_at = run.received_at;
                }
                it.run = it.run.or(Some(run.run.number));
                if run.attempt > 1 {
                    it.failure = None;
                    it.conclusion = None;
                }
            }
            Event::RunRefused(run) => {
                it.run = it.run.or(Some(run.run.number));
                it.conclusion = Some(Conclusion::Failure);
                it.failure = run.annotations.first().map(super::runs::place);
            }
            Event::RunFinished(run) => {
                it.conclusion = Some(run.conclusion);
                if matches!(run.conclusion, Conclusion::Failure | Conclusion::Cancelled) {
                    it.failure =
                        Some(run.reason.clone().unwrap_or_else(|| format!("run #{} failed", run.run.number)));
                }
            }
            Event::ImageBuilt(image) => {
                it.image = Some(image.image.name());
                it.tag = image.tags.first().cloned();
            }
            Event::ImagePublished(image) => {
                it.image = Some(image.image.name());
                it.tag = image.tags.first().cloned();
                it.digest = Some(image.digest.clone());
            }
            Event::ImageFailed(image) => it.failure = Some(image.reason.clone()),
            Event::BumpCommitted(bump) => {
                it.deploy_commits.push(bump.commit.clone());
                it.promoted |= bump.bump.kind == BumpKind::Promotion;
                it.failure = None;
            }
            Event::BumpFailed(bump) => it.failure = Some(bump.reason.clone()),
            Event::RenderFailed(render) => it.failure = Some(render.reason.clone()),
            Event::AppCompared(app) => {
                let reached = reached(&mut it.apps, &app.app.app, app.gated);
                reached.gated = app.gated;
                reached.sync = app.sync;
                reached.health = app.health;
            }
            Event::AppHealthChanged(app) => {
                if let Some(reached) = it.apps.iter_mut().find(|known| known.app == app.app.app) {
                    reached.health = app.to;
                }
            }
            Event::SyncFinished(sync) => {
                let gated = matches!(sync.sync.trigger, sluice_schemas::events::SyncTrigger::Grant { .. });
                let reached = reached(&mut it.apps, &sync.sync.app.app, gated);
                reached.synced = sync.outcome == SyncOutcome::Succeeded;
                it.failure = (!reached.synced).then(|| sync.message.clone());
            }
            _ => {}
        }
    }
}

fn reached<'a>(apps: &'a mut Vec<Reached>, app: &AppId, gated: bool) -> &'a mut Reached {
    let at = apps.iter().position(|known| &known.app == app).unwrap_or_else(|| {
        apps.push(Reached {
            app: app.clone(),
            gated,
            sync: SyncStatus::Unknown,
            health: HealthStatus::Unknown,
            synced: false,
        });
        apps.len() - 1
    });
    &mut apps[at]
}

/// The fact without what is long and not needed for a ledger.
fn slim(mut event: Event) -> Event {
    match &mut event {
        Event::PushReceived(it) => it.changed_files = Vec::new(),
        Event::ImageBuilt(it) => it.layers = Vec::new(),
        Event::JobFinished(it) => it.outputs.clear(),
        Event::AppCompared(it) => {
            it.images = Vec::new();
            it.live_images = Vec::new();
            it.errors = Vec::new();
        }
        Event::SyncPhaseFinished(it) => it.results = Vec::new(),
        Event::SyncFinished(it) => it.results = Vec::new(),
        Event::RunQueued(it) => {
            for job in &mut it.jobs {
                job.steps = Vec::new();
            }
        }
        _ => {}
    }
    event
}
