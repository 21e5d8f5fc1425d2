//! The chain once more, from the log: by the very command that `sluice trace` prints, with the real `nats`.

use serde_json::Value;
use sluice_e2e::story::{Report, dev, promote, push};
use sluice_e2e::{Event, World, shell};
use tokio::process::Command;

use crate::eyes::Person;
use crate::stage::shop;

#[tokio::test]
async fn the_printed_command_replays_the_chain_in_order() {
    let (world, shop) = shop("replay").await;
    let person = Person::admin(&world).await.unwrap();
    let report = Report::silent();
    let other = push(&world, &shop, "7.0.0", &report).await.unwrap();
    dev(&world, &shop, &other, &report).await.unwrap();
    let chain = push(&world, &shop, "7.0.1", &report).await.unwrap();
    // Noise in between, of the kind that confuses those who cut text: empty lines, another chain's id, no header.
    let noise = format!("\n\nce-correlationid: {}\n\n{{}}\n", other.correlation);
    world.nats.publish("evt.push.nobody.noise.received", &[], &noise).await.unwrap();
    dev(&world, &shop, &chain, &report).await.unwrap();
    promote(&world, &shop, &chain, &person.cli, &report).await.unwrap();

    let expected = facts(&world, &chain.correlation);
    assert!(expected.len() > 15, "{}", world.witness().unwrap().story(0));
    let kinds: Vec<_> = expected.iter().map(Event::kind).collect();
    let order = [
        "push.received",
        "run.queued",
        "job.started",
        "image.built",
        "image.published",
        "run.finished",
        "bump.committed",
        "sync.finished",
    ];
    let places: Vec<_> = order.iter().map(|kind| kinds.iter().position(|k| k == kind)).collect();
    assert!(places.iter().all(Option::is_some) && places[0] == Some(0), "{kinds:?}");

    // Both by hand and by ours; the other chain is over.
    for chain in [&chain, &other] {
        let expected = facts(&world, &chain.correlation);
        let numbers: Vec<u64> = expected.iter().map(|fact| fact.sequence).collect();
        let told = person.cli.ok(&["trace", &chain.commit]).await.unwrap();
        let (_, command) = told.split_once("Replay it:\n").unwrap_or_else(|| panic!("{told}"));
        let replayed = by_hand(&world, command.trim()).await;
        assert_eq!(replayed.iter().map(|said| said.sequence).collect::<Vec<_>>(), numbers, "{command}");
        for (said, fact) in replayed.iter().zip(&expected) {
            assert_eq!(said.correlation, chain.correlation, "{said:?}");
            assert_eq!((&said.subject, &said.data), (&fact.subject, &fact.data));
        }
        let lines = person.cli.ok(&["replay", &chain.commit, "-o", "json"]).await.unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert_eq!(lines.map(|line| line["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), numbers);
    }
}

/// The facts of a chain, as the witness saw them.
fn facts(world: &World, correlation: &str) -> Vec<Event> {
    let all = world.witness().unwrap().events();
    all.into_iter().filter(|event| event.correlation() == correlation).collect()
}

/// A fact as `nats` prints it.
#[derive(Debug, Default)]
struct Said {
    sequence: u64,
    subject: String,
    correlation: String,
    data: Value,
}

/// Runs the line in a shell, as a person does who has `nats` and a context for this bus.
async fn by_hand(world: &World, line: &str) -> Vec<Said> {
    let mut command = Command::new("sh");
    let path = format!("{}:{}", world.platform.bin.display(), std::env::var("PATH").unwrap_or_default());
    command
        .args(["-c", line])
        .env("PATH", path)
        .env("NATS_URL", &world.nats.url)
        .env("XDG_CONFIG_HOME", "/nonexistent");
    let output = shell::run(command, "").await.unwrap();
    assert_eq!(output.code, 0, "{line}: {}", output.stderr);
    let mut all: Vec<Said> = Vec::new();
    for line in output.stdout.lines() {
        // [#7] Received JetStream message: stream: EVENTS seq: 14 / pending: 3 / subject: evt.….received / time: …
        if let Some((_, place)) = line.split_once("stream: EVENTS seq: ") {
            let sequence = place.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap();
            let subject = place.split("subject: ").nth(1).and_then(|rest| rest.split_whitespace().next());
            all.push(Said { sequence, subject: subject.unwrap_or_default().to_owned(), ..Said::default() });
        } else if let Some(said) = all.last_mut() {
            if let Some(correlation) = line.strip_prefix("ce-correlationid: ") {
                correlation.clone_into(&mut said.correlation);
            } else if line.starts_with('{') {
                said.data = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
    }
    all
}
