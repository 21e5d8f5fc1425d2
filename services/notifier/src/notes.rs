//! What workflow steps want said: `cmd.notifier.send.<id>`. Chat and token are read here from the repository's secrets, by
//! name, at the moment of sending; neither is ever stored or sent on.
//!
//! Invariants: the story is on disk before the command is acknowledged; the answer, `evt.chat.<bot>.<id>.sent` or `failed`, comes
//! within [`PATIENCE`]. Called by the consumer of the command, and by the desk.

use std::sync::Arc;
use std::time::Duration;

use sluice_bus::{Bus, Delivery, Outcome};
use sluice_chassis::Secret;
use sluice_kubernetes::Cluster;
use sluice_schemas::commands::SendMessage;
use sluice_schemas::events::{ChatFailed, ChatSent};
use sluice_schemas::ids::ChatId;
use sluice_schemas::{Cause, Timestamp};

use crate::bot::Bots;
use crate::outbox::{Delivered, Outbox, OutboxError};
use crate::store::{Store, nonce};
use crate::story::{Note, Rendered, Story, Tale};
use crate::telegram::{Place, Trouble};

/// How long Telegram may be away before the step is told that it failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// Says what workflows want said. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Notes {
    bus: Bus,
    store: Store,
    cluster: Option<Cluster>,
    bots: Arc<Bots>,
}

/// How saying it went.
enum Attempt {
    Sent(ChatSent),
    Failed(String),
    Later(String),
}

impl Notes {
    /// Without a cluster there are no secrets, and every note fails with that reason unless it needs none.
    #[must_use]
    pub(crate) fn new(bus: Bus, store: Store, cluster: Option<Cluster>, bots: Arc<Bots>) -> Self {
        Self { bus, store, cluster, bots }
    }

    /// Takes a command on.
    pub(crate) async fn handle(&self, delivery: Delivery<SendMessage>) -> Outcome {
        let command = delivery.message.clone();
        let key = format!("note-{}", command.message);
        let begun = self
            .store
            .change_story(&key, |story| {
                Some(story.unwrap_or_else(|| {
                    let note = Note { command: command.clone(), told: false };
                    let correlation = delivery.envelope.correlation.clone();
                    Story::new(correlation, Timestamp::now(), nonce(), Tale::Note(Box::new(note)))
                }))
            })
            .await;
        match begun {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::retry(&delivery, error),
        }
    }

    /// Says it and answers. An error means: try again.
    ///
    /// # Errors
    /// When Telegram or the bus are away and there is still time.
    pub(crate) async fn say(
        &self,
        key: &str,
        story: &Story,
        note: &Note,
        rendered: &Rendered,
    ) -> Result<(), String> {
        if note.told {
            return Ok(());
        }
        let command = &note.command;
        let attempt = self.attempt(key, command, rendered).await;
        let cause = Cause::root(story.correlation.clone(), format!("note {}", command.message));
        let late = Timestamp::now().millis_since(story.began_at) > PATIENCE.as_millis() as u64;
        let answered = match attempt {
            Attempt::Sent(fact) => self.bus.publish(&fact, &cause).await.map(drop),
            Attempt::Later(reason) if !late => return Err(reason),
            Attempt::Failed(reason) | Attempt::Later(reason) => {
                tracing::warn!(message = %command.message, reason, "a workflow's message was not sent");
                let bot = self.bots.name().clone();
                let fact = ChatFailed { bot, message: command.message.clone(), reason };
                self.bus.publish(&fact, &cause).await.map(drop)
            }
        };
        answered.map_err(|error| error.to_string())?;
        let told = self.store.change_story(key, |story| {
            let mut story = story?;
            if let Tale::Note(note) = &mut story.tale {
                note.told = true;
            }
            Some(story)
        });
        told.await.map(drop).map_err(|error| error.to_string())
    }

