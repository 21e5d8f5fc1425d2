//! Everything the fake knows: people, chats, messages, pending updates, ordered faults.
//!
//! Plain data with plain functions; the lock around it and the version that waiters watch are in
//! [`crate::server`]. Message ids count per chat, update ids over all, as the real ones do.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::entities;
use crate::types::{Chat, Message, User};

/// Calls remembered for a test to look at; the oldest go.
const CALLS_KEPT: usize = 5_000;

/// What a test orders to go wrong. All conditions that are given must hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Method name, any when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// How many calls it hits.
    #[serde(default = "once")]
    pub times: u32,
    #[serde(default = "internal")]
    pub error_code: u16,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub retry_after: Option<u64>,
    /// Waits before it answers.
    #[serde(default)]
    pub delay_ms: u64,
    /// The call takes effect although the answer is an error: a time-out after the fact.
    #[serde(default)]
    pub after: bool,
    /// Only the delay; the answer is the true one.
    #[serde(default)]
    pub slow_only: bool,
}

fn once() -> u32 {
    1
}

fn internal() -> u16 {
    500
}

/// One call of the bot, for a test to look at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    pub method: String,
    pub params: Value,
    pub status: u16,
    pub at: i64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    pub(crate) secret: Option<String>,
    pub(crate) last_error: Option<(i64, String)>,
}

/// A press of a button that the bot has not answered yet, or the answer.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Press {
    pub(crate) answered: bool,
    pub(crate) text: Option<String>,
    pub(crate) show_alert: bool,
    pub(crate) url: Option<String>,
}

pub struct State {
    pub(crate) bot: User,
    pub(crate) users: BTreeMap<i64, User>,
    pub(crate) chats: BTreeMap<i64, Chat>,
    pub(crate) blocked: Vec<i64>,
    pub(crate) messages: Vec<Message>,
    pub(crate) presses: BTreeMap<String, Press>,
    pub(crate) updates: VecDeque<(i64, String, Value)>,
    pub(crate) allowed: Vec<String>,
    pub(crate) webhook: Option<Webhook>,
    pub(crate) commands: BTreeMap<String, Value>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) calls: VecDeque<Call>,
    /// The number of the newest `getUpdates`; an older one that still waits has lost its place.
    pub(crate) poller: u64,
    next_update: i64,
    next_press: u64,
    next_message: BTreeMap<i64, i64>,
}

impl State {
    pub(crate) fn new(bot_id: i64, bot_name: &str) -> Self {
        let bot = User {
            id: bot_id,
            is_bot: true,
            first_name: "Sluice".into(),
            last_name: None,
            username: Some(bot_name.to_owned()),
            language_code: None,
        };
        Self {
            bot,
            users: BTreeMap::new(),
            chats: BTreeMap::new(),
            blocked: Vec::new(),
            messages: Vec::new(),
            presses: BTreeMap::new(),
            updates: VecDeque::new(),
            allowed: Vec::new(),
            webhook: None,
            commands: BTreeMap::new(),
            faults: Vec::new(),
            calls: VecDeque::new(),
            poller: 0,
            next_update: 10 * base(),
            next_press: 1,
            next_message: BTreeMap::new(),
        }
    }

    /// A person, with the private chat that they have with the bot.
    pub fn add_user(&mut self, user: User) {
        let chat = Chat {
            id: user.id,
            kind: "private".into(),
            title: None,
            username: user.username.clone(),
            first_name: Some(user.first_name.clone()),
        };
        self.chats.insert(user.id, chat);
        self.users.insert(user.id, user);
    }

    pub fn add_chat(&mut self, chat: Chat) {
        self.chats.insert(chat.id, chat);
    }

    /// What the bot will see as typed by `user` in `chat`. Answers the message's id.
    pub fn say(&mut self, chat: i64, user: i64, text: &str) -> Option<i64> {
        let from = self.users.get(&user)?.clone();
        let place = self.chats.get(&chat)?.clone();
        let message = self.append(chat, from, text.to_owned(), entities::commands(text));
        self.push("message", message.wire(&place, None));
        Some(message.message_id)
    }

