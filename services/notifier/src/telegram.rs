//! The Bot API, as far as the notifier needs it. The only module of the project that names teloxide's client.
//!
//! Invariants: what Telegram answers is turned into [`Trouble`], which says what to do next; "message is not modified" is
//! success; a text whose markup Telegram cannot read goes out plainly; a token never appears in an error. Called by the outbox,
//! the poller and whoever answers a button.

mod incoming;

use std::time::Duration;

use sluice_chassis::Secret;
use teloxide::payloads::{
    AnswerCallbackQuerySetters, EditMessageTextSetters, GetUpdatesSetters, SendMessageSetters,
};
use teloxide::requests::{Request, Requester};
use teloxide::types::{
    AllowedUpdate, BotCommand, CallbackQueryId, ChatId, InlineKeyboardButton, InlineKeyboardMarkup,
    LinkPreviewOptions, MessageId, ParseMode, Recipient, ReplyMarkup,
};
use teloxide::{ApiError, Bot, RequestError};

pub(crate) use incoming::{Happening, Incoming, Sender};

use crate::content::Content;

/// Longest answer to a pressed button.
const ANSWER_LIMIT: usize = 200;

/// Why a call did not succeed, by what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// Too much at once: wait.
    #[error("Telegram asks to wait {} s", .0.as_secs())]
    Wait(Duration),
    /// The group became a supergroup: use the new number.
    #[error("the chat has moved to {0}")]
    Moved(i64),
    /// The chat does not want the bot.
    #[error("{0}")]
    Unwanted(String),
    /// The message is gone, or is not the bot's.
    #[error("{0}")]
    Gone(String),
    /// Another program polls with the same token.
    #[error("another program receives this bot's updates: {0}")]
    Conflict(String),
    /// The token is not valid.
    #[error("Telegram does not know the bot's token; get a new one from @BotFather")]
    Token,
    /// It is not known whether the call took effect.
    #[error("no answer from Telegram: {0}")]
    Unknown(String),
    /// Refused for good.
    #[error("Telegram refused: {0}")]
    Refused(String),
}

/// Where to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// By number.
    Id(i64),
    /// A public channel or group, `@name`.
    Name(String),
}

impl Place {
    /// Reads a chat as people write it: a number or `@name`.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.strip_prefix('@') {
            Some(name) if !name.is_empty() => Some(Self::Name(text.to_owned())),
            Some(_) => None,
            None => text.parse().ok().map(Self::Id),
        }
    }
}

/// A client for one bot. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Telegram {
    bot: Bot,
    /// For the long poll, which is silent for longer than a call may take.
    patient: Bot,
}

impl Telegram {
    /// A client. Does no call yet.
    ///
    /// # Errors
    /// When the address is not a URL, or no HTTP client can be made.
    pub(crate) fn new(api_url: &str, token: &Secret) -> anyhow::Result<Self> {
        let url = reqwest::Url::parse(api_url)
            .map_err(|error| anyhow::anyhow!("notifier.api_url `{api_url}` is not a URL: {error}"))?;
        let bot = |answer_within: u64| -> anyhow::Result<Bot> {
            let client = reqwest::Client::builder()
                .connect_timeout(Duration::from_secs(5))
                .timeout(Duration::from_secs(answer_within))
                .tcp_nodelay(true)
                .build()?;
            Ok(Bot::with_client(token.expose(), client).set_api_url(url.clone()))
        };
        Ok(Self { bot: bot(15)?, patient: bot(45)? })
    }

