//! Walking mappings: each key is taken once, what is left over is a mistake.
//!
//! The texts of mistakes follow GitHub's, which people know and search for; a near miss gets a hint.

use crate::availability::Availability;
use crate::expression::Value;
use crate::model::{Condition, Defaults, Remark};
use crate::source::{Location, Notes};
use crate::template::{Template, Token};
use crate::yaml::{Data, Node};

pub(super) struct Reader {
    pub(super) notes: Notes,
    pub(super) remarks: Vec<Remark>,
}

/// The entries of a mapping that have not been taken yet.
pub(super) struct Fields(Vec<(String, Location, Node)>);

impl Fields {
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        let place = self.0.iter().position(|(name, _, _)| name == key)?;
        Some(self.0.remove(place).2)
    }

    /// Where a key stands that has not been taken.
    pub(super) fn at(&self, key: &str) -> Option<Location> {
        self.0.iter().find(|(name, _, _)| name == key).map(|(_, at, _)| *at)
    }

    pub(super) fn into_entries(self) -> Vec<(String, Location, Node)> {
        self.0
    }
}

impl Reader {
    /// The entries of a mapping, keys as text; duplicates (in any case) are noted and dropped.
    pub(super) fn fields(&mut self, node: &Node) -> Option<Fields> {
        let Data::Mapping(entries) = &node.data else {
            self.wrong_kind(node);
            return None;
        };
        let mut fields: Vec<(String, Location, Node)> = Vec::new();
        for (key, value) in entries {
            let Some(name) = scalar_text(&key.data) else {
                self.notes.add(key.at, format!("A {} was not expected", key.kind()));
                continue;
            };
            if name.contains("${{") {
                self.notes.add(key.at, "A template expression is not allowed in this context");
            } else if name.is_empty() {
                self.notes.add(key.at, "Unexpected value ''");
            } else if fields.iter().any(|(other, _, _)| other.eq_ignore_ascii_case(&name)) {
                self.notes.add(key.at, format!("'{name}' is already defined"));
            } else {
                fields.push((name, key.at, value.clone()));
            }
        }
        Some(Fields(fields))
    }

    pub(super) fn no_others(&mut self, fields: Fields, known: &[&str]) {
        for (name, at, _) in fields.0 {
            self.notes.add(at, format!("Unexpected value '{name}'{}", hint(&name, known)));
        }
    }

    pub(super) fn wrong_kind(&mut self, node: &Node) {
        let message = match &node.data {
            Data::Mapping(_) => "A mapping was not expected".to_owned(),
            Data::Sequence(_) => "A sequence was not expected".to_owned(),
            data => {
                let text = scalar_text(data).unwrap_or_default();
                if text.contains("${{") {
                    "A template expression is not allowed in this context".to_owned()
                } else {
                    format!("Unexpected value '{text}'")
                }
            }
        };
        self.notes.add(node.at, message);
    }

    /// Text in which nothing may be computed.
    pub(super) fn plain_text(&mut self, node: &Node) -> Option<String> {
        let template = self.template(node, None)?;
        template.as_literal().map(str::to_owned)
    }

    /// Text that must not be empty, and nothing computed.
    pub(super) fn required_text(&mut self, node: &Node) -> Option<String> {
        let text = self.plain_text(node)?;
        if text.is_empty() {
            self.notes.add(node.at, "Unexpected value ''");
            return None;
        }
        Some(text)
    }

    pub(super) fn template(&mut self, node: &Node, availability: Option<Availability>) -> Option<Template> {
        let Some(text) = scalar_text(&node.data) else {
            self.wrong_kind(node);
            return None;
        };
        match Template::parse(node.at, &text, availability) {
            Ok(template) => Some(template),
            Err(error) => {
                self.notes.add(node.at, error.to_string());
                None
            }
        }
    }

    /// A switch such as `continue-on-error`: true, false or an expression.
    pub(super) fn switch(&mut self, node: &Node, availability: Availability) -> Option<Template> {
        let template = self.template(node, Some(availability))?;
        if template.as_literal().is_some() && !matches!(node.data, Data::Bool(_)) {
            self.wrong_kind(node);
        }
        Some(template)
    }

    /// A number such as `timeout-minutes`, or an expression.
    pub(super) fn number(&mut self, node: &Node, availability: Availability) -> Option<Template> {
        let template = self.template(node, Some(availability))?;
        if template.as_literal().is_some() && !matches!(node.data, Data::Number(_)) {
            self.wrong_kind(node);
        }
        Some(template)
    }

