//! The globs of `directory.include` and `directory.exclude`, as Argo CD reads them.
//!
//! Argo CD matches the path from the application's directory without separators:
//! `*` (and `**`) matches any characters, also `/`; `?` one character; `[abc]`,
//! `[a-z]`, `[!abc]`; `{a,b}`; `\` takes the next character as it is. Invariant:
//! matching is linear in the text for each alternative, whatever the pattern.

/// More alternatives than any list of files written by hand has.
const MAX_ALTERNATIVES: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the glob `{pattern}` is not valid: {reason}")]
pub struct GlobError {
    pattern: String,
    reason: &'static str,
}

/// A compiled glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    alternatives: Vec<Vec<Token>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    One,
    Any,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    pub fn compile(pattern: &str) -> Result<Self, GlobError> {
        let fail = |reason| GlobError { pattern: pattern.chars().take(200).collect(), reason };
        let characters: Vec<char> = pattern.chars().collect();
        let mut at = 0;
        let alternatives = sequence(&characters, &mut at, 0).map_err(fail)?;
        if at != characters.len() {
            return Err(fail("a `}` without `{`"));
        }
        Ok(Self { alternatives })
    }

    pub fn is_match(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        self.alternatives.iter().any(|tokens| matches(tokens, &text))
    }
}

/// Reads up to the end, or (inside braces) up to `,` or `}`; gives every alternative.
fn sequence(pattern: &[char], at: &mut usize, depth: usize) -> Result<Vec<Vec<Token>>, &'static str> {
    let mut all: Vec<Vec<Token>> = vec![Vec::new()];
    while let Some(&character) = pattern.get(*at) {
        let token = match character {
            ',' | '}' if depth > 0 => return Ok(all),
            '}' => return Ok(all),
            '{' => {
                *at += 1;
                let choices = braces(pattern, at, depth + 1)?;
                if all.len() * choices.len() > MAX_ALTERNATIVES {
                    return Err("it has too many alternatives");
                }
                all = all
                    .iter()
                    .flat_map(|head| choices.iter().map(move |tail| [head.as_slice(), tail].concat()))
                    .collect();
                continue;
            }
            '*' => Token::Any,
            '?' => Token::One,
            '[' => class(pattern, at)?,
            '\\' => {
                *at += 1;
                Token::Literal(*pattern.get(*at).ok_or("a `\\` at the end")?)
            }
            other => Token::Literal(other),
        };
        *at += 1;
        for alternative in &mut all {
            // Two stars in a row are one.
            if token != Token::Any || alternative.last() != Some(&Token::Any) {
                alternative.push(token.clone());
            }
        }
    }
    if depth > 0 { Err("a `{` without `}`") } else { Ok(all) }
}

fn braces(pattern: &[char], at: &mut usize, depth: usize) -> Result<Vec<Vec<Token>>, &'static str> {
    if depth > 10 {
        return Err("braces are nested too deeply");
    }
    let mut choices = Vec::new();
    loop {
        choices.extend(sequence(pattern, at, depth)?);
        if choices.len() > MAX_ALTERNATIVES {
            return Err("it has too many alternatives");
        }
        let end = pattern.get(*at).copied();
        *at += 1;
        if end == Some('}') {
            return Ok(choices);
        }
    }
}

/// `at` is on `[` before and on `]` after.
fn class(pattern: &[char], at: &mut usize) -> Result<Token, &'static str> {
    let unclosed = "a `[` without `]`";
    let mut next = || {
        *at += 1;
        pattern.get(*at).copied().ok_or(unclosed)
    };
    let mut character = next()?;
    let negated = character == '!';
    if negated {
        character = next()?;
    }
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut open_range = false;
    loop {
        match character {
            ']' => {
                if open_range {
                    ranges.push(('-', '-'));
                }
                if ranges.is_empty() {
                    return Err("an empty `[]`");
                }
                return Ok(Token::Class { negated, ranges });
            }
            '-' if !ranges.is_empty() && !open_range => open_range = true,
            mut other => {
                if other == '\\' {
                    other = next()?;
                }
                match ranges.last_mut() {
                    Some(last) if open_range => last.1 = other,
                    _ => ranges.push((other, other)),
                }
                open_range = false;
            }
        }
        character = next()?;
    }
}

/// The usual two-pointer match: on a mismatch only the last star takes one more.
fn matches(tokens: &[Token], text: &[char]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match tokens.get(token) {
            Some(Token::Any) => {
                star = Some((token, at));
                token += 1;
            }
            Some(other) if takes(other, text[at]) => {
                token += 1;
                at += 1;
            }
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    token = after + 1;
                    at = taken + 1;
                }
                None => return false,
            },
        }
    }
    tokens[token..].iter().all(|token| *token == Token::Any)
}

fn takes(token: &Token, character: char) -> bool {
    match token {
        Token::Literal(literal) => *literal == character,
        Token::One => true,
        Token::Any => false,
        Token::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_argo_cd() {
        for (pattern, text, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "deep/er/a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("**/*.yaml", "a.yaml", false),
            ("**/*.yaml", "x/a.yaml", true),
            ("{config.yaml,env-usw2/*}", "env-usw2/deep/x", true),
            ("{config.yaml,env-usw2/*}", "config.yaml", true),
            ("{config.yaml,env-usw2/*}", "config.json", false),
            ("{a,b{c,d}}.yaml", "bd.yaml", true),
            ("{a,b{c,d}}.yaml", "b.yaml", false),
            ("x{,y}", "x", true),
            ("file-?.json", "file-1.json", true),
            ("file-?.json", "file-12.json", false),
            ("[a-c]?[!0-9].x", "bzz.x", true),
            ("[a-c]?[!0-9].x", "bz1.x", false),
            ("[a-]", "-", true),
            ("\\*.yaml", "*.yaml", true),
            ("\\*.yaml", "a.yaml", false),
            ("a,b", "a,b", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Glob::compile(pattern).unwrap().is_match(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for pattern in ["{a", "a}", "[a", "[]", "a\\", "{{{{{{{{{{{{a}}}}}}}}}}}}"] {
            assert!(Glob::compile(pattern).is_err(), "{pattern}");
        }
        assert!(Glob::compile(&"{a,b}".repeat(11)).is_err());
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let glob = Glob::compile(&"*a".repeat(50)).unwrap();
        assert!(!glob.is_match(&"a".repeat(40)));
        assert!(!glob.is_match(&format!("{}b", "a".repeat(4000))));
    }
}