    /// The bot's user name.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn name(&self) -> Result<String, Trouble> {
        let me = self.bot.get_me().send().await.map_err(trouble)?;
        Ok(me.user.username.unwrap_or_default())
    }

    /// Sends a message; says in which chat it is and which number it has.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn send(&self, place: &Place, content: &Content) -> Result<(i64, i32), Trouble> {
        let recipient = match place {
            Place::Id(id) => Recipient::Id(ChatId(*id)),
            Place::Name(name) => Recipient::ChannelUsername(name.clone()),
        };
        let request = |text: String, html: bool| {
            let mut request = self
                .bot
                .send_message(recipient.clone(), text)
                .link_preview_options(no_preview())
                .disable_notification(content.silent);
            if html {
                request = request.parse_mode(ParseMode::Html);
            }
            if !content.rows.is_empty() {
                request = request.reply_markup(ReplyMarkup::InlineKeyboard(keyboard(content)));
            }
            request.send()
        };
        let message = match request(content.text.html(), true).await {
            Err(RequestError::Api(ApiError::CantParseEntities(reason))) => {
                tracing::warn!(reason, "Telegram cannot read our markup; sending plain text");
                request(content.text.plain(), false).await
            }
            other => other,
        };
        let message = message.map_err(trouble)?;
        Ok((message.chat.id.0, message.id.0))
    }

    /// Changes a message to `content`; a message that is so already is success.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn edit(&self, chat: i64, message: i32, content: &Content) -> Result<(), Trouble> {
        let request = |text: String, html: bool| {
            let mut request = self
                .bot
                .edit_message_text(ChatId(chat), MessageId(message), text)
                .link_preview_options(no_preview());
            if html {
                request = request.parse_mode(ParseMode::Html);
            }
            if !content.rows.is_empty() {
                request = request.reply_markup(keyboard(content));
            }
            request.send()
        };
        let edited = match request(content.text.html(), true).await {
            Err(RequestError::Api(ApiError::CantParseEntities(reason))) => {
                tracing::warn!(reason, "Telegram cannot read our markup; sending plain text");
                request(content.text.plain(), false).await
            }
            other => other,
        };
        match edited.map(drop).map_err(trouble) {
            Err(Trouble::Refused(reason)) if reason.contains("message is not modified") => Ok(()),
            other => other,
        }
    }

    /// Deletes a message; one that is gone already is success.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn delete(&self, chat: i64, message: i32) -> Result<(), Trouble> {
        match self.bot.delete_message(ChatId(chat), MessageId(message)).send().await.map_err(trouble) {
            Ok(_) | Err(Trouble::Gone(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Answers a pressed button: a short note, or an alert that has to be read.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn answer(&self, query: &str, text: &str, alert: bool) -> Result<(), Trouble> {
        let text: String = text.chars().take(ANSWER_LIMIT / 2).collect();
        let request = self.bot.answer_callback_query(CallbackQueryId(query.to_owned()));
        request.text(text).show_alert(alert).send().await.map(drop).map_err(trouble)
    }

    /// Tells Telegram which commands to offer.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn set_commands(&self, commands: &[(&str, &str)]) -> Result<(), Trouble> {
        let commands: Vec<_> = commands.iter().map(|(name, help)| BotCommand::new(*name, *help)).collect();
        self.bot.set_my_commands(commands).send().await.map(drop).map_err(trouble)
    }

    /// Waits for updates from `offset` on; earlier ones are thereby confirmed and gone.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn updates(
        &self,
        offset: Option<i32>,
        wait: Duration,
    ) -> Result<Vec<Incoming>, Trouble> {
        let mut request =
            self.patient.get_updates().timeout(u32::try_from(wait.as_secs()).unwrap_or(25)).allowed_updates(
                [AllowedUpdate::Message, AllowedUpdate::CallbackQuery, AllowedUpdate::MyChatMember],
            );
        if let Some(offset) = offset {
            request = request.offset(offset);
        }
        let updates = request.send().await.map_err(trouble)?;
        Ok(updates.into_iter().map(Incoming::from_update).collect())
    }
}

fn no_preview() -> LinkPreviewOptions {
    LinkPreviewOptions {
        is_disabled: true,
        url: None,
        prefer_small_media: false,
        prefer_large_media: false,
        show_above_text: false,
    }
}

