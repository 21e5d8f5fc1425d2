//! Terminal output made harmless: colours become classes, every other escape goes, and so do characters that would
//! change how the rest is read.
//!
//! Invariant: whatever bytes a job prints, the result is plain text in spans of four known classes. Called by log pages.

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// `r`, `g`, `y`, `k`, or none.
    pub(crate) class: Option<&'static str>,
    /// Plain text.
    pub(crate) text: String,
}

/// A line in pieces.
#[must_use]
pub(crate) fn pieces(line: &str) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    let mut class = None;
    let mut rest = last_overwrite(line).chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            match rest.next() {
                Some('[') => {
                    let mut parameters = String::new();
                    let mut end = None;
                    for c in rest.by_ref() {
                        if ('@'..='~').contains(&c) {
                            end = Some(c);
                            break;
                        }
                        parameters.push(c);
                    }
                    if end == Some('m') {
                        class = colour(&parameters, class);
                    }
                }
                // Titles, links, clipboards: up to BEL or ST.
                Some(']' | 'P' | '^' | '_') => {
                    while let Some(c) = rest.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            }
            continue;
        }
        if is_harmful(c) {
            continue;
        }
        match found.last_mut() {
            Some(piece) if piece.class == class => piece.text.push(c),
            _ => found.push(Piece { class, text: c.to_string() }),
        }
    }
    found
}

/// A line without any escape.
#[must_use]
pub(crate) fn plain(line: &str) -> String {
    pieces(line).into_iter().map(|piece| piece.text).collect()
}

/// A carriage return in a terminal goes back to the line's start: what comes last is what is seen.
fn last_overwrite(line: &str) -> &str {
    line.trim_end_matches('\r').rsplit('\r').next().unwrap_or(line)
}

fn colour(parameters: &str, before: Option<&'static str>) -> Option<&'static str> {
    let mut class = before;
    for parameter in parameters.split(';') {
        class = match parameter {
            "" | "0" | "39" => None,
            "31" | "91" => Some("r"),
            "32" | "92" => Some("g"),
            "33" | "93" => Some("y"),
            "2" | "90" => Some("k"),
            // 256 colours and true colours carry further numbers: none of ours.
            "38" | "48" => return class,
            _ => class,
        };
    }
    class
}

/// Control characters, and those that turn the direction of writing.
fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes() {
        let found = pieces("\u{1b}[31mFAILED\u{1b}[0m. 8 passed \u{1b}[1;32mok\u{1b}[m");
        let seen: Vec<_> = found.iter().map(|piece| (piece.class, piece.text.as_str())).collect();
        assert_eq!(seen, [(Some("r"), "FAILED"), (None, ". 8 passed "), (Some("g"), "ok")]);
    }

    #[test]
    fn everything_else_is_gone() {
        assert_eq!(plain("a\u{1b}]8;;http://evil\u{7}link\u{1b}]8;;\u{7}b"), "alinkb");
        assert_eq!(plain("\u{1b}]52;c;cm0=\u{1b}\\x"), "x");
        assert_eq!(plain("\u{1b}[2J\u{1b}[Hx\u{8}\u{7f}\u{202e}y"), "xy");
        assert_eq!(plain("10 %\r50 %\r100 %\r"), "100 %");
        assert_eq!(plain("\u{1b}"), "");
    }

    proptest::proptest! {
        #[test]
        fn any_text_becomes_harmless(line in "(\\PC|[\\x00-\\x7f])*") {
            proptest::prop_assert!(!plain(&line).chars().any(is_harmful));
        }
    }
}
