//! The notifier's memory: the bucket `chats`. The one place that knows its keys.
//!
//! | key | value |
//! |---|---|
//! | `story.<key>` | [`Story`] |
//! | `msg.<key>.<chat>` | [`crate::outbox::Shown`]: chat, message id, digest; state before a send |
//! | `button.<id>` | [`Button`] |
//! | `alias.<kind>.<token>` | key of the story that a commit, an application, a grant belongs to |
//! | `chat.<bot>.<number>` | [`ChatNote`]: disabled, moved, messages known |
//! | `update.<number>` | [`Receipt`]: an update, before and after it was dealt with |
//!
//! Invariant: every change of a story is a compare-and-swap, so several writers lose nothing. Called by all of the notifier.

use rand::RngCore;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sluice_bus::{Bucket, Bus, Entry, Kv, KvError};
use sluice_schemas::Timestamp;
use sluice_schemas::ids::{ChatId, is_token};

use crate::outbox::Shown;
use crate::story::{Button, Story};
use crate::telegram::Incoming;

/// Tries of a compare-and-swap before giving up; each lost one means that another writer made progress.
const TRIES: u32 = 20;
/// Messages of a chat that are remembered as known.
const REMEMBERED: usize = 64;

/// What a bot knows of a chat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChatNote {
    /// Why nothing is sent there any more.
    pub(crate) disabled: Option<String>,
    /// Where the chat went.
    pub(crate) moved_to: Option<i64>,
    /// The bot's latest messages there, newest last.
    pub(crate) messages: Vec<i32>,
}

/// An update of Telegram's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// What came.
    pub(crate) update: Incoming,
    /// When.
    pub(crate) received_at: Timestamp,
    /// Whether it was dealt with.
    pub(crate) done: bool,
}

/// The bucket. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    bus: Bus,
}

