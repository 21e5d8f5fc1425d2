//! The objects of the Bot API that the fake keeps, in the shape in which it sends them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A person or the bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub id: i64,
    #[serde(default)]
    pub is_bot: bool,
    pub first_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_code: Option<String>,
}

/// A private chat has its person's id; a group's is negative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chat {
    pub id: i64,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
}

/// Part of a text with a meaning; offset and length count UTF-16 units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    #[serde(rename = "type")]
    pub kind: String,
    pub offset: usize,
    pub length: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// A message as the fake remembers it: with what it said before, and after its deletion.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    pub message_id: i64,
    pub chat_id: i64,
    pub from: User,
    pub date: i64,
    pub edit_date: Option<i64>,
    pub text: String,
    pub entities: Vec<Entity>,
    pub reply_markup: Option<Value>,
    pub reply_to: Option<i64>,
    pub silent: bool,
    pub deleted: bool,
    /// Earlier texts, oldest first.
    pub history: Vec<String>,
}

impl Message {
    /// The Bot API's `Message` object.
    pub(crate) fn wire(&self, chat: &Chat, reply: Option<&Message>) -> Value {
        let mut out = json!({
            "message_id": self.message_id, "from": self.from, "chat": chat, "date": self.date, "text": self.text,
        });
        if let Some(date) = self.edit_date {
            out["edit_date"] = json!(date);
        }
        if !self.entities.is_empty() {
            out["entities"] = json!(self.entities);
        }
        if let Some(markup) = &self.reply_markup {
            out["reply_markup"] = markup.clone();
        }
        if let Some(reply) = reply {
            out["reply_to_message"] = reply.wire(chat, None);
        }
        out
    }

    /// Label and `callback_data` of each inline button that calls back, row by row.
    pub fn buttons(&self) -> Vec<(String, String)> {
        let rows = self.reply_markup.as_ref().and_then(|m| m["inline_keyboard"].as_array());
        let buttons = rows.into_iter().flatten().filter_map(Value::as_array).flatten();
        buttons
            .filter_map(|b| Some((b["text"].as_str()?.to_owned(), b["callback_data"].as_str()?.to_owned())))
            .collect()
    }
}
