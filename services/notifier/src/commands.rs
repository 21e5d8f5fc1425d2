//! What people type. Each command is a question to the api as the person who typed; the notifier itself decides nothing.
//!
//! Invariants: a person without an account is told how to get linked; a command for another bot is not answered; an unknown
//! one gets the nearest known one as a suggestion; whatever is answered, the answer is one message. Called by the poller.

mod reading;

use std::sync::Arc;

use sluice_bus::{Bus, KvError};
use sluice_schemas::events::ChatCommand;
use sluice_schemas::ids::{AppId, CommandId, Correlation, Person, ProjectId};
use sluice_schemas::{Cause, Timestamp};

use crate::api::{Api, ApiTrouble, Preview};
use crate::bot::Bots;
use crate::content::Content;
use crate::metrics::NotifierMetrics;
use crate::outbox::OutboxError;
use crate::store::{Store, nonce};
use crate::story::{Ask, AskState, Dialog, Story, Tale};
use crate::telegram::{Place, Sender};
use crate::text::Text;

pub(crate) use reading::{COMMANDS, Typed, read};

/// Answers people. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Answerer {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) bots: Arc<Bots>,
    pub(crate) api: Api,
    pub(crate) confirm_seconds: u32,
    pub(crate) metrics: NotifierMetrics,
}

/// Why a person could not be answered; the update is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// Telegram or the bus.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] KvError),
}

impl Answerer {
    /// Answers what a person typed.
    ///
    /// # Errors
    /// When the answer could not be sent.
    pub(crate) async fn typed(
        &self,
        update: u32,
        chat: i64,
        from: &Sender,
        text: &str,
        bot: &str,
    ) -> Result<(), AnswerError> {
        let typed = read(text, bot);
        let (name, result) = match &typed {
            Typed::Nothing => return Ok(()),
            Typed::Unknown { typed, nearest } => ("unknown", Ok(unknown(typed, *nearest))),
            Typed::Command { name, arguments } => {
                (*name, self.command(update, chat, from, name, arguments).await?)
            }
        };
        let (reply, outcome) = match result {
            Ok(reply) => (reply, "answered".to_owned()),
            Err(trouble) => (explain(&trouble), trouble.outcome().to_owned()),
        };
        if let Some(reply) = reply {
            self.reply(update, chat, reply).await?;
        }
        self.record(update, from, name, &outcome).await;
        Ok(())
    }

    /// `Ok(None)`: the answer is a message of its own already.
    async fn command(
        &self,
        update: u32,
        chat: i64,
        from: &Sender,
        name: &str,
        arguments: &str,
    ) -> Result<Result<Option<Text>, ApiTrouble>, AnswerError> {
        let argument = arguments.split_whitespace().next();
        Ok(match (name, argument) {
            ("start" | "link", Some(code)) => self.link(from, code).await.map(Some),
            ("start" | "help", None) | ("help", Some(_)) => Ok(Some(help())),
            ("link", None) => Ok(Some(
                Text::new()
                    .say("Send the code that your account page shows, so: ")
                    .code("/link CODE")
                    .say(". It works once, for ten minutes."),
            )),
            ("whoami", _) => self.api.whoami(from.id).await.map(|person| Some(whoami(from, &person))),
            ("apps", _) => self.api.applications(from.id).await.map(|apps| Some(reading::apps(&apps))),
            ("status", None) => self.api.applications(from.id).await.map(|apps| Some(reading::status(&apps))),
            ("status", Some(app)) => {
                self.api.application(from.id, app).await.map(|app| Some(reading::application(&app)))
            }
            ("runs", _) => self.api.runs(from.id).await.map(|runs| Some(reading::runs(&runs))),
            ("sync", None) => Ok(Some(
                Text::new()
                    .say("Which application? For example ")
                    .code("/sync shop-prod")
                    .say(". ")
                    .code("/apps")
                    .say(" lists them."),
            )),
            ("sync", Some(app)) => match self.ask(from, app).await {
                Ok(ask) => {
                    self.open_dialog(update, chat, ask).await?;
                    Ok(None)
                }
                Err(trouble) => Err(trouble),
            },
            _ => Ok(Some(help())),
        })
    }

