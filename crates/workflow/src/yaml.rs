//! YAML as a tree with positions, in the dialect that GitHub reads: YAML 1.2 core schema (so that `on` is a
//! string), one document, anchors and aliases, no merge keys and no explicit tags beside `!!str` and the like.
//!
//! Invariants: depth and node count are bounded (an alias counts as often as it is expanded), so that a small
//! hostile file cannot fill memory. Called by the workflow reader only.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::expression::parse_number;
use crate::source::{Location, Notes};

const MAX_DEPTH: usize = 100;
const MAX_NODES: usize = 50_000;
const MAX_FILE_BYTES: usize = 1024 * 1024;

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Location,
    pub data: Data,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// How a person would call what stands here.
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "null",
            Data::Bool(_) => "boolean",
            Data::Number(_) => "number",
            Data::String(_) => "string",
            Data::Sequence(_) => "sequence",
            Data::Mapping(_) => "mapping",
        }
    }

    fn size(&self) -> usize {
        1 + match &self.data {
            Data::Sequence(items) => items.iter().map(Node::size).sum(),
            Data::Mapping(entries) => entries.iter().map(|(key, value)| key.size() + value.size()).sum(),
            _ => 0,
        }
    }
}

/// Reads the one document of `text`. What is wrong goes into `notes`; `None` when nothing usable is left.
pub(crate) fn parse(text: &str, notes: &mut Notes) -> Option<Node> {
    if text.len() > MAX_FILE_BYTES {
        notes.add(Location::new(1, 1), format!("the file is larger than {MAX_FILE_BYTES} bytes"));
        return None;
    }
    let mut builder = Builder { text, ..Builder::default() };
    for next in Parser::new_from_str(text) {
        let (event, span) = match next {
            Ok(next) => next,
            Err(error) => {
                let at = Location::new(to_u32(error.marker().line()), to_u32(error.marker().col() + 1));
                notes.add(at, format!("not valid YAML: {}", error.info()));
                return None;
            }
        };
        if let Err(mistake) = builder.event(event, &span, notes) {
            notes.add(mistake.0, mistake.1);
            return None;
        }
    }
    builder.root
}

/// An open collection that still waits for its end.
struct Frame {
    at: Location,
    anchor: usize,
    key: Option<Node>,
    mapping: bool,
    items: Vec<Node>,
    entries: Vec<(Node, Node)>,
}

#[derive(Default)]
struct Builder<'a> {
    text: &'a str,
    root: Option<Node>,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    documents: usize,
}

