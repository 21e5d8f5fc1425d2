//! Renderings: asking for them, taking in their results in the right order, whichever replica hears of them.

use std::time::Duration;

use sluice_bus::{Kv, KvError, Outcome, StreamName};
use sluice_schemas::events::{RenderFailed, RenderSucceeded};
use sluice_schemas::ids::RenderId;
use sluice_schemas::state::AppCondition;
use sluice_schemas::{Cause, Timestamp};
use tokio::time::Instant;

use super::Actor;
use super::look::LookError;
use super::mirror::{COMPARISON_ERROR, condition, replace_render_error};
use crate::desired::Target;
use crate::render;

/// A rendering that failed for no fault of the files is asked for again after this.
const RENDER_AGAIN: Duration = Duration::from_secs(60);

/// Where a rendering stands among all of its application.
struct Place {
    key: String,
    /// `None` when it need not be noted.
    order: Option<u64>,
    known: Option<u64>,
}

impl Place {
    /// Notes it as the latest. Losing against another replica is no matter: then that one takes in a later one.
    async fn note(self, latest: &Kv<u64>) -> Result<(), KvError> {
        let Some(order) = self.order else { return Ok(()) };
        let written = match self.known {
            Some(revision) => latest.update(&self.key, &order, revision).await,
            None => latest.create(&self.key, &order).await,
        };
        match written {
            Ok(_) | Err(KvError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Actor {
    /// A rendering succeeded: from now on these are the manifests.
    pub(super) async fn rendered(&mut self, fact: &RenderSucceeded, cause: Cause) -> Outcome {
        let Some(revision) = fact.render.revision.clone() else {
            return Outcome::Reject { reason: "a rendering without a revision".to_owned() };
        };
        if !self.is_of_this_source(&fact.render.repository, &fact.render.path) {
            tracing::debug!(app = self.app.name(), %revision, "a rendering of another source");
            return Outcome::Done;
        }
        let place = match self.place_of(&fact.render.render).await {
            Ok(Some(place)) => place,
            Ok(None) => {
                tracing::debug!(app = self.app.name(), %revision, "a rendering came too late");
                return Outcome::Done;
            }
            Err(error) => return self.come_again(error.into()),
        };
        self.cause = cause;
        self.is_fresh = true;
        let target = Target { revision, manifests: fact.manifests.clone() };
        if self.desired.as_ref().map(|it| &it.target) != Some(&target) {
            // The same manifests at another revision need no loading; but that is rare, and this is simple.
            self.desired = None;
            self.retries = 0;
        }
        let latest = self.context.latest.clone();
        let (looked, noted) = tokio::join!(self.look_at_target(Some(target)), place.note(&latest));
        match looked.and(noted.map_err(LookError::from)) {
            Ok(()) => Outcome::Done,
            Err(error) => self.come_again(error),
        }
    }

    /// A rendering failed: said, and nothing else changes.
    pub(super) async fn render_failed(&mut self, fact: &RenderFailed, cause: &Cause) -> Outcome {
        if !self.is_of_this_source(&fact.render.repository, &fact.render.path) {
            return Outcome::Done;
        }
        // A failure that passes is not something that was taken in.
        let counts = !fact.annotations.is_empty();
        let noted = match self.place_of(&fact.render.render).await {
            Ok(Some(place)) if counts => place.note(&self.context.latest).await,
            Ok(Some(_)) => Ok(()),
            Ok(None) => return Outcome::Done,
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            return self.come_again(error.into());
        }
        let mut message = fact.reason.clone();
        for annotation in fact.annotations.iter().skip(1).take(5) {
            message.push_str(&format!(
                "\n{}, line {}: {}",
                annotation.file, annotation.line, annotation.message
            ));
        }
        tracing::info!(app = self.app.name(), reason = message, correlation = %cause.correlation, "a rendering failed");
        if fact.annotations.is_empty() {
            // Nothing in the files is wrong: the Git host was away, or a credential is. Worth another try soon.
            self.render_at = self.render_at.min(Instant::now() + RENDER_AGAIN);
        }
        let changed = self.set_render_error(condition(COMPARISON_ERROR, message)).await;
        self.mirror().await;
        match changed {
            Ok(()) => Outcome::Done,
            Err(error) => self.come_again(error),
        }
    }

    /// Comparisons with the last good manifests go on meanwhile; they do not take the failure back.
    async fn set_render_error(&mut self, error: AppCondition) -> Result<(), LookError> {
        let source = self.source_fields();
        self.stored
            .change(&self.context, |state| {
                source.write(state);
                replace_render_error(state, Some(&error));
            })
            .await?;
        Ok(())
    }

    /// Asked for by command or annotation.
    pub(super) async fn refresh(&mut self, hard: bool, cause: &Cause) -> Outcome {
        self.cause.correlation = cause.correlation.clone();
        if self.ask(hard, &cause.seed).await.is_err() {
            return Outcome::Retry { after: super::RETRY, reason: "the bus is away".to_owned() };
        }
        match self.look().await {
            Ok(()) => Outcome::Done,
            Err(error) => self.come_again(error),
        }
    }

    /// Asks for the source to be rendered at whatever is newest.
    pub(super) async fn ask_for_render(&mut self, hard: bool) {
        let interval = Duration::from_secs(self.context.config.render_seconds.max(1));
        let seed = format!("{}:{}", self.context.service.source(), Timestamp::now());
        self.render_at = Instant::now()
            + match self.ask(hard, &seed).await {
                Ok(()) => interval,
                Err(error) => {
                    tracing::warn!(app = self.app.name(), %error, "failed to ask for a rendering; trying again");
                    super::RETRY
                }
            };
    }

    async fn ask(&mut self, hard: bool, seed: &str) -> Result<(), LookError> {
        let order = self.context.bus.last_sequence(StreamName::Events).await?;
        let Some(command) = render::command(&self.app, None, hard, seed, order) else { return Ok(()) };
        let cause = self.cause.seeded(format!("render:{}", command.render));
        self.context.bus.publish(&command, &cause).await?;
        Ok(())
    }

    /// A rendering's place after what was taken in, by whichever replica; `None` when a later one was.
    async fn place_of(&self, render: &RenderId) -> Result<Option<Place>, KvError> {
        let key = format!("latest.{}.{}", self.reference.project, self.reference.app);
        let Some(order) = render::order_of(render) else {
            return Ok(Some(Place { key, order: None, known: None }));
        };
        let known = self.context.latest.get(&key).await?;
        if known.as_ref().is_some_and(|entry| entry.value > order) {
            return Ok(None);
        }
        let is_new = known.as_ref().is_none_or(|entry| entry.value < order);
        Ok(Some(Place { key, order: is_new.then_some(order), known: known.map(|entry| entry.revision) }))
    }

    /// Whether a rendering is of the source that the Application has now.
    fn is_of_this_source(&self, repository: &str, path: &str) -> bool {
        let sources = self.app.sources();
        let trim = |path: &str| path.trim_matches('/').to_owned();
        sources.first().is_some_and(|it| {
            it.repo_url == repository && trim(it.path.as_deref().unwrap_or_default()) == trim(path)
        })
    }
}
