use super::*;
use crate::expression::NoEnvironment;
use crate::read_workflow;

fn push(reference: &str, files: &[&str]) -> Push {
    Push {
        reference: reference.to_owned(),
        changed_files: files.iter().map(|file| (*file).to_owned()).collect(),
        files_complete: true,
        ..Push::default()
    }
}

fn reason(on: &str, push: &Push) -> Option<String> {
    let text = format!("on: {on}\njobs: {{a: {{runs-on: x, steps: [{{run: 'true'}}]}}}}\n");
    let workflow = read_workflow(".github/workflows/a.yml", &text).expect("reads");
    not_triggered(&workflow, push)
}

#[test]
fn triggers_are_decided_as_on_github() {
    let main = push("refs/heads/main", &["api/a.rs", "README.md"]);
    let tag = push("refs/tags/v1.0.0", &["api/a.rs"]);
    for (on, on_main, on_tag) in [
        ("push", true, true),
        ("[push, pull_request]", true, true),
        ("pull_request", false, false),
        ("{push: }", true, true),
        ("{push: {branches: [main]}}", true, false),
        ("{push: {branches: main}}", true, false),
        ("{push: {branches: ['release/**']}}", false, false),
        ("{push: {branches-ignore: [main]}}", false, false),
        ("{push: {tags: ['v*']}}", false, true),
        ("{push: {branches: [main], tags: ['v*']}}", true, true),
        ("{push: {tags-ignore: ['v*']}}", false, false),
        ("{push: {paths: ['api/**']}}", true, true),
        ("{push: {paths: ['web/**']}}", false, true),
        ("{push: {paths: ['**', '!api/**', '!*.md']}}", false, true),
        ("{push: {paths-ignore: ['**.md']}}", true, true),
        ("{push: {paths-ignore: ['**.md', 'api/**']}}", false, true),
        ("{push: {branches: [main], paths: ['web/**']}}", false, false),
    ] {
        assert_eq!(reason(on, &main).is_none(), on_main, "{on} on main: {:?}", reason(on, &main));
        assert_eq!(reason(on, &tag).is_none(), on_tag, "{on} on tag: {:?}", reason(on, &tag));
    }
}

#[test]
fn an_unknown_file_list_never_hides_a_run() {
    let mut push = push("refs/heads/main", &["x"]);
    push.files_complete = false;
    assert_eq!(reason("{push: {paths: ['web/**']}}", &push), None);
}

#[test]
fn deletions_and_skip_marks_start_nothing() {
    let mut push = push("refs/heads/main", &[]);
    push.head_message = "docs: words [skip ci]".into();
    assert!(reason("push", &push).expect("skipped").contains("[skip ci]"));
    push.head_message.clear();
    push.deleted = true;
    assert!(reason("push", &push).expect("skipped").contains("deletes"));
}

#[test]
fn a_matrix_becomes_jobs_with_names_and_ids() {
    let text = "on: push\njobs:\n  t:\n    runs-on: x\n    strategy: {matrix: {v: [1, 2]}}\n    steps: [{run: a}]\n  d:\n    needs: t\n    name: deploy ${{ github.sha }}\n    runs-on: x\n    steps: [{run: b}]\n";
    let workflow = read_workflow("w.yml", text).expect("reads");
    let Ok(Decision::Run(plan)) = plan(&workflow, &push("refs/heads/main", &[]), &NoEnvironment) else {
        panic!("a plan was expected")
    };
    let seen: Vec<_> = plan.jobs.iter().map(|job| (job.id.as_str(), job.name.as_str())).collect();
    assert_eq!(seen, [("t-1", "t (1)"), ("t-2", "t (2)"), ("d", "deploy ")]);
    assert_eq!(plan.jobs[2].needs, ["t"]);
}

#[test]
fn what_cannot_be_carried_out_is_said_with_its_place() {
    let text = "on: push\nconcurrency: one\njobs:\n  a:\n    runs-on: x\n    services: {db: {image: postgres}}\n    steps: [{run: a}]\n";
    let workflow = read_workflow("w.yml", text).expect("reads");
    let mistakes = plan(&workflow, &push("refs/heads/main", &[]), &NoEnvironment).expect_err("fatal");
    assert_eq!(mistakes.0.len(), 1);
    assert_eq!(mistakes.0[0].at.line, 6);
    assert!(mistakes.0[0].message.starts_with("services: not supported"));
}
