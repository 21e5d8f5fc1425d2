//! From facts to stories: which story a fact belongs to, and whether it begins one.
//!
//! Invariants: one fact after the other; the story is on disk before the fact is acknowledged; what a message looks like is not
//! decided here. Called by the consumer of `evt.>`.

mod tail;

use sluice_bus::{Bus, Delivery, KvError, Outcome};
use sluice_schemas::events::{AppRef, HealthStatus, RunRef, SyncOutcome, SyncRef, SyncStatus, SyncTrigger};
use sluice_schemas::ids::{AppId, Correlation, hash_token};
use sluice_schemas::{Event, Sha, Timestamp};

use crate::store::{Store, nonce};
use crate::story::{DeliveryStory, RunStory, Story, Syncing, Tale};

/// Folds facts into stories. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Teller {
    bus: Bus,
    store: Store,
    announce_within_ms: u64,
}

/// What is common to all facts.
struct Context {
    correlation: Correlation,
    at: Timestamp,
    /// Whether it is recent enough to begin a story.
    fresh: bool,
}

impl Teller {
    /// Facts older than `announce_within_hours` begin no story.
    #[must_use]
    pub(crate) fn new(bus: Bus, store: Store, announce_within_hours: u32) -> Self {
        Self { bus, store, announce_within_ms: u64::from(announce_within_hours) * 3_600_000 }
    }

