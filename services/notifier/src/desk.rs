//! The desk: shows every story in the chats that want it, and keeps the messages up to date.
//!
//! Level-triggered: it watches the stories themselves, so it makes no difference which process changed one, or how often. What
//! is shown is compared with what should be shown; edits of one message are at least `edit_interval` apart, and an end state
//! is tried until it is there. Invariants: only the holder of the lease runs it; one story is never shown twice at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use sluice_bus::{Bus, KvChange};
use sluice_chassis::CancellationToken;
use sluice_schemas::events::ChatSent;
use sluice_schemas::ids::{CommandId, tokenise};
use sluice_schemas::{Cause, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::bot::Bots;
use crate::config::ChatConfig;
use crate::notes::Notes;
use crate::outbox::{Delivered, OutboxError};
use crate::store::{Store, story_key};
use crate::story::{Rendered, Site, Story, Tale};
use crate::telegram::{Place, Trouble};

/// Stories shown at once.
const AT_ONCE: usize = 8;
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A story that last changed before this is not looked at when the desk starts.
const LOOK_BACK_MS: u64 = 48 * 3_600_000;
/// A message is begun only for a story that changed within this; a chat that is added later hears no old stories.
const BEGIN_WITHIN_MS: u64 = 3_600_000;
/// A story that is in order is forgotten here (not in the bucket) after this.
const REMEMBER: Duration = Duration::from_secs(600);

/// Shows stories.
pub(crate) struct Desk {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) bots: Arc<Bots>,
    pub(crate) notes: Notes,
    pub(crate) site: Site,
    pub(crate) chats: Arc<Mutex<Vec<ChatConfig>>>,
    pub(crate) interval: Duration,
    pub(crate) metrics: crate::metrics::NotifierMetrics,
}

/// A story on the desk.
struct Item {
    story: Story,
    revision: u64,
    /// Revision that all chats show.
    shown: u64,
    due: Option<Instant>,
    busy: bool,
    last_try: Option<Instant>,
    failures: u32,
}

/// What a try gave.
struct Tried {
    key: String,
    revision: u64,
    result: Result<Progress, String>,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// All chats show it.
    Shown,
    /// Few permits are left; what is not urgent waits.
    Waits,
}

