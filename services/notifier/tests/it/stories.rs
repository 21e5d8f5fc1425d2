//! One message per run, edited in place: happy, duplicate, crash before acknowledging, undecodable.

use sluice_schemas::events::{Conclusion, JobFinished, JobStarted, RunFinished, RunQueued, StepFinished};
use sluice_schemas::log::{LogChunk, LogLine};
use sluice_schemas::{Message, Subject, Timestamp};

use crate::world::{GROUP, World};

fn succeeded() -> RunFinished {
    RunFinished { conclusion: Conclusion::Success, reason: None, ..RunFinished::example() }
}

async fn log(world: &World) {
    let step = StepFinished::example();
    let line = |text: String| LogLine { at: Timestamp::now(), text };
    let chunk = LogChunk {
        epoch: step.epoch,
        seq: 0,
        first_line: 1,
        lines: (0..20).map(|n| line(format!("line {n} of <the> log"))).collect(),
        last: true,
    };
    world.bus.log(&step.run.repository.slug, &step.job, step.step, &chunk).await.expect("logged");
}

#[tokio::test]
async fn a_failing_run_is_one_message_that_names_the_culprit() {
    let world = World::new().await;
    world.tell("c", &RunQueued::example()).await;
    world.shows(GROUP, "queued").await;
    world.tell("c", &JobStarted::example()).await;
    world.shows(GROUP, "⏳ test").await;
    log(&world).await;
    world.tell("c", &StepFinished { log_lines: 20, ..StepFinished::example() }).await;
    world.tell("c", &JobFinished { conclusion: Conclusion::Failure, ..JobFinished::example() }).await;
    world.tell("c", &RunFinished::example()).await;
    let shown = world.shows(GROUP, "failed after").await;
    for part in ["dev/shop-web #42", "job test, step 2 Run tests: exit code 1", "line 19 of <the> log"] {
        assert!(shown.text.contains(part), "{part} is not in:\n{}", shown.text);
    }
    assert!(!shown.text.contains("line 4 of"), "15 lines are quoted, not 20");
    assert_eq!((world.messages(GROUP).len(), world.count("sendMessage").await), (1, 1));
}

#[tokio::test]
async fn copies_of_facts_change_nothing() {
    let world = World::new().await;
    for _ in 0..3 {
        world.tell("c", &RunQueued::example()).await;
        world.tell("c", &succeeded()).await;
    }
    world.shows(GROUP, "succeeded").await;
    let mut other = RunQueued::example();
    other.run.number = sluice_schemas::ids::RunNumber(43);
    world.tell("c", &other).await;
    world.shows(GROUP, "#43").await;
    assert_eq!((world.messages(GROUP).len(), world.count("sendMessage").await), (2, 2));
}

#[tokio::test]
async fn a_restart_announces_nothing_again_and_goes_on_where_it_was() {
    let mut world = World::new().await;
    world.tell("c", &RunQueued::example()).await;
    let first = world.shows(GROUP, "queued").await;
    world.cut_off();
    world.tell("c", &succeeded()).await;
    world.start().await;
    // The cut may have fallen between Telegram's answer and our record; then a second copy came and went.
    world
        .wait("the end in the first message", |state| {
            let shown = state.messages().iter().filter(|m| m.chat_id == GROUP && !m.deleted);
            let texts: Vec<_> = shown.map(|m| (m.message_id, m.text.contains("succeeded"))).collect();
            (texts == [(first.message_id, true)]).then_some(())
        })
        .await;
}

#[tokio::test]
async fn the_bus_may_go_away_in_between() {
    let mut world = World::new().await;
    world.tell("c", &RunQueued::example()).await;
    world.shows(GROUP, "queued").await;
    world.restart_bus();
    let mut published = false;
    for _ in 0..50 {
        let cause = sluice_schemas::Cause::root(sluice_schemas::envelope::correlation_of("c"), "after");
        if world.bus.publish(&succeeded(), &cause).await.is_ok() {
            published = true;
            break;
        }
    }
    assert!(published, "the bus is back");
    world.shows(GROUP, "succeeded").await;
    assert_eq!(world.messages(GROUP).len(), 1);
}

/// As `RunQueued` by its headers, and not by its payload.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Poison {
    nonsense: u32,
}

impl Message for Poison {
    const TYPE: &'static str = RunQueued::TYPE;
    fn subject(&self) -> Subject {
        RunQueued::example().subject()
    }
    fn example() -> Self {
        Self { nonsense: 1 }
    }
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_flows_on() {
    let world = World::new().await;
    world.tell("c", &Poison::example()).await;
    world.tell("c", &RunQueued::example()).await;
    world.shows(GROUP, "queued").await;
    let letters = world.bus.dead_letters().await.expect("listed");
    assert_eq!(letters.len(), 1, "{letters:?}");
}
