//! Poison: what nobody can read lands in the dead letters with its reason, whoever it was for, while everything else
//! flows on; and a letter whose trouble is over can be tried again.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_e2e::world::{Shop, token};
use sluice_e2e::{World, seed, until};
use sluice_schemas::Message;
use sluice_schemas::commands::{
    CancelRun, ExecuteJob, Promote, Refresh, Render, RerunRun, SendMessage, Sync,
};
use sluice_schemas::events::{ImageBuilt, ImagePublished, JobStarted, PushReceived, RenderSucceeded};
use sluice_schemas::inbox::InboxDelivery;

use crate::eyes::Person;
use crate::stage::{SOON, on_dev, shop};

/// A payload that is JSON, that of no message, and no friend of web pages.
const WRONG: &str = r#"{"not": "what it says", "page": "<script>alert(1)</script>"}"#;

#[tokio::test]
async fn poison_is_set_aside_and_the_rest_flows() {
    let (mut world, shop) = shop("poison").await;
    let person = Person::admin(&world).await.unwrap();
    let consumers = consumers(&world).await;
    // The push goes its way while poison comes down on everybody.
    let (expected, chain) = tokio::join!(pour(&world, &consumers), on_dev(&world, &shop, "6.0.0"));
    everything_is_there(&world, &person, &consumers, &expected).await;
    hopeless(&world, &person).await;
    mended(&mut world, &shop, &person, &chain).await;
    let missing = person.fails(&["dlq", "show", "nobody"], 1).await.unwrap();
    assert!(missing.contains("sluice dlq ls"), "{missing}");
}

/// Every durable consumer of the services, with a subject that it gets.
async fn consumers(world: &World) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for stream in ["INBOX", "EVENTS", "WORK"] {
        let names = world.nats.ok(&["consumer", "ls", stream, "--names"]).await.unwrap();
        for name in names.split_whitespace() {
            let info = world.nats.ok(&["consumer", "info", stream, name, "--json"]).await.unwrap();
            let info: Value = serde_json::from_str(&info).unwrap();
            // Readers that services make for themselves come and go.
            if info["config"]["durable_name"].is_null() {
                continue;
            }
            let filter = info["config"]["filter_subject"].as_str().unwrap_or_else(|| panic!("{info}"));
            let place = match filter {
                "evt.>" => "evt.run.x.y.started".to_owned(),
                "inbox.>" => "inbox.github.x.y".to_owned(),
                filter => filter.replace('*', "x").replace('>', "x.y.succeeded"),
            };
            all.insert(name.to_owned(), place);
        }
    }
    assert!(all.len() >= 20, "{all:?}");
    all
}

/// The type that a consumer understands; none for those that take whatever is sent to them again.
fn type_of(consumer: &str) -> Option<&'static str> {
    Some(match consumer {
        "ingress-inbox" => InboxDelivery::TYPE,
        "builder-push" | "reconciler-push" | "notifier-facts" => PushReceived::TYPE,
        "builder-progress" => JobStarted::TYPE,
        "builder-execute" => ExecuteJob::TYPE,
        "builder-cancel" => CancelRun::TYPE,
        "builder-rerun" => RerunRun::TYPE,
        "publisher-built" => ImageBuilt::TYPE,
        "publisher-bump" => ImagePublished::TYPE,
        "publisher-promote" => Promote::TYPE,
        "renderer-render" => Render::TYPE,
        "reconciler-rendered" => RenderSucceeded::TYPE,
        "reconciler-sync" => Sync::TYPE,
        "reconciler-refresh" => Refresh::TYPE,
        "notifier-send" => SendMessage::TYPE,
        redelivery => {
            assert!(redelivery.ends_with("-redelivery"), "what does {redelivery} understand?");
            return None;
        }
    })
}

