//! Manifests: text of files → Kubernetes objects, with file, line and column of everything that is wrong.
//!
//! YAML (also many documents a file) is read as `kubectl` reads it: YAML 1.1 booleans and octal numbers, merge keys, the last
//! of duplicate keys wins; JSON is YAML. `List` kinds are flattened. A document that is no Kubernetes object is a problem with
//! a place, not a panic and not silence. Called by the renderer (parse) and the reconciler (read back).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::resource::{Gvk, ObjectKey};

/// A file that holds this text is skipped whole, as in Argo CD.
pub const SKIP_FILE: &str = "+argocd:skip-file-rendering";

/// Documents in one file; more is refused rather than kept in memory.
const MAX_EVENTS: usize = 2_000_000;

/// An object and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    pub object: Value,
    pub file: String,
    /// Line of the document's first value, from 1.
    pub line: u32,
}

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub file: String,
    /// From 1; 0 when unknown.
    pub line: u32,
    pub column: u32,
    pub message: String,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    pub objects: Vec<Located>,
    pub problems: Vec<Problem>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(out, "{}: {}", self.file, self.message),
            (line, 0) => write!(out, "{}, line {line}: {}", self.file, self.message),
            (line, column) => write!(out, "{}, line {line}, column {column}: {}", self.file, self.message),
        }
    }
}

/// Reads one file of manifests.
pub fn parse(file: &str, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    if text.contains(SKIP_FILE) {
        return parsed;
    }
    let documents = match serde_saphyr::from_multiple_with_options::<Spanned<Value>>(text, options()) {
        Ok(documents) => documents,
        Err(error) => {
            parsed.problems.push(problem_of(file, text, &error));
            return parsed;
        }
    };
    for document in documents {
        let (line, column) = (number(document.referenced.line()), number(document.referenced.column()));
        take(document.value, file, line, column, &mut parsed);
    }
    parsed
}

/// Objects that occur twice, as warnings; of each the last one counts. `namespaced` says whether a kind lives in a namespace
/// that defaults to `namespace`.
pub fn repeated(objects: &[Located], namespace: &str) -> Vec<Problem> {
    let mut seen = std::collections::HashMap::<ObjectKey, &Located>::new();
    let mut problems = Vec::new();
    for located in objects {
        let Some(mut key) = ObjectKey::of(&located.object) else { continue };
        if key.namespace.is_empty() {
            namespace.clone_into(&mut key.namespace);
        }
        if let Some(first) = seen.insert(key.clone(), located) {
            let message = format!(
                "{key} is declared twice; the one in {}, line {} does not count",
                first.file, first.line
            );
            problems.push(Problem { file: located.file.clone(), line: located.line, column: 0, message });
        }
    }
    problems
}

/// The bytes under which rendered objects are stored: a JSON array with sorted keys, so that equal manifests have equal
/// digests whatever the order of keys in the files was.
pub fn canonical(objects: impl IntoIterator<Item = Value>) -> Vec<u8> {
    let mut all = Value::Array(objects.into_iter().collect());
    all.sort_all_objects();
    serde_json::to_vec(&all).unwrap_or_default()
}

/// Reads back what [`canonical`] wrote.
///
/// # Errors
/// When the bytes are not a JSON array of objects.
pub fn from_canonical(bytes: &[u8]) -> Result<Vec<Value>, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// One value of YAML, for settings and tests.
///
/// # Errors
/// With the place.
pub fn parse_value(file: &str, text: &str) -> Result<Value, Problem> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| problem_of(file, text, &error))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_events: MAX_EVENTS },
    }
}

fn take(value: Value, file: &str, line: u32, column: u32, parsed: &mut Parsed) {
    let mut refuse = |message: String| {
        parsed.problems.push(Problem { file: file.to_owned(), line, column, message });
    };
    if value.is_null() {
        return;
    }
    if !value.is_object() {
        return refuse(format!(
            "this document is {}, not a Kubernetes object; leave the file out with `directory.exclude`",
            describe(&value)
        ));
    }
    let Some(gvk) = Gvk::of(&value) else {
        let missing =
            if value["kind"].as_str().is_some_and(|it| !it.is_empty()) { "apiVersion" } else { "kind" };
        return refuse(format!(
            "this document has no `{missing}`, so it is not a Kubernetes object; add it, or leave the file out with `directory.exclude`"
        ));
    };
    if gvk.kind.ends_with("List") && value["items"].is_array() {
        let Value::Object(mut fields) = value else { return };
        if let Some(Value::Array(items)) = fields.remove("items") {
            for item in items {
                take(item, file, line, column, parsed);
            }
        }
        return;
    }
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    let generated = value["metadata"]["generateName"].as_str().unwrap_or_default();
    if name.is_empty() && generated.is_empty() {
        return refuse(format!("this {} has no `metadata.name`", gvk.kind));
    }
    parsed.objects.push(Located { object: value, file: file.to_owned(), line });
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::String(_) => "a text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null | Value::Object(_) => "a mapping",
    }
}