impl Store {
    /// The bucket on `bus`.
    #[must_use]
    pub(crate) fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone() }
    }

    /// The bucket, seen as one of `T`.
    #[must_use]
    pub(crate) fn kv<T: Serialize + DeserializeOwned>(&self) -> Kv<T> {
        self.bus.kv(Bucket::Chats)
    }

    /// A story.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn story(&self, key: &str) -> Result<Option<Story>, KvError> {
        Ok(self.kv::<Story>().get(&story_key(key)).await?.map(|entry| entry.value))
    }

    /// Changes a story, or begins it. `change` gets what is there and says what shall be there; the same again, or nothing,
    /// means that nothing is written.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn change_story(
        &self,
        key: &str,
        mut change: impl FnMut(Option<Story>) -> Option<Story>,
    ) -> Result<Option<Story>, KvError> {
        self.change(&story_key(key), |before: Option<Story>| {
            let after = change(before.clone())?;
            if before.as_ref() == Some(&after) {
                return Some(after);
            }
            Some(Story { changed_at: Timestamp::now(), ..after })
        })
        .await
    }

    /// Changes any value by compare-and-swap.
    ///
    /// # Errors
    /// When the bus is away, or others were first too often.
    pub(crate) async fn change<T>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<T>, KvError>
    where
        T: Serialize + DeserializeOwned + Clone + PartialEq,
    {
        let kv = self.kv::<T>();
        let mut tries = 0;
        loop {
            let before = kv.get(key).await?;
            let value = before.as_ref().map(|entry| entry.value.clone());
            let Some(after) = change(value.clone()) else { return Ok(value) };
            if value.as_ref() == Some(&after) {
                return Ok(Some(after));
            }
            let written = match &before {
                Some(Entry { revision, .. }) => kv.update(key, &after, *revision).await,
                None => kv.create(key, &after).await,
            };
            match written {
                Ok(_) => return Ok(Some(after)),
                Err(KvError::Conflict { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes sure that buttons exist before they are shown; ones that were used stay used.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn offer(&self, buttons: &[Button]) -> Result<(), KvError> {
        for button in buttons {
            match self.kv().create(&button_key(&button.id), button).await {
                Ok(_) | Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A button, by what Telegram sent back: anything.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn button(&self, id: &str) -> Result<Option<Button>, KvError> {
        if !is_token(id) {
            return Ok(None);
        }
        Ok(self.kv::<Button>().get(&button_key(id)).await?.map(|entry| entry.value))
    }

    /// Uses a button up for `update`. False: another update used it before.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn use_button(&self, id: &str, update: u32) -> Result<bool, KvError> {
        let used = self
            .change(&button_key(id), |button: Option<Button>| {
                let mut button = button?;
                button.used_by.get_or_insert(update);
                Some(button)
            })
            .await?;
        Ok(used.is_some_and(|button| button.used_by == Some(update)))
    }

    /// Which story something belongs to.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn alias(&self, kind: &str, token: &str) -> Result<Option<String>, KvError> {
        Ok(self.kv::<String>().get(&alias_key(kind, token)).await?.map(|entry| entry.value))
    }

    /// Notes which story something belongs to. Returns the one before, if it was another.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn set_alias(
        &self,
        kind: &str,
        token: &str,
        story: &str,
    ) -> Result<Option<String>, KvError> {
        let before = self.alias(kind, token).await?;
        if before.as_deref() == Some(story) {
            return Ok(None);
        }
        self.kv().put(&alias_key(kind, token), &story.to_owned()).await?;
        Ok(before)
    }

    /// What is known of a chat.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn chat(&self, bot: &ChatId, chat: i64) -> Result<ChatNote, KvError> {
        let note = self.kv::<ChatNote>().get(&chat_key(bot, chat)).await?;
        Ok(note.map(|entry| entry.value).unwrap_or_default())
    }

    /// Changes what is known of a chat.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn change_chat(
        &self,
        bot: &ChatId,
        chat: i64,
        mut change: impl FnMut(&mut ChatNote),
    ) -> Result<(), KvError> {
        let changed = self
            .change(&chat_key(bot, chat), |note: Option<ChatNote>| {
                let mut note = note.unwrap_or_default();
                change(&mut note);
                let surplus = note.messages.len().saturating_sub(REMEMBERED);
                note.messages.drain(..surplus);
                Some(note)
            })
            .await?;
        debug_assert!(changed.is_some());
        Ok(())
    }

    /// Notes an update before it is confirmed to Telegram. False: it came before.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn receive(&self, update: &Incoming) -> Result<bool, KvError> {
        let receipt = Receipt { update: update.clone(), received_at: Timestamp::now(), done: false };
        match self.kv().create(&update_key(update.id), &receipt).await {
            Ok(_) => Ok(true),
            Err(KvError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes that an update was dealt with.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn done(&self, update: u32) -> Result<(), KvError> {
        self.change(&update_key(update), |receipt: Option<Receipt>| Some(Receipt { done: true, ..receipt? }))
            .await
            .map(drop)
    }

    /// Updates noted; those that are done and confirmed are forgotten on the way.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn receipts(&self) -> Result<Vec<Receipt>, KvError> {
        let kv = self.kv::<Receipt>();
        let mut open = Vec::new();
        for key in kv.keys().await? {
            if !key.starts_with("update.") {
                continue;
            }
            match kv.get(&key).await? {
                Some(entry) if !entry.value.done => open.push(entry.value),
                _ => {}
            }
        }
        open.sort_by_key(|receipt| receipt.update.id);
        Ok(open)
    }

    /// Forgets what nobody asks for any more: stories and messages that last changed before `stories`, updates that were dealt
    /// with before `updates`.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn forget_old(&self, stories: Timestamp, updates: Timestamp) -> Result<u32, KvError> {
        let mut forgotten = 0;
        for key in self.kv::<Receipt>().keys().await? {
            let old = match key.split('.').next() {
                Some("update") => {
                    let receipt = self.kv::<Receipt>().get(&key).await?;
                    receipt.is_some_and(|entry| entry.value.done && entry.value.received_at < updates)
                }
                Some("story") => {
                    self.kv::<Story>().get(&key).await?.is_some_and(|entry| entry.value.changed_at < stories)
                }
                Some("msg") => {
                    self.kv::<Shown>().get(&key).await?.is_some_and(|entry| entry.value.changed_at < stories)
                }
                _ => false,
            };
            if old {
                self.kv::<Receipt>().delete(&key).await?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }
}

/// Random text for [`Story::nonce`].
#[must_use]
pub(crate) fn nonce() -> String {
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// `story.<key>` of the bucket.
#[must_use]
pub(crate) fn story_key(key: &str) -> String {
    format!("story.{key}")
}

fn button_key(id: &str) -> String {
    format!("button.{id}")
}

fn alias_key(kind: &str, token: &str) -> String {
    format!("alias.{kind}.{token}")
}

fn chat_key(bot: &ChatId, chat: i64) -> String {
    format!("chat.{bot}.{chat}")
}

fn update_key(update: u32) -> String {
    format!("update.{update}")
}
