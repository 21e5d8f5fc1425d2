//! The question before a sync: what will change, bound to revision, manifests and the person who asked; and the dialog that a
//! typed `/sync` opens.

use serde::{Deserialize, Serialize};
use sluice_schemas::ids::{AppId, GrantId, Person, ProjectId, SyncId};
use sluice_schemas::{Digest, Sha, Timestamp};

use super::delivery::Syncing;
use super::{Act, Button, Story};
use crate::content::Content;
use crate::text::Text;

/// Objects and commits that a question lists.
const LISTED: usize = 8;

/// What a sync would do, as the api tells the person who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PreviewCard {
    /// Where the objects live.
    pub(crate) namespace: String,
    /// `+ Service prod/shop-web`: what is made, changed, deleted.
    pub(crate) objects: Vec<String>,
    /// How many of them are deleted.
    pub(crate) pruned: u32,
    /// `shop-web:aaaaaaaa → shop-web:cccccccc`.
    pub(crate) images: Vec<String>,
    /// `dddddddd title`.
    pub(crate) commits: Vec<String>,
    /// What to know before.
    pub(crate) warnings: Vec<String>,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) app: AppId,
    pub(crate) project: ProjectId,
    /// Exactly this is confirmed.
    pub(crate) revision: Sha,
    /// And exactly this.
    pub(crate) manifests: Digest,
    /// Telegram's number of the person who asked: nobody else may confirm.
    pub(crate) user: i64,
    /// Their account.
    pub(crate) person: Person,
    pub(crate) expires_at: Timestamp,
    /// What was shown.
    pub(crate) card: PreviewCard,
    pub(crate) state: AskState,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum AskState {
    /// Nobody answered yet.
    Open,
    /// Confirmed by this update; the api is being asked.
    Confirmed { update: u32 },
    /// The api granted it.
    Granted { grant: Option<GrantId>, sync: Option<SyncId> },
    /// The api refused it, and said why.
    Refused { reason: String },
    /// The person left it.
    Cancelled,
    /// Time ran out.
    Expired,
}

impl Ask {
    /// Whether it can still be answered; time is looked at separately.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.state == AskState::Open
    }

    /// Lets time run out. Says whether that changed anything.
    pub(crate) fn expire(&mut self, now: Timestamp) -> bool {
        let late = self.is_open() && now >= self.expires_at;
        if late {
            self.state = AskState::Expired;
        }
        late
    }

    /// The question or what became of it.
    pub(super) fn text(&self) -> Text {
        let name = self.app.name();
        let revision = self.revision.short();
        match &self.state {
            AskState::Open => self.question(),
            AskState::Confirmed { .. } => Text::new()
                .say("⏳ ")
                .code(name)
                .say(format!(": asking for the grant for {revision}, confirmed by {}", self.person)),
            AskState::Granted { .. } => Text::new()
                .say("🔓 ")
                .code(name)
                .say(format!(": {revision} granted by {} (telegram)", self.person)),
            AskState::Refused { reason } => {
                Text::new().say("❌ ").code(name).say(format!(" was not synced: {reason}"))
            }
            AskState::Cancelled => {
                Text::new().say("Sync of ").code(name).say(format!(" cancelled by {}.", self.person))
            }
            AskState::Expired => Text::new()
                .say("⌛ The confirmation for ")
                .code(name.clone())
                .say(" ran out; nothing was changed. Ask again with ")
                .code(format!("/sync {name}")),
        }
    }

    fn question(&self) -> Text {
        let card = &self.card;
        let mut text = Text::new()
            .say("⚠️ Sync ")
            .bold(self.app.name())
            .say(" to ")
            .code(self.revision.short())
            .say("?");
        if !card.namespace.is_empty() {
            text = text.say(format!(" Namespace {}.", card.namespace));
        }
        if card.objects.is_empty() {
            text = text.line().say("No object changes.");
        }
        text = listed(text, &card.objects, "more objects");
        for image in &card.images {
            text = text.line().say("📦 ").code(image.clone());
        }
        text = listed(text, &card.commits, "more commits");
        if card.pruned > 0 {
            text = text.line().bold(format!("🗑 {} deleted", super::count(card.pruned, "object")));
        }
        for warning in card.warnings.iter().take(LISTED) {
            text = text.line().say(format!("❗ {warning}"));
        }
        let until = self.expires_at.to_string();
        let until = until.get(11..19).unwrap_or(&until);
        text.line().say(format!("Only {} can confirm, until {until} UTC.", self.person))
    }

    /// Confirm and cancel, for the person who asked.
    pub(super) fn buttons(&self, story: &Story, key: &str, buttons: &mut Vec<Button>) {
        if !self.is_open() {
            return;
        }
        let confirm = format!("Confirm sync {} @{}", self.app.name(), self.revision.short());
        for (act, id, label) in
            [(Act::Confirm, "confirm", confirm.as_str()), (Act::Cancel, "cancel", "Cancel")]
        {
            buttons.push(Button {
                id: story.button_id(id, &self.app, &self.revision),
                label: label.to_owned(),
                act,
                story: key.to_owned(),
                app: self.app.clone(),
                project: self.project.clone(),
                revision: self.revision.clone(),
                manifests: self.manifests.clone(),
                user: Some(self.user),
                expires_at: Some(self.expires_at),
                used_by: None,
            });
        }
    }
}

/// A question that stands by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dialog {
    /// Where it was asked.
    pub(crate) chat: i64,
    /// What is asked.
    pub(crate) ask: Ask,
    /// The sync that came of it.
    pub(crate) syncing: Option<Syncing>,
}

impl Dialog {
    pub(super) fn render(
        &self,
        story: &Story,
        key: &str,
        now: Timestamp,
        buttons: &mut Vec<Button>,
    ) -> Content {
        let mut text = self.ask.text();
        if let Some(syncing) = &self.syncing {
            text = text.line().then(syncing.text());
        }
        if now < self.ask.expires_at {
            self.ask.buttons(story, key, buttons);
        }
        Content::text(text)
    }
}

fn listed(mut text: Text, lines: &[String], more: &str) -> Text {
    for line in lines.iter().take(LISTED) {
        text = text.line().say(line.clone());
    }
    if lines.len() > LISTED {
        text = text.line().say(format!("… and {} {more}", lines.len() - LISTED));
    }
    text
}
