//! Live against desired, as YAML lines and as a list of fields.
//!
//! Both sides were masked by the reconciler; what the API server writes by itself is left out here.

use std::collections::BTreeSet;

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// Lines of unchanged text around a change.
const CONTEXT: usize = 3;
/// A difference of more lines than this is only counted.
const MOST_LINES: usize = 4000;
/// Fields named in a summary.
const MOST_FIELDS: usize = 4;

/// A row of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Row {
    /// Unchanged lines left out.
    Alike(usize),
    /// On both sides.
    Same { old: usize, new: usize, text: String },
    /// Only live.
    Removed { old: usize, pieces: Vec<(bool, String)> },
    /// Only desired.
    Added { new: usize, pieces: Vec<(bool, String)> },
}

/// A difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Fields that differ, shortened.
    pub(crate) fields: Vec<String>,
    /// Lines only desired.
    pub(crate) added: usize,
    /// Lines only live.
    pub(crate) removed: usize,
}

/// What differs, without the lines.
#[must_use]
pub(crate) fn of(live: Option<&Value>, desired: Option<&Value>) -> Difference {
    let (old, new) = (yaml(live), yaml(desired));
    let mut found = Difference::default();
    for change in TextDiff::from_lines(&old, &new).iter_all_changes() {
        match change.tag() {
            ChangeTag::Delete => found.removed += 1,
            ChangeTag::Insert => found.added += 1,
            ChangeTag::Equal => {}
        }
    }
    if let (Some(live), Some(desired)) = (live, desired) {
        let mut paths = BTreeSet::new();
        walk(&cleaned(live), &cleaned(desired), &mut Vec::new(), &mut paths);
        let more = paths.len().saturating_sub(MOST_FIELDS);
        found.fields = paths.into_iter().take(MOST_FIELDS).collect();
        if more > 0 {
            found.fields.push(format!("{more} more"));
        }
    }
    found
}

/// The lines, with the words that changed marked.
#[must_use]
pub(crate) fn rows(live: Option<&Value>, desired: Option<&Value>) -> Vec<Row> {
    let (old, new) = (yaml(live), yaml(desired));
    let diff = TextDiff::from_lines(&old, &new);
    let mut rows = Vec::new();
    let mut seen = 0;
    for group in diff.grouped_ops(CONTEXT) {
        for operation in &group {
            for change in diff.iter_changes(operation) {
                let text = change.value().trim_end_matches('\n').to_owned();
                let number = |index: Option<usize>| index.map_or(0, |index| index + 1);
                match change.tag() {
                    ChangeTag::Equal => {
                        let at = number(change.old_index());
                        if at > seen + 1 {
                            rows.push(Row::Alike(at - seen - 1));
                        }
                        seen = at;
                        rows.push(Row::Same { old: at, new: number(change.new_index()), text });
                    }
                    ChangeTag::Delete => {
                        seen = number(change.old_index());
                        rows.push(Row::Removed { old: seen, pieces: vec![(false, text)] });
                    }
                    ChangeTag::Insert => {
                        rows.push(Row::Added {
                            new: number(change.new_index()),
                            pieces: vec![(false, text)],
                        });
                    }
                }
                if rows.len() >= MOST_LINES {
                    return rows;
                }
            }
        }
    }
    mark(&mut rows);
    rows
}

/// Marks what changed within lines: where as many lines go as come, they belong together one by one.
fn mark(rows: &mut [Row]) {
    let mut at = 0;
    while at < rows.len() {
        let removed = rows[at..].iter().take_while(|row| matches!(row, Row::Removed { .. })).count();
        let added = rows[at + removed..].iter().take_while(|row| matches!(row, Row::Added { .. })).count();
        if removed > 0 && removed == added {
            let (gone, come) = rows[at..at + removed + added].split_at_mut(removed);
            for (gone, come) in gone.iter_mut().zip(come) {
                if let (Row::Removed { pieces: old, .. }, Row::Added { pieces: new, .. }) = (gone, come) {
                    let (before, after) = (old[0].1.clone(), new[0].1.clone());
                    (*old, *new) = middles(&before, &after);
                }
            }
        }
        at += (removed + added).max(1);
    }
}

type Pieces = Vec<(bool, String)>;

/// What two lines share at both ends is not marked. Cuts fall between words, so that numbers and tags stay whole.
fn middles(old: &str, new: &str) -> (Pieces, Pieces) {
    let is_word = |c: char| c.is_alphanumeric();
    let mut front =
        old.chars().zip(new.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum::<usize>();
    while front > 0 && old[..front].chars().next_back().is_some_and(is_word) {
        front -= old[..front].chars().next_back().map_or(1, char::len_utf8);
    }
    let (old_rest, new_rest) = (&old[front..], &new[front..]);
    let shared = old_rest.chars().rev().zip(new_rest.chars().rev()).take_while(|(a, b)| a == b);
    let mut back = shared.map(|(a, _)| a.len_utf8()).sum::<usize>();
    while back > 0 && old_rest[old_rest.len() - back..].chars().next().is_some_and(is_word) {
        back -= old_rest[old_rest.len() - back..].chars().next().map_or(1, char::len_utf8);
    }
    let cut = |line: &str| {
        let end = line.len() - back;
        let pieces = [(false, &line[..front]), (true, &line[front..end]), (false, &line[end..])];
        pieces
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(it, text)| (it, text.to_owned()))
            .collect()
    };
    (cut(old), cut(new))
}

