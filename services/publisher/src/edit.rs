//! Writing an image's tag into a manifest's text.
//!
//! Invariants: only the reference's own bytes change; comments, quoting, line ends,
//! anchors and everything else stay as they are. Values are found by a YAML parser
//! with positions, so text in comments and in block scalars is never taken for an
//! image. A file that is no valid YAML (a person's half-done change must not hold
//! up the image) is searched line by line instead. Pure; called by [`crate::bump`].

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use granit_parser::{Event, Parser};
use sluice_schemas::events::ImageChange;

use crate::reference::Reference;

/// The key under which Kubernetes objects name an image.
const KEY: &str = "image";
/// Larger files are data, not manifests.
const MAX_FILE: usize = 5 << 20;

/// What is to be written.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// `host/path`.
    pub image: &'a str,
    pub tag: &'a str,
    pub digest: Option<&'a str>,
}

/// What a file says about the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edited {
    /// The new content; absent when nothing changes.
    pub content: Option<Vec<u8>>,
    pub changes: Vec<ImageChange>,
    /// References to the image in the file, changed or not.
    pub named: usize,
}

/// Whether a file of this name can be a manifest.
pub fn is_manifest(path: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| path.ends_with(end))
}

/// Edits one file. `path` is only reported.
pub fn edit(path: &str, content: &[u8], wanted: &Wanted<'_>) -> Edited {
    let mut edited = Edited::default();
    if content.len() > MAX_FILE {
        return edited;
    }
    let Ok(text) = std::str::from_utf8(content) else { return edited };
    if !text.contains(KEY) {
        return edited;
    }
    let values = by_parser(text).unwrap_or_else(|| by_lines(text));
    let mut new = String::with_capacity(text.len() + 64);
    let mut copied = 0;
    for value in values {
        let Some(reference) = Reference::parse(&text[value.clone()]) else { continue };
        if !reference.is_of(wanted.image) {
            continue;
        }
        edited.named += 1;
        let to = reference.at(wanted.tag, wanted.digest);
        let from = text[value.clone()].to_owned();
        if from == to {
            continue;
        }
        new.push_str(&text[copied..value.start]);
        new.push_str(&to);
        copied = value.end;
        let line = u32::try_from(text[..value.start].matches('\n').count()).unwrap_or(u32::MAX - 1) + 1;
        edited.changes.push(ImageChange { path: path.to_owned(), line, from, to });
    }
    if !edited.changes.is_empty() {
        new.push_str(&text[copied..]);
        edited.content = Some(new.into_bytes());
    }
    edited
}

/// Where a collection's next node stands.
enum Frame {
    Sequence,
    /// The key read last, while its value is awaited.
    Mapping(Option<String>),
}

/// The byte ranges of all `image` values, in order. `None` when the text is no YAML.
fn by_parser(text: &str) -> Option<Vec<Range<usize>>> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut anchors: HashMap<usize, Range<usize>> = HashMap::new();
    let mut found: BTreeSet<(usize, usize)> = BTreeSet::new();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.ok()?;
        match event {
            Event::Scalar(value, _, anchor, _) => {
                let range = span
                    .start
                    .byte_offset()
                    .zip(span.end.byte_offset())
                    .and_then(|(start, end)| locate(text, start..end, &value));
                if let Some(range) = range.clone().filter(|_| anchor != 0) {
                    anchors.insert(anchor, range);
                }
                if node(&mut frames, Some(&value)).as_deref() == Some(KEY)
                    && let Some(range) = range
                {
                    found.insert((range.start, range.end));
                }
            }
            // The value stands at the anchor; that is where it is changed, once.
            Event::Alias(anchor) => {
                if node(&mut frames, None).as_deref() == Some(KEY)
                    && let Some(range) = anchors.get(&anchor)
                {
                    found.insert((range.start, range.end));
                }
            }
            Event::MappingStart(..) => {
                node(&mut frames, None);
                frames.push(Frame::Mapping(None));
            }
            Event::SequenceStart(..) => {
                node(&mut frames, None);
                frames.push(Frame::Sequence);
            }
            Event::MappingEnd | Event::SequenceEnd => {
                frames.pop();
            }
            _ => {}
        }
    }
    Some(found.into_iter().map(|(start, end)| start..end).collect())
}

/// Takes note of a node. Returns the key whose value it is.
fn node(frames: &mut [Frame], scalar: Option<&str>) -> Option<String> {
    match frames.last_mut() {
        Some(Frame::Mapping(key)) => match key.take() {
            Some(key) => Some(key),
            None => {
                // A key that is no plain text still has a value after it.
                *key = Some(scalar.unwrap_or_default().to_owned());
                None
            }
        },
        _ => None,
    }
}

/// The part of the scalar's source that is its value, without quotes. `None` when
/// escapes or folding make them differ: such a value is no reference anyone wrote.
fn locate(text: &str, span: Range<usize>, value: &str) -> Option<Range<usize>> {
    if value.is_empty() {
        return None;
    }
    let at = text.get(span.clone())?.find(value)? + span.start;
    Some(at..at + value.len())
}

/// `image: reference` lines, for text that no parser takes.
fn by_lines(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(range) = in_line(line) {
            found.push(start + range.start..start + range.end);
        }
        start += line.len();
    }
    found
}