    /// A question about a sync, as the api previews it for this person.
    ///
    /// # Errors
    /// What the api refuses.
    pub(crate) async fn ask(&self, from: &Sender, app: &str) -> Result<Ask, ApiTrouble> {
        let person = self.api.whoami(from.id).await?;
        let Preview { project, revision, manifests, card, .. } = self.api.preview(from.id, app).await?;
        Ok(Ask {
            app: AppId::from_name(app),
            project: ProjectId::from_name(&project),
            revision,
            manifests,
            user: from.id,
            person,
            expires_at: Timestamp::now().plus_seconds(i64::from(self.confirm_seconds)),
            card,
            state: AskState::Open,
        })
    }

    async fn open_dialog(&self, update: u32, chat: i64, ask: Ask) -> Result<(), KvError> {
        let key = format!("ask-{update}");
        let dialog = Dialog { chat, ask, syncing: None };
        let correlation = correlation(update);
        self.store
            .change_story(&key, |story| {
                Some(story.unwrap_or_else(|| {
                    let tale = Tale::Dialog(Box::new(dialog.clone()));
                    Story::new(correlation.clone(), Timestamp::now(), nonce(), tale)
                }))
            })
            .await
            .map(drop)
    }

    async fn link(&self, from: &Sender, code: &str) -> Result<Text, ApiTrouble> {
        let person = self.api.redeem(code, from).await?;
        Ok(Text::new()
            .say(format!("Hello {}: you are ", from.name))
            .bold(person.to_string())
            .say(" now. What you do here is done with that account's rights. ")
            .code("/help")
            .say(" shows what there is."))
    }

    /// Sends an answer: one message for one update.
    ///
    /// # Errors
    /// When it could not be sent.
    pub(crate) async fn reply(&self, update: u32, chat: i64, text: Text) -> Result<(), AnswerError> {
        let Some(outbox) = self.bots.own() else { return Ok(()) };
        outbox.show(&format!("reply-{update}"), &Place::Id(chat), &Content::text(text), true).await?;
        Ok(())
    }

    /// The fact of a command or a press, for the audit log.
    pub(crate) async fn record(&self, update: u32, from: &Sender, command: &str, outcome: &str) {
        self.metrics.command(command, outcome);
        let person: Option<Person> = self.api.whoami(from.id).await.ok();
        let fact = ChatCommand {
            bot: self.bots.name().clone(),
            message: CommandId::from_text(&format!("update-{update}")),
            user: from.id,
            person,
            command: command.to_owned(),
            outcome: outcome.to_owned(),
        };
        let cause = Cause::root(correlation(update), format!("update {update} {command}"));
        if let Err(error) = self.bus.publish(&fact, &cause).await {
            tracing::warn!(%error, update, "the fact of a command was not recorded");
        }
    }
}

/// A chain of its own for each update.
fn correlation(update: u32) -> Correlation {
    sluice_schemas::envelope::correlation_of(&format!("telegram {update}"))
}

/// What went wrong, for the person, with what to do.
pub(crate) fn explain(trouble: &ApiTrouble) -> Option<Text> {
    Some(match trouble {
        ApiTrouble::Unlinked => Text::new()
            .say("I do not know you yet. Sign in to Sluice, open your account page, make a code there and send it here: ")
            .code("/link CODE"),
        ApiTrouble::Denied(reason) => Text::plain_text(format!("You may not do that: {reason}")),
        ApiTrouble::Missing(reason) | ApiTrouble::Refused(reason) => Text::plain_text(reason.clone()),
        ApiTrouble::Away(reason) => Text::plain_text(format!("That did not work, nothing was changed: {reason}. Try again in a moment.")),
    })
}

fn help() -> Text {
    COMMANDS.iter().fold(Text::new().say("What I understand:"), |text, (name, help)| {
        text.line().say(format!("/{name} — {help}"))
    })
}

fn whoami(from: &Sender, person: &Person) -> Text {
    Text::new()
        .say(format!("Telegram knows you as {} ({}), Sluice as ", from.name, from.id))
        .bold(person.to_string())
        .say(".")
}

fn unknown(typed: &str, nearest: Option<&str>) -> Option<Text> {
    let text = Text::new().say("I do not know ").code(format!("/{typed}")).say(".");
    Some(match nearest {
        Some(nearest) => text.say(" Did you mean ").code(format!("/{nearest}")).say("?"),
        None => text.say(" ").code("/help").say(" shows what there is."),
    })
}
