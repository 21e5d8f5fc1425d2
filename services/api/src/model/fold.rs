//! One fact after the other into the model.

use std::collections::{BTreeMap, VecDeque};

use sluice_bus::Recorded;
use sluice_kubernetes::secrets::normalise_url;
use sluice_schemas::events::{BumpKind, BumpRef, HealthStatus, ImagePublished, Repository, SyncOutcome};
use sluice_schemas::ids::{AppId, BumpId, Correlation, RepoSlug, SyncId};
use sluice_schemas::state::AppState;
use sluice_schemas::{Event, Sha, Timestamp};

use super::apps::{AppMarks, Moved, PushNote, between};
use super::audit::{AuditEntry, entry};
use super::chains::Chain;
use super::runs::RunView;
use super::syncs::{PromotionState, PromotionView, RefusedGrant, SyncPhase, SyncView};

const MOST_AUDIT: usize = 2000;
const MOST_PUSHES: usize = 1000;
const MOST_SYNCS: usize = 300;
const MOST_ROWS: usize = 50;
const MOST_REPOSITORIES: usize = 5000;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Runs of one repository.
    pub(crate) runs: usize,
    /// Deliveries of all.
    pub(crate) chains: usize,
}

/// A source repository.
#[derive(Debug, Clone)]
pub(crate) struct RepoView {
    /// Which.
    pub(crate) repository: Repository,
    /// Its runs by number.
    pub(crate) runs: BTreeMap<u64, RunView>,
    /// The newest image that reached the registry, with its chain.
    pub(crate) published: Option<(ImagePublished, Correlation, Timestamp)>,
    /// The newest bump to dev.
    pub(crate) bumped: Option<(BumpRef, Timestamp)>,
}

/// A row of the live stream.
#[derive(Debug, Clone)]
pub(crate) struct StreamRow {
    /// Place in EVENTS.
    pub(crate) sequence: u64,
    /// When.
    pub(crate) time: Timestamp,
    /// Subject.
    pub(crate) subject: String,
    /// In a few words.
    pub(crate) text: String,
    /// Its chain.
    pub(crate) correlation: Correlation,
}

/// Everything that is shown.
pub(crate) struct ReadModel {
    limits: Limits,
    /// Whether the stream was read to its end once.
    pub(crate) caught_up: bool,
    /// The newest fact folded.
    pub(crate) sequence: u64,
    /// Source repositories.
    pub(crate) repositories: BTreeMap<RepoSlug, RepoView>,
    /// Applications, from the bucket `apps`.
    pub(crate) apps: BTreeMap<AppId, AppState>,
    /// What is remembered of them.
    pub(crate) marks: BTreeMap<AppId, AppMarks>,
    /// The audit log, oldest first.
    pub(crate) audit: VecDeque<AuditEntry>,
    /// The newest facts, oldest first.
    pub(crate) rows: VecDeque<StreamRow>,
    /// Promotions that ended.
    pub(crate) promotions: BTreeMap<BumpId, PromotionView>,
    /// Dead letters waiting, as last counted.
    pub(crate) dead_letters: usize,
    chains: BTreeMap<Correlation, Chain>,
    chain_order: VecDeque<Correlation>,
    pushes: VecDeque<PushNote>,
    syncs: BTreeMap<SyncId, SyncView>,
    sync_order: VecDeque<SyncId>,
    promotion_order: VecDeque<BumpId>,
    refused: VecDeque<RefusedGrant>,
}

