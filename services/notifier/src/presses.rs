//! What people press. A button is an opaque id; everything that it means is in the bucket, bound to a revision, to manifests
//! and, for a confirmation, to the person who asked.
//!
//! Invariants: every press is answered at once, before anything slow; a button works once; a confirmation by somebody else, or
//! too late, changes nothing; what is granted is exactly what the question showed. Called by the poller.

use sluice_schemas::Timestamp;

use crate::api::{ApiTrouble, Granted};
use crate::commands::{AnswerError, Answerer, explain};
use crate::facts::tell_dialog;
use crate::story::{Act, Ask, AskState, Button, Story, Syncing, Tale};
use crate::telegram::Sender;
use crate::text::Text;

/// A press.
#[derive(Debug, Clone)]
pub(crate) struct Press<'a> {
    pub(crate) update: u32,
    pub(crate) query: &'a str,
    pub(crate) chat: i64,
    pub(crate) from: &'a Sender,
    pub(crate) data: &'a str,
}

impl Answerer {
    /// Deals with a press.
    ///
    /// # Errors
    /// When it could not be carried to its end; the update is tried again.
    pub(crate) async fn pressed(&self, press: Press<'_>) -> Result<(), AnswerError> {
        let now = Timestamp::now();
        let button = self.store.button(press.data).await?;
        let (button, note) = match button {
            None => (None, Err("This button is not known any more.")),
            Some(button) => {
                let note = check(&button, &press, now);
                (Some(button), note)
            }
        };
        let button = match (button, note) {
            (Some(button), Ok(note)) => {
                // What changes something is used up before it is done; looking is free, and asking is used up when it led to
                // a question, so that a stranger's press takes nothing from others.
                let acts = matches!(button.act, Act::Confirm | Act::Cancel);
                if acts && !self.store.use_button(&button.id, press.update).await? {
                    return self.refuse(&press, USED).await;
                }
                self.answer(&press, note, false).await;
                button
            }
            (_, Err(refusal)) => return self.refuse(&press, refusal).await,
            (None, Ok(_)) => return Ok(()),
        };
        let (name, outcome) = match button.act {
            Act::Diff => ("diff", self.diff(&press, &button).await?),
            Act::Sync => ("sync", self.card_sync(&press, &button).await?),
            Act::Confirm => ("confirm", self.confirm(&press, &button).await?),
            Act::Cancel => ("cancel", self.cancel(&button).await?),
        };
        self.record(press.update, press.from, name, outcome).await;
        Ok(())
    }

    async fn refuse(&self, press: &Press<'_>, why: &str) -> Result<(), AnswerError> {
        self.answer(press, why, true).await;
        self.record(press.update, press.from, "button", "refused").await;
        Ok(())
    }

    /// Answers the press itself. A failure is only logged: what the press does is told in a message anyway.
    async fn answer(&self, press: &Press<'_>, text: &str, alert: bool) {
        let Some(outbox) = self.bots.own() else { return };
        if let Err(error) = outbox.telegram().answer(press.query, text, alert).await {
            tracing::debug!(%error, update = press.update, "a press could not be answered");
        }
    }

