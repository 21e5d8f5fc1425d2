//! What goes wrong on the way, and what people read then.

use std::time::Duration;

use sluice_schemas::commands::{CancelRun, RerunRun};
use sluice_schemas::events::{Conclusion, Event, PushReceived};
use sluice_schemas::ids::Person;
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Message, Subject};

use crate::support::world;

const FILE: &str = ".github/workflows/build.yml";

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_workflow_is_refused_with_its_places() {
    let text = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - run: ${{ oops.x }}\n  b: {runs-on: x, needs: c, steps: [{run: a}]}\n";
    let mut world = world("broken", &[(FILE, text)]).await;
    world.builder(&[]).await;
    world.push().await;
    let refused = world.run_refused().await;
    let places: Vec<_> =
        refused.annotations.iter().map(|it| (it.file.as_str(), it.line, it.column)).collect();
    assert_eq!(places, [(FILE, 6, 12), (FILE, 7, 3)]);
    assert!(refused.annotations[0].message.contains("'oops'"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_skip_and_always_runs() {
    let text = r#"
on: push
jobs:
  test:
    runs-on: x
    outputs: { seen: "${{ steps.soft.outcome }}-${{ steps.soft.conclusion }}" }
    steps:
      - id: soft
        run: exit 7
        continue-on-error: true
      - run: echo before; false
      - run: echo never
      - run: test "${{ job.status }}" = failure
        if: always()
      - run: echo on failure
        if: failure()
  skipped: { needs: test, runs-on: x, steps: [ { run: echo never } ] }
  cleanup:
    needs: [ test, skipped ]
    if: always()
    runs-on: x
    steps:
      - run: test "${{ needs.test.result }}-${{ needs.skipped.result }}" = failure-skipped
  secret:
    runs-on: x
    steps:
      - uses: ripplr-io/docr-docker-publish@v1
        with: { image_path: "${{ secrets.IMAGE_PATH }}" }
  unknown: { runs-on: x, steps: [ { uses: "somebody/something@v1" } ] }
"#;
    let mut world = world("failing", &[(FILE, text)]).await;
    world.builder(&[]).await;
    world.push().await;
    let run = world.run_finished().await;
    assert_eq!(run.conclusion, Conclusion::Failure);
    assert_eq!(run.reason.as_deref(), Some("job `test`: step `Run echo before; false`: exit code 1"));
    let jobs = world.jobs().await;
    let conclusions: Vec<_> = jobs.iter().map(|(key, job)| (key.as_str(), job.conclusion)).collect();
    use Conclusion::{Failure, Skipped, Success};
    assert_eq!(
        conclusions,
        [
            ("cleanup", Success),
            ("secret", Failure),
            ("skipped", Skipped),
            ("test", Failure),
            ("unknown", Failure)
        ]
    );
    assert_eq!(jobs["test"].outputs["seen"], "failure-success");
    let outcomes: Vec<_> =
        world.steps("test").await.iter().map(|step| (step.outcome, step.conclusion)).collect();
    assert_eq!(
        outcomes,
        [(Failure, Success), (Failure, Failure), (Skipped, Skipped), (Success, Success), (Success, Success)]
    );
    let reason = jobs["secret"].reason.clone().expect("a reason");
    assert!(reason.contains(&format!("{FILE}:28:29")), "{reason}");
    assert!(
        reason.contains(&format!("sluice secret set {} IMAGE_PATH", world.repository.full_name)),
        "{reason}"
    );
    let reason = jobs["unknown"].reason.clone().expect("a reason");
    assert!(reason.contains("somebody/something@v1") && reason.contains("actions/checkout"), "{reason}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dockerfile_that_fails_says_why() {
    let text = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - uses: actions/checkout@v4\n    - uses: ripplr-io/docr-docker-publish@v1\n      with: {image_path: shop/web}\n";
    let dockerfile = "FROM 127.0.0.1:5000/platform/busybox:1\nRUN echo to be seen && exit 3\n";
    let mut world = world("dockerfile", &[(FILE, text), ("Dockerfile", dockerfile)]).await;
    world.builder(&[]).await;
    world.push().await;
    let run = world.run_finished().await;
    assert_eq!(run.conclusion, Conclusion::Failure);
    let steps = world.steps("a").await;
    let log = world.log(&steps[1]).await;
    assert!(log.contains("to be seen"), "{log}");
    assert!(
        steps[1].reason.as_deref().is_some_and(|reason| reason.contains("code: 3")),
        "{:?}",
        steps[1].reason
    );
    assert!(world.facts(Entity::Image).await.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_for_other_pushes_starts_nothing() {
    let other = "on: {push: {branches: [release]}}\njobs: {a: {runs-on: x, steps: [{run: 'true'}]}}\n";
    let paths = "on: {push: {paths: ['web/**']}}\njobs: {a: {runs-on: x, steps: [{run: 'true'}]}}\n";
    let mine = "on: push\njobs: {a: {runs-on: x, steps: [{run: 'true'}]}}\n";
    let files = [
        (".github/workflows/a.yml", other),
        (".github/workflows/b.yml", paths),
        (".github/workflows/c.yaml", mine),
        (".github/workflows/d.txt", "no workflow"),
    ];
    let mut world = world("filters", &files).await;
    let sha = world.head();
    world.commit(&[("api/x", "1")], "Only the API");
    world.builder(&[]).await;
    let mut push = world.push_fact();
    push.before = sha;
    let cause = Cause::root(sluice_schemas::envelope::correlation_of("x"), "x");
    world.bus.append(&push, &cause, sluice_bus::Expected::Absent).await.expect("appended");
    let run = world.run_finished().await;
    assert_eq!(run.run.workflow_file, ".github/workflows/c.yaml");
    let queued = world.facts(Entity::Run).await;
    assert_eq!(queued.iter().filter(|fact| matches!(fact.event, Event::RunQueued(_))).count(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_ends_and_can_be_run_again() {
    let text = r#"
on: push
jobs:
  a:
    runs-on: x
    steps:
      - run: |
          trap 'echo interrupted; exit 1' INT
          echo waiting
          sleep 1 & wait
          [ "$GITHUB_RUN_ATTEMPT" = 2 ] || { sleep 300 & wait; }
      - run: echo tidied up
        if: always()
  b: { needs: a, runs-on: x, steps: [ { run: echo } ] }
"#;
    let mut world = world("cancel", &[(FILE, text)]).await;
    world.builder(&[]).await;
    let push = world.push().await;
    world.fact(Entity::Job, |fact| matches!(&fact.event, Event::JobStarted(_)).then_some(())).await;
    let number = sluice_schemas::ids::RunNumber(1);
    let (repository, person) = (push.repository.slug.clone(), Person::from_text("ada"));
    let cause = Cause::root(sluice_schemas::envelope::correlation_of("cancel"), "cancel");
    let cancel = CancelRun { repository: repository.clone(), number, person: person.clone() };
    world.bus.publish(&cancel, &cause).await.expect("published");
    let run = world.run_finished().await;
    assert_eq!((run.conclusion, run.reason.as_deref()), (Conclusion::Cancelled, Some("cancelled by ada")));
    let steps = world.steps("a").await;
    assert_eq!(steps.last().map(|step| step.outcome), Some(Conclusion::Success), "{steps:?}");

    let rerun = RerunRun { repository, number, person, failed_only: true };
    world.bus.publish(&rerun, &cause).await.expect("published");
    let second = world
        .fact(Entity::Run, |fact| match &fact.event {
            Event::RunFinished(fact) if fact.attempt == 2 => Some((**fact).clone()),
            _ => None,
        })
        .await;
    assert_eq!(second.conclusion, Conclusion::Success, "{:?}", second.reason);
    world.end().await;
}

/// Calls itself a push and is none.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Garbage {
    nonsense: bool,
}

impl Message for Garbage {
    const TYPE: &'static str = PushReceived::TYPE;

    fn subject(&self) -> Subject {
        Subject::fact(Entity::Push, "dev_garbage", "g1", "received")
    }

    fn example() -> Self {
        Self { nonsense: true }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_ends_in_the_dead_letter_queue() {
    let mine = "on: push\njobs: {a: {runs-on: x, steps: [{run: 'true'}]}}\n";
    let mut world = world("garbage", &[(FILE, mine)]).await;
    world.builder(&[]).await;
    let cause = Cause::root(sluice_schemas::envelope::correlation_of("g"), "g");
    world.bus.publish(&Garbage { nonsense: true }, &cause).await.expect("published");
    world.push().await;
    assert_eq!(world.run_finished().await.conclusion, Conclusion::Success);
    let mut letters = world.bus.dead_letters().await.expect("readable");
    for _ in 0..100 {
        if !letters.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        letters = world.bus.dead_letters().await.expect("readable");
    }
    assert_eq!(letters.iter().map(|letter| letter.consumer.as_str()).collect::<Vec<_>>(), ["builder-push"]);
    world.end().await;
}