/// Unified text, for the command and for programs.
#[must_use]
pub(crate) fn unified(name: &str, live: Option<&Value>, desired: Option<&Value>) -> String {
    let (old, new) = (yaml(live), yaml(desired));
    let (from, to) = (format!("live/{name}"), format!("desired/{name}"));
    TextDiff::from_lines(&old, &new).unified_diff().context_radius(CONTEXT).header(&from, &to).to_string()
}

/// An object as YAML, without what the API server writes by itself.
#[must_use]
pub(crate) fn yaml(object: Option<&Value>) -> String {
    let Some(object) = object else { return String::new() };
    let text = serde_saphyr::to_string(&cleaned(object)).unwrap_or_default();
    if text.ends_with('\n') { text } else { format!("{text}\n") }
}

fn cleaned(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"]
        {
            metadata.remove(key);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            annotations.remove("deployment.kubernetes.io/revision");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    object
}

fn walk(live: &Value, desired: &Value, path: &mut Vec<String>, found: &mut BTreeSet<String>) {
    if found.len() > 200 || live == desired {
        return;
    }
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => {
            let keys: BTreeSet<&String> = live.keys().chain(desired.keys()).collect();
            for key in keys {
                path.push(key.clone());
                walk(
                    live.get(key).unwrap_or(&Value::Null),
                    desired.get(key).unwrap_or(&Value::Null),
                    path,
                    found,
                );
                path.pop();
            }
        }
        (Value::Array(live), Value::Array(desired)) if live.len() == desired.len() => {
            for (at, (live, desired)) in live.iter().zip(desired).enumerate() {
                let name = desired.get("name").and_then(Value::as_str).map_or(at.to_string(), str::to_owned);
                path.push(format!("[{name}]"));
                walk(live, desired, path, found);
                path.pop();
            }
        }
        _ => {
            // The last two parts say enough: `containers[web].image` is an image.
            let named: Vec<&str> =
                path.iter().map(String::as_str).filter(|part| !part.starts_with('[')).collect();
            let from = match named.last() {
                Some(&"image" | &"replicas") => named.len() - 1,
                _ => named.len().saturating_sub(2),
            };
            found.insert(named[from..].join("."));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str, replicas: u32) -> Value {
        json!({
            "kind": "Deployment", "metadata": {"name": "web", "resourceVersion": replicas.to_string()},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "web", "image": image}]}}},
            "status": {"replicas": 9}
        })
    }

    #[test]
    fn names_the_fields_and_counts_the_lines() {
        let difference = of(Some(&deployment("r/web:1", 2)), Some(&deployment("r/web:2", 3)));
        assert_eq!(difference.fields, ["image", "replicas"]);
        assert_eq!((difference.added, difference.removed), (2, 2));
    }

    #[test]
    fn what_the_api_server_writes_is_no_difference() {
        let (one, mut other) = (deployment("r/web:1", 2), deployment("r/web:1", 2));
        other["metadata"]["resourceVersion"] = json!("77");
        other["status"]["replicas"] = json!(1);
        assert_eq!(of(Some(&one), Some(&other)), Difference::default());
        assert!(rows(Some(&one), Some(&other)).is_empty());
    }

    #[test]
    fn marks_the_words_that_changed() {
        let rows = rows(Some(&deployment("r/web:1", 2)), Some(&deployment("r/web:2", 2)));
        let marked = |row: &Row| match row {
            Row::Removed { pieces, .. } | Row::Added { pieces, .. } => {
                pieces.iter().find(|(mark, _)| *mark).map(|(_, text)| text.clone())
            }
            _ => None,
        };
        let marks: Vec<String> = rows.iter().filter_map(marked).collect();
        assert_eq!(marks, ["1", "2"]);
        let (old, new) = middles("image: r/web:aaaaaaaa", "image: r/web:abcd0000");
        assert_eq!((old[1].1.as_str(), new[1].1.as_str()), ("aaaaaaaa", "abcd0000"));
    }

    proptest::proptest! {
        #[test]
        fn pieces_are_the_line(old in ".{0,12}", new in ".{0,12}") {
            let (left, right) = middles(&old, &new);
            proptest::prop_assert_eq!(left.into_iter().map(|(_, text)| text).collect::<String>(), old);
            proptest::prop_assert_eq!(right.into_iter().map(|(_, text)| text).collect::<String>(), new);
        }
    }

    #[test]
    fn new_and_pruned_objects_are_one_sided() {
        let object = deployment("r/web:1", 2);
        assert!(of(None, Some(&object)).removed == 0 && of(Some(&object), None).added == 0);
        assert!(unified("Deployment/web", None, Some(&object)).contains("+kind: Deployment"));
    }
}