    async fn diff(&self, press: &Press<'_>, button: &Button) -> Result<&'static str, AnswerError> {
        let name = button.app.name();
        let (text, outcome) = match self.api.diff(press.from.id, &name).await {
            Ok(diff) if diff.is_empty() => {
                (Some(Text::new().code(name).say(": nothing differs any more.")), "answered")
            }
            Ok(diff) => {
                let text =
                    Text::new().bold(name).say(format!(" at {}", button.revision.short())).line().pre(diff);
                (Some(text), "answered")
            }
            Err(trouble) => (explain(&trouble), trouble.outcome()),
        };
        if let Some(text) = text {
            self.reply(press.update, press.chat, text).await?;
        }
        Ok(outcome)
    }

    /// The card's SYNC: the same message becomes the question.
    async fn card_sync(&self, press: &Press<'_>, button: &Button) -> Result<&'static str, AnswerError> {
        let asked = self.ask(press.from, &button.app.name()).await;
        let ask = match asked {
            Ok(ask) if ask.revision == button.revision && ask.manifests == button.manifests => ask,
            Ok(ask) => {
                let name = button.app.name();
                let text = Text::new().code(name.clone()).say(format!(
                    " is at {} by now, and this card is for {}. See the newer card, or send ",
                    ask.revision.short(),
                    button.revision.short()
                ));
                self.reply(press.update, press.chat, text.code(format!("/sync {name}"))).await?;
                return Ok("outdated");
            }
            Err(trouble) => {
                if let Some(text) = explain(&trouble) {
                    self.reply(press.update, press.chat, text).await?;
                }
                return Ok(trouble.outcome());
            }
        };
        if !self.store.use_button(&button.id, press.update).await? {
            // Somebody else was a moment faster: the message shows their question.
            return Ok("refused");
        }
        self.store
            .change_story(&button.story, |story| {
                let mut story = story?;
                if let Tale::Delivery(delivery) = &mut story.tale {
                    delivery.ask = Some(ask.clone());
                    story.generation += 1;
                }
                Some(story)
            })
            .await?;
        Ok("asked")
    }

    async fn confirm(&self, press: &Press<'_>, button: &Button) -> Result<&'static str, AnswerError> {
        let update = press.update;
        let story = self
            .store
            .change_story(&button.story, |story| {
                let mut story = story?;
                if let Some(ask) = story.ask_mut().filter(|ask| ask.is_open()) {
                    ask.state = AskState::Confirmed { update };
                }
                Some(story)
            })
            .await?;
        let confirmed = |ask: &&Ask| ask.state == AskState::Confirmed { update } && ask.user == press.from.id;
        let Some(ask) = story.as_ref().and_then(Story::ask).filter(confirmed) else { return Ok("refused") };
        let granted = self.grant(press, ask).await;
        let (state, outcome) = match &granted {
            Ok(Granted { grant, sync }) => {
                (AskState::Granted { grant: grant.clone(), sync: sync.clone() }, "confirmed")
            }
            Err(trouble) => {
                let reason = explain(trouble).map(|text| text.plain()).unwrap_or_default();
                (AskState::Refused { reason }, trouble.outcome())
            }
        };
        self.store
            .change_story(&button.story, |story| {
                let mut story = story?;
                if let Some(ask) = story.ask_mut() {
                    ask.state = state.clone();
                    story.generation += 1;
                }
                Some(story)
            })
            .await?;
        if let Ok(Granted { grant: Some(grant), sync }) = &granted {
            self.store.set_alias("grant", grant.as_str(), &button.story).await?;
            self.catch_up(button, sync.as_ref()).await?;
        }
        Ok(outcome)
    }

    /// The api away is tried again, shortly: the person has confirmed and waits.
    async fn grant(&self, press: &Press<'_>, ask: &Ask) -> Result<Granted, ApiTrouble> {
        let mut tries = 0;
        loop {
            match self.api.grant(press.from.id, ask).await {
                Err(ApiTrouble::Away(reason)) if tries < 3 && Timestamp::now() < ask.expires_at => {
                    tries += 1;
                    tracing::info!(reason, tries, "the api is away; asking again");
                    tokio::time::sleep(std::time::Duration::from_millis(300 * tries)).await;
                }
                other => return other,
            }
        }
    }

    /// The sync may have begun, or ended, before the dialog was noted as its teller.
    async fn catch_up(
        &self,
        button: &Button,
        sync: Option<&sluice_schemas::ids::SyncId>,
    ) -> Result<(), AnswerError> {
        use sluice_schemas::events::{SyncFinished, SyncStarted};
        use sluice_schemas::subject::Entity;
        use sluice_schemas::{Event, Message, Subject};
        let Some(sync) = sync else { return Ok(()) };
        for fact in ["started", "finished"] {
            let subject = Subject::fact(Entity::Sync, &button.project, sync, fact);
            let syncing = match self.bus.last_fact(&subject).await.map(|found| found.map(|fact| fact.event)) {
                Ok(Some(Event::SyncStarted(fact))) => Syncing::begun(&fact.sync),
                Ok(Some(Event::SyncFinished(fact))) => Syncing::ended(&fact),
                Ok(_) => continue,
                Err(error) => {
                    tracing::debug!(%error, started = SyncStarted::TYPE, finished = SyncFinished::TYPE, "not read");
                    continue;
                }
            };
            tell_dialog(&self.store, &button.story, &syncing).await?;
        }
        Ok(())
    }

    async fn cancel(&self, button: &Button) -> Result<&'static str, AnswerError> {
        self.store
            .change_story(&button.story, |story| {
                let mut story = story?;
                if let Some(ask) = story.ask_mut().filter(|ask| ask.is_open()) {
                    ask.state = AskState::Cancelled;
                    story.generation += 1;
                }
                Some(story)
            })
            .await?;
        Ok("cancelled")
    }
}

const USED: &str = "This button was used already.";

/// Whether a button may be pressed by this person now: what to tell them, or why not.
fn check(button: &Button, press: &Press<'_>, now: Timestamp) -> Result<&'static str, &'static str> {
    if button.used_by.is_some_and(|update| update != press.update) {
        return Err(USED);
    }
    if button.user.is_some_and(|user| user != press.from.id) {
        return Err("Somebody else asked this. Ask for yourself with /sync.");
    }
    // A confirmation that was taken in time is carried to its end, even after a restart.
    if button.used_by.is_none() && button.expires_at.is_some_and(|until| now >= until) {
        return Err("Too late: the confirmation ran out, nothing was changed.");
    }
    Ok(match button.act {
        Act::Diff => "Looking up what differs…",
        Act::Sync => "Looking up what would change…",
        Act::Confirm => "Confirmed; asking for the grant…",
        Act::Cancel => "Cancelled.",
    })
}

#[cfg(test)]
mod tests {
    use sluice_schemas::ids::{AppId, ProjectId};
    use sluice_schemas::{Digest, Sha};

    use super::*;

    fn button() -> Button {
        Button {
            id: "b".to_owned(),
            label: "Confirm".to_owned(),
            act: Act::Confirm,
            story: "ask-1".to_owned(),
            app: AppId::from_name("shop-prod"),
            project: ProjectId::from_name("default"),
            revision: Sha::try_from("d".repeat(40)).expect("40 digits"),
            manifests: Digest::of(b"[]"),
            user: Some(1001),
            expires_at: Some(Timestamp::from_unix_millis(120_000)),
            used_by: None,
        }
    }

    fn verdict(button: &Button, user: i64, update: u32, at: i64) -> Result<&'static str, &'static str> {
        let from = Sender { id: user, name: "x".to_owned() };
        let press = Press { update, query: "q", chat: 1, from: &from, data: "b" };
        check(button, &press, Timestamp::from_unix_millis(at))
    }

    #[test]
    fn only_the_person_who_asked_in_time_and_once() {
        assert!(verdict(&button(), 1001, 7, 119_999).is_ok());
        assert!(verdict(&button(), 1002, 7, 1).is_err_and(|why| why.contains("Somebody else")));
        assert!(verdict(&button(), 1001, 7, 120_000).is_err_and(|why| why.contains("Too late")));
        let used = Button { used_by: Some(7), ..button() };
        assert!(verdict(&used, 1001, 8, 1).is_err_and(|why| why.contains("used already")));
        assert!(verdict(&used, 1001, 7, 300_000).is_ok(), "carried to its end after a restart");
    }
}
