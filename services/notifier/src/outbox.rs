//! The outbox: makes a chat show one message for one key, whatever happens in between.
//!
//! Invariants: before a message is sent the intention is on disk, so a crash between Telegram's answer and our record is seen
//! afterwards; then the message is looked for among those that came after the last known one and taken over, and only when
//! it is not found another is sent; a second copy that still comes to light is deleted. The same content is never sent twice.
//! Called by the desk (stories) and by the handlers of commands (replies).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_bus::KvError;
use sluice_schemas::ids::ChatId;
use sluice_schemas::{Digest, Timestamp};
use tokio::sync::Mutex;

use crate::content::Content;
use crate::limiter::{Cost, Limiter};
use crate::metrics::NotifierMetrics;
use crate::store::Store;
use crate::telegram::{Place, Telegram, Trouble};

/// Messages after the last known one that are looked at.
const PROBED: i32 = 8;
/// How often a 429 is waited out before the caller is told.
const PATIENCE: u32 = 5;
/// Chats that share a turn are rare with this many.
const TURNS: usize = 64;

/// What a chat shows for a key. Kept as `msg.<key>.<chat>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// Telegram's chat.
    pub(crate) chat: i64,
    /// Telegram's message.
    pub(crate) message: Option<i32>,
    /// Digest of what it says.
    pub(crate) digest: Option<Digest>,
    /// Set while it is not known whether a message was sent: the last message known before.
    pub(crate) sending: Option<Sending>,
    /// Since when.
    pub(crate) changed_at: Timestamp,
}

/// An attempt whose end is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// The newest message that the bot knew in that chat.
    pub(crate) after: Option<i32>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It was so already.
    Unchanged,
    /// A new message.
    Sent(Shown),
    /// The message was changed.
    Edited(Shown),
    /// The chat does not want the bot; nothing was sent.
    Disabled(String),
}

/// Why a message is not shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboxError {
    /// Telegram.
    #[error(transparent)]
    Telegram(#[from] Trouble),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] KvError),
}

/// The outbox of one bot. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox {
    bot: ChatId,
    telegram: Telegram,
    store: Store,
    limiter: Arc<Limiter>,
    metrics: NotifierMetrics,
    /// One message at a time and chat: what is looked for after a crash must not be another message on its way.
    turns: Arc<[Mutex<()>; TURNS]>,
}

impl Outbox {
    /// An outbox that speaks through `telegram`, the client of `bot`.
    #[must_use]
    pub(crate) fn new(
        bot: ChatId,
        telegram: Telegram,
        store: Store,
        limiter: Arc<Limiter>,
        metrics: NotifierMetrics,
    ) -> Self {
        Self {
            bot,
            telegram,
            store,
            limiter,
            metrics,
            turns: Arc::new(std::array::from_fn(|_| Mutex::default())),
        }
    }

    /// The client.
    #[must_use]
    pub(crate) fn telegram(&self) -> &Telegram {
        &self.telegram
    }