    pub(super) fn condition(&mut self, node: &Node, availability: Availability) -> Condition {
        let Some(text) = scalar_text(&node.data) else {
            self.wrong_kind(node);
            return Condition::absent();
        };
        if text.trim().is_empty() {
            return Condition::absent();
        }
        match Template::parse_condition(node.at, &text, availability) {
            Ok(template) => Condition::of(template),
            Err(error) => {
                self.notes.add(node.at, error.to_string());
                Condition::absent()
            }
        }
    }

    /// Any YAML, with expressions in values (and keys).
    pub(super) fn token(&mut self, node: &Node, availability: Availability) -> Option<Token> {
        Some(match &node.data {
            Data::Null => Token::Value(node.at, Value::Null),
            Data::Bool(value) => Token::Value(node.at, Value::Bool(*value)),
            Data::Number(number) => Token::Value(node.at, Value::Number(*number)),
            Data::String(_) => Token::Text(self.template(node, Some(availability))?),
            Data::Sequence(items) => Token::Sequence(
                node.at,
                items.iter().filter_map(|item| self.token(item, availability)).collect(),
            ),
            Data::Mapping(entries) => {
                let mut tokens: Vec<(Template, Token)> = Vec::new();
                for (key, value) in entries {
                    let Some(name) = self.template(key, Some(availability)) else { continue };
                    if let (Some(new), true) = (name.as_literal(), true)
                        && tokens
                            .iter()
                            .any(|(old, _)| old.as_literal().is_some_and(|old| old.eq_ignore_ascii_case(new)))
                    {
                        self.notes.add(key.at, format!("'{new}' is already defined"));
                        continue;
                    }
                    if let Some(value) = self.token(value, availability) {
                        tokens.push((name, value));
                    }
                }
                Token::Mapping(node.at, tokens)
            }
        })
    }

    /// `env:` and the like: names to scalars, or one expression that makes such a mapping.
    pub(super) fn mapping_token(&mut self, node: &Node, availability: Availability) -> Option<Token> {
        match &node.data {
            Data::Null => None,
            Data::String(text) if text.trim_start().starts_with("${{") => self.token(node, availability),
            Data::Mapping(entries) => {
                for (_, value) in entries {
                    if matches!(value.data, Data::Mapping(_) | Data::Sequence(_)) {
                        self.wrong_kind(value);
                    }
                }
                self.token(node, availability)
            }
            _ => {
                self.wrong_kind(node);
                None
            }
        }
    }

    /// One text or a list of them, nothing computed.
    pub(super) fn texts(&mut self, node: &Node) -> Option<Vec<String>> {
        match &node.data {
            Data::Sequence(items) => Some(items.iter().filter_map(|item| self.required_text(item)).collect()),
            _ => self.required_text(node).map(|text| vec![text]),
        }
    }

    pub(super) fn defaults(&mut self, node: &Node, availability: Availability) -> Defaults {
        let mut defaults = Defaults::default();
        let Some(mut fields) = self.fields(node) else { return defaults };
        if let Some(run) = fields.take("run")
            && let Some(mut run) = self.fields(&run)
        {
            defaults.shell = run.take("shell").and_then(|node| self.template(&node, Some(availability)));
            defaults.working_directory =
                run.take("working-directory").and_then(|node| self.template(&node, Some(availability)));
            self.no_others(run, &["shell", "working-directory"]);
        }
        self.no_others(fields, &["run"]);
        defaults
    }
}

/// A scalar as the text that GitHub makes of it: numbers and booleans lose their spelling.
pub(super) fn scalar_text(data: &Data) -> Option<String> {
    match data {
        Data::Null => Some(String::new()),
        Data::Bool(value) => Some(value.to_string()),
        Data::Number(number) => Some(Value::Number(*number).to_text().to_string()),
        Data::String(text) => Some(text.clone()),
        Data::Sequence(_) | Data::Mapping(_) => None,
    }
}

fn hint(name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|key| (distance(name, key), key)).min();
    match near {
        Some((distance, key)) if distance <= 2 && distance < key.len() => format!(" (did you mean '{key}'?)"),
        _ => String::new(),
    }
}

/// Levenshtein distance; both texts are short.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}
