//! What comes from Telegram, reduced to what the notifier acts on. Kept in the bucket until it is done, so it is serialisable.

use serde::{Deserialize, Serialize};
use teloxide::types::{MaybeInaccessibleMessage, Update, UpdateKind, User};

/// One update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incoming {
    /// Telegram's number of the update.
    pub(crate) id: u32,
    /// What happened.
    pub(crate) what: Happening,
}

/// A person, as far as Telegram vouches for them: by number. Names can be chosen freely and prove nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sender {
    /// The number.
    pub(crate) id: i64,
    /// For greeting.
    pub(crate) name: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Happening {
    /// A person wrote.
    Wrote { chat: i64, message: i32, from: Sender, text: String },
    /// A person pressed a button.
    Pressed { query: String, chat: i64, message: i32, from: Sender, data: String },
    /// The bot was thrown out, or let in again.
    Membership { chat: i64, member: bool },
    /// A group became a supergroup.
    Moved { from: i64, to: i64 },
    /// Nothing that matters: posts of channels, anonymous administrators, pictures.
    Other,
}

impl Incoming {
    pub(super) fn from_update(update: Update) -> Self {
        let what = match update.kind {
            UpdateKind::Message(message) => wrote(&message),
            UpdateKind::CallbackQuery(query) => {
                let place = query.message.as_ref().map(|message| match message {
                    MaybeInaccessibleMessage::Regular(message) => (message.chat.id.0, message.id.0),
                    MaybeInaccessibleMessage::Inaccessible(message) => {
                        (message.chat.id.0, message.message_id.0)
                    }
                });
                match (place, query.data) {
                    (Some((chat, message)), Some(data)) => Happening::Pressed {
                        query: query.id.0,
                        chat,
                        message,
                        from: sender(&query.from),
                        data,
                    },
                    _ => Happening::Other,
                }
            }
            UpdateKind::MyChatMember(change) => {
                Happening::Membership { chat: change.chat.id.0, member: change.new_chat_member.is_present() }
            }
            _ => Happening::Other,
        };
        Self { id: update.id.0, what }
    }
}

/// Only what a person wrote under their own name counts: a message on behalf of a chat has no person to hold to account.
fn wrote(message: &teloxide::types::Message) -> Happening {
    if let Some(to) = message.migrate_to_chat_id() {
        return Happening::Moved { from: message.chat.id.0, to: to.0 };
    }
    match (&message.from, message.text()) {
        (Some(from), Some(text)) if message.sender_chat.is_none() && !from.is_bot => Happening::Wrote {
            chat: message.chat.id.0,
            message: message.id.0,
            from: sender(from),
            text: text.to_owned(),
        },
        _ => Happening::Other,
    }
}

fn sender(user: &User) -> Sender {
    Sender { id: i64::try_from(user.id.0).unwrap_or(i64::MAX), name: user.first_name.clone() }
}
