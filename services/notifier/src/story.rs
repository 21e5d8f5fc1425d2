//! Stories: what one message tells, folded from facts, and kept in the bucket `chats` as `story.<key>`.
//!
//! Invariants: folding a fact twice changes nothing; facts of an older attempt or epoch than the newest change nothing; what a
//! message looks like is a function of its story alone, so a restart shows nothing new. Called by the fact handler and the
//! press handler (to change), and by the desk (to show).

mod ask;
mod delivery;
mod note;
mod run;

use serde::{Deserialize, Serialize};
use sluice_schemas::Timestamp;
use sluice_schemas::ids::{AppId, Correlation, ProjectId, hash_token};
use sluice_schemas::{Digest, Sha};

pub(crate) use ask::{Ask, AskState, Dialog, PreviewCard};
pub(crate) use delivery::{DeliveryStory, Syncing};
pub(crate) use note::Note;
pub(crate) use run::{RunStory, TAIL_LINES};

use crate::content::{Content, Key};

/// A story and what is common to all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Story {
    /// The chain that it belongs to.
    pub(crate) correlation: Correlation,
    /// When it began.
    pub(crate) began_at: Timestamp,
    /// When it last changed.
    pub(crate) changed_at: Timestamp,
    /// Random: what button ids are derived from, so that nobody can guess one.
    pub(crate) nonce: String,
    /// Goes up whenever a button was used: the next ones have other ids.
    pub(crate) generation: u32,
    /// What it tells.
    pub(crate) tale: Tale,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Tale {
    /// A workflow run.
    Run(Box<RunStory>),
    /// From a commit in a deploy repository to healthy pods.
    Delivery(Box<DeliveryStory>),
    /// A person wants to sync.
    Dialog(Box<Dialog>),
    /// What a workflow step wants said.
    Note(Box<Note>),
}

/// What a button does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Act {
    /// Show what differs.
    Diff,
    /// Ask for confirmation of a sync.
    Sync,
    /// Do it.
    Confirm,
    /// Leave it.
    Cancel,
}

/// A button that a story shows: everything that it is bound to. Kept as `button.<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Button {
    /// What is sent back when it is pressed.
    pub(crate) id: String,
    /// What stands on it.
    pub(crate) label: String,
    /// What it does.
    pub(crate) act: Act,
    /// Key of its story.
    pub(crate) story: String,
    /// The application.
    pub(crate) app: AppId,
    /// Its project.
    pub(crate) project: ProjectId,
    /// The commit that it is for.
    pub(crate) revision: Sha,
    /// The manifests that it is for.
    pub(crate) manifests: Digest,
    /// Who alone may press it; anybody with the right when absent.
    pub(crate) user: Option<i64>,
    /// Until when.
    pub(crate) expires_at: Option<Timestamp>,
    /// The update that used it.
    pub(crate) used_by: Option<u32>,
}

/// What a story looks like, and the buttons that must exist before it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// What people see.
    pub(crate) content: Content,
    /// Its buttons.
    pub(crate) buttons: Vec<Button>,
}

impl Story {
    /// A new story.
    #[must_use]
    pub(crate) fn new(correlation: Correlation, at: Timestamp, nonce: String, tale: Tale) -> Self {
        Self { correlation, began_at: at, changed_at: at, nonce, generation: 0, tale }
    }

    /// Whether it has come to an end, so that the last state must reach people.
    #[must_use]
    pub(crate) fn is_terminal(&self) -> bool {
        match &self.tale {
            Tale::Run(run) => run.is_terminal(),
            Tale::Delivery(delivery) => delivery.is_terminal(),
            Tale::Dialog(_) | Tale::Note(_) => true,
        }
    }

    /// Whether a person waits for it right now.
    #[must_use]
    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self.tale, Tale::Dialog(_) | Tale::Note(_)) || self.ask().is_some_and(Ask::is_open)
    }

    /// The question that it asks, if any.
    #[must_use]
    pub(crate) fn ask(&self) -> Option<&Ask> {
        match &self.tale {
            Tale::Delivery(delivery) => delivery.ask.as_ref(),
            Tale::Dialog(dialog) => Some(&dialog.ask),
            _ => None,
        }
    }

    /// As [`Story::ask`], to be changed.
    pub(crate) fn ask_mut(&mut self) -> Option<&mut Ask> {
        match &mut self.tale {
            Tale::Delivery(delivery) => delivery.ask.as_mut(),
            Tale::Dialog(dialog) => Some(&mut dialog.ask),
            _ => None,
        }
    }

    /// What it looks like at `now`.
    #[must_use]
    pub(crate) fn render(&self, key: &str, site: &Site, now: Timestamp) -> Rendered {
        let mut buttons = Vec::new();
        let mut content = match &self.tale {
            Tale::Run(run) => run.render(site),
            Tale::Delivery(delivery) => delivery.render(self, key, site, now, &mut buttons),
            Tale::Dialog(dialog) => dialog.render(self, key, now, &mut buttons),
            Tale::Note(note) => note.render(),
        };
        // Two buttons a row: they are read on phones.
        content.rows = buttons
            .chunks(2)
            .map(|row| {
                row.iter().map(|b: &Button| Key { label: b.label.clone(), id: b.id.clone() }).collect()
            })
            .collect();
        Rendered { content, buttons }
    }

    /// The id of the button that does `act` to `app` in this generation.
    fn button_id(&self, act: &str, app: &AppId, revision: &Sha) -> String {
        hash_token(&[&self.nonce, act, app.as_str(), revision.as_str(), &self.generation.to_string()])
    }
}

/// What rendering needs to know of the installation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Site {
    /// Address of the web UI, for links; empty when there is none.
    pub(crate) url: String,
}

impl Site {
    /// A page of the web UI.
    #[must_use]
    pub(crate) fn page(&self, path: &str) -> Option<String> {
        (!self.url.is_empty()).then(|| format!("{}{path}", self.url.trim_end_matches('/')))
    }
}

/// `1.2 s`, `3 min 5 s`.
fn duration(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, millis % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `1 object`, `2 objects`.
fn count(number: u32, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// `registry/path:tag` → `path:tag`: what tells images apart for people.
fn image_name(image: &str) -> &str {
    image.rsplit_once('/').map_or(image, |(_, name)| name)
}