    /// Handles one fact.
    pub(crate) async fn handle(&self, delivery: Delivery<Event>) -> Outcome {
        let context = Context {
            correlation: delivery.envelope.correlation.clone(),
            at: delivery.envelope.time,
            fresh: Timestamp::now().millis_since(delivery.envelope.time) <= self.announce_within_ms,
        };
        match self.fold(&delivery.message, &context).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::retry(&delivery, error),
        }
    }

    async fn fold(&self, event: &Event, context: &Context) -> Result<(), KvError> {
        match event {
            Event::RunQueued(fact) => self.run(&fact.run, context, |run| run.queued(fact)).await,
            Event::RunFinished(fact) => self.run(&fact.run, context, |run| run.finished(fact)).await,
            Event::RunRefused(fact) => self.run(&fact.run, context, |run| run.refused(fact)).await,
            Event::JobStarted(fact) => self.run(&fact.run, context, |run| run.job_started(fact)).await,
            Event::JobFinished(fact) => self.run(&fact.run, context, |run| run.job_finished(fact)).await,
            Event::StepFinished(fact) => {
                let mut wanted = false;
                self.run(&fact.run, context, |run| wanted = run.step_finished(fact)).await?;
                if wanted {
                    let lines = tail::of_step(&self.bus, fact).await;
                    self.run(&fact.run, context, |run| run.quote(lines.clone())).await?;
                }
                Ok(())
            }
            Event::ImagePublished(fact) => {
                self.run(&fact.image.run, context, |run| run.published(fact)).await
            }
            Event::ImageFailed(fact) => {
                self.run(&fact.image.run, context, |run| run.not_published(fact)).await
            }
            Event::BumpCommitted(fact) => {
                let key = delivery_key(&context.correlation);
                self.delivery(&key, context, true, |delivery| delivery.committed(fact)).await?;
                self.store.set_alias("commit", fact.commit.as_str(), &key).await.map(drop)
            }
            Event::BumpFailed(fact) => {
                let key = delivery_key(&context.correlation);
                self.delivery(&key, context, true, |delivery| delivery.not_committed(fact)).await
            }
            Event::RenderFailed(fact) => {
                let key = self.route(context, None, fact.render.revision.as_ref()).await?;
                self.delivery(&key, context, true, |delivery| delivery.not_rendered(fact)).await
            }
            Event::AppCompared(fact) => {
                let worth_telling = fact.sync == SyncStatus::OutOfSync || !fact.errors.is_empty();
                self.app(context, &fact.app, Some(&fact.revision), worth_telling, |it| it.compared(fact))
                    .await
            }
            Event::AppHealthChanged(fact) => {
                let worth_telling = fact.to == HealthStatus::Degraded;
                self.app(context, &fact.app, None, worth_telling, |it| it.health(fact)).await
            }
            Event::SyncStarted(fact) => {
                let by_itself = fact.sync.trigger == SyncTrigger::SelfHeal;
                let revision = Some(&fact.sync.revision);
                self.app(context, &fact.sync.app, revision, !by_itself, |it| it.sync_started(fact)).await?;
                self.dialog(&fact.sync, &Syncing::begun(&fact.sync)).await
            }
            Event::SyncFinished(fact) => {
                let worth_telling =
                    fact.sync.trigger != SyncTrigger::SelfHeal || fact.outcome != SyncOutcome::Succeeded;
                let revision = Some(&fact.sync.revision);
                self.app(context, &fact.sync.app, revision, worth_telling, |it| it.sync_finished(fact))
                    .await?;
                self.dialog(&fact.sync, &Syncing::ended(fact)).await
            }
            Event::GrantRefused(fact) => {
                self.app(context, &fact.app, None, true, |it| it.refused(fact)).await
            }
            _ => Ok(()),
        }
    }

    /// Changes the story of a run.
    async fn run(
        &self,
        run: &RunRef,
        context: &Context,
        mut change: impl FnMut(&mut RunStory),
    ) -> Result<(), KvError> {
        let key = format!("run-{}-{}", run.repository.slug, run.number);
        self.store
            .change_story(&key, |story| {
                let mut story = match story {
                    Some(story) => story,
                    None if context.fresh => context.story(Tale::Run(Box::new(RunStory::new(run.clone())))),
                    None => return None,
                };
                if let Tale::Run(run) = &mut story.tale {
                    change(run);
                }
                Some(story)
            })
            .await
            .map(drop)
    }

    /// Changes the story of a delivery; begins it if `begin`.
    async fn delivery(
        &self,
        key: &str,
        context: &Context,
        begin: bool,
        mut change: impl FnMut(&mut DeliveryStory),
    ) -> Result<(), KvError> {
        self.store
            .change_story(key, |story| {
                let mut story = match story {
                    Some(story) => story,
                    None if begin && context.fresh => context.story(Tale::Delivery(Box::default())),
                    None => return None,
                };
                if let Tale::Delivery(delivery) = &mut story.tale {
                    change(delivery);
                }
                Some(story)
            })
            .await
            .map(drop)
    }

    /// Changes what a delivery says of an application. `worth_telling`: whether the application joins, or begins, a delivery
    /// that it is not part of yet.
    async fn app(
        &self,
        context: &Context,
        app: &AppRef,
        revision: Option<&Sha>,
        worth_telling: bool,
        mut change: impl FnMut(&mut DeliveryStory),
    ) -> Result<(), KvError> {
        let key = self.route(context, Some(app), revision).await?;
        let is_part = self.has_app(&key, &app.app).await?;
        if !is_part && !worth_telling {
            return Ok(());
        }
        self.delivery(&key, context, worth_telling, &mut change).await?;
        if is_part || !self.has_app(&key, &app.app).await? {
            return Ok(());
        }
        if let Some(before) = self.store.set_alias("app", &app_token(app), &key).await? {
            self.delivery(&before, context, false, |delivery| {
                delivery.supersede(&app.app);
            })
            .await?;
        }
        Ok(())
    }

    /// The story that a fact of a delivery belongs to: that of its chain, else that of its commit, else the one that told of
    /// this application at this revision last, else a new one.
    async fn route(
        &self,
        context: &Context,
        app: Option<&AppRef>,
        revision: Option<&Sha>,
    ) -> Result<String, KvError> {
        let own = delivery_key(&context.correlation);
        if self.store.story(&own).await?.is_some() {
            return Ok(own);
        }
        if let Some(revision) = revision
            && let Some(key) = self.store.alias("commit", revision.as_str()).await?
        {
            return Ok(key);
        }
        if let Some(app) = app
            && let Some(key) = self.store.alias("app", &app_token(app)).await?
            && let Some(Story { tale: Tale::Delivery(delivery), .. }) = self.store.story(&key).await?
            && let Some(line) = delivery.apps.iter().find(|line| line.app == app.app)
            && (revision.is_none() || line.revision.as_ref() == revision)
        {
            return Ok(key);
        }
        Ok(own)
    }

    async fn has_app(&self, key: &str, app: &AppId) -> Result<bool, KvError> {
        let story = self.store.story(key).await?;
        Ok(story.is_some_and(|story| matches!(&story.tale, Tale::Delivery(delivery) if delivery.has(app))))
    }

    /// Tells the dialog that led to a sync how it goes.
    async fn dialog(&self, sync: &SyncRef, syncing: &Syncing) -> Result<(), KvError> {
        let SyncTrigger::Grant { grant, .. } = &sync.trigger else { return Ok(()) };
        let Some(key) = self.store.alias("grant", grant.as_str()).await? else { return Ok(()) };
        tell_dialog(&self.store, &key, syncing).await
    }
}

/// Tells a dialog how its sync goes; an end is not overwritten by a beginning that comes late.
pub(crate) async fn tell_dialog(store: &Store, key: &str, syncing: &Syncing) -> Result<(), KvError> {
    store
        .change_story(key, |story| {
            let mut story = story?;
            if let Tale::Dialog(dialog) = &mut story.tale
                && dialog.syncing.as_ref().is_none_or(|known| known.outcome.is_none())
            {
                dialog.syncing = Some(syncing.clone());
            }
            Some(story)
        })
        .await
        .map(drop)
}

impl Context {
    fn story(&self, tale: Tale) -> Story {
        Story::new(self.correlation.clone(), self.at, nonce(), tale)
    }
}

fn delivery_key(correlation: &Correlation) -> String {
    format!("delivery-{correlation}")
}

fn app_token(app: &AppRef) -> String {
    hash_token(&[app.project.as_str(), app.app.as_str()])
}
