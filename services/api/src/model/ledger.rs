//! The time ledger of a chain: who spent how long on what, from commit to pod, and where it waited.
//!
//! Invariant: a pure function of the chain's facts, so the ledger can always be told again from the log.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_schemas::events::{BumpCommitted, BumpKind, HealthStatus, StepKind, Surface, SyncStatus};
use sluice_schemas::ids::{AppId, GrantId, JobId, Person};
use sluice_schemas::{Event, Sha, Timestamp};

use super::chains::{Chain, ChainFact};
use super::runs::before;

/// What the time went into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SegmentKind {
    /// Webhook verified.
    Receive,
    /// Planned, and waited for an executor.
    Queue,
    /// Sources.
    Fetch,
    /// Scripts.
    Test,
    /// Image built.
    Build,
    /// Image published.
    Push,
    /// Somebody was told.
    Notify,
    /// Other actions.
    Other,
    /// Commit into the deploy repository.
    Bump,
    /// The deploy repository's own push, on its way back in.
    Return,
    /// Manifests made.
    Render,
    /// Compared with the cluster.
    Compare,
    /// Waited for a person.
    Gate,
    /// Objects applied.
    Apply,
    /// Pods became ready.
    Rollout,
}

impl SegmentKind {
    /// As in JSON.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Queue => "queue",
            Self::Fetch => "fetch",
            Self::Test => "test",
            Self::Build => "build",
            Self::Push => "push",
            Self::Notify => "notify",
            Self::Other => "other",
            Self::Bump => "bump",
            Self::Return => "return",
            Self::Render => "render",
            Self::Compare => "compare",
            Self::Gate => "gate",
            Self::Apply => "apply",
            Self::Rollout => "rollout",
        }
    }
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Segment {
    /// What the time went into.
    pub(crate) kind: SegmentKind,
    /// In words.
    pub(crate) what: String,
    /// The application, for the CD half.
    pub(crate) app: Option<String>,
    /// Who.
    pub(crate) service: &'static str,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// How long.
    pub(crate) ms: u64,
    /// Whether nothing was done meanwhile.
    pub(crate) waits: bool,
    /// Whether it lies behind a gate that a person opened.
    pub(crate) after_gate: bool,
    /// Subject of the fact that ended it.
    pub(crate) evidence: String,
    /// Its sequence.
    pub(crate) sequence: u64,
}

/// A grant of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Granted {
    /// Which.
    pub(crate) grant: GrantId,
    /// For which application.
    pub(crate) app: String,
    /// Who.
    pub(crate) person: Person,
    /// From where.
    pub(crate) surface: Surface,
    /// For which commit.
    pub(crate) revision: Sha,
    /// When.
    pub(crate) issued_at: Timestamp,
    /// When it was used.
    pub(crate) consumed_at: Option<Timestamp>,
}

/// The whole ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// Rows in order of time.
    pub(crate) segments: Vec<Segment>,
    /// Milliseconds by kind.
    pub(crate) totals: BTreeMap<&'static str, u64>,
    /// From push to ready on the automated application.
    pub(crate) push_to_dev_ms: Option<u64>,
    /// Waited for people.
    pub(crate) gate_ms: Option<u64>,
    /// From grant to ready on the gated application.
    pub(crate) grant_to_prod_ms: Option<u64>,
    /// Who opened gates.
    pub(crate) grants: Vec<Granted>,
}

/// What is remembered between facts.
#[derive(Default)]
struct Notes {
    first_push: bool,
    pushed_at: Option<Timestamp>,
    queued_at: Option<Timestamp>,
    images: BTreeMap<JobId, bool>,
    bumped: BTreeMap<Sha, Timestamp>,
    rendered: BTreeMap<AppId, Timestamp>,
    waits: BTreeMap<AppId, Timestamp>,
    granted: BTreeMap<AppId, Timestamp>,
    applied: BTreeMap<AppId, Timestamp>,
    dev_ready: Option<Timestamp>,
}