fn problem_of(file: &str, source: &str, error: &serde_saphyr::Error) -> Problem {
    let location = error.location();
    let text = error.without_snippet().to_string();
    let about_tab = text.contains("found a tab");
    // The library appends the place to its text; we carry it in fields.
    let message = match text.rfind(" at line ") {
        Some(at) if location.is_some() => text[..at].trim_end_matches([',', ':', ' ']).to_owned(),
        _ => text,
    };
    let (mut line, mut column) = location.map_or((0, 0), |it| (number(it.line()), number(it.column())));
    // A tab is reported where the value before it began; the person has to find the tab.
    if about_tab && let Some((at, offset)) = indenting_tab(source, line) {
        (line, column) = (at, offset);
    }
    let message = if message.is_empty() { "this is not valid YAML".to_owned() } else { message };
    Problem { file: file.to_owned(), line, column, message }
}

/// The first tab in an indentation, from line `from` on.
fn indenting_tab(source: &str, from: u32) -> Option<(u32, u32)> {
    let skip = from.saturating_sub(1) as usize;
    source.lines().enumerate().skip(skip).find_map(|(index, line)| {
        let offset = line.bytes().take_while(|byte| *byte == b' ').count();
        (line.as_bytes().get(offset) == Some(&b'\t'))
            .then(|| (number(index as u64 + 1), number(offset as u64 + 1)))
    })
}

fn number(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn many_documents_and_lists_are_flattened() {
        let text = "# comment\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: dev\n---\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n";
        let parsed = parse("a.yaml", text);
        assert_eq!(parsed.problems, vec![]);
        let names: Vec<_> = parsed
            .objects
            .iter()
            .map(|it| it.object["metadata"]["name"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(names, ["dev", "a", "b"]);
        assert_eq!(parsed.objects[0].line, 3);
    }

    #[test]
    fn json_is_read_too() {
        let parsed = parse(
            "a.json",
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"k":"1"}}"#,
        );
        assert_eq!((parsed.objects.len(), parsed.problems.len()), (1, 0));
    }

    #[test]
    fn every_problem_has_a_place() {
        let table = [
            ("a: b\n\tc: d\n", 2, "tab"),
            ("kind: Service\nmetadata: [\n", 2, "unclosed"),
            ("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n---\nfoo: bar\n", 6, "has no `kind`"),
            ("---\nkind: Service\n", 2, "has no `apiVersion`"),
            ("- a\n- b\n", 1, "a list"),
            ("apiVersion: v1\nkind: Service\n", 1, "has no `metadata.name`"),
        ];
        for (text, line, part) in table {
            let parsed = parse("dev/x.yaml", text);
            let problem = parsed.problems.first().unwrap_or_else(|| panic!("no problem in {text:?}"));
            assert_eq!(problem.line, line, "{text:?}: {problem}");
            assert!(problem.to_string().starts_with("dev/x.yaml, line "), "{problem}");
            assert!(problem.message.contains(part), "{text:?}: {problem}");
        }
    }

    #[test]
    fn values_are_those_that_kubectl_reads() {
        let value = parse_value(
            "x",
            "a: no\nb: 0777\nc: '1'\nd: 1_000\ne: 1.5\nbase: &x {p: 1}\nf: {<<: *x, q: 2}\ng: 1\ng: 2\n",
        )
        .expect("valid");
        assert_eq!(
            value,
            json!({ "a": false, "b": 511, "c": "1", "d": 1000, "e": 1.5, "base": {"p": 1}, "f": {"p": 1, "q": 2}, "g": 2 })
        );
    }

    #[test]
    fn repeated_objects_are_reported_at_the_second_place() {
        let object = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a" } });
        let at = |line| Located { object: object.clone(), file: "f.yaml".into(), line };
        let problems = repeated(&[at(1), at(9)], "dev");
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].to_string().contains("Service/dev/a is declared twice; the one in f.yaml, line 1")
        );
    }

    #[test]
    fn the_canonical_form_does_not_depend_on_the_order_of_keys() {
        let left = canonical([json!({"b": 1, "a": {"d": 1, "c": 2}})]);
        assert_eq!(left, canonical([json!({"a": {"c": 2, "d": 1}, "b": 1})]));
        assert_eq!(left, br#"[{"a":{"c":2,"d":1},"b":1}]"#);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_reported(text in "[ -~\n\t]{0,200}") {
            let _parsed = parse("x.yaml", &text);
        }
    }
}
