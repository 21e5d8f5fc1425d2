//! Updates from Telegram: one long poll for all replicas, held by lease; each update is on disk before Telegram may forget it.
//!
//! Invariants: an update is dealt with once, however often it is delivered; one person's updates stay in order; an update that
//! cannot be dealt with is tried a few times and then left, never blocking others. Called by the leader.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sluice_bus::KvError;
use sluice_chassis::{CancellationToken, Health};
use sluice_schemas::Timestamp;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::commands::{AnswerError, Answerer, COMMANDS};
use crate::outbox::Outbox;
use crate::presses::Press;
use crate::store::Store;
use crate::telegram::{Happening, Incoming, Trouble};

/// How long Telegram holds a poll open.
const POLL: Duration = Duration::from_secs(25);
/// Updates dealt with at once.
const AT_ONCE: usize = 16;
/// Tries of one update.
const TRIES: u32 = 4;
/// Component of readiness.
pub(crate) const COMPONENT: &str = "telegram";

/// Receives updates.
pub(crate) struct Poller {
    pub(crate) store: Store,
    pub(crate) answerer: Answerer,
    pub(crate) health: Health,
}

impl Poller {
    /// Works until `stop`.
    pub(crate) async fn run(&self, outbox: &Outbox, stop: &CancellationToken) {
        let Some(bot) = self.introduce(outbox, stop).await else { return };
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let mut turns: HashMap<i64, Arc<Mutex<()>>> = HashMap::new();
        let mut work = JoinSet::new();
        let mut offset = None;
        match self.store.receipts().await {
            Ok(open) => {
                for receipt in open {
                    self.start(receipt.update, &bot, &permits, &mut turns, &mut work).await;
                }
            }
            Err(error) => tracing::warn!(%error, "updates of an earlier life cannot be read"),
        }
        while !stop.is_cancelled() {
            let updates = tokio::select! {
                () = stop.cancelled() => break,
                updates = outbox.telegram().updates(offset, POLL) => updates,
            };
            match updates {
                Ok(updates) => {
                    self.health.ready(COMPONENT);
                    fail::fail_point!("notifier-update-received");
                    match self.take(updates, &mut offset).await {
                        Ok(new) => {
                            for update in new {
                                self.start(update, &bot, &permits, &mut turns, &mut work).await;
                            }
                        }
                        Err(error) => self.pause(&error.to_string(), Duration::from_secs(1), stop).await,
                    }
                }
                Err(Trouble::Wait(wait)) => self.pause("Telegram asks to wait", wait, stop).await,
                Err(trouble @ Trouble::Conflict(_)) => {
                    let advice = "end the other program, or take its webhook away";
                    self.health.not_ready(COMPONENT, format!("{trouble}; {advice}"));
                    self.pause(&trouble.to_string(), Duration::from_secs(3), stop).await;
                }
                Err(trouble @ Trouble::Token) => {
                    self.health.not_ready(COMPONENT, trouble.to_string());
                    break;
                }
                Err(trouble) => self.pause(&trouble.to_string(), Duration::from_secs(1), stop).await,
            }
            while work.try_join_next().is_some() {}
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        while work.join_next().await.is_some() {}
    }

    /// Learns the bot's name and tells Telegram its commands.
    async fn introduce(&self, outbox: &Outbox, stop: &CancellationToken) -> Option<String> {
        loop {
            match outbox.telegram().name().await {
                Ok(name) => {
                    if let Err(error) = outbox.telegram().set_commands(COMMANDS).await {
                        tracing::warn!(%error, "Telegram did not take the list of commands");
                    }
                    tracing::info!(bot = name, "listening to Telegram");
                    return Some(name);
                }
                Err(trouble @ Trouble::Token) => {
                    self.health.not_ready(COMPONENT, trouble.to_string());
                    return None;
                }
                Err(trouble) => {
                    self.pause(&trouble.to_string(), Duration::from_secs(2), stop).await;
                    if stop.is_cancelled() {
                        return None;
                    }
                }
            }
        }
    }

    /// Notes updates; afterwards Telegram may forget them. Returns those that are new.
    async fn take(&self, updates: Vec<Incoming>, offset: &mut Option<i32>) -> Result<Vec<Incoming>, KvError> {
        let mut new = Vec::new();
        for update in updates {
            if self.store.receive(&update).await? {
                new.push(update.clone());
            }
            *offset = i32::try_from(update.id).ok().and_then(|id| id.checked_add(1)).max(*offset);
        }
        Ok(new)
    }

    async fn start(
        &self,
        update: Incoming,
        bot: &str,
        permits: &Arc<Semaphore>,
        turns: &mut HashMap<i64, Arc<Mutex<()>>>,
        work: &mut JoinSet<()>,
    ) {
        // The semaphore is never closed.
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let person = match &update.what {
            Happening::Wrote { from, .. } | Happening::Pressed { from, .. } => from.id,
            _ => 0,
        };
        let turn = turns.entry(person).or_default().clone();
        let (answerer, store, bot) = (self.answerer.clone(), self.store.clone(), bot.to_owned());
        work.spawn(async move {
            // A press is answered at once, so it does not queue behind what its person typed before.
            let guard = match &update.what {
                Happening::Pressed { .. } => None,
                _ => Some(turn.lock_owned().await),
            };
            for attempt in 1..=TRIES {
                match deal_with(&answerer, &update, &bot).await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::warn!(%error, update = update.id, attempt, "an update could not be dealt with");
                        tokio::time::sleep(Duration::from_millis(500 * u64::from(attempt))).await;
                    }
                }
            }
            if let Err(error) = store.done(update.id).await {
                tracing::warn!(%error, update = update.id, "an update may be dealt with again after a restart");
            }
            drop((guard, permit));
        });
    }

    async fn pause(&self, reason: &str, wait: Duration, stop: &CancellationToken) {
        tracing::warn!(reason, seconds = wait.as_secs(), "receiving updates pauses");
        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(wait) => {} }
    }
}

async fn deal_with(answerer: &Answerer, update: &Incoming, bot: &str) -> Result<(), AnswerError> {
    match &update.what {
        Happening::Wrote { chat, from, text, .. } => answerer.typed(update.id, *chat, from, text, bot).await,
        Happening::Pressed { query, chat, from, data, .. } => {
            answerer.pressed(Press { update: update.id, query, chat: *chat, from, data }).await
        }
        Happening::Membership { chat, member } => {
            let bot = answerer.bots.name();
            let reason = (!member).then(|| format!("the bot was removed at {}", Timestamp::now()));
            answerer.store.change_chat(bot, *chat, |note| note.disabled.clone_from(&reason)).await?;
            Ok(())
        }
        Happening::Moved { from, to } => {
            answerer.store.change_chat(answerer.bots.name(), *from, |note| note.moved_to = Some(*to)).await?;
            Ok(())
        }
        Happening::Other => Ok(()),
    }
}
