//! `parse_mode: Markdown` (the old one, which the organisation's action uses) and `MarkdownV2`.

use crate::entities::Builder;
use crate::types::Entity;

const RESERVED: &str = "_*[]()~`>#+-=|{}.!";

/// No nesting; a backslash escapes only the four markers.
pub(crate) fn parse_legacy(source: &str) -> Result<(String, Vec<Entity>), String> {
    let mut out = Builder::default();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at + c.len_utf8()..];
        if c == '\\' && rest.starts_with(['_', '*', '`', '[']) {
            out.push_str(&rest[..1]);
            at += 2;
            continue;
        }
        let unfinished = || format!("Can't find end of the entity starting at byte offset {at}");
        let offset = out.units;
        match c {
            '`' if rest.starts_with("``") => {
                let body = &rest[2..];
                let end = body.find("```").ok_or_else(unfinished)?;
                let (language, text) = fence(&body[..end]);
                out.push_str(text);
                out.close("pre", offset, None, language);
                at += 3 + end + 3;
            }
            '*' | '_' | '`' => {
                let end = rest.find(c).ok_or_else(unfinished)?;
                out.push_str(&rest[..end]);
                out.close(
                    if c == '*' {
                        "bold"
                    } else if c == '_' {
                        "italic"
                    } else {
                        "code"
                    },
                    offset,
                    None,
                    None,
                );
                at += 1 + end + 1;
            }
            '[' => {
                let end = rest.find(']').ok_or_else(unfinished)?;
                out.push_str(&rest[..end]);
                at += 1 + end + 1;
                if let Some(link) = source[at..].strip_prefix('(') {
                    let close = link.find(')').unwrap_or(link.len());
                    if close > 0 {
                        out.close("text_link", offset, Some(link[..close].to_owned()), None);
                    }
                    at += (1 + close + 1).min(source.len() - at);
                }
            }
            _ => {
                out.push(c);
                at += c.len_utf8();
            }
        }
    }
    Ok(out.finish())
}

/// Nesting is allowed, and every reserved character must be escaped.
pub(crate) fn parse_v2(source: &str) -> Result<(String, Vec<Entity>), String> {
    let mut out = Builder::default();
    let mut stack: Vec<(&'static str, &'static str, usize, usize)> = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let here = &source[at..];
        let rest = &here[c.len_utf8()..];
        if c == '\\' && rest.chars().next().is_some_and(|n| n.is_ascii() && !n.is_ascii_control()) {
            out.push_str(&rest[..1]);
            at += 2;
            continue;
        }
        let in_code = stack.last().is_some_and(|s| matches!(s.1, "code" | "pre"));
        let marker = [("```", "pre"), ("||", "spoiler"), ("__", "underline"), ("`", "code"), ("*", "bold")]
            .into_iter()
            .chain([("_", "italic"), ("~", "strikethrough"), ("[", "text_link")])
            .find(|(m, _)| here.starts_with(m));
        match (marker, stack.last().copied()) {
            (Some((m, _)), Some((open, kind, offset, _))) if m == open && m != "[" => {
                stack.pop();
                out.close(kind, offset, None, None);
                at += m.len();
            }
            (Some((m, kind)), _) if !in_code => {
                stack.push((m, kind, out.units, at));
                at += m.len();
            }
            (_, Some(("[", kind, offset, _))) if c == ']' => {
                stack.pop();
                at += 1;
                if let Some(link) = source[at..].strip_prefix('(') {
                    let Some(close) = link.find(')') else {
                        return Err(format!("Can't find end of a URL at byte offset {at}"));
                    };
                    out.close(kind, offset, Some(link[..close].replace('\\', "")), None);
                    at += close + 2;
                }
            }
            _ if !in_code
                && RESERVED.contains(c)
                && !(c == '>' && (at == 0 || source[..at].ends_with('\n'))) =>
            {
                return Err(format!(
                    "Character '{c}' is reserved and must be escaped with the preceding '\\'"
                ));
            }
            _ => {
                out.push(c);
                at += c.len_utf8();
            }
        }
    }
    match stack.pop() {
        Some((_, kind, _, at)) => {
            let name = kind.replace("text_link", "TextUrl").to_owned();
            let name = name[..1].to_uppercase() + &name[1..];
            Err(format!("Can't find end of {name} entity at byte offset {at}"))
        }
        None => Ok(out.finish()),
    }
}

/// A first line that is one word names the language.
fn fence(body: &str) -> (Option<String>, &str) {
    match body.split_once('\n') {
        Some((first, rest)) if !first.is_empty() && !first.contains(char::is_whitespace) => {
            (Some(first.to_owned()), rest)
        }
        Some(("", rest)) => (None, rest),
        _ => (None, body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_message_parses() {
        let (text, entities) =
            parse_legacy("✅*success*: shop/web ([CI](https://github.com/shop/web/commit/1/checks))")
                .unwrap();
        assert_eq!(text, "✅success: shop/web (CI)");
        assert_eq!(entities[0].kind, "bold");
        assert_eq!(entities[1].url.as_deref(), Some("https://github.com/shop/web/commit/1/checks"));
    }

    #[test]
    fn an_odd_underscore_is_an_error_with_its_offset() {
        let reason = parse_legacy("ok: shop_web").unwrap_err();
        assert_eq!(reason, "Can't find end of the entity starting at byte offset 8");
    }

    #[test]
    fn v2_wants_escapes_and_nests() {
        let (text, entities) = parse_v2("*a _b_* `c.d` \\. [x](http://y)").unwrap();
        assert_eq!(text, "a b c.d . x");
        assert_eq!(entities.len(), 4);
        assert_eq!(
            parse_v2("a.b").unwrap_err(),
            "Character '.' is reserved and must be escaped with the preceding '\\'"
        );
        assert!(parse_v2("*a").unwrap_err().starts_with("Can't find end of Bold entity"));
    }
}