/// Sends noise and lies to every consumer. Answers which letters must come: consumer, subject, words of the reason.
async fn pour(world: &World, consumers: &BTreeMap<String, String>) -> Vec<(String, String, &'static str)> {
    let mut expected = Vec::new();
    for (consumer, place) in consumers {
        // The last word but the fact's own name, so that the subject still is the consumer's.
        let subject = |what: &str| {
            let mut words: Vec<&str> = place.split('.').collect();
            let at = words.iter().rposition(|word| matches!(*word, "x" | "y")).unwrap();
            words[at] = what;
            words.join(".")
        };
        let noise = subject(&format!("noise-{}", token(6)));
        world.nats.publish(&noise, &[], "\u{1}\u{2}{{{").await.unwrap();
        expected.push((consumer.clone(), noise, ""));
        if let Some(kind) = type_of(consumer) {
            let lie = subject(&format!("lie-{}", token(6)));
            send(world, &lie, kind, WRONG).await;
            expected.push((consumer.clone(), lie, "missing field"));
        }
    }
    // A command of a kind that nobody knows.
    let unknown = format!("cmd.renderer.render.unknown-{}", token(6));
    send(world, &unknown, "dev.sluice.command.dance.v1", "{}").await;
    expected.push(("renderer-render".to_owned(), unknown, "dance"));
    expected
}

/// A message with an envelope as it should be.
async fn send(world: &World, subject: &str, kind: &str, body: &str) {
    let id = token(32);
    let headers = [
        ("ce-id", id.as_str()),
        ("Nats-Msg-Id", &id),
        ("ce-type", kind),
        ("ce-source", "/sluice/nobody"),
        ("ce-time", "2026-01-02T03:04:05Z"),
        ("ce-specversion", "1.0"),
        ("ce-correlationid", "0123456789abcdef0123456789abcdef"),
    ];
    world.nats.publish(subject, &headers, body).await.unwrap();
}