fn keyboard(content: &Content) -> InlineKeyboardMarkup {
    InlineKeyboardMarkup::new(content.rows.iter().map(|row| {
        row.iter()
            .map(|key| InlineKeyboardButton::callback(key.label.clone(), key.id.clone()))
            .collect::<Vec<_>>()
    }))
}

fn trouble(error: RequestError) -> Trouble {
    match error {
        RequestError::RetryAfter(seconds) => Trouble::Wait(seconds.duration()),
        RequestError::MigrateToChatId(chat) => Trouble::Moved(chat.0),
        RequestError::Network(error) => Trouble::Unknown(network_reason(&error)),
        // The server's own trouble: HTML of a proxy, or a cut answer.
        RequestError::InvalidJson { .. } => Trouble::Unknown("the answer is not JSON".to_owned()),
        RequestError::Io(error) => Trouble::Unknown(error.to_string()),
        RequestError::Api(error) => api_trouble(&error),
    }
}

fn api_trouble(error: &ApiError) -> Trouble {
    let reason = match error {
        ApiError::Unknown(reason) => reason.clone(),
        other => other.to_string(),
    };
    match error {
        ApiError::InvalidToken => Trouble::Token,
        ApiError::TerminatedByOtherGetUpdates | ApiError::CantGetUpdates => Trouble::Conflict(reason),
        ApiError::MessageToEditNotFound
        | ApiError::MessageToDeleteNotFound
        | ApiError::MessageIdInvalid
        | ApiError::MessageCantBeEdited
        | ApiError::MessageCantBeDeleted => Trouble::Gone(reason),
        ApiError::MessageNotModified => Trouble::Refused(reason),
        _ if reason.starts_with("Forbidden") || reason.contains("chat not found") => {
            Trouble::Unwanted(reason)
        }
        _ if reason.contains("group is deactivated") || reason.starts_with("Unauthorized: bot") => {
            Trouble::Unwanted(reason)
        }
        _ if reason.starts_with("Conflict") => Trouble::Conflict(reason),
        _ if reason.contains("message can't be edited") || reason.contains("message can't be deleted") => {
            Trouble::Gone(reason)
        }
        _ if reason.contains("not enough rights to send") || reason.contains("TOPIC_DELETED") => {
            Trouble::Unwanted(reason)
        }
        _ if reason.starts_with("Internal Server Error") || reason.starts_with("Bad Gateway") => {
            Trouble::Unknown(reason)
        }
        _ => Trouble::Refused(reason),
    }
}

/// Without the address: the token is part of it.
fn network_reason(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "it took too long"
    } else if error.is_connect() {
        "it cannot be reached"
    } else {
        "the connection broke"
    };
    kind.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_are_read_as_people_write_them() {
        assert_eq!(Place::parse(" -100200 "), Some(Place::Id(-100_200)));
        assert_eq!(Place::parse("@shop"), Some(Place::Name("@shop".to_owned())));
        assert_eq!((Place::parse("@"), Place::parse("shop")), (None, None));
    }

    #[test]
    fn refusals_say_what_to_do_next() {
        let unknown = |text: &str| api_trouble(&ApiError::Unknown(text.to_owned()));
        assert!(matches!(api_trouble(&ApiError::BotBlocked), Trouble::Unwanted(_)));
        assert!(matches!(api_trouble(&ApiError::ChatNotFound), Trouble::Unwanted(_)));
        assert!(matches!(api_trouble(&ApiError::MessageToEditNotFound), Trouble::Gone(_)));
        assert!(matches!(
            unknown("Forbidden: bot is not a member of the channel chat"),
            Trouble::Unwanted(_)
        ));
        assert!(matches!(unknown("Internal Server Error"), Trouble::Unknown(_)));
        assert!(matches!(unknown("Bad Request: BUTTON_DATA_INVALID"), Trouble::Refused(_)));
    }
}