impl Desk {
    /// Works until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.store.kv::<Story>().watch(&story_key(">")).await {
                Ok(changes) => self.work(changes, &stop).await,
                Err(error) => tracing::warn!(%error, "stories cannot be watched"),
            }
            if timeout(Duration::from_secs(1), stop.cancelled()).await.is_err() {
                tracing::debug!("watching stories again");
            }
        }
    }

    async fn work(
        self: &Arc<Self>,
        mut changes: impl futures::Stream<Item = KvChange<Story>> + Unpin,
        stop: &CancellationToken,
    ) {
        let mut items: HashMap<String, Item> = HashMap::new();
        let mut tries: JoinSet<Tried> = JoinSet::new();
        loop {
            self.start(&mut items, &mut tries);
            let next = items.values().filter(|item| !item.busy).filter_map(|item| item.due).min();
            let wake = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
            tokio::select! {
                () = stop.cancelled() => break,
                change = changes.next() => match change {
                    Some(change) => self.changed(&mut items, change),
                    None => break,
                },
                Some(tried) = tries.join_next(), if !tries.is_empty() => match tried {
                    Ok(tried) => self.tried(&mut items, tried),
                    Err(error) => tracing::error!(%error, "showing a story was cut short"),
                },
                () = sleep_until(wake), if tries.len() < AT_ONCE => {}
            }
            let now = Instant::now();
            items.retain(|_, item| {
                item.busy || item.due.is_some() || item.last_try.is_none_or(|at| now - at < REMEMBER)
            });
        }
        // What is on its way is let to its end: a cut in the middle would be a message to look for.
        while let Some(tried) = tries.join_next().await {
            tracing::trace!(ok = tried.is_ok(), "ended");
        }
    }

    fn changed(&self, items: &mut HashMap<String, Item>, change: KvChange<Story>) {
        let Some(key) = change.key.strip_prefix("story.").map(str::to_owned) else { return };
        let Some(story) = change.value else {
            items.remove(&key);
            return;
        };
        if Timestamp::now().millis_since(story.changed_at) > LOOK_BACK_MS {
            return;
        }
        let now = Instant::now();
        let item = items.entry(key).or_insert_with(|| Item {
            story: story.clone(),
            revision: 0,
            shown: 0,
            due: None,
            busy: false,
            last_try: None,
            failures: 0,
        });
        item.story = story;
        item.revision = change.revision;
        let pause = if item.story.is_urgent() { Duration::ZERO } else { self.interval };
        let after_last = item.last_try.map_or(now, |at| at + pause).max(now);
        item.due = Some(item.due.filter(|due| item.failures > 0 && *due > after_last).unwrap_or(after_last));
    }

    fn tried(&self, items: &mut HashMap<String, Item>, tried: Tried) {
        let Some(item) = items.get_mut(&tried.key) else { return };
        let now = Instant::now();
        item.busy = false;
        item.last_try = Some(now);
        match tried.result {
            Ok(Progress::Waits) => item.due = Some(now + self.interval * 3),
            Ok(Progress::Shown) => {
                item.failures = 0;
                item.shown = tried.revision;
                self.metrics.shown_after(Timestamp::now().millis_since(item.story.changed_at));
                let pause = if item.story.is_urgent() { Duration::ZERO } else { self.interval };
                item.due = (item.revision > tried.revision).then_some(now + pause);
            }
            Err(reason) => {
                item.failures = item.failures.saturating_add(1);
                let pause =
                    Duration::from_millis(500).saturating_mul(2_u32.saturating_pow(item.failures.min(8)));
                tracing::warn!(
                    story = tried.key,
                    reason,
                    tries = item.failures,
                    "a message could not be shown; trying again"
                );
                self.metrics.sent("failed");
                item.due = Some(now + pause.min(LONGEST_PAUSE));
            }
        }
        if item.due.is_none()
            && let Some(ask) = item.story.ask().filter(|ask| ask.is_open())
        {
            let millis = ask.expires_at.millis_since(Timestamp::now());
            item.due = Some(now + Duration::from_millis(millis + 50));
        }
    }

    /// Starts what is due: what a person waits for first, then ends, then the rest by age.
    fn start(self: &Arc<Self>, items: &mut HashMap<String, Item>, tries: &mut JoinSet<Tried>) {
        let now = Instant::now();
        let mut due: Vec<_> = items
            .iter_mut()
            .filter(|(_, item)| !item.busy && item.due.is_some_and(|due| due <= now))
            .map(|(key, item)| ((!item.story.is_urgent(), !item.story.is_terminal(), item.due), key, item))
            .collect();
        due.sort_by_key(|(rank, ..)| *rank);
        for (_, key, item) in due.into_iter().take(AT_ONCE.saturating_sub(tries.len())) {
            item.busy = true;
            item.due = None;
            let (desk, key, story, revision) = (self.clone(), key.clone(), item.story.clone(), item.revision);
            let known = item.shown > 0;
            tries.spawn(async move {
                let result = desk.show(&key, &story, known).await;
                Tried { key, revision, result }
            });
        }
    }

    /// Shows a story everywhere.
    async fn show(&self, key: &str, story: &Story, known: bool) -> Result<Progress, String> {
        let now = Timestamp::now();
        if story.ask().is_some_and(|ask| ask.clone().expire(now)) {
            self.expire(key).await?;
            return Ok(Progress::Shown);
        }
        let rendered = story.render(key, &self.site, now);
        if let Tale::Note(note) = &story.tale {
            self.notes.say(key, story, note, &rendered).await?;
            return Ok(Progress::Shown);
        }
        let Some(outbox) = self.bots.own() else { return Ok(Progress::Shown) };
        self.store.offer(&rendered.buttons).await.map_err(|error| error.to_string())?;
        let begin = now.millis_since(story.changed_at) < BEGIN_WITHIN_MS;
        let mut problems = Vec::new();
        let mut progress = Progress::Shown;
        for chat in self.places(story) {
            if known && !story.is_terminal() && !story.is_urgent() && self.bots.limiter().is_tight(chat) {
                progress = Progress::Waits;
                continue;
            }
            match outbox.show(key, &Place::Id(chat), &rendered.content, begin).await {
                Ok(Delivered::Unchanged | Delivered::Disabled(_)) => {}
                Ok(Delivered::Sent(shown)) => self.tell(key, story, &rendered, &shown, false).await,
                Ok(Delivered::Edited(shown)) if story.is_terminal() => {
                    self.tell(key, story, &rendered, &shown, true).await;
                }
                Ok(Delivered::Edited(_)) => {}
                // Said once, and not to be had by trying again: the text is wrong, not the time.
                Err(OutboxError::Telegram(Trouble::Refused(reason))) => {
                    tracing::error!(story = key, chat, reason, "Telegram does not take a message");
                    self.metrics.sent("failed");
                }
                Err(error) => problems.push(format!("chat {chat}: {error}")),
            }
        }
        if problems.is_empty() { Ok(progress) } else { Err(problems.join("; ")) }
    }

    /// Time ran out for a question: its buttons go, new ones may come.
    async fn expire(&self, key: &str) -> Result<(), String> {
        let changed = self.store.change_story(key, |story| {
            let mut story = story?;
            if story.ask_mut().is_some_and(|ask| ask.expire(Timestamp::now())) {
                story.generation += 1;
            }
            Some(story)
        });
        changed.await.map(drop).map_err(|error| error.to_string())
    }

    fn places(&self, story: &Story) -> Vec<i64> {
        let chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        let wants = |chat: &&ChatConfig| match &story.tale {
            Tale::Run(run) => chat.wants_repository(&run.run.repository.full_name),
            Tale::Delivery(delivery) => {
                delivery.apps.is_empty()
                    || delivery.apps.iter().any(|line| chat.wants_application(&line.app.name()))
            }
            Tale::Dialog(_) | Tale::Note(_) => false,
        };
        match &story.tale {
            Tale::Dialog(dialog) => vec![dialog.chat],
            _ => chats.iter().filter(wants).map(|chat| chat.chat).collect(),
        }
    }

    /// The fact that a message was sent, or edited to its end.
    async fn tell(
        &self,
        key: &str,
        story: &Story,
        rendered: &Rendered,
        shown: &crate::outbox::Shown,
        edited: bool,
    ) {
        let fact = ChatSent {
            bot: self.bots.name().clone(),
            message: CommandId::from_text(&tokenise(key)),
            chat: shown.chat,
            telegram_message: shown.message.unwrap_or_default(),
            text: rendered.content.digest(),
            edited,
        };
        let seed = format!("{key} {} {}", shown.chat, fact.text);
        if let Err(error) = self.bus.publish(&fact, &Cause::root(story.correlation.clone(), seed)).await {
            // The message is there; its fact is for the audit log alone.
            tracing::warn!(%error, "the fact of a message was not recorded");
        }
    }
}