    /// Lets a chat hear of things again that was disabled.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn enable(&self, chat: i64) -> Result<(), KvError> {
        self.store.change_chat(&self.bot, chat, |note| note.disabled = None).await
    }

    /// Makes `place` show `content` as the message `key`. `begin`: whether a message may be begun, not just kept up to date.
    ///
    /// # Errors
    /// When Telegram or the bus do not play along; to be tried again.
    pub(crate) async fn show(
        &self,
        key: &str,
        place: &Place,
        content: &Content,
        begin: bool,
    ) -> Result<Delivered, OutboxError> {
        let place = match place {
            Place::Id(chat) => Place::Id(self.present(*chat).await?),
            name => name.clone(),
        };
        let turn = match &place {
            Place::Id(chat) => usize::try_from(chat.unsigned_abs()).unwrap_or_default() % TURNS,
            Place::Name(name) => name.len() % TURNS,
        };
        let turn = self.turns[turn].lock().await;
        let result = self.show_in_turn(key, &place, content, begin).await;
        drop(turn);
        match (result, &place) {
            (Err(OutboxError::Telegram(Trouble::Moved(to))), Place::Id(chat)) => {
                tracing::info!(chat, to, "the chat has moved");
                self.store.change_chat(&self.bot, *chat, |note| note.moved_to = Some(to)).await?;
                // A message of the old group cannot be edited from the new one: it is told once more there.
                Box::pin(self.show(key, &Place::Id(to), content, begin)).await
            }
            (result, _) => result,
        }
    }

    async fn show_in_turn(
        &self,
        key: &str,
        place: &Place,
        content: &Content,
        begin: bool,
    ) -> Result<Delivered, OutboxError> {
        let record = record_key(key, place);
        let kv = self.store.kv::<Shown>();
        let digest = content.digest();
        let known = kv.get(&record).await?.map(|entry| entry.value);
        if let Some(shown) =
            known.as_ref().filter(|it| it.digest.as_ref() == Some(&digest) && it.sending.is_none())
        {
            tracing::trace!(key, chat = shown.chat, "unchanged");
            return Ok(Delivered::Unchanged);
        }
        if known.is_none() && !begin {
            return Ok(Delivered::Unchanged);
        }
        if let Place::Id(chat) = place
            && let Some(reason) = self.store.chat(&self.bot, *chat).await?.disabled
        {
            return Ok(Delivered::Disabled(reason));
        }
        let result = match known {
            Some(shown) if shown.message.is_some() => self.edit(&record, shown, content, &digest).await,
            Some(shown) if shown.sending.is_some() => {
                self.resume(&record, place, shown, content, &digest).await
            }
            _ => self.send(&record, place, content, &digest).await,
        };
        match (result, place) {
            (Err(OutboxError::Telegram(Trouble::Unwanted(reason))), Place::Id(chat)) => {
                tracing::warn!(
                    chat,
                    reason,
                    "the chat is disabled: Telegram does not let the bot speak there"
                );
                self.metrics.sent("disabled");
                self.store.change_chat(&self.bot, *chat, |note| note.disabled = Some(reason.clone())).await?;
                Ok(Delivered::Disabled(reason))
            }
            (result, _) => result,
        }
    }

    /// Where a chat is by now.
    async fn present(&self, chat: i64) -> Result<i64, KvError> {
        Ok(self.store.chat(&self.bot, chat).await?.moved_to.unwrap_or(chat))
    }

    async fn send(
        &self,
        record: &str,
        place: &Place,
        content: &Content,
        digest: &Digest,
    ) -> Result<Delivered, OutboxError> {
        let (chat, after) = match place {
            Place::Id(chat) => (*chat, self.store.chat(&self.bot, *chat).await?.messages.last().copied()),
            Place::Name(_) => (0, None),
        };
        let intention = Shown {
            chat,
            message: None,
            digest: None,
            sending: Some(Sending { after }),
            changed_at: Timestamp::now(),
        };
        self.store.kv().put(record, &intention).await?;
        let sent = self.patiently(chat, Cost::Message, || self.telegram.send(place, content)).await;
        fail::fail_point!("notifier-message-sent");
        match sent {
            Ok((chat, message)) => {
                let shown = self.record(record, chat, message, digest).await?;
                self.metrics.sent("sent");
                Ok(Delivered::Sent(shown))
            }
            // Only then it is possible that the message is there.
            Err(trouble @ Trouble::Unknown(_)) => Err(trouble.into()),
            Err(trouble) => {
                self.store.kv::<Shown>().delete(record).await?;
                Err(trouble.into())
            }
        }
    }

    /// After a crash, or an answer that never came: the message may be there.
    async fn resume(
        &self,
        record: &str,
        place: &Place,
        shown: Shown,
        content: &Content,
        digest: &Digest,
    ) -> Result<Delivered, OutboxError> {
        let after = shown.sending.as_ref().and_then(|sending| sending.after);
        let (Place::Id(chat), Some(after)) = (place, after) else {
            // No message was known before: one has to be sent to learn where to look.
            let delivered = self.send(record, place, content, digest).await?;
            if let Delivered::Sent(shown) = &delivered
                && let Some(second) = shown.message
            {
                let probes = (second - PROBED..second).rev().filter(|id| *id > 0).collect::<Vec<_>>();
                if let Some(first) = self.adopt(shown.chat, &probes, content).await? {
                    self.patiently(shown.chat, Cost::Edit, || self.telegram.delete(shown.chat, second))
                        .await?;
                    let shown = self.record(record, shown.chat, first, digest).await?;
                    return Ok(Delivered::Edited(shown));
                }
            }
            return Ok(delivered);
        };
        let probes: Vec<i32> = (after + 1..=after + PROBED).collect();
        match self.adopt(*chat, &probes, content).await? {
            Some(message) => {
                tracing::info!(chat, message, "a message that was sent before a crash is taken over");
                let shown = self.record(record, *chat, message, digest).await?;
                Ok(Delivered::Edited(shown))
            }
            None => self.send(record, place, content, digest).await,
        }
    }

    /// The first of `candidates` that is a message of the bot's and not known as another's, changed to `content`. Telegram
    /// lets a bot edit its own messages only, so a success is the proof.
    async fn adopt(
        &self,
        chat: i64,
        candidates: &[i32],
        content: &Content,
    ) -> Result<Option<i32>, OutboxError> {
        let known = self.store.chat(&self.bot, chat).await?.messages;
        for candidate in candidates.iter().filter(|id| !known.contains(id)) {
            match self.patiently(chat, Cost::Edit, || self.telegram.edit(chat, *candidate, content)).await {
                Ok(()) => return Ok(Some(*candidate)),
                Err(Trouble::Gone(_) | Trouble::Refused(_)) => {}
                Err(trouble) => return Err(trouble.into()),
            }
        }
        Ok(None)
    }

    async fn edit(
        &self,
        record: &str,
        shown: Shown,
        content: &Content,
        digest: &Digest,
    ) -> Result<Delivered, OutboxError> {
        let (chat, message) = (shown.chat, shown.message.unwrap_or_default());
        let edited = self.patiently(chat, Cost::Edit, || self.telegram.edit(chat, message, content)).await;
        fail::fail_point!("notifier-mid-edit");
        match edited {
            Ok(()) => {
                let shown = self.record(record, chat, message, digest).await?;
                self.metrics.sent("edited");
                Ok(Delivered::Edited(shown))
            }
            // A person deleted it, or it is too old to be edited: the news still has to come.
            Err(Trouble::Gone(reason)) => {
                tracing::info!(chat, message, reason, "a message is gone; sending it anew");
                self.send(record, &Place::Id(chat), content, digest).await
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    async fn record(&self, record: &str, chat: i64, message: i32, digest: &Digest) -> Result<Shown, KvError> {
        let shown = Shown {
            chat,
            message: Some(message),
            digest: Some(digest.clone()),
            sending: None,
            changed_at: Timestamp::now(),
        };
        self.store.kv().put(record, &shown).await?;
        self.store
            .change_chat(&self.bot, chat, |note| {
                if !note.messages.contains(&message) {
                    note.messages.push(message);
                    note.messages.sort_unstable();
                }
            })
            .await?;
        Ok(shown)
    }

    /// A call within the chat's limits; a 429 is waited out.
    async fn patiently<T, F>(&self, chat: i64, cost: Cost, mut call: impl FnMut() -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let mut tries = 0;
        loop {
            self.limiter.pass(chat, cost).await;
            match call().await {
                Err(Trouble::Wait(wait)) => {
                    self.metrics.rate_limited();
                    tracing::info!(chat, seconds = wait.as_secs(), "Telegram asks to wait");
                    self.limiter.hold(chat, wait.max(Duration::from_millis(500)));
                    tries += 1;
                    if tries > PATIENCE {
                        return Err(Trouble::Wait(wait));
                    }
                }
                other => return other,
            }
        }
    }
}

fn record_key(key: &str, place: &Place) -> String {
    match place {
        Place::Id(chat) => format!("msg.{key}.{chat}"),
        Place::Name(name) => format!("msg.{key}.{}", sluice_schemas::ids::tokenise(name)),
    }
}