async fn letters(person: &Person) -> Vec<Value> {
    let list = person.json(&["dlq", "ls"]).await.unwrap();
    list["items"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
}

/// Waits for a letter of this consumer and subject.
async fn letter(person: &Person, consumer: &str, subject: &str) -> Value {
    until(&format!("the letter {subject} of {consumer}"), SOON, async || {
        let all = letters(person).await;
        let found = all.iter().find(|l| l["consumer"] == consumer && l["subject"] == subject);
        found.cloned().ok_or_else(|| format!("{all:#?}"))
    })
    .await
    .unwrap()
}

async fn everything_is_there(
    world: &World,
    person: &Person,
    consumers: &BTreeMap<String, String>,
    expected: &[(String, String, &str)],
) {
    // The last one first: then all are there, and are asked for once.
    let all = until("every letter", SOON, async || {
        let all = letters(person).await;
        let is_there = |consumer: &str, subject: &str| {
            all.iter().any(|l| l["consumer"] == consumer && l["subject"] == subject)
        };
        let missing: Vec<_> = expected.iter().filter(|(c, s, _)| !is_there(c, s)).collect();
        if missing.is_empty() { Ok(all) } else { Err(format!("missing: {missing:#?}")) }
    })
    .await
    .unwrap();
    for (consumer, subject, words) in expected {
        let ours = all.iter().filter(|l| l["consumer"] == **consumer && l["subject"] == **subject);
        let ours: Vec<_> = ours.collect();
        assert_eq!(ours.len(), 1, "{ours:#?}");
        let reason = ours[0]["reason"].as_str().unwrap();
        assert!(reason.len() > 15 && reason.contains(words), "{consumer}: {reason:?}");
    }
    let table = person.cli.ok(&["dlq", "ls"]).await.unwrap();
    let (status, page) = person.get("/dlq").await.unwrap();
    assert_eq!(status, 200);
    assert!(!page.contains("<script>alert"), "a payload is part of the page");
    for consumer in consumers.keys() {
        assert!(table.contains(consumer) && page.contains(consumer), "{consumer} is not in\n{table}");
    }
    let shown = person.cli.ok(&["dlq", "show", all[0]["id"].as_str().unwrap()]).await.unwrap();
    assert!(shown.contains(all[0]["reason"].as_str().unwrap()), "{shown}");
    // Nothing waits behind them.
    let config = world.directory.join("sluice.yaml");
    let direct = ["dlq", "ls", "--direct", "--config", config.to_str().unwrap(), "-o", "json"];
    let direct: Value = serde_json::from_str(&person.cli.ok(&direct).await.unwrap()).unwrap();
    assert_eq!(direct["items"].as_array().map(Vec::len), Some(all.len()));
}

/// Trying again hands a letter to its consumer, who sets it aside again: it is no better than before.
async fn hopeless(world: &World, person: &Person) {
    let all = letters(person).await;
    let lie = |l: &&Value| {
        l["consumer"] == "renderer-render" && l["reason"].as_str().unwrap().contains("missing field")
    };
    let before = all.iter().find(lie).unwrap();
    let last = world.nats.state("DLQ").await.unwrap().1;
    person.cli.ok(&["dlq", "retry", before["id"].as_str().unwrap()]).await.unwrap();
    until("it is set aside again", SOON, async || {
        let now = world.nats.state("DLQ").await.map_err(|error| error.to_string())?.1;
        if now > last { Ok(()) } else { Err(format!("last letter {now}")) }
    })
    .await
    .unwrap();
    let again = letter(person, "renderer-render", before["subject"].as_str().unwrap()).await;
    assert_eq!((&again["reason"], &again["payload"]), (&before["reason"], &before["payload"]));
    assert_ne!(again["id"], before["id"]);
    assert_eq!(letters(person).await.len(), all.len());
}

/// A promotion to a repository that the publisher may not write to is refused; when it may, the letter goes through.
async fn mended(world: &mut World, shop: &Shop, person: &Person, chain: &sluice_e2e::story::Chain) {
    let other = seed::empty(world, "other").await.unwrap();
    let file = "prod/web/deployment.yaml";
    other.write(file, &shop.deploy.read(file).unwrap()).unwrap();
    other.commit("first").await.unwrap();
    other.git(&["push", "-q", "origin", "main"]).await.unwrap();
    world.apply(&[world.repository_secret("other")]).await.unwrap();
    let order = Promote {
        deploy_url: world.clone_url("other"),
        source: world.slug("shop-web").parse().unwrap(),
        image: world.image(),
        tag: chain.tag.clone(),
        digest: Some(chain.digest.parse().unwrap()),
        ..Promote::example()
    };
    let subject = order.subject().to_string();
    send(world, &subject, Promote::TYPE, &serde_json::to_string(&order).unwrap()).await;
    let refused = letter(person, "publisher-promote", &subject).await;
    assert!(refused["reason"].as_str().unwrap().contains("publisher.deploy"), "{refused}");

    world.process("sluice").unwrap().stop().await.unwrap();
    world.processes.clear();
    let repositories = ["deploy", "other"].map(|name| json!({"repository": world.clone_url(name)}));
    world.settings = json!({"publisher": {"deploy": repositories}});
    world.up().await.unwrap();
    let witness = world.witness().unwrap();
    let (before, id) = (letters(person).await.len(), refused["id"].as_str().unwrap());
    let said = person.cli.ok(&["dlq", "retry", id]).await.unwrap();
    assert!(said.contains("publisher-promote"), "{said}");
    let landed = witness
        .wait("bump.committed", SOON, |e| e.data["bump"]["deploy_url"] == order.deploy_url.as_str())
        .await
        .unwrap();
    assert_eq!(landed.data["changes"][0]["to"], chain.image.as_str());
    other.pull().await.unwrap();
    assert!(other.read(file).unwrap().contains(&chain.image));
    assert_eq!(letters(person).await.len(), before - 1);
}