impl Ledger {
    /// The ledger of a chain.
    #[must_use]
    pub(crate) fn of(chain: &Chain) -> Self {
        let mut ledger = Self::default();
        let mut notes = Notes::default();
        for fact in &chain.facts {
            if let Event::ImageBuilt(image) = &fact.event {
                notes.images.insert(image.image.job.clone(), true);
            }
        }
        for fact in &chain.facts {
            ledger.ci(fact, &mut notes);
            ledger.cd(fact, &mut notes, chain.summary.started_at);
        }
        ledger.segments.sort_by_key(|segment| (segment.started_at, segment.sequence));
        for segment in &ledger.segments {
            *ledger.totals.entry(segment.kind.as_str()).or_default() += segment.ms;
        }
        let gates = ledger.segments.iter().filter(|segment| segment.kind == SegmentKind::Gate);
        let waited: u64 = gates.map(|segment| segment.ms).sum();
        ledger.gate_ms = Some(waited).filter(|ms| *ms > 0);
        ledger
    }

    fn ci(&mut self, fact: &ChainFact, notes: &mut Notes) {
        use SegmentKind::{Build, Fetch, Notify, Other, Push, Queue, Receive, Return, Test};
        match &fact.event {
            Event::PushReceived(push) if !notes.first_push => {
                notes.first_push = true;
                notes.pushed_at = Some(fact.time);
                self.add(fact, Receive, "Push received, signature checked", "ingress", push.received_at);
            }
            Event::PushReceived(push) => {
                if let Some(at) = notes.bumped.get(&push.after) {
                    self.add(fact, Return, "Webhook of the deploy repository", "ingress", *at);
                }
                notes.pushed_at = Some(fact.time);
            }
            Event::RunQueued(run) => {
                notes.queued_at = Some(fact.time);
                if let Some(at) = notes.pushed_at {
                    self.add(
                        fact,
                        Queue,
                        &format!("Workflow read, run #{} planned", run.run.number),
                        "builder",
                        at,
                    );
                }
            }
            Event::JobStarted(job) => {
                let what = format!("Job {} waits for an executor", job.key);
                self.add(fact, Queue, &what, "builder", before(fact.time, job.queued_ms)).waits = true;
            }
            Event::StepFinished(step) => {
                let kind = match step.kind {
                    StepKind::Checkout => Fetch,
                    StepKind::Run => Test,
                    StepKind::Image if notes.images.contains_key(&step.job) => return,
                    StepKind::Image => Build,
                    StepKind::Notify => Notify,
                    StepKind::Action => Other,
                };
                self.add(fact, kind, &step.name, "builder", before(fact.time, step.duration_ms));
            }
            Event::ImageBuilt(image) => {
                let what = format!("Build {}", image.image.repository);
                self.add(fact, Build, &what, "builder", before(fact.time, image.build_ms));
            }
            Event::ImagePublished(image) => {
                let what =
                    format!("Push by digest, then tag {}", image.tags.first().map_or("", String::as_str));
                self.add(fact, Push, &what, "publisher", before(fact.time, image.duration_ms));
            }
            _ => {}
        }
    }

