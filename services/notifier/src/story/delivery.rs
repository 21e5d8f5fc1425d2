//! The story of a delivery: a commit in a deploy repository on its way to healthy pods, and the card that asks a person to
//! let it through the gate. What it looks like is in [`view`].

mod view;

use serde::{Deserialize, Serialize};
use sluice_schemas::events::{
    AppCompared, AppHealthChanged, AppRef, BumpCommitted, BumpFailed, BumpKind, GrantRefused, HealthStatus,
    ObjectStatus, RenderFailed, Surface, SyncFinished, SyncOutcome, SyncRef, SyncStarted, SyncStatus,
    SyncTrigger,
};
use sluice_schemas::ids::{AppId, Person, ProjectId, SyncId};
use sluice_schemas::{Digest, Sha};

use super::ask::Ask;
use super::run::place_of;

/// Refused objects that a message names.
const FAILURES_SHOWN: usize = 3;

/// A delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeliveryStory {
    /// Images written into the deploy repository.
    pub(crate) bumps: Vec<BumpLine>,
    /// Applications that it reaches.
    pub(crate) apps: Vec<AppLine>,
    /// What could not be rendered.
    pub(crate) mistakes: Vec<String>,
    /// The question that is open, or was answered last.
    pub(crate) ask: Option<Ask>,
}

/// An image written into the deploy repository, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BumpLine {
    pub(crate) kind: BumpKind,
    /// `registry/path:tag`.
    pub(crate) image: String,
    /// `dev` or `prod`.
    pub(crate) directory: String,
    pub(crate) person: Option<Person>,
    pub(crate) commit: Option<Sha>,
    /// `dev/web.yaml:21`.
    pub(crate) places: Vec<String>,
    pub(crate) failed: Option<String>,
}

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppLine {
    pub(crate) app: AppId,
    pub(crate) project: ProjectId,
    pub(crate) revision: Option<Sha>,
    pub(crate) manifests: Option<Digest>,
    pub(crate) gated: bool,
    pub(crate) sync: SyncStatus,
    pub(crate) health: HealthStatus,
    pub(crate) health_message: String,
    pub(crate) out_of_sync: u32,
    pub(crate) objects: u32,
    pub(crate) images: Vec<String>,
    pub(crate) live_images: Vec<String>,
    pub(crate) errors: Vec<String>,
    pub(crate) syncing: Option<Syncing>,
    /// Somebody tried to pass the gate without a grant.
    pub(crate) refused: Option<String>,
    /// A later delivery has taken this application over.
    pub(crate) superseded: bool,
}

/// A sync operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Syncing {
    pub(crate) sync: SyncId,
    /// In words.
    pub(crate) by: String,
    pub(crate) outcome: Option<SyncOutcome>,
    pub(crate) message: String,
    /// Objects that the cluster refused.
    pub(crate) failures: Vec<String>,
    pub(crate) duration_ms: u64,
}

impl DeliveryStory {
    /// Whether nothing more is to come by itself.
    #[must_use]
    pub(crate) fn is_terminal(&self) -> bool {
        let settled = |line: &AppLine| {
            line.superseded
                || line.waits()
                || !line.errors.is_empty()
                || line
                    .syncing
                    .as_ref()
                    .is_some_and(|s| s.outcome.is_some_and(|o| o != SyncOutcome::Succeeded))
                || (line.sync == SyncStatus::Synced && line.health != HealthStatus::Progressing)
        };
        self.bumps.iter().any(|bump| bump.failed.is_some())
            || (!self.apps.is_empty() && self.apps.iter().all(settled))
    }

    /// Applications for which a person is asked now: once everything that goes by itself is healthy.
    pub(super) fn waiting(&self) -> Vec<&AppLine> {
        let by_itself_done = self
            .apps
            .iter()
            .filter(|line| !line.gated && !line.superseded)
            .all(|line| line.sync == SyncStatus::Synced && line.health == HealthStatus::Healthy);
        let waiting = self.apps.iter().filter(|line| by_itself_done && line.waits());
        waiting.collect()
    }

    /// An image was written.
    pub(crate) fn committed(&mut self, fact: &BumpCommitted) {
        let line = BumpLine {
            kind: fact.bump.kind,
            image: format!("{}:{}", fact.bump.image, fact.bump.tag),
            directory: fact.bump.directory.clone(),
            person: fact.bump.person.clone(),
            commit: Some(fact.commit.clone()),
            places: fact.changes.iter().map(|change| format!("{}:{}", change.path, change.line)).collect(),
            failed: None,
        };
        self.put_bump(line);
    }

    /// An image could not be written.
    pub(crate) fn not_committed(&mut self, fact: &BumpFailed) {
        self.put_bump(BumpLine {
            kind: fact.bump.kind,
            image: format!("{}:{}", fact.bump.image, fact.bump.tag),
            directory: fact.bump.directory.clone(),
            person: fact.bump.person.clone(),
            commit: None,
            places: Vec::new(),
            failed: Some(fact.reason.clone()),
        });
    }

    /// A source could not be rendered; the last good state goes on.
    pub(crate) fn not_rendered(&mut self, fact: &RenderFailed) {
        let name = fact.render.app.name();
        let mistakes = if fact.annotations.is_empty() {
            vec![format!("{name}: {}", fact.reason)]
        } else {
            fact.annotations.iter().map(|a| format!("{name}: {}: {}", place_of(a), a.message)).collect()
        };
        for mistake in mistakes {
            if !self.mistakes.contains(&mistake) {
                self.mistakes.push(mistake);
            }
        }
    }