fn in_line(line: &str) -> Option<Range<usize>> {
    let mut rest = line.trim_start();
    while let Some(after) = rest.strip_prefix("- ") {
        rest = after.trim_start();
    }
    let after = rest.strip_prefix(KEY).or_else(|| rest.strip_prefix("\"image\""))?;
    let value = after.trim_start().strip_prefix(':')?;
    if !value.starts_with([' ', '\t']) {
        return None;
    }
    let value = value.trim_start();
    let (value, quote) = match value.chars().next()? {
        quote @ ('"' | '\'') => (&value[1..], Some(quote)),
        _ => (value, None),
    };
    let end = match quote {
        Some(quote) => value.find(quote)?,
        None => value.find([' ', '\t', '\r', '\n', ',', '}']).unwrap_or(value.len()),
    };
    let start = value.as_ptr() as usize - line.as_ptr() as usize;
    (end > 0).then_some(start..start + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "bbbbbbbb";

    fn run(text: &str) -> Edited {
        let digest = "sha256:".to_owned() + &"2".repeat(64);
        edit(
            "f.yaml",
            text.as_bytes(),
            &Wanted { image: "r.example.com/shop/web", tag: NEW, digest: Some(&digest) },
        )
    }

    /// `OLD` stands for the reference before; all of them must change and nothing else.
    fn check(template: &str) {
        let old = template.replace("OLD", "r.example.com/shop/web:aaaaaaaa");
        let new = template.replace("OLD", "r.example.com/shop/web:bbbbbbbb");
        let edited = run(&old);
        assert_eq!(
            String::from_utf8(edited.content.unwrap_or_else(|| panic!("unchanged: {old}"))).unwrap(),
            new
        );
        assert_eq!(edited.changes.len(), template.matches("OLD").count());
    }

    #[test]
    fn every_other_byte_is_kept() {
        check("spec:\n  containers:\n  - name: web\n    image: OLD\n    env: []\n");
        check("spec:\n  containers:\n    - image: OLD # the web\n      name: web\n");
        check("a:\r\n  image:   'OLD'  \r\n  b: \"x\"\r\n");
        check("# image: r.example.com/shop/web:0\nimage: \"OLD\"\n\n\n");
        check("containers: [{name: a, image: OLD}, {image: \"OLD\", name: b}]");
        check("{\"spec\": {\"image\": \"OLD\", \"x\": 1}}");
        check("---\nimage: OLD\n---\n# second\nimage: OLD\n...\n---\nimage: other/x:1\n");
        check("x: &img OLD\na:\n  image: *img\nb:\n  image: *img\n");
        check("a: &base\n  image: &i OLD\nb:\n  <<: *base\n  image: *i\n");
        check("ümlaut: ä\nemoji: \"🚀\" # 🚀\nimage: OLD");
        check("? complex\n: image: OLD\n");
        check("image: !!str OLD\n");
        check("\u{feff}image: OLD\n");
    }

    #[test]
    fn what_only_looks_like_the_image_stays() {
        for text in [
            "#image: r.example.com/shop/web:a\nimages: 1\n",
            "data:\n  x: |\n    image: r.example.com/shop/web:a\n",
            "image: r.example.com/shop/web2:a\n",
            "image: r.example.com/shop/web/cache:a\n",
            "image: other.example.com/shop/web:a\n",
            "imageName: r.example.com/shop/web:a\n",
            "note: image r.example.com/shop/web:a\nimage: {}\n",
            "image: \"{{ .Values.image }}\"\n",
            "- image\n- r.example.com/shop/web:a\n",
        ] {
            let edited = run(text);
            assert_eq!((edited.content, edited.named), (None, 0), "{text}");
        }
    }

    #[test]
    fn digests_follow_the_form() {
        let digest = "sha256:".to_owned() + &"2".repeat(64);
        let old = "sha256:".to_owned() + &"1".repeat(64);
        let edited = run(&format!("image: r.example.com/shop/web:a@{old}\n"));
        let text = String::from_utf8(edited.content.unwrap()).unwrap();
        assert_eq!(text, format!("image: r.example.com/shop/web:{NEW}@{digest}\n"));
        let edited = run(&format!("image: r.example.com/shop/web@{old}\n"));
        assert_eq!(
            String::from_utf8(edited.content.unwrap()).unwrap(),
            format!("image: r.example.com/shop/web@{digest}\n")
        );
    }

    #[test]
    fn an_image_that_is_there_already_is_named_but_not_changed() {
        let edited = run(&format!("image: r.example.com/shop/web:{NEW}\n"));
        assert_eq!((edited.content, edited.named), (None, 1));
    }

    #[test]
    fn a_broken_file_is_edited_by_lines() {
        let broken =
            "a: [\n  - image: \"r.example.com/shop/web:a\"  # x\r\n\tb: }\nimage: r.example.com/shop/web:a\n";
        assert!(by_parser(broken).is_none());
        let edited = run(broken);
        assert_eq!(
            String::from_utf8(edited.content.unwrap()).unwrap(),
            broken.replace("web:a", "web:bbbbbbbb")
        );
        assert_eq!(edited.changes.iter().map(|change| change.line).collect::<Vec<_>>(), [2, 4]);
    }
}
