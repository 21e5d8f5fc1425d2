//! Texts with formatting: dispatch by `parse_mode`, and the commands a person types.

use crate::error::ApiError;
use crate::types::Entity;
use crate::{html, markdown};

/// A text being built, with offsets in UTF-16 units as Telegram counts them.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) text: String,
    pub(crate) units: usize,
    pub(crate) entities: Vec<Entity>,
}

impl Builder {
    pub(crate) fn push(&mut self, c: char) {
        self.text.push(c);
        self.units += c.len_utf16();
    }

    pub(crate) fn push_str(&mut self, text: &str) {
        text.chars().for_each(|c| self.push(c));
    }

    /// Ends an entity that began at `offset`; an empty one is dropped.
    pub(crate) fn close(&mut self, kind: &str, offset: usize, url: Option<String>, language: Option<String>) {
        let length = self.units - offset;
        if length > 0 {
            self.entities.push(Entity { kind: kind.to_owned(), offset, length, url, language });
        }
    }

    pub(crate) fn finish(mut self) -> (String, Vec<Entity>) {
        self.entities.sort_by_key(|e| (e.offset, usize::MAX - e.length));
        (self.text, self.entities)
    }
}

/// Text and entities of `text` in `mode`, or the real service's complaint.
pub(crate) fn parse(text: &str, mode: Option<&str>) -> Result<(String, Vec<Entity>), ApiError> {
    let result = match mode.map(str::to_ascii_lowercase).as_deref() {
        None | Some("") => return Ok((text.to_owned(), Vec::new())),
        Some("html") => html::parse(text),
        Some("markdown") => markdown::parse_legacy(text),
        Some("markdownv2") => markdown::parse_v2(text),
        Some(_) => return Err(ApiError::bad("unsupported parse_mode")),
    };
    result.map_err(|reason| ApiError::bad(format!("can't parse entities: {reason}")))
}

/// The `/command` words in what a person typed.
pub(crate) fn commands(text: &str) -> Vec<Entity> {
    let mut found = Vec::new();
    let mut offset = 0;
    let mut before = ' ';
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        let name = bare.strip_prefix('/').map(|n| n.split('@').next().unwrap_or(n));
        let valid = |n: &str| !n.is_empty() && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if before.is_whitespace() && name.is_some_and(valid) {
            let length = bare.encode_utf16().count();
            found.push(Entity { kind: "bot_command".into(), offset, length, url: None, language: None });
        }
        offset += word.encode_utf16().count();
        before = word.chars().last().unwrap_or(' ');
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_where_words_begin() {
        let found = commands("🙂 /sync@shop_bot shop-prod a/b /help");
        let spans: Vec<_> = found.iter().map(|e| (e.offset, e.length)).collect();
        assert_eq!(spans, [(3, 14), (32, 5)]);
    }

    #[test]
    fn an_unknown_mode_is_refused() {
        assert_eq!(
            parse("x", Some("BBCode")).unwrap_err().description,
            "Bad Request: unsupported parse_mode"
        );
        assert_eq!(parse("*x", None).unwrap().0, "*x");
    }
}
