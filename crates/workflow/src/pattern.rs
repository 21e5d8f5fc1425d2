//! GitHub's filter patterns for branches, tags and paths.
//!
//! `*` stays within a path segment, `**` does not, `?` and `+` quantify the character before, `[]` is a set,
//! `\` escapes, a leading `!` takes back. In a list the last pattern that matches decides.

use regex::Regex;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid filter pattern '{pattern}': {reason}")]
pub struct PatternError {
    pub pattern: String,
    pub reason: String,
}

/// A list of patterns, ready to match.
#[derive(Debug)]
pub struct Patterns(Vec<(bool, Regex)>);

impl Patterns {
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PatternError> {
        patterns.iter().map(|pattern| compile(pattern.as_ref())).collect::<Result<Vec<_>, _>>().map(Self)
    }

    /// Whether the list lets `text` through: the last matching pattern decides, none means no.
    pub fn allows(&self, text: &str) -> bool {
        self.0.iter().rev().find(|(_, regex)| regex.is_match(text)).is_some_and(|(positive, _)| *positive)
    }
}

fn compile(pattern: &str) -> Result<(bool, Regex), PatternError> {
    let fail = |reason: &str| PatternError { pattern: pattern.to_owned(), reason: reason.to_owned() };
    let (positive, body) = match pattern.strip_prefix('!') {
        Some(body) => (false, body),
        None => (true, pattern),
    };
    if body.is_empty() {
        return Err(fail("it is empty"));
    }
    let chars: Vec<char> = body.chars().collect();
    let mut regex = String::from("^");
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '*' if chars.get(at) == Some(&'*') => {
                at += 1;
                if chars.get(at) == Some(&'/') {
                    at += 1;
                    regex.push_str("(?:.+/)?");
                } else {
                    regex.push_str(".*");
                }
            }
            '*' => regex.push_str("[^/]*"),
            '?' | '+' if at > 1 && quantifiable(&chars[..at - 1]) => regex.push(c),
            '?' | '+' => regex.push_str(&regex::escape(&c.to_string())),
            '[' => at = set(&chars, at, &mut regex).ok_or_else(|| fail("the '[' has no proper end"))?,
            '\\' => match chars.get(at) {
                Some(next) => {
                    regex.push_str(&regex::escape(&next.to_string()));
                    at += 1;
                }
                None => return Err(fail("it ends in the middle of an escape")),
            },
            _ => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    let regex = regex::RegexBuilder::new(&regex).dot_matches_new_line(true).build();
    regex.map(|regex| (positive, regex)).map_err(|error| fail(&error.to_string()))
}

/// A quantifier wants a character or a set before it, not another quantifier or a star.
fn quantifiable(before: &[char]) -> bool {
    match before {
        [.., '\\', _] => true,
        [.., last] => !matches!(last, '*' | '?' | '+'),
        [] => false,
    }
}

/// `[abc]`, `[a-z]`, `[^a]`; returns where the pattern goes on.
fn set(chars: &[char], start: usize, regex: &mut String) -> Option<usize> {
    let length = chars[start..].iter().position(|c| *c == ']')?;
    if length == 0 {
        return None;
    }
    regex.push('[');
    for (index, c) in chars[start..start + length].iter().enumerate() {
        match c {
            '^' if index == 0 => regex.push('^'),
            '-' => regex.push('-'),
            c if c.is_alphanumeric() || *c == '_' => regex.push(*c),
            c => {
                regex.push('\\');
                regex.push(*c);
            }
        }
    }
    regex.push(']');
    Some(start + length + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_follow_the_documented_table() {
        for (patterns, yes, no) in [
            (&["feature/*"][..], &["feature/my-branch", "feature/"][..], &["feature/a/b", "feature"][..]),
            (&["feature/**"], &["feature/a", "feature/a/b"], &["feature"]),
            (&["main", "releases/**"], &["main", "releases/10"], &["mains"]),
            (&["v[12].[0-9]+.[0-9]+"], &["v1.10.1", "v2.0.0"], &["v3.0.0", "v1.1"]),
            (&["*.jsx?"], &["page.js", "page.jsx"], &["page.jsxx", "dir/page.js"]),
            (&["**.js"], &["index.js", "src/js/app.js"], &["index.ts"]),
            (&["**/README.md"], &["README.md", "js/README.md"], &["xREADME.md"]),
            (&["docs/**/*.md"], &["docs/README.md", "docs/a/b.md"], &["README.md"]),
            (&["*.md", "!README.md", "README*"], &["hello.md", "README.md", "README.doc"], &["a.doc"]),
            (&["*.md", "!README.md"], &["hello.md"], &["README.md"]),
            (&["!x"], &[], &["x", "y"]),
            (&["**"], &["all/the/branches", "x"], &[]),
            (&["a\\*b"], &["a*b"], &["aXb"]),
            (&["+x"], &["+x"], &["x"]),
        ] {
            let list = Patterns::new(patterns).expect("valid");
            for text in yes {
                assert!(list.allows(text), "{patterns:?} must allow {text}");
            }
            for text in no {
                assert!(!list.allows(text), "{patterns:?} must not allow {text}");
            }
        }
    }

    #[test]
    fn broken_patterns_are_refused() {
        for pattern in ["", "!", "a[", "a[]", "a\\"] {
            assert!(Patterns::new(&[pattern]).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn any_text_compiles_or_is_refused(pattern in "[a-z/*?+!\\[\\]\\\\^.-]{0,20}", text in "[a-z/.]{0,20}") {
            if let Ok(list) = Patterns::new(&[pattern]) {
                list.allows(&text);
            }
        }

        #[test]
        fn a_plain_name_allows_itself_only(name in "[a-z0-9/_-]{1,20}", other in "[a-z0-9/_-]{1,20}") {
            let list = Patterns::new(&[&name]).expect("valid");
            prop_assert!(list.allows(&name));
            prop_assert_eq!(list.allows(&other), name == other);
        }
    }
}
