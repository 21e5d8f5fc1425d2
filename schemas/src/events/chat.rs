//! Chat messages and commands. Written by the notifier.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fact;
use crate::ids::{ChatId, CommandId, Person};
use crate::subject::Entity;
use crate::{Digest, Subject};

/// `evt.chat.<bot>.<message>.sent`: a message was sent or edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChatSent {
    /// The bot.
    pub bot: ChatId,
    /// The message, by what it tells of: a run, a delivery, a command.
    pub message: CommandId,
    /// Telegram's chat.
    pub chat: i64,
    /// Telegram's message.
    pub telegram_message: i32,
    /// Digest of the text.
    pub text: Digest,
    /// Whether an existing message was edited.
    pub edited: bool,
}

/// `evt.chat.<bot>.<message>.failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChatFailed {
    /// The bot.
    pub bot: ChatId,
    /// The message.
    pub message: CommandId,
    /// What happened, why, what to do.
    pub reason: String,
}

/// `evt.chat.<bot>.<message>.command`: a person typed a command or pressed a button.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChatCommand {
    /// The bot.
    pub bot: ChatId,
    /// Telegram's update, as a token.
    pub message: CommandId,
    /// Telegram's user.
    pub user: i64,
    /// The linked account, if any.
    pub person: Option<Person>,
    /// `sync`, `status`, …
    pub command: String,
    /// What came of it.
    pub outcome: String,
}

fact!(ChatSent, "chat.sent", |this| Subject::fact(Entity::Chat, &this.bot, &this.message, "sent"), {
    Self {
        bot: ChatId::from_text("sluice"),
        message: CommandId::from_text("run-dev_shop-web-42"),
        chat: -1_001_234,
        telegram_message: 17,
        text: Digest::of(b"text"),
        edited: true,
    }
});
fact!(ChatFailed, "chat.failed", |this| Subject::fact(Entity::Chat, &this.bot, &this.message, "failed"), {
    Self {
        bot: ChatId::from_text("sluice"),
        message: CommandId::from_text("run-dev_shop-web-42"),
        reason: "Telegram: 403, the bot was blocked; invite it again and send /help".to_owned(),
    }
});
fact!(
    ChatCommand,
    "chat.command",
    |this| Subject::fact(Entity::Chat, &this.bot, &this.message, "command"),
    {
        Self {
            bot: ChatId::from_text("sluice"),
            message: CommandId::from_text("update-4711"),
            user: 99,
            person: Some(Person::from_text("ada")),
            command: "sync".to_owned(),
            outcome: "confirmed".to_owned(),
        }
    }
);
