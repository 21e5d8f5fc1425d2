//! What a workflow step wants said: plain text to a chat of the repository's choice, sent once, never edited.

use serde::{Deserialize, Serialize};
use sluice_schemas::commands::SendMessage;

use crate::content::Content;
use crate::text::Text;

/// A message of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// As the builder asked for it: names of secrets, never their values.
    pub(crate) command: SendMessage,
    /// Whether the builder was answered.
    pub(crate) told: bool,
}

impl Note {
    pub(super) fn render(&self) -> Content {
        Content::text(Text::plain_text(self.command.text.clone()))
    }
}
