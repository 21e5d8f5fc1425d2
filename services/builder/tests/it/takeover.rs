//! The same news twice, and executors that die.

use sluice_schemas::Cause;
use sluice_schemas::commands::ExecuteJob;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{Conclusion, Event};
use sluice_schemas::ids::JobId;
use sluice_schemas::subject::Entity;

use crate::support::world;

const FILE: &str = ".github/workflows/build.yml";

#[tokio::test(flavor = "multi_thread")]
async fn the_same_push_and_the_same_command_twice_change_nothing() {
    let text = "on: push\njobs:\n  a: {runs-on: x, steps: [{run: echo once}]}\n  b: {runs-on: x, needs: a, steps: [{run: echo once}]}\n";
    let mut world = world("twice", &[(FILE, text)]).await;
    world.builder(&[]).await;
    let push = world.push().await;
    // While it runs, and once more when it is over: other message ids, the same news.
    for n in 0..3 {
        let cause = Cause::root(correlation_of("again"), format!("again {n}"));
        world.bus.publish(&push, &cause).await.expect("published");
    }
    let run = world.run_finished().await;
    assert_eq!(run.conclusion, Conclusion::Success);
    let before = (world.facts(Entity::Run).await.len(), world.facts(Entity::Job).await.len());
    assert_eq!(
        before,
        (3, 6),
        "{:?}",
        world.facts(Entity::Run).await.iter().map(|f| f.event.kind().to_owned()).collect::<Vec<_>>()
    );
    let cause = Cause::root(correlation_of("again"), "after the end");
    world.bus.publish(&push, &cause).await.expect("published");
    let command =
        ExecuteJob { run: run.run.clone(), job: JobId::from_text("1-a"), key: "a".to_owned(), attempt: 1 };
    world.bus.publish(&command, &cause).await.expect("published");
    // A second push flows through the same consumers, so the repetitions are behind us when it ends.
    let sha = world.commit(&[("x", "y")], "Another");
    world.push().await;
    world
        .fact(Entity::Run, |fact| match &fact.event {
            Event::RunFinished(fact) if fact.run.sha == sha => Some(()),
            _ => None,
        })
        .await;
    let after = (world.facts(Entity::Run).await.len(), world.facts(Entity::Job).await.len());
    assert_eq!(after, (before.0 * 2, before.1 * 2));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_executor_is_gone_is_run_by_another() {
    let text = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - run: echo begun; test -f /github/runner_temp/never || sleep 2\n    - run: echo done\n";
    let mut world = world("takeover", &[(FILE, text)]).await;
    let first = world.builder(&[]).await;
    world.push().await;
    let epoch = world
        .fact(Entity::Job, |fact| match &fact.event {
            Event::JobStarted(fact) => Some(fact.epoch),
            _ => None,
        })
        .await;
    first.tasks().shutdown().cancel();
    world.builder(&[]).await;
    let run = world.run_finished().await;
    assert_eq!(run.conclusion, Conclusion::Success, "{:?}", run.reason);
    let facts = world.facts(Entity::Job).await;
    let started: Vec<_> = facts
        .iter()
        .filter_map(|fact| match &fact.event {
            Event::JobStarted(fact) => Some((fact.epoch, fact.note.is_some())),
            _ => None,
        })
        .collect();
    assert_eq!(started.len(), 2);
    assert_eq!(started[0], (epoch, false));
    assert!(started[1].0 > epoch && started[1].1, "{started:?}");
    let ended: Vec<_> = facts.iter().filter(|fact| matches!(fact.event, Event::JobFinished(_))).collect();
    assert_eq!(ended.len(), 1);
    world.end().await;
}
