//! The front door: honest, repeated, forged and lost webhooks.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_e2e::webhook::{Delivery, repository, sign};
use sluice_e2e::{World, seed, until};

const SOON: Duration = Duration::from_secs(30);
const ZERO: &str = "0000000000000000000000000000000000000000";

/// A world in which only ingress runs, and the commits of a repository with two of them.
async fn door(name: &str, settings: Value) -> (World, String, String) {
    let mut world = World::new(name).await.unwrap();
    let copy = seed::repository(&world, "shop-web").await.unwrap();
    let first = copy.git(&["rev-parse", "HEAD"]).await.unwrap();
    let second = copy.ship("second").await.unwrap();
    seed::empty(&world, "deploy").await.unwrap();
    world.settings = settings;
    world.start_service("ingress", &[]).await.unwrap().ready(SOON).await.unwrap();
    world.watch().await.unwrap();
    (world, first, second)
}

fn delivery(world: &World, before: &str, after: &str) -> Delivery {
    let full_name = world.full_name("shop-web");
    let repository = repository(&full_name, &world.clone_url("shop-web"));
    Delivery::push(&world.webhook_url(), &world.planted.webhook, &repository, before, after)
}

/// Messages in all streams.
async fn streams(world: &World) -> Vec<u64> {
    let mut all = Vec::new();
    for stream in ["INBOX", "EVENTS", "WORK", "LOGS", "DLQ"] {
        all.push(world.nats.state(stream).await.unwrap().1);
    }
    all
}

#[tokio::test]
async fn a_webhook_is_taken_once_however_often_it_comes() {
    let (mut world, first, second) = door("webhook_once", json!({})).await;
    let push = delivery(&world, &first, &second);
    let sends = (0..200).map(|at| {
        let mut push = push.clone();
        // Half of them under a delivery id of their own, as after "redeliver".
        if at % 2 == 0 {
            push.delivery = format!("{at:08}-0000-0000-0000-000000000000");
        }
        let http = world.http.clone();
        async move { push.send(&http).await.unwrap().0 }
    });
    let mut tasks = tokio::task::JoinSet::new();
    sends.for_each(|send| drop(tasks.spawn(send)));
    let statuses = tasks.join_all().await;
    assert_eq!(statuses.iter().filter(|s| **s == 202).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 199, "{statuses:?}");
    let fact = world
        .witness()
        .unwrap()
        .wait("push.received", SOON, |e| e.data["after"] == second.as_str())
        .await
        .unwrap();
    assert_eq!(fact.data["source"], "webhook");

    world.process("ingress").unwrap().kill().await.unwrap();
    world.start_service("ingress", &[]).await.unwrap().ready(SOON).await.unwrap();
    assert_eq!(push.send(&world.http).await.unwrap().0, 200);
    let events = world.witness().unwrap().settle(Duration::from_secs(1), SOON).await.unwrap();
    assert_eq!(events.iter().filter(|e| e.kind() == "push.received").count(), 1);
}

#[tokio::test]
async fn what_is_forged_leaves_no_trace() {
    let (world, first, second) = door("webhook_forged", json!({})).await;
    let good = delivery(&world, &first, &second);
    let before = streams(&world).await;
    let mut unsigned = good.clone();
    unsigned.signature = None;
    let mut other_key = good.clone();
    other_key.signature = Some(sign("not the secret", &good.body));
    let mut altered = good.clone();
    altered.body.push(b' ');
    let mut malformed = good.clone();
    malformed.signature = Some("sha256=zz".to_owned());
    let mut old_hash = good.clone();
    old_hash.signature = good.signature.as_ref().map(|s| s.replace("sha256", "sha1"));
    for (what, delivery) in [
        ("unsigned", unsigned),
        ("other key", other_key),
        ("altered", altered),
        ("malformed", malformed),
        ("sha1", old_hash),
    ] {
        let (status, body) = delivery.send(&world.http).await.unwrap();
        assert!((400..500).contains(&status), "{what}: {status} {body}");
    }
    let mut oversized = good.clone();
    oversized.body.resize((25 << 20) + 1, b' ');
    oversized.signature = Some(sign(&world.planted.webhook, &oversized.body));
    // It may be refused while it is still being sent.
    if let Ok((status, _)) = oversized.send(&world.http).await {
        assert_eq!(status, 413);
    }
    assert_eq!(streams(&world).await, before);
    assert_eq!(good.send(&world.http).await.unwrap().0, 202);
}

#[tokio::test]
async fn without_the_bus_the_sender_is_told_to_come_again() {
    let (mut world, first, second) = door("webhook_no_bus", json!({})).await;
    let push = delivery(&world, &first, &second);
    world.nats.kill().await.unwrap();
    let (status, body) = push.send(&world.http).await.unwrap();
    assert_eq!(status, 503, "{body}");
    world.nats.resume().await.unwrap();
    until("it is taken when the bus is back", SOON, async || match push.send(&world.http).await {
        Ok((202, _)) => Ok(()),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(format!("{error:#}")),
    })
    .await
    .unwrap();
    world.watch_again().await.unwrap();
    world
        .witness()
        .unwrap()
        .wait("push.received", SOON, |e| e.data["after"] == second.as_str())
        .await
        .unwrap();
}

#[tokio::test]
async fn git_tells_of_pushes_and_what_it_forgot_is_found() {
    let (world, _, _) =
        door("webhook_git", json!({"ingress": {"poll_seconds": 1, "poll_grace_seconds": 1}})).await;
    world.hook("shop-web").await.unwrap();
    let copy =
        sluice_e2e::git::Copy::at(&world.directory.join("copies/shop-web"), &world.clone_url("shop-web"));
    let told = copy.ship("told").await.unwrap();
    let witness = world.witness().unwrap();
    let fact = witness.wait("push.received", SOON, |e| e.data["after"] == told.as_str()).await.unwrap();
    assert_eq!(
        (&fact.data["source"], &fact.data["head_commit"]["message"]),
        (&json!("webhook"), &json!("told"))
    );

    copy.git(&["tag", "v1"]).await.unwrap();
    copy.git(&["push", "-q", "origin", "v1", "HEAD:refs/heads/feature"]).await.unwrap();
    witness
        .wait("push.received", SOON, |e| e.data["ref"] == "refs/tags/v1" && e.data["created"] == true)
        .await
        .unwrap();
    copy.git(&["push", "-q", "origin", ":feature"]).await.unwrap();
    let gone = witness.wait("push.received", SOON, |e| e.data["deleted"] == true).await.unwrap();
    assert_eq!((&gone.data["ref"], &gone.data["after"]), (&json!("refs/heads/feature"), &json!(ZERO)));

    // The webhook goes to nobody, so only the look at the heads can find it.
    world.unhook("shop-web").await.unwrap();
    let silent = copy.ship("silent").await.unwrap();
    let fact = witness.wait("push.received", SOON, |e| e.data["after"] == silent.as_str()).await.unwrap();
    assert_eq!(fact.data["source"], "poll");
    assert_eq!(fact.data["before"], told.as_str());
}
