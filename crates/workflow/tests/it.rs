//! Checks against outside input: the expression cases and the real workflows that lie beside the repository in
//! `../shared`. A clone without them has nothing to check here; `make conformance` insists that they are there.

use std::path::{Path, PathBuf};

use sluice_workflow::expression::{Names, ParseError, from_json, to_json};
use sluice_workflow::{Environment, Expression, Value, read_workflow};

#[test]
fn expressions_mean_what_they_mean_on_github() {
    let Some(files) = shared("conformance/github-workflows/expressions", "json") else { return };
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in files {
        let groups = from_json(&std::fs::read_to_string(&file).expect("readable")).expect("JSON");
        let Value::Object(groups) = groups else { panic!("{} is not an object", file.display()) };
        for (group, cases) in groups.iter() {
            let Value::Array(cases) = cases else { continue };
            for case in cases.iter() {
                count += 1;
                if let Err(message) = check(case) {
                    wrong.push(format!("{} {group}: {message}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases fail:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_organisations_workflows_are_read_without_a_mistake() {
    let Some(files) = shared("real-input", "yml") else { return };
    let workflows: Vec<_> =
        files.iter().filter(|file| file.to_string_lossy().contains("/workflows/")).collect();
    assert!(!workflows.is_empty());
    for file in workflows {
        let text = std::fs::read_to_string(file).expect("readable");
        let workflow = read_workflow("w.yml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(workflow.triggers.push.is_some());
    }
}

/// How many of GitHub's reader cases we accept and refuse as they do; not all of it is due yet.
#[test]
fn the_reader_agrees_with_github_on_most_files() {
    let Some(files) = shared("conformance/github-workflows/workflow-reader", "yml") else { return };
    let (mut agreed, mut places, mut refused) = (0, 0, 0);
    let mut disagreed = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("readable");
        let mut documents = text.split("\n---\n");
        let (_, workflow, expected) = (documents.next(), documents.next(), documents.last());
        let (Some(workflow), Some(expected)) = (workflow, expected) else { continue };
        let expected = from_json(expected).expect("JSON");
        let Value::Array(errors) = expected.get("errors") else {
            match read_workflow("w.yml", workflow) {
                Ok(_) => agreed += 1,
                Err(mistakes) => disagreed.push(format!("{}: refused: {mistakes}", file.display())),
            }
            continue;
        };
        refused += 1;
        let message =
            errors.first().map(|error| error.get("Message").to_text().to_string()).unwrap_or_default();
        match read_workflow("w.yml", workflow) {
            Ok(_) => disagreed.push(format!("{}: accepted, wanted: {message}", file.display())),
            Err(mistakes) => {
                agreed += 1;
                let at = mistakes.0[0].at;
                if message.contains(&format!("(Line: {}, Col: {})", at.line, at.column)) {
                    places += 1;
                } else {
                    disagreed.push(format!(
                        "{}: place {at}: {} / {message}",
                        file.display(),
                        mistakes.0[0].message
                    ));
                }
            }
        }
    }
    if std::env::var_os("SLUICE_SHOW").is_some() {
        panic!("{agreed} of {} agree, {places} of {refused} places:\n{}", files.len(), disagreed.join("\n"));
    }
    assert!(agreed * 100 >= files.len() * 70, "{agreed} of {}:\n{}", files.len(), disagreed.join("\n"));
}

fn check(case: &Value) -> Result<(), String> {
    let source = case.get("expr").to_text();
    let contexts = Contexts(case.get("contexts"));
    let names: Vec<String> = match &contexts.0 {
        Value::Object(object) => object.iter().map(|(name, _)| name.to_owned()).collect(),
        _ => Vec::new(),
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let parsed = Expression::parse(&source, Names::Only { contexts: &names, functions: &["hashFiles"] });
    let error = case.get("err");
    let kind = error.get("kind").to_text();
    match (parsed, kind.as_ref()) {
        (Err(error), "") => Err(format!("{source}: {error}")),
        (Err(found), "parsing" | "lexing") => {
            let wanted = error.get("value").to_text();
            let same = match &found {
                ParseError::UnrecognizedFunction { .. } => found.to_string().starts_with(wanted.as_ref()),
                _ => found.to_string() == wanted.as_ref(),
            };
            if same { Ok(()) } else { Err(format!("{source}: '{found}' is not '{wanted}'")) }
        }
        (Ok(_), "parsing" | "lexing") => Err(format!("{source}: should not parse")),
        (Err(found), _) => Err(format!("{source}: {found}")),
        (Ok(expression), kind) => match (expression.evaluate(&contexts), kind) {
            (Err(found), "evaluation") => {
                let wanted = error.get("value").to_text();
                if found.to_string() == wanted.as_ref() {
                    Ok(())
                } else {
                    Err(format!("{source}: '{found}' is not '{wanted}'"))
                }
            }
            (Err(found), _) => Err(format!("{source}: {found}")),
            (Ok(value), "evaluation") => Err(format!("{source}: should fail, gave {}", to_json(&value))),
            (Ok(value), _) => same(&source, &value, &case.get("result")),
        },
    }
}

fn same(source: &str, value: &Value, result: &Value) -> Result<(), String> {
    let (kind, wanted) = (result.get("kind").to_text(), result.get("value"));
    let equal = match (value, &wanted) {
        (Value::Number(number), Value::String(text)) => match text.as_ref() {
            "NaN" => number.is_nan(),
            "Infinity" => *number == f64::INFINITY,
            "-Infinity" => *number == f64::NEG_INFINITY,
            _ => false,
        },
        (Value::Number(left), Value::Number(right)) => left == right,
        _ => to_json(value) == to_json(&wanted),
    };
    if value.kind() == kind.as_ref() && equal {
        return Ok(());
    }
    Err(format!("{source}: {} {} is not {kind} {}", value.kind(), to_json(value), to_json(&wanted)))
}

struct Contexts(Value);

impl Environment for Contexts {
    fn context(&self, name: &str) -> Option<Value> {
        match &self.0 {
            Value::Object(object) => object.get(name).cloned(),
            _ => None,
        }
    }

    fn success(&self, _jobs: &[Value]) -> bool {
        true
    }

    fn failure(&self, _jobs: &[Value]) -> bool {
        false
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn hash_files(&self, _patterns: &[String]) -> Result<String, String> {
        Ok(String::new())
    }
}

/// Files below a directory of `../shared`, or `None` where there is no such directory.
fn shared(path: &str, extension: &str) -> Option<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path);
    let mut files = Vec::new();
    let mut open = vec![root];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    Some(files)
}
