//! Poison: what nobody can read lands in the dead letters with its reason, and the rest flows on.

use serde_json::Value;
use sluice_e2e::cli::Cli;
use sluice_e2e::world::token;
use sluice_e2e::{World, until};

use crate::stage::{SOON, on_dev, shop};

const KINDS: [(&str, &str); 5] = [
    ("builder", "job"),
    ("publisher", "promote"),
    ("renderer", "render"),
    ("reconciler", "sync"),
    ("notifier", "send"),
];

async fn letters(cli: &Cli) -> Vec<Value> {
    let text = cli.ok(&["dlq", "ls", "-o", "json"]).await.unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    list["items"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
}

/// Waits until this many letters are from this subject.
async fn arrived(cli: &Cli, subject: &str, count: usize) -> Vec<Value> {
    until(&format!("{count} dead letters of {subject}"), SOON, async || {
        let all = letters(cli).await;
        let ours: Vec<_> = all.iter().filter(|l| l["subject"] == subject).cloned().collect();
        if ours.len() >= count { Ok(ours) } else { Err(format!("{all:#?}")) }
    })
    .await
    .unwrap()
}

async fn poison(world: &World, subject: &str, kind: &str, body: &str) {
    let id = token(20);
    let headers =
        [("ce-id", id.as_str()), ("ce-type", kind), ("ce-specversion", "1.0"), ("Nats-Msg-Id", id.as_str())];
    world.nats.publish(subject, &headers, body).await.unwrap();
}

#[tokio::test]
async fn poison_is_set_aside_with_its_reason_and_can_be_tried_again() {
    let (world, shop) = shop("dead_letters").await;
    let cli = Cli::admin(&world).await.unwrap();
    let mut subjects = Vec::new();
    for (service, kind) in KINDS {
        let subject = format!("cmd.{service}.{kind}.poison-{}", token(6));
        let name = match kind {
            "job" => "execute_job",
            "send" => "send_message",
            other => other,
        };
        poison(&world, &subject, &format!("dev.sluice.command.{name}.v1"), r#"{"not": "what it says"}"#)
            .await;
        subjects.push(subject);
    }
    // A command of a kind that nobody knows, and bytes that are nothing at all.
    let unknown = format!("cmd.renderer.render.poison-{}", token(6));
    poison(&world, &unknown, "dev.sluice.command.dance.v1", "{}").await;
    let noise = format!("cmd.publisher.promote.poison-{}", token(6));
    world.nats.publish(&noise, &[], "\u{1}\u{2}{{{").await.unwrap();
    subjects.extend([unknown, noise]);

    for subject in &subjects {
        let letter = arrived(&cli, subject, 1).await.remove(0);
        assert!(letter["reason"].as_str().is_some_and(|r| r.len() > 10), "{letter}");
        let id = letter["id"].as_str().unwrap();
        let shown = cli.ok(&["dlq", "show", id]).await.unwrap();
        assert!(shown.contains(subject.as_str()), "{shown}");
    }
    // Trying again hands it to its consumer, who sets it aside again: it is no better than before.
    let id = arrived(&cli, &subjects[2], 1).await[0]["id"].as_str().unwrap().to_owned();
    let before = world.nats.state("DLQ").await.unwrap().1;
    cli.ok(&["dlq", "retry", &id]).await.unwrap();
    until("it is set aside again", SOON, async || {
        let now = world.nats.state("DLQ").await.map_err(|e| e.to_string())?.1;
        if now > before { Ok(()) } else { Err(format!("last letter {now}")) }
    })
    .await
    .unwrap();
    arrived(&cli, &subjects[2], 1).await;

    let begin = std::time::Instant::now();
    on_dev(&world, &shop, "6.0.0").await;
    println!("a push took {:?} beside {} dead letters", begin.elapsed(), letters(&cli).await.len());
    let missing = cli.run(&["dlq", "show", "nobody"], "").await.unwrap();
    assert_ne!(missing.code, 0, "{missing:?}");
}