    /// A press of the button with this `callback_data`, or else with this label, by `user`.
    pub fn press(&mut self, chat: i64, message: i64, user: i64, button: &str) -> Result<String, String> {
        let from = self.users.get(&user).cloned().ok_or_else(|| format!("there is no person {user}"))?;
        let place = self.chats.get(&chat).cloned().ok_or_else(|| format!("there is no chat {chat}"))?;
        let shown = self
            .find(chat, message)
            .ok_or_else(|| format!("there is no message {message} in chat {chat}"))?;
        let buttons = shown.buttons();
        let chosen = buttons
            .iter()
            .find(|(_, data)| data == button)
            .or(buttons.iter().find(|(label, _)| label == button));
        let labels = || buttons.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>().join(", ");
        let data = chosen
            .map(|(_, data)| data)
            .ok_or_else(|| format!("no button {button:?} there, but: {}", labels()))?;
        let id = format!("{}{:09}", self.bot.id, self.next_press);
        let update = json!({
            "id": id, "from": from, "message": shown.wire(&place, None),
            "chat_instance": format!("{}", chat.wrapping_mul(7919)), "data": data,
        });
        self.next_press += 1;
        self.presses.insert(id.clone(), Press::default());
        self.push("callback_query", update);
        Ok(id)
    }

    pub(crate) fn append(
        &mut self,
        chat: i64,
        from: User,
        text: String,
        entities: Vec<crate::types::Entity>,
    ) -> Message {
        let next = self.next_message.entry(chat).or_insert_with(base);
        let message = Message {
            message_id: *next,
            chat_id: chat,
            from,
            date: now(),
            edit_date: None,
            text,
            entities,
            reply_markup: None,
            reply_to: None,
            silent: false,
            deleted: false,
            history: Vec::new(),
        };
        *next += 1;
        self.messages.push(message.clone());
        message
    }

    pub(crate) fn find(&self, chat: i64, id: i64) -> Option<&Message> {
        self.messages.iter().find(|m| m.chat_id == chat && m.message_id == id && !m.deleted)
    }

    pub(crate) fn find_mut(&mut self, chat: i64, id: i64) -> Option<&mut Message> {
        self.messages.iter_mut().find(|m| m.chat_id == chat && m.message_id == id && !m.deleted)
    }

    /// An update for the bot, unless it said that it does not want this kind.
    pub(crate) fn push(&mut self, kind: &str, value: Value) {
        if !self.allowed.is_empty() && !self.allowed.iter().any(|k| k == kind) {
            return;
        }
        self.updates.push_back((self.next_update, kind.to_owned(), value));
        self.next_update += 1;
    }

    /// The pending updates from `offset` on; the earlier ones are thereby confirmed and gone.
    pub(crate) fn take(&mut self, offset: Option<i64>, limit: usize) -> Vec<Value> {
        match offset {
            Some(offset) if offset < 0 => {
                let keep = usize::try_from(-offset).unwrap_or(1);
                while self.updates.len() > keep {
                    self.updates.pop_front();
                }
            }
            Some(offset) => self.updates.retain(|(id, ..)| *id >= offset),
            None => {}
        }
        self.updates
            .iter()
            .take(limit)
            .map(|(id, kind, value)| json!({"update_id": id, kind: value}))
            .collect()
    }

    /// The first fault that fits, used up by one.
    pub(crate) fn fault(&mut self, method: &str) -> Option<Fault> {
        let at = self
            .faults
            .iter()
            .position(|f| f.method.as_ref().is_none_or(|m| m.eq_ignore_ascii_case(method)))?;
        let fault = self.faults[at].clone();
        self.faults[at].times = fault.times.saturating_sub(1);
        if self.faults[at].times == 0 {
            self.faults.remove(at);
        }
        Some(fault)
    }

    pub(crate) fn record(&mut self, method: &str, params: Value, status: u16) {
        if self.calls.len() == CALLS_KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(Call { method: method.to_owned(), params, status, at: now() });
    }

    pub fn messages(&self) -> &[Message] {
        &self.messages
    }
}

/// Where ids begin: later than those of a fake that ran before, as the real ones never go back.
fn base() -> i64 {
    now() - 1_700_000_000
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0))
}