type Fatal = (Location, String);

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span, notes: &mut Notes) -> Result<(), Fatal> {
        let at = location(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err((at, "only one YAML document is allowed in a workflow file".to_owned()));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let at = if block { self.header(span).unwrap_or(at) } else { at };
                let tag = tag.as_ref().map(|tag| tag.to_string());
                let data = scalar(&text, style, tag.as_deref(), at, notes);
                self.add(Node { at, data }, anchor, 1)?;
            }
            Event::SequenceStart(_, _, Some(_)) | Event::MappingStart(_, _, Some(_)) => {
                return Err((at, "YAML tags on collections are not supported; remove the tag".to_owned()));
            }
            Event::SequenceStart(_, anchor, _) => self.open(at, anchor, false)?,
            Event::MappingStart(_, anchor, _) => self.open(at, anchor, true)?,
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => {
                let Some(mut node) = self.anchors.get(&anchor).cloned() else {
                    return Err((at, "this alias points into the node that it stands in".to_owned()));
                };
                node.at = at;
                let size = node.size();
                self.add(node, 0, size)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A block scalar stands where its `|` or `>` does, which is in the last line above its text.
    fn header(&self, span: &Span) -> Option<Location> {
        let above = self.text.get(..span.start.byte_offset()?)?;
        let lines: Vec<&str> = above.lines().collect();
        let (index, line) = lines.iter().enumerate().rev().find(|(_, line)| {
            let line = line.split(" #").next().unwrap_or_default().trim_end();
            line.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'))
                .ends_with(['|', '>'])
        })?;
        let line = line.split(" #").next().unwrap_or_default();
        let column = line.chars().count() - line.chars().rev().position(|c| matches!(c, '|' | '>'))?;
        Some(Location::new(to_u32(index + 1), to_u32(column)))
    }

    fn open(&mut self, at: Location, anchor: usize, mapping: bool) -> Result<(), Fatal> {
        if self.frames.len() >= MAX_DEPTH {
            return Err((at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.frames.push(Frame { at, anchor, key: None, mapping, items: Vec::new(), entries: Vec::new() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fatal> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let data = if frame.mapping { Data::Mapping(frame.entries) } else { Data::Sequence(frame.items) };
        self.add(Node { at: frame.at, data }, frame.anchor, 1)
    }

    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Fatal> {
        self.nodes += size;
        if self.nodes > MAX_NODES {
            return Err((node.at, format!("the file has more than {MAX_NODES} YAML nodes")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.frames.last_mut() {
            None => self.root = Some(node),
            Some(frame) if !frame.mapping => frame.items.push(node),
            Some(frame) => match frame.key.take() {
                None => frame.key = Some(node),
                Some(key) => frame.entries.push((key, node)),
            },
        }
        Ok(())
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&str>, at: Location, notes: &mut Notes) -> Data {
    let kind = tag.map(|tag| tag.trim_start_matches("tag:yaml.org,2002:").trim_start_matches("!!"));
    match kind {
        None if style == ScalarStyle::Plain => plain(text),
        None | Some("str" | "!") => Data::String(text.to_owned()),
        Some(kind @ ("bool" | "int" | "float" | "null")) => {
            let data = plain(text);
            let fits = matches!(
                (kind, &data),
                ("bool", Data::Bool(_)) | ("int" | "float", Data::Number(_)) | ("null", Data::Null)
            );
            if !fits {
                notes.add(at, format!("the value '{text}' does not fit the YAML tag '!!{kind}'"));
            }
            data
        }
        Some(other) => {
            notes.add(at, format!("the YAML tag '{other}' is not supported; remove it"));
            Data::String(text.to_owned())
        }
    }
}

/// The core schema of YAML 1.2: only these plain forms are not strings.
fn plain(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" => return Data::Bool(true),
        "false" | "False" | "FALSE" => return Data::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Data::Number(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Data::Number(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Data::Number(f64::NEG_INFINITY),
        _ => {}
    }
    let starts_like_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if starts_like_number && !text.contains(char::is_whitespace) && !text.ends_with("Infinity") {
        let number = parse_number(text);
        if !number.is_nan() {
            return Data::Number(number);
        }
    }
    Data::String(text.to_owned())
}

fn location(span: &Span) -> Location {
    Location::new(to_u32(span.start.line()), to_u32(span.start.col() + 1))
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, crate::Mistakes> {
        let mut notes = Notes::new("w.yml");
        let node = parse(text, &mut notes);
        notes.finish(node)
    }

    #[test]
    fn on_is_a_string_and_positions_count_from_one() {
        let Ok(Node { data: Data::Mapping(entries), .. }) = read("a: 1\non:\n  push: yes\n") else {
            panic!("a mapping was expected")
        };
        assert_eq!(entries[1].0.data, Data::String("on".into()));
        assert_eq!(entries[1].1.at, Location::new(3, 3));
        let Data::Mapping(inner) = &entries[1].1.data else { panic!("a mapping was expected") };
        assert_eq!(inner[0].1.data, Data::String("yes".into()));
        assert_eq!(inner[0].1.at, Location::new(3, 9));
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let previous = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", ")));
        }
        let error = read(&text).expect_err("a bomb");
        assert!(error.0[0].message.contains("YAML nodes"), "{error}");
    }

    #[test]
    fn a_syntax_error_names_its_place() {
        let error = read("a: [1, 2\nb: 3\n").expect_err("broken");
        assert!(error.0[0].at.line >= 1 && error.0[0].message.starts_with("not valid YAML"), "{error}");
    }

    #[test]
    fn numbers_and_strings_are_told_apart() {
        for (text, wanted) in [
            ("1", Data::Number(1.0)),
            ("0x1F", Data::Number(31.0)),
            ("1.50", Data::Number(1.5)),
            ("1.2.3", Data::String("1.2.3".into())),
            ("'1'", Data::String("1".into())),
            ("~", Data::Null),
            ("no", Data::String("no".into())),
        ] {
            assert_eq!(
                read(&format!("[{text}]")).map(|node| node.data),
                Ok(Data::Sequence(vec![Node { at: Location::new(1, 2), data: wanted }]))
            );
        }
    }
}