impl ReadModel {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            caught_up: false,
            sequence: 0,
            repositories: BTreeMap::new(),
            apps: BTreeMap::new(),
            marks: BTreeMap::new(),
            audit: VecDeque::new(),
            rows: VecDeque::new(),
            promotions: BTreeMap::new(),
            dead_letters: 0,
            chains: BTreeMap::new(),
            chain_order: VecDeque::new(),
            pushes: VecDeque::new(),
            syncs: BTreeMap::new(),
            sync_order: VecDeque::new(),
            promotion_order: VecDeque::new(),
            refused: VecDeque::new(),
        }
    }

    /// Folds one fact. The same fact twice, or one from before, changes nothing.
    pub(crate) fn apply(&mut self, record: &Recorded) {
        if record.sequence <= self.sequence {
            return;
        }
        self.sequence = record.sequence;
        bounded(&mut self.rows, super::rows::row(record), MOST_ROWS);
        if let Some(entry) = entry(record) {
            bounded(&mut self.audit, entry, MOST_AUDIT);
        }
        self.fold_chain(record);
        self.fold_ci(record);
        self.fold_cd(record);
    }

    /// Deliveries, newest first.
    pub(crate) fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chain_order.iter().rev().filter_map(|id| self.chains.get(id))
    }

    /// One delivery.
    #[must_use]
    pub(crate) fn chain(&self, id: &Correlation) -> Option<&Chain> {
        self.chains.get(id)
    }

    /// The chain that wrote a commit of a deploy repository.
    #[must_use]
    pub(crate) fn chain_of_commit(&self, commit: &Sha) -> Option<&Chain> {
        let wrote = self.chains().find(|chain| chain.summary.deploy_commits.contains(commit));
        wrote.or_else(|| self.chains().find(|chain| chain.summary.sha.as_ref() == Some(commit)))
    }

    /// Pushes of the repository with this clone URL that led from one commit to the other.
    #[must_use]
    pub(crate) fn moved(&self, url: &str, from: Option<&Sha>, to: &Sha) -> Moved {
        between(self.pushes.iter(), &normalise_url(url), from, to)
    }

    /// One sync.
    #[must_use]
    pub(crate) fn sync(&self, id: &SyncId) -> Option<&SyncView> {
        self.syncs.get(id)
    }

    /// Why the reconciler refused the grant of a sync, if it did.
    #[must_use]
    pub(crate) fn refused_sync(&self, sync: &SyncId) -> Option<(String, Timestamp)> {
        let found = self.refused.iter().rev().find(|it| &crate::gate::sync_of(&it.grant) == sync);
        found.map(|it| (it.reason.clone(), it.at))
    }

    /// One run.
    #[must_use]
    pub(crate) fn run(&self, repository: &RepoSlug, number: u64) -> Option<&RunView> {
        self.repositories.get(repository)?.runs.get(&number)
    }

    /// All runs, newest first.
    #[must_use]
    pub(crate) fn runs(&self) -> Vec<&RunView> {
        let mut runs: Vec<&RunView> =
            self.repositories.values().flat_map(|repo| repo.runs.values()).collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.queued_at));
        runs
    }

    /// The repository that a person means: its slug, its full name, or a short name that only one has.
    #[must_use]
    pub(crate) fn find_repository(&self, text: &str) -> Option<&RepoView> {
        let slug = text.parse::<RepoSlug>().ok().or_else(|| Some(RepoSlug::from_full_name(text)));
        if let Some(found) = slug.and_then(|slug| self.repositories.get(&slug)) {
            return Some(found);
        }
        if let Some(found) =
            self.repositories.values().find(|it| it.repository.full_name.eq_ignore_ascii_case(text))
        {
            return Some(found);
        }
        let mut short =
            self.repositories.values().filter(|it| it.repository.full_name.rsplit('/').next() == Some(text));
        let first = short.next()?;
        short.next().is_none().then_some(first)
    }

    fn fold_chain(&mut self, record: &Recorded) {
        let id = &record.envelope.correlation;
        let begins = matches!(
            record.event,
            Event::PushReceived(_)
                | Event::RunQueued(_)
                | Event::RunRefused(_)
                | Event::ImageBuilt(_)
                | Event::BumpCommitted(_)
        );
        if begins && !self.chains.contains_key(id) {
            if self.chain_order.len() >= self.limits.chains
                && let Some(oldest) = self.chain_order.pop_front()
            {
                self.chains.remove(&oldest);
            }
            self.chain_order.push_back(id.clone());
            self.chains.insert(id.clone(), Chain::new(id.clone(), record.envelope.time));
        }
        if let Some(chain) = self.chains.get_mut(id) {
            chain.push(record);
        }
        // Pods become ready long after the sync, when a watch sees it: that is still the end of the sync's chain.
        let app = match &record.event {
            Event::AppHealthChanged(it) => &it.app.app,
            Event::AppCompared(it) if it.health == HealthStatus::Healthy => &it.app.app,
            _ => return,
        };
        let owner =
            self.marks.get(app).and_then(|marks| marks.sync_chain.clone()).filter(|owner| owner != id);
        if let Some(chain) = owner.and_then(|owner| self.chains.get_mut(&owner)) {
            chain.push(record);
        }
    }

    fn fold_ci(&mut self, record: &Recorded) {
        let at = record.envelope.time;
        let chain = &record.envelope.correlation;
        match &record.event {
            Event::PushReceived(it) => {
                let title =
                    it.head_commit.as_ref().map(|commit| commit.title().to_owned()).unwrap_or_default();
                let author = it.head_commit.as_ref().map(|commit| commit.author_name.clone());
                let note = PushNote {
                    repository: it.repository.slug.clone(),
                    url: normalise_url(&it.repository.clone_url),
                    before: it.before.clone(),
                    after: it.after.clone(),
                    title,
                    author: author.unwrap_or_else(|| it.pusher.clone()),
                    at: it.received_at,
                    correlation: chain.clone(),
                };
                bounded(&mut self.pushes, note, MOST_PUSHES);
            }
            Event::RunQueued(it) => {
                let earlier = self.run(&it.run.repository.slug, it.run.number.0).cloned();
                let view = RunView::queued(it, at, chain.clone(), earlier.as_ref());
                self.insert_run(&it.run.repository, view);
            }
            Event::RunRefused(it) => {
                let mut view = RunView::refused(it, at, chain.clone());
                if let Some(known) = self.chains.get(chain) {
                    view.title.clone_from(&known.summary.title);
                    view.author.clone_from(&known.summary.author);
                }
                self.insert_run(&it.run.repository, view);
            }
            Event::JobStarted(it) => {
                self.with_run(&it.run.repository.slug, it.run.number.0, |run| run.job_started(it, at))
            }
            Event::StepFinished(it) => {
                self.with_run(&it.run.repository.slug, it.run.number.0, |run| run.step_finished(it, at));
            }
            Event::JobFinished(it) => {
                self.with_run(&it.run.repository.slug, it.run.number.0, |run| run.job_finished(it, at));
            }
            Event::RunFinished(it) => {
                self.with_run(&it.run.repository.slug, it.run.number.0, |run| run.finished(it, at))
            }
            Event::ImagePublished(it) => {
                if let Some(repo) = self.repositories.get_mut(&it.image.run.repository.slug) {
                    repo.published = Some(((**it).clone(), chain.clone(), at));
                }
            }
            Event::BumpCommitted(it) => {
                if it.bump.kind == BumpKind::Bump
                    && let Some(repo) = self.repositories.get_mut(&it.bump.source)
                {
                    repo.bumped = Some((it.bump.clone(), at));
                }
                let changes = it.changes.clone();
                self.promoted(&it.bump, PromotionState::Committed, Some(it.commit.clone()), None, changes);
            }
            Event::BumpUnchanged(it) => {
                if it.bump.kind == BumpKind::Bump
                    && let Some(repo) = self.repositories.get_mut(&it.bump.source)
                {
                    repo.bumped = repo.bumped.take().or_else(|| Some((it.bump.clone(), at)));
                }
                self.promoted(&it.bump, PromotionState::Unchanged, None, Some(it.reason.clone()), Vec::new());
            }
            Event::BumpFailed(it) => {
                self.promoted(&it.bump, PromotionState::Failed, None, Some(it.reason.clone()), Vec::new());
            }
            _ => {}
        }
    }

    fn fold_cd(&mut self, record: &Recorded) {
        let at = record.envelope.time;
        match &record.event {
            Event::AppCompared(it) => {
                let marks = self.marks.entry(it.app.app.clone()).or_default();
                marks.saw_sync(it.sync, at);
                marks.saw_health(it.health, at);
            }
            Event::AppHealthChanged(it) => {
                self.marks.entry(it.app.app.clone()).or_default().saw_health(it.to, at)
            }
            Event::AppDeleted(it) => {
                self.marks.remove(&it.app.app);
            }
            Event::RenderFailed(it) => {
                self.marks.entry(it.render.app.clone()).or_default().render_failed =
                    Some(((**it).clone(), at));
            }
            Event::RenderSucceeded(it) => {
                self.marks.entry(it.render.app.clone()).or_default().render_failed = None
            }
            Event::SyncStarted(it) => {
                let view = SyncView {
                    app: it.sync.app.app.clone(),
                    revision: it.sync.revision.clone(),
                    trigger: it.sync.trigger.clone(),
                    phase: SyncPhase::Running,
                    message: String::new(),
                    planned: (it.apply, it.prune),
                    results: Vec::new(),
                    started_at: at,
                    finished_at: None,
                };
                if self.syncs.insert(it.sync.sync.clone(), view).is_none() {
                    self.sync_order.push_back(it.sync.sync.clone());
                }
                while self.sync_order.len() > MOST_SYNCS
                    && let Some(oldest) = self.sync_order.pop_front()
                {
                    self.syncs.remove(&oldest);
                }
                let marks = self.marks.entry(it.sync.app.app.clone()).or_default();
                marks.sync_chain = Some(record.envelope.correlation.clone());
            }
            Event::SyncPhaseFinished(it) => {
                if let Some(view) = self.syncs.get_mut(&it.sync.sync) {
                    view.results.extend(it.results.iter().cloned());
                }
            }
            Event::SyncFinished(it) => {
                if let Some(view) = self.syncs.get_mut(&it.sync.sync) {
                    view.phase = match it.outcome {
                        SyncOutcome::Succeeded => SyncPhase::Succeeded,
                        SyncOutcome::Failed => SyncPhase::Failed,
                        SyncOutcome::Error => SyncPhase::Error,
                    };
                    view.message.clone_from(&it.message);
                    view.results.clone_from(&it.results);
                    view.finished_at = Some(at);
                }
            }
            Event::GrantRefused(it) => {
                let refused = RefusedGrant { grant: it.grant.clone(), reason: it.reason.clone(), at };
                bounded(&mut self.refused, refused, MOST_SYNCS);
            }
            _ => {}
        }
    }

    fn insert_run(&mut self, repository: &Repository, run: RunView) {
        if self.repositories.len() >= MOST_REPOSITORIES && !self.repositories.contains_key(&repository.slug) {
            return;
        }
        let repo = self.repositories.entry(repository.slug.clone()).or_insert_with(|| RepoView {
            repository: repository.clone(),
            runs: BTreeMap::new(),
            published: None,
            bumped: None,
        });
        repo.repository.clone_from(repository);
        repo.runs.insert(run.run.number.0, run);
        while repo.runs.len() > self.limits.runs.max(1) {
            repo.runs.pop_first();
        }
    }

    fn with_run(&mut self, repository: &RepoSlug, number: u64, change: impl FnOnce(&mut RunView)) {
        if let Some(run) = self.repositories.get_mut(repository).and_then(|repo| repo.runs.get_mut(&number)) {
            change(run);
        }
    }

    fn promoted(
        &mut self,
        bump: &BumpRef,
        state: PromotionState,
        commit: Option<Sha>,
        reason: Option<String>,
        changes: Vec<sluice_schemas::events::ImageChange>,
    ) {
        if bump.kind != BumpKind::Promotion {
            return;
        }
        let view = PromotionView { source: bump.source.clone(), state, commit, reason, changes };
        if self.promotions.insert(bump.bump.clone(), view).is_none() {
            self.promotion_order.push_back(bump.bump.clone());
        }
        while self.promotion_order.len() > MOST_SYNCS
            && let Some(oldest) = self.promotion_order.pop_front()
        {
            self.promotions.remove(&oldest);
        }
    }
}

fn bounded<T>(queue: &mut VecDeque<T>, value: T, most: usize) {
    while queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(value);
}
