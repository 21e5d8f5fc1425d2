use proptest::prelude::*;

use super::*;
use crate::model::{ActionReference, StepKind};

fn mistakes(text: &str) -> Vec<String> {
    match read_workflow("w.yml", text) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.0.iter().map(|m| format!("{}: {}", m.at, m.message)).collect(),
    }
}

#[test]
fn a_whole_workflow_is_read() {
    let text = r#"
name: Shop
on:
  push:
    branches: [ main ]
env: { A: 1, B: "${{ github.sha }}" }
defaults: { run: { shell: bash } }
jobs:
  test:
    runs-on: ubuntu-latest
    outputs: { version: "${{ steps.v.outputs.version }}" }
    steps:
      - uses: actions/checkout@v2
      - id: v
        name: Version
        run: |
          echo "version=1" >> "$GITHUB_OUTPUT"
        env: { X: y }
        continue-on-error: true
  build:
    needs: [ test ]
    if: github.ref == 'refs/heads/main'
    runs-on: [ self-hosted, linux ]
    container: alpine:3
    timeout-minutes: 5
    steps:
      - uses: Owner/Repo/sub/dir@v1
        if: always()
        with: { Image_Path: "${{ secrets.IMAGE }}" }
"#;
    let workflow = read_workflow("w.yml", text).expect("reads");
    assert_eq!(workflow.title(), "Shop");
    let build = &workflow.jobs["build"];
    assert_eq!(build.needs, ["test"]);
    assert!(!build.steps[0].condition.implied_success);
    let StepKind::Uses { action, at, with } = &build.steps[0].kind else { panic!("uses") };
    assert_eq!(action.slug().as_deref(), Some("owner/repo/sub/dir"));
    assert_eq!(at.line, 27);
    assert_eq!(with["image_path"].references("secrets"), ["IMAGE"]);
    assert!(matches!(&workflow.jobs["test"].steps[0].kind,
        StepKind::Uses { action: ActionReference::Repository { reference, .. }, .. } if reference == "v2"));
}

#[test]
fn all_mistakes_are_reported_at_once_each_at_its_place() {
    let text = "on: [push, pusk]\njobs:\n  a:\n    runs-on: x\n    step: []\n    steps:\n    - run: ${{ nothing.x }}\n      iff: true\n    - uses: nowhere\n  b:\n    needs: [a, c]\n    steps: {}\n";
    assert_eq!(
        mistakes(text),
        [
            "1:12: Unexpected value 'pusk'",
            "5:5: Unexpected value 'step' (did you mean 'steps'?)",
            "7:12: Unrecognized named-value: 'nothing'. Located at position 1 within expression: nothing.x",
            "8:7: Unexpected value 'iff' (did you mean 'if'?)",
            "9:13: Expected format {org}/{repo}[/path]@ref. Actual 'nowhere'",
            "10:3: Job 'b' depends on unknown job 'c'.",
            "11:5: Required property is missing: runs-on",
            "12:12: A mapping was not expected",
        ]
    );
}

#[test]
fn circles_are_found() {
    let text = "on: push\njobs:\n  a: {runs-on: x, needs: c, steps: [{run: a}]}\n  b: {runs-on: x, needs: a, steps: [{run: a}]}\n  c: {runs-on: x, needs: b, steps: [{run: a}]}\n  d: {runs-on: x, steps: [{run: a}]}\n";
    let found = mistakes(text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("3:3: Job 'a' depends on itself"));
}

#[test]
fn contexts_are_checked_where_they_stand() {
    for (text, wanted) in [
        ("on: push\njobs: {a: {runs-on: x, if: secrets.a, steps: [{run: a}]}}", "'secrets'"),
        ("on: push\njobs: {a: {runs-on: '${{ steps.a }}', steps: [{run: a}]}}", "'steps'"),
        ("on: push\njobs: {a: {runs-on: x, steps: [{run: a, name: '${{ always() }}'}]}}", "'always'"),
        ("on: push\njobs: {a: {runs-on: x, steps: [{run: a, if: secrets.x}]}}", "'secrets'"),
    ] {
        let found = mistakes(text);
        assert!(found.iter().any(|line| line.contains(wanted)), "{text}: {found:?}");
    }
}

#[test]
fn duplicates_and_wrong_kinds_are_mistakes() {
    for (text, wanted) in [
        (
            "on: push\njobs:\n  a: {runs-on: x, steps: [{run: a}]}\n  A: {runs-on: x, steps: [{run: a}]}",
            "'A' is already defined",
        ),
        ("on: push\njobs: []", "A sequence was not expected"),
        ("on: push", "Required property is missing: jobs"),
        ("jobs: {a: {runs-on: x, steps: [{run: a}]}}", "Required property is missing: on"),
        ("on: push\njobs: {}", "at least one job"),
        ("on: push\njobs: {a: {runs-on: x, steps: [{run: a, uses: b/c@d}]}}", "not both"),
        (
            "on: push\njobs: {a: {runs-on: x, timeout-minutes: soon, steps: [{run: a}]}}",
            "Unexpected value 'soon'",
        ),
        ("on: push\njobs: {a: {runs-on: x, steps: [{id: s, run: a}, {id: S, run: a}]}}", "more than once"),
    ] {
        let found = mistakes(text);
        assert!(found.iter().any(|line| line.contains(wanted)), "{text}: {found:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text in "\\PC{0,200}") {
        drop(read_workflow("w.yml", &text));
    }

    #[test]
    fn any_shuffle_of_keys_is_read_or_refused(lines in prop::collection::vec(
        prop::sample::select(vec!["on: push", "jobs:", "  a:", "    runs-on: x", "    steps:", "    - run: a",
            "      if: always()", "    needs: [a]", "  b: {}", "- x", "'", "    env: {A: ${{ b }}", "&a [*a]"]), 0..12)) {
        drop(read_workflow("w.yml", &lines.join("\n")));
    }
}
