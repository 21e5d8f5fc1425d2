//! The difference of two objects as people read it: unified diff of their YAML. Called by the API server and the command.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// One line of a diff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub tag: Tag,
    /// Line number before, from 1.
    pub before: Option<u32>,
    /// Line number after, from 1.
    pub after: Option<u32>,
    /// Without the line end.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Same,
    Removed,
    Added,
    /// Lines left out.
    Gap,
}

/// Lines that differ with `context` lines around them. An absent side is an object that does not exist.
pub fn lines(before: Option<&Value>, after: Option<&Value>, context: usize) -> Vec<Line> {
    let (before, after) = (yaml(before), yaml(after));
    let diff = TextDiff::from_lines(&before, &after);
    let mut lines = Vec::new();
    for (index, group) in diff.grouped_ops(context).iter().enumerate() {
        if index > 0 {
            lines.push(Line { tag: Tag::Gap, before: None, after: None, text: String::new() });
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            lines.push(Line {
                tag: match change.tag() {
                    ChangeTag::Equal => Tag::Same,
                    ChangeTag::Delete => Tag::Removed,
                    ChangeTag::Insert => Tag::Added,
                },
                before: change.old_index().map(line_number),
                after: change.new_index().map(line_number),
                text: change.value().trim_end_matches('\n').to_owned(),
            });
        }
    }
    lines
}

/// The same as text in unified form.
pub fn unified(before: Option<&Value>, after: Option<&Value>, name: &str) -> String {
    let (old, new) = (yaml(before), yaml(after));
    let diff = TextDiff::from_lines(&old, &new);
    diff.unified_diff()
        .context_radius(3)
        .header(&format!("live/{name}"), &format!("desired/{name}"))
        .to_string()
}

/// An object as YAML with sorted keys.
pub fn yaml(object: Option<&Value>) -> String {
    let Some(object) = object else { return String::new() };
    let mut sorted = object.clone();
    sorted.sort_all_objects();
    serde_saphyr::to_string(&sorted).unwrap_or_default()
}

fn line_number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_changed_is_shown_with_its_surroundings() {
        let object = |image: &str| json!({ "kind": "Deployment", "spec": { "image": image, "z": [1, 2, 3, 4, 5, 6] } });
        let lines = lines(Some(&object("a:1")), Some(&object("a:2")), 1);
        let changed: Vec<_> =
            lines.iter().filter(|it| it.tag != Tag::Same).map(|it| (it.tag, it.text.trim())).collect();
        assert_eq!(changed, [(Tag::Removed, "image: a:1"), (Tag::Added, "image: a:2")]);
        assert!(lines.len() <= 4);
        assert!(unified(Some(&object("a:1")), None, "x").contains("-kind: Deployment"));
    }

    #[test]
    fn equal_objects_have_no_lines() {
        let object = json!({ "b": 1, "a": 2 });
        assert!(lines(Some(&object), Some(&json!({ "a": 2, "b": 1 })), 3).is_empty());
    }
}