    async fn attempt(&self, key: &str, command: &SendMessage, rendered: &Rendered) -> Attempt {
        let (outbox, place) = match self.target(command).await {
            Ok(target) => target,
            Err(attempt) => return attempt,
        };
        if let Place::Id(chat) = place
            && let Err(error) = outbox.enable(chat).await
        {
            return Attempt::Later(error.to_string());
        }
        match outbox.show(key, &place, &rendered.content, true).await {
            Ok(Delivered::Sent(shown) | Delivered::Edited(shown)) => {
                self.sent(command, shown.chat, shown.message, rendered)
            }
            // It was sent before a crash, and not answered.
            Ok(Delivered::Unchanged) => {
                self.sent(command, if let Place::Id(chat) = place { chat } else { 0 }, None, rendered)
            }
            Ok(Delivered::Disabled(reason)) => Attempt::Failed(format!(
                "Telegram: {reason}; check the chat's number, invite the bot and write to it once, then run the job again"
            )),
            Err(OutboxError::Telegram(Trouble::Token)) => Attempt::Failed(format!(
                "{}; set the repository's secret again and run the job again",
                Trouble::Token
            )),
            Err(OutboxError::Telegram(Trouble::Refused(reason) | Trouble::Unwanted(reason))) => {
                Attempt::Failed(format!("Telegram: {reason}"))
            }
            Err(error) => Attempt::Later(error.to_string()),
        }
    }

    fn sent(&self, command: &SendMessage, chat: i64, message: Option<i32>, rendered: &Rendered) -> Attempt {
        Attempt::Sent(ChatSent {
            bot: self.bots.name().clone(),
            message: command.message.clone(),
            chat,
            telegram_message: message.unwrap_or_default(),
            text: rendered.content.digest(),
            edited: false,
        })
    }

    /// Whose bot speaks, and where.
    async fn target(&self, command: &SendMessage) -> Result<(Outbox, Place), Attempt> {
        let secrets = match (&self.cluster, &command.chat_secret, &command.token_secret) {
            (_, None, None) => Default::default(),
            (Some(cluster), ..) => {
                cluster.ci_secrets(&command.run.repository.slug).await.map_err(|error| {
                    Attempt::Later(format!("the repository's secrets cannot be read: {error}"))
                })?
            }
            (None, ..) => {
                return Err(Attempt::Failed(
                    "there is no cluster to read the repository's secrets from".to_owned(),
                ));
            }
        };
        let repository = &command.run.repository.full_name;
        let secret = |name: &str| -> Result<Secret, Attempt> {
            secrets.get(name).filter(|value| !value.is_empty()).cloned().ok_or_else(|| {
                let advice = format!("set it with `sluice secret set {repository} {name}`");
                Attempt::Failed(format!(
                    "the repository has no secret {name}; {advice}, then run the job again"
                ))
            })
        };
        let place = match (&command.chat_secret, &command.chat) {
            // The value of a secret is not repeated in the message.
            (Some(name), _) => Place::parse(secret(name)?.expose()).ok_or_else(|| {
                Attempt::Failed(format!("the secret {name} holds no chat: a number or @channel is needed"))
            })?,
            (None, Some(chat)) => Place::parse(chat).ok_or_else(|| {
                Attempt::Failed(format!("`{chat}` is no chat: a number or @channel is needed"))
            })?,
            (None, None) => {
                return Err(Attempt::Failed("the step names no chat; set the input `to`".to_owned()));
            }
        };
        let outbox = match &command.token_secret {
            Some(name) => {
                let token = secret(name)?;
                // The part before the colon is the bot's public number.
                let number = token.expose().split(':').next().unwrap_or_default().to_owned();
                self.bots
                    .other(ChatId::from_text(&number), &token)
                    .map_err(|error| Attempt::Failed(error.to_string()))?
            }
            None => self.bots.own().ok_or_else(|| {
                Attempt::Later("the installation has no bot; set `token` in the Telegram Secret".to_owned())
            })?,
        };
        Ok((outbox, place))
    }
}
