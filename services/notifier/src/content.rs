//! A message as it is to be seen: text and keyboard. Called by everything that composes messages, and by the outbox.

use serde::{Deserialize, Serialize};
use sluice_schemas::Digest;

use crate::text::Text;

/// A button below a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    /// What stands on it.
    pub(crate) label: String,
    /// Opaque id, at most 64 bytes: Telegram hands it back when the button is pressed.
    pub(crate) id: String,
}

/// Text and keyboard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// What it says.
    pub(crate) text: Text,
    /// Rows of buttons.
    pub(crate) rows: Vec<Vec<Key>>,
    /// Whether nobody's phone shall ring.
    pub(crate) silent: bool,
}

impl Content {
    /// Text without buttons.
    #[must_use]
    pub(crate) fn text(text: Text) -> Self {
        Self { text, rows: Vec::new(), silent: false }
    }

    /// Identifies what people see: the same digest needs no edit.
    #[must_use]
    pub(crate) fn digest(&self) -> Digest {
        let mut bytes = self.text.html().into_bytes();
        for key in self.rows.iter().flatten() {
            bytes.push(0);
            bytes.extend_from_slice(key.label.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(key.id.as_bytes());
        }
        Digest::of(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_covers_text_and_buttons() {
        let key = |id: &str| vec![vec![Key { label: "Sync".to_owned(), id: id.to_owned() }]];
        let one = Content { rows: key("a"), ..Content::text(Text::plain_text("x")) };
        let two = Content { rows: key("b"), ..one.clone() };
        assert_ne!(one.digest(), two.digest());
        assert_eq!(one.digest(), one.clone().digest());
    }
}