    fn cd(&mut self, fact: &ChainFact, notes: &mut Notes, pushed_at: Timestamp) {
        use SegmentKind::{Apply, Bump, Compare, Gate, Render};
        match &fact.event {
            Event::BumpCommitted(bump) => {
                notes.bumped.insert(bump.commit.clone(), fact.time);
                let began = before(fact.time, bump.duration_ms);
                let place = place_of(bump);
                if bump.bump.kind == BumpKind::Promotion {
                    if let Some(ready) = notes.dev_ready {
                        let who = bump
                            .bump
                            .person
                            .as_ref()
                            .map_or_else(|| "a person".to_owned(), ToString::to_string);
                        let what = format!("Waits on dev until {who} promotes");
                        let segment = self.add_until(fact, Gate, &what, "person", ready, began);
                        segment.waits = true;
                    }
                    self.add(fact, Bump, &format!("Promote: commit to {place}"), "publisher", began);
                } else {
                    self.add(fact, Bump, &format!("Commit to deploy, {place}"), "publisher", began);
                }
            }
            Event::RenderSucceeded(render) => {
                let app = render.render.app.name();
                let began = before(fact.time, render.fetch_ms + render.render_ms);
                let what = format!("Render {app}, {} objects", render.objects);
                self.add(fact, Render, &what, "renderer", began).app = Some(app);
                notes.rendered.insert(render.render.app.clone(), fact.time);
            }
            Event::AppCompared(app) => {
                let id = &app.app.app;
                if let Some(at) = notes.rendered.remove(id) {
                    let what = format!("Compare {} with the cluster", id.name());
                    self.add(fact, Compare, &what, "reconciler", at).app = Some(id.name());
                }
                if app.gated && app.sync == SyncStatus::OutOfSync {
                    notes.waits.entry(id.clone()).or_insert(fact.time);
                }
                if app.health == HealthStatus::Healthy && app.sync == SyncStatus::Synced {
                    self.rolled_out(fact, notes, id, pushed_at);
                }
            }
            Event::AppHealthChanged(app) if app.to == HealthStatus::Healthy => {
                self.rolled_out(fact, notes, &app.app.app, pushed_at);
            }
            Event::GrantIssued(grant) => {
                let id = &grant.app.app;
                if let Some(at) = notes.waits.remove(id) {
                    let what = format!("{} waits for SYNC, granted by {}", id.name(), grant.person);
                    let segment = self.add(fact, Gate, &what, "person", at);
                    segment.waits = true;
                    segment.app = Some(id.name());
                }
                notes.granted.insert(id.clone(), fact.time);
                self.grants.push(Granted {
                    grant: grant.grant.clone(),
                    app: id.name(),
                    person: grant.person.clone(),
                    surface: grant.surface,
                    revision: grant.revision.clone(),
                    issued_at: fact.time,
                    consumed_at: None,
                });
            }
            Event::GrantConsumed(grant) => {
                if let Some(known) = self.grants.iter_mut().find(|known| known.grant == grant.grant) {
                    known.consumed_at = Some(fact.time);
                }
            }
            Event::SyncFinished(sync) => {
                let id = &sync.sync.app.app;
                let what = format!("Sync {}", id.name());
                let after_gate = notes.granted.contains_key(id);
                let segment = self.add(fact, Apply, &what, "reconciler", before(fact.time, sync.duration_ms));
                segment.app = Some(id.name());
                segment.after_gate = after_gate;
                notes.applied.insert(id.clone(), fact.time);
            }
            _ => {}
        }
    }

    fn rolled_out(&mut self, fact: &ChainFact, notes: &mut Notes, app: &AppId, pushed_at: Timestamp) {
        let Some(applied) = notes.applied.remove(app) else { return };
        let granted = notes.granted.get(app).copied();
        let what = format!("Roll out {}", app.name());
        let segment = self.add(fact, SegmentKind::Rollout, &what, "cluster", applied);
        segment.app = Some(app.name());
        segment.after_gate = granted.is_some();
        match granted {
            Some(granted) => self.grant_to_prod_ms = Some(fact.time.millis_since(granted)),
            None => {
                notes.dev_ready = Some(fact.time);
                self.push_to_dev_ms = self.push_to_dev_ms.or(Some(fact.time.millis_since(pushed_at)));
            }
        }
    }

    fn add(
        &mut self,
        fact: &ChainFact,
        kind: SegmentKind,
        what: &str,
        service: &'static str,
        from: Timestamp,
    ) -> &mut Segment {
        self.add_until(fact, kind, what, service, from, fact.time)
    }

    fn add_until(
        &mut self,
        fact: &ChainFact,
        kind: SegmentKind,
        what: &str,
        service: &'static str,
        from: Timestamp,
        until: Timestamp,
    ) -> &mut Segment {
        self.segments.push(Segment {
            kind,
            what: what.to_owned(),
            app: None,
            service,
            started_at: from,
            ms: until.millis_since(from),
            waits: false,
            after_gate: false,
            evidence: fact.subject.clone(),
            sequence: fact.sequence,
        });
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }
}
/// `dev/web.yaml:21`, and whether somebody else's commit came in between.
fn place_of(bump: &BumpCommitted) -> String {
    let mut place = match bump.changes.as_slice() {
        [] => format!("{}/", bump.bump.directory),
        [change] => format!("{}:{}", change.path, change.line),
        [change, more @ ..] => format!("{}:{} and {} more", change.path, change.line, more.len()),
    };
    if bump.retries > 0 {
        place.push_str(", on top of a commit that came in between");
    }
    place
}
