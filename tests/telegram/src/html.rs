//! `parse_mode: HTML`: Telegram's few tags, with its complaints.

use crate::entities::Builder;
use crate::types::Entity;

struct Open {
    tag: String,
    kind: &'static str,
    offset: usize,
    url: Option<String>,
    language: Option<String>,
}

pub(crate) fn parse(source: &str) -> Result<(String, Vec<Entity>), String> {
    let mut out = Builder::default();
    let mut stack: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        if c == '&' {
            let (text, length) = reference(&source[at..]);
            out.push_str(&text);
            at += length;
        } else if c == '<' {
            let Some(end) = source[at..].find('>') else {
                return Err(format!("Unclosed start tag at byte offset {at}"));
            };
            let inner = &source[at + 1..at + end];
            if let Some(name) = inner.strip_prefix('/') {
                close(&mut out, &mut stack, &name.trim().to_ascii_lowercase(), at)?;
            } else {
                stack.push(open(inner, at, out.units)?);
            }
            at += end + 1;
        } else {
            out.push(c);
            at += c.len_utf8();
        }
    }
    match stack.pop() {
        Some(open) => Err(format!("Can't find end tag corresponding to start tag \"{}\"", open.tag)),
        None => Ok(out.finish()),
    }
}

fn open(inner: &str, at: usize, offset: usize) -> Result<Open, String> {
    let (tag, attributes) = inner.split_once(char::is_whitespace).unwrap_or((inner, ""));
    let tag = tag.to_ascii_lowercase();
    let mut url = None;
    let mut language = None;
    let kind = match tag.as_str() {
        "b" | "strong" => "bold",
        "i" | "em" => "italic",
        "u" | "ins" => "underline",
        "s" | "strike" | "del" => "strikethrough",
        "tg-spoiler" => "spoiler",
        "span" if attribute(attributes, "class").as_deref() == Some("tg-spoiler") => "spoiler",
        "span" => return Err(format!("Tag \"span\" must have class \"tg-spoiler\" at byte offset {at}")),
        "a" => {
            url = attribute(attributes, "href");
            "text_link"
        }
        "code" => {
            language =
                attribute(attributes, "class").and_then(|c| c.strip_prefix("language-").map(str::to_owned));
            "code"
        }
        "pre" => "pre",
        "blockquote" if attributes.contains("expandable") => "expandable_blockquote",
        "blockquote" => "blockquote",
        _ => return Err(format!("Unsupported start tag \"{tag}\" at byte offset {at}")),
    };
    Ok(Open { tag, kind, offset, url, language })
}

fn close(out: &mut Builder, stack: &mut Vec<Open>, name: &str, at: usize) -> Result<(), String> {
    let Some(open) = stack.pop() else {
        return Err(format!("Unexpected end tag at byte offset {at}"));
    };
    if !name.is_empty() && name != open.tag {
        return Err(format!(
            "Unmatched end tag at byte offset {at}, expected \"</{}>\", found \"</{name}>\"",
            open.tag
        ));
    }
    match open.kind {
        // A link without an address is plain text, as the real service has it.
        "text_link" if open.url.as_deref().unwrap_or_default().is_empty() => {}
        // <pre><code class="language-x"> is one entity with a language.
        "code" if stack.last().is_some_and(|o| o.kind == "pre") && open.language.is_some() => {
            if let Some(pre) = stack.last_mut() {
                pre.language = open.language;
            }
        }
        "code" => out.close("code", open.offset, None, None),
        kind => out.close(kind, open.offset, open.url, open.language),
    }
    Ok(())
}

fn attribute(attributes: &str, name: &str) -> Option<String> {
    let rest = attributes.split(&format!("{name}=")).nth(1)?;
    let quote = rest.chars().next()?;
    let value = match quote {
        '"' | '\'' => rest[1..].split(quote).next()?,
        _ => rest.split(char::is_whitespace).next()?,
    };
    Some(value.replace("&amp;", "&").replace("&quot;", "\""))
}

/// A character reference at the start of `text`, and how long it is. An unknown one is text.
fn reference(text: &str) -> (String, usize) {
    if let Some(end) = text.find(';').filter(|e| *e < 12) {
        let name = &text[1..end];
        let number = name.strip_prefix('#').and_then(|n| match n.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => n.parse().ok(),
        });
        let found = match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            _ => number.and_then(char::from_u32),
        };
        if let Some(c) = found {
            return (c.to_string(), end + 1);
        }
    }
    ("&".to_owned(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_entities_counted_in_utf16() {
        let (text, entities) =
            parse("✅ <b>run #7</b> <a href=\"http://x/?a=1&amp;b\">log</a> 🙂<code>a&lt;b</code>").unwrap();
        assert_eq!(text, "✅ run #7 log 🙂a<b");
        let seen: Vec<_> = entities.iter().map(|e| (e.kind.as_str(), e.offset, e.length)).collect();
        assert_eq!(seen, [("bold", 2, 6), ("text_link", 9, 3), ("code", 15, 3)]);
        assert_eq!(entities[1].url.as_deref(), Some("http://x/?a=1&b"));
    }

    #[test]
    fn complaints_are_the_real_ones() {
        for (source, reason) in [
            ("<b>x", "Can't find end tag corresponding to start tag \"b\""),
            ("x</b>", "Unexpected end tag at byte offset 1"),
            ("<b>x</i>", "Unmatched end tag at byte offset 4, expected \"</b>\", found \"</i>\""),
            ("a <div>", "Unsupported start tag \"div\" at byte offset 2"),
            ("1 < 2", "Unclosed start tag at byte offset 2"),
        ] {
            assert_eq!(parse(source).unwrap_err(), reason);
        }
    }

    #[test]
    fn pre_takes_the_language_of_its_code() {
        let (_, entities) = parse("<pre><code class=\"language-rust\">fn</code></pre>").unwrap();
        assert_eq!((entities.len(), entities[0].language.as_deref()), (1, Some("rust")));
    }
}