    /// Whether the application is part of this delivery.
    #[must_use]
    pub(crate) fn has(&self, app: &AppId) -> bool {
        self.apps.iter().any(|line| &line.app == app)
    }

    /// Desired was compared with live.
    pub(crate) fn compared(&mut self, fact: &AppCompared) {
        let line = self.line(&fact.app);
        if line.revision.as_ref() != Some(&fact.revision) {
            line.refused = None;
        }
        line.revision = Some(fact.revision.clone());
        line.manifests = Some(fact.manifests.clone());
        line.gated = fact.gated;
        line.sync = fact.sync;
        line.health = fact.health;
        line.out_of_sync = fact.out_of_sync;
        line.objects = fact.objects;
        line.images.clone_from(&fact.images);
        line.live_images.clone_from(&fact.live_images);
        line.errors.clone_from(&fact.errors);
        line.superseded = false;
    }

    /// Health changed.
    pub(crate) fn health(&mut self, fact: &AppHealthChanged) {
        let line = self.line(&fact.app);
        line.health = fact.to;
        line.health_message.clone_from(&fact.message);
        line.live_images.clone_from(&fact.live_images);
    }

    /// A sync began.
    pub(crate) fn sync_started(&mut self, fact: &SyncStarted) {
        let line = self.line(&fact.sync.app);
        line.revision.get_or_insert_with(|| fact.sync.revision.clone());
        if line.syncing.as_ref().is_none_or(|syncing| syncing.sync != fact.sync.sync) {
            line.syncing = Some(Syncing::begun(&fact.sync));
        }
    }

    /// A sync ended.
    pub(crate) fn sync_finished(&mut self, fact: &SyncFinished) {
        let line = self.line(&fact.sync.app);
        line.revision.get_or_insert_with(|| fact.sync.revision.clone());
        line.syncing = Some(Syncing::ended(fact));
    }

    /// Something wanted to pass the gate.
    pub(crate) fn refused(&mut self, fact: &GrantRefused) {
        let line = self.line(&fact.app);
        line.gated = true;
        line.refused = Some(format!("{}: {}", fact.attempt, fact.reason));
    }

    /// A later delivery took an application over: no button may lead to an old revision. Says whether that changed anything.
    pub(crate) fn supersede(&mut self, app: &AppId) -> bool {
        let line = self.apps.iter_mut().find(|line| &line.app == app && !line.superseded);
        line.map(|line| line.superseded = true).is_some()
    }

    fn put_bump(&mut self, line: BumpLine) {
        let same = |other: &BumpLine| other.image == line.image && other.directory == line.directory;
        match self.bumps.iter_mut().find(|other| same(other)) {
            Some(other) => *other = line,
            None => self.bumps.push(line),
        }
    }

    fn line(&mut self, app: &AppRef) -> &mut AppLine {
        let at = self.apps.iter().position(|line| line.app == app.app).unwrap_or_else(|| {
            self.apps.push(AppLine {
                app: app.app.clone(),
                project: app.project.clone(),
                revision: None,
                manifests: None,
                gated: false,
                sync: SyncStatus::Unknown,
                health: HealthStatus::Unknown,
                health_message: String::new(),
                out_of_sync: 0,
                objects: 0,
                images: Vec::new(),
                live_images: Vec::new(),
                errors: Vec::new(),
                syncing: None,
                refused: None,
                superseded: false,
            });
            self.apps.len() - 1
        });
        &mut self.apps[at]
    }
}

impl AppLine {
    /// Whether it waits for a person.
    #[must_use]
    pub(crate) fn waits(&self) -> bool {
        let under_way = self.syncing.as_ref().is_some_and(|syncing| syncing.outcome.is_none());
        self.gated && self.sync == SyncStatus::OutOfSync && !under_way && !self.superseded
    }
}

impl Syncing {
    /// As a sync begins.
    #[must_use]
    pub(crate) fn begun(sync: &SyncRef) -> Self {
        Self {
            sync: sync.sync.clone(),
            by: by(&sync.trigger),
            outcome: None,
            message: String::new(),
            failures: Vec::new(),
            duration_ms: 0,
        }
    }

    /// As a sync ends.
    #[must_use]
    pub(crate) fn ended(fact: &SyncFinished) -> Self {
        let failed = fact.results.iter().filter(|result| result.status == ObjectStatus::SyncFailed);
        let failures = failed.take(FAILURES_SHOWN);
        Self {
            outcome: Some(fact.outcome),
            message: fact.message.clone(),
            failures: failures
                .map(|r| format!("{} {}/{}: {}", r.kind, r.namespace, r.name, r.message))
                .collect(),
            duration_ms: fact.duration_ms,
            ..Self::begun(&fact.sync)
        }
    }
}

fn by(trigger: &SyncTrigger) -> String {
    let place = |surface: &Surface| match surface {
        Surface::Web => "web",
        Surface::Cli => "cli",
        Surface::Telegram => "telegram",
        Surface::Api => "api",
        Surface::Kubernetes => "kubernetes",
    };
    match trigger {
        SyncTrigger::Automated => "automatically".to_owned(),
        SyncTrigger::SelfHeal => "by self-heal".to_owned(),
        SyncTrigger::Person { person, surface } | SyncTrigger::Grant { person, surface, .. } => {
            format!("by {person} ({})", place(surface))
        }
    }
}
