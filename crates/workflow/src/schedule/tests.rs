use proptest::prelude::*;

use super::*;
use crate::expression::NoEnvironment;
use crate::plan::{Decision, Push, plan};
use crate::read_workflow;

struct Case {
    workflow: Workflow,
    jobs: Vec<PlannedJob>,
}

fn case(jobs: &str) -> Case {
    let workflow = read_workflow("w.yml", &format!("on: push\njobs:\n{jobs}")).expect("reads");
    let push = Push { reference: "refs/heads/main".into(), ..Push::default() };
    let Ok(Decision::Run(plan)) = plan(&workflow, &push, &NoEnvironment) else { panic!("a plan") };
    Case { workflow, jobs: plan.jobs }
}

fn job(key: &str, more: &str) -> String {
    format!("  {key}: {{runs-on: x, steps: [{{run: a}}]{more}}}\n")
}

fn result(conclusion: Conclusion) -> JobResult {
    JobResult { conclusion, outputs: IndexMap::new(), continue_on_error: false }
}

impl Case {
    fn next(&self, results: &[(&str, Conclusion)]) -> Vec<(String, Next)> {
        let results: Results =
            results.iter().map(|(id, conclusion)| ((*id).to_owned(), result(*conclusion))).collect();
        next(&self.workflow, &self.jobs, &results, &|_| false, &NoEnvironment, false)
    }
}

#[test]
fn needs_hold_jobs_back_and_failures_skip_them() {
    let case = case(
        &[
            job("a", ""),
            job("b", ", needs: a"),
            job("c", ", needs: b, if: always()"),
            job("d", ", needs: [a, b], if: failure()"),
            job("e", ", needs: b"),
        ]
        .concat(),
    );
    assert_eq!(case.next(&[]), [("a".into(), Next::Start)]);
    assert_eq!(case.next(&[("a", Conclusion::Success)]), [("b".into(), Next::Start)]);
    assert_eq!(
        case.next(&[("a", Conclusion::Failure)]),
        [
            ("b".into(), Next::Skip),
            ("c".into(), Next::Start),
            ("d".into(), Next::Start),
            ("e".into(), Next::Skip)
        ]
    );
}

#[test]
fn a_condition_sees_results_and_outputs_of_its_needs() {
    let case = case(
        &[
            job("a", ""),
            job("b", ", needs: a, if: \"needs.a.outputs.go == 'yes'\""),
            job("c", ", needs: b, if: \"!cancelled() && needs.b.result == 'skipped'\""),
        ]
        .concat(),
    );
    let mut results = Results::new();
    results.insert(
        "a".into(),
        JobResult {
            conclusion: Conclusion::Success,
            outputs: [("go".to_owned(), "yes".to_owned())].into_iter().collect(),
            continue_on_error: false,
        },
    );
    let answers = next(&case.workflow, &case.jobs, &results, &|_| false, &NoEnvironment, false);
    assert_eq!(answers, [("b".into(), Next::Start)]);
    assert_eq!(
        case.next(&[("a", Conclusion::Success)]),
        [("b".into(), Next::Skip), ("c".into(), Next::Start)]
    );
}

#[test]
fn a_cancelled_run_starts_only_what_always_runs() {
    let case = case(&[job("a", ""), job("b", ", if: always()"), job("c", ", if: cancelled()")].concat());
    let answers = next(&case.workflow, &case.jobs, &Results::new(), &|_| false, &NoEnvironment, true);
    assert_eq!(answers, [("a".into(), Next::Skip), ("b".into(), Next::Start), ("c".into(), Next::Start)]);
}

#[test]
fn the_run_ends_as_its_jobs_do() {
    let case = case(&[job("a", ""), job("b", "")].concat());
    let of = |a, b| {
        let results = [("a".to_owned(), result(a)), ("b".to_owned(), result(b))].into_iter().collect();
        conclusion(&case.jobs, &results, false)
    };
    assert_eq!(of(Conclusion::Success, Conclusion::Skipped), Some(Conclusion::Success));
    assert_eq!(of(Conclusion::Skipped, Conclusion::Skipped), Some(Conclusion::Skipped));
    assert_eq!(of(Conclusion::Failure, Conclusion::Cancelled), Some(Conclusion::Failure));
    assert_eq!(of(Conclusion::Success, Conclusion::Cancelled), Some(Conclusion::Cancelled));
    assert_eq!(conclusion(&case.jobs, &Results::new(), false), None);
}

proptest! {
    /// Whatever the graph and the results, every job ends: nothing waits for ever.
    #[test]
    fn every_run_ends(edges in prop::collection::vec((0usize..8, 0usize..8), 0..20),
                      outcomes in prop::collection::vec(0u8..3, 8), always in 0u8..=255) {
        let jobs: String = (0..8).map(|n| {
            let needs: Vec<String> = edges.iter().filter(|(from, to)| *from == n && to < from)
                .map(|(_, to)| format!("j{to}")).collect();
            let condition = if always & (1 << n) != 0 { ", if: always()" } else { "" };
            job(&format!("j{n}"), &format!(", needs: [{}]{condition}", needs.join(", ")))
        }).collect();
        let case = case(&jobs);
        let mut results = Results::new();
        for _ in 0..=8 {
            for (id, answer) in next(&case.workflow, &case.jobs, &results, &|_| false, &NoEnvironment, false) {
                let index: usize = id[1..].parse().expect("a number");
                let conclusion = match (answer, outcomes[index]) {
                    (Next::Start, 0) => Conclusion::Success,
                    (Next::Start, 1) => Conclusion::Failure,
                    (Next::Start, _) => Conclusion::Cancelled,
                    _ => Conclusion::Skipped,
                };
                results.insert(id, result(conclusion));
            }
        }
        prop_assert!(conclusion(&case.jobs, &results, false).is_some());
    }
}
