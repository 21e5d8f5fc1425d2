//! What a chat message says: spans of text with a style, written out as Telegram's HTML or plainly.
//!
//! Invariants: [`escape`] is the only way by which foreign text gets into markup, so nothing that a commit, a log or a person
//! says can become markup; a message never exceeds Telegram's limit, and is shortened between tags, not within one.
//! Called by everything that composes messages.

use serde::{Deserialize, Serialize};

/// Telegram's limit, counted in UTF-16 units after markup is taken out.
pub(crate) const LIMIT: usize = 4096;

/// Kept free for the mark that says something was left out.
const MARGIN: usize = 16;

/// How a span looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Style {
    Plain,
    Bold,
    Code,
    /// A block of fixed width.
    Pre,
    /// A link; only `http` and `https` become one.
    Link(String),
}

/// A message's text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Text {
    spans: Vec<(Style, String)>,
}

impl Text {
    /// Nothing yet.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Just words.
    #[must_use]
    pub(crate) fn plain_text(words: impl Into<String>) -> Self {
        Self::new().say(words)
    }

    /// Adds words.
    #[must_use]
    pub(crate) fn say(self, words: impl Into<String>) -> Self {
        self.span(Style::Plain, words)
    }

    /// Adds words in bold.
    #[must_use]
    pub(crate) fn bold(self, words: impl Into<String>) -> Self {
        self.span(Style::Bold, words)
    }

    /// Adds a name, an id, a command.
    #[must_use]
    pub(crate) fn code(self, words: impl Into<String>) -> Self {
        self.span(Style::Code, words)
    }

    /// Adds lines of fixed width, on lines of their own.
    #[must_use]
    pub(crate) fn pre(self, lines: impl Into<String>) -> Self {
        self.span(Style::Pre, lines)
    }

    /// Adds words that lead to `url`.
    #[must_use]
    pub(crate) fn link(self, words: impl Into<String>, url: impl Into<String>) -> Self {
        let url = url.into();
        let style = if is_web(&url) { Style::Link(url) } else { Style::Plain };
        self.span(style, words)
    }

    /// Begins the next line.
    #[must_use]
    pub(crate) fn line(self) -> Self {
        self.span(Style::Plain, "\n")
    }

    /// Adds another text.
    #[must_use]
    pub(crate) fn then(mut self, other: Self) -> Self {
        self.spans.extend(other.spans);
        self
    }

    /// Adds what `add` adds, if there is a value.
    #[must_use]
    pub(crate) fn when<T>(self, value: Option<T>, add: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => add(self, value),
            None => self,
        }
    }

    /// As Telegram's HTML, within the limit.
    #[must_use]
    pub(crate) fn html(&self) -> String {
        let mut out = String::new();
        for (style, words) in self.shortened() {
            let words = escape(&words);
            match style {
                Style::Plain => out.push_str(&words),
                Style::Bold => wrap(&mut out, "b", &words),
                Style::Code => wrap(&mut out, "code", &words),
                Style::Pre => wrap(&mut out, "pre", &words),
                Style::Link(url) => {
                    out.push_str(&format!("<a href=\"{}\">{words}</a>", escape(&url)));
                }
            }
        }
        out
    }

    /// Without markup, within the limit: what is sent when Telegram cannot read the HTML.
    #[must_use]
    pub(crate) fn plain(&self) -> String {
        self.shortened().into_iter().map(|(_, words)| clean(&words)).collect()
    }

    fn span(mut self, style: Style, words: impl Into<String>) -> Self {
        let words = words.into();
        if !words.is_empty() {
            self.spans.push((style, words));
        }
        self
    }

    fn shortened(&self) -> Vec<(Style, String)> {
        let units = |text: &str| clean(text).encode_utf16().count();
        let total: usize = self.spans.iter().map(|(_, words)| units(words)).sum();
        if total <= LIMIT {
            return self.spans.clone();
        }
        let mut left = LIMIT - MARGIN;
        let mut kept = Vec::new();
        for (style, words) in &self.spans {
            let length = units(words);
            if length <= left {
                left -= length;
                kept.push((style.clone(), words.clone()));
                continue;
            }
            let mut part = String::new();
            for c in clean(words).chars() {
                if c.len_utf16() > left {
                    break;
                }
                left -= c.len_utf16();
                part.push(c);
            }
            if !part.is_empty() {
                kept.push((style.clone(), part));
            }
            break;
        }
        kept.push((Style::Plain, "\n… shortened".to_owned()));
        kept
    }
}

/// Foreign text made harmless inside markup: the four characters that HTML gives a meaning, and everything that [`clean`]
/// takes out.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// Without control characters (terminal sequences, carriage returns) and without the characters that turn the direction of
/// writing, with which a log line could show something else than it says.
#[must_use]
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\u{1b}' if characters.peek() == Some(&'[') => {
                // A CSI sequence ends with a byte of `@` to `~`.
                characters.next();
                while characters.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                characters.next();
            }
            '\n' | '\t' => out.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

fn wrap(out: &mut String, tag: &str, escaped: &str) {
    out.push_str(&format!("<{tag}>{escaped}</{tag}>"));
}

fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes tags out and entities back, as Telegram does.
    fn read_html(html: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = html;
        while let Some(c) = rest.chars().next() {
            match c {
                '<' => {
                    let end = rest.find('>')?;
                    let tag = rest[1..end].trim_start_matches('/').split(' ').next()?;
                    if !["b", "i", "code", "pre", "a"].contains(&tag) {
                        return None;
                    }
                    rest = &rest[end + 1..];
                }
                '&' => {
                    let end = rest.find(';')?;
                    out.push(match &rest[..=end] {
                        "&amp;" => '&',
                        "&lt;" => '<',
                        "&gt;" => '>',
                        "&quot;" => '"',
                        _ => return None,
                    });
                    rest = &rest[end + 1..];
                }
                c => {
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        Some(out)
    }

    fn any_text() -> impl Strategy<Value = Text> {
        let span = (0..5_usize, prop_oneof!["\\PC{0,40}", "[<>&\"'/a-z]{0,30}", "(?s).{0,30}", "x{0,3000}"]);
        prop::collection::vec(span, 0..6).prop_map(|spans| {
            spans.into_iter().fold(Text::new(), |text, (style, words)| match style {
                0 => text.say(words),
                1 => text.bold(words),
                2 => text.code(words),
                3 => text.pre(words),
                _ => text.link(words.clone(), format!("https://x.invalid/?q={words}")),
            })
        })
    }

    proptest! {
        #[test]
        fn html_reads_back_as_the_plain_text(text in any_text()) {
            prop_assert_eq!(read_html(&text.html()), Some(text.plain()));
        }

        #[test]
        fn no_message_is_too_long(text in any_text()) {
            prop_assert!(text.plain().encode_utf16().count() <= LIMIT);
        }

        #[test]
        fn what_is_escaped_holds_no_markup(words in "(?s).*") {
            prop_assert!(!escape(&words).contains(['<', '>', '"']));
        }
    }

    #[test]
    fn terminal_sequences_and_turned_writing_are_taken_out() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m\r\n\u{202e}txt"), "red\ntxt");
    }

    #[test]
    fn only_web_addresses_become_links() {
        assert_eq!(Text::new().link("x", "javascript:alert(1)").html(), "x");
        assert_eq!(
            Text::new().link("x", "https://a.invalid/\"><b>").html(),
            "<a href=\"https://a.invalid/&quot;&gt;&lt;b&gt;\">x</a>"
        );
    }
}
