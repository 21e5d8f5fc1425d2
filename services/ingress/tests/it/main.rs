//! The front door against a real nats-server: each test starts its own.

mod attacks;
mod door;
mod polling;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use door::{Door, NEXT_SECRET, answer, push, sha, sign};
use futures::future::join_all;
use serde_json::json;
use sluice_bus::{Bucket, Expected};
use sluice_schemas::Cause;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{PushReceived, PushSource};
use sluice_schemas::ids::{RepoSlug, RunNumber};
use sluice_schemas::inbox::InboxDelivery;
use sluice_schemas::state::{HeadState, RunsOfPush};
use sluice_schemas::{Digest, Message};

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_push_becomes_one_fact() {
    let door = Door::open().await;
    let (status, said) = door.deliver(&push('a', 'b')).await;
    assert_eq!((status, &said["accepted"]), (202, &json!(true)), "{said}");
    let (envelope, fact) = door.pushes().await.next().await;
    assert_eq!(
        fact.repository.clone_url, "https://git.example.invalid/dev/shop-web.git",
        "ours, not the body's"
    );
    assert_eq!((fact.before.as_str(), fact.after.as_str()), (sha('a').as_str(), sha('b').as_str()));
    assert_eq!(
        (fact.source, fact.superseded, fact.changed_files_complete),
        (PushSource::Webhook, false, true)
    );
    assert_eq!(fact.changed_files, ["src/a.sh"]);
    assert_eq!(said["delivery"], json!(fact.delivery));
    assert_eq!(envelope.correlation, correlation_of(fact.push.as_str()));
    assert!(envelope.causation.is_some());

    // The old and the next secret are both good while a person rotates.
    let body = push('b', 'c').to_string();
    let next = door
        .unsigned("push", body.as_bytes())
        .header("X-Hub-Signature-256", sign(NEXT_SECRET, body.as_bytes()));
    assert_eq!(answer(next).await.0, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_and_other_events_are_answered_and_leave_nothing() {
    let door = Door::open().await;
    let body = push('a', 'b').to_string();
    let (status, said) = answer(door.request("ping", body.as_bytes())).await;
    assert_eq!((status, &said["pong"]), (200, &json!(true)));
    let (status, said) = answer(door.request("issues", body.as_bytes())).await;
    assert_eq!((status, &said["ignored"]), (202, &json!(true)));
    assert!(said["reason"].as_str().is_some_and(|reason| reason.contains("issues")));
    let note = json!({"ref": "refs/notes/x", "before": sha('a'), "after": sha('b'), "repository": {"full_name": "dev/shop-web"}});
    assert_eq!(door.deliver(&note).await.1["ignored"], json!(true));
    assert_eq!(door.sequences().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_copies_at_once_after_a_restart_and_under_other_delivery_ids_are_one_push() {
    let mut door = Door::open().await;
    let body = push('a', 'b').to_string();
    let copies = (0..200)
        .map(|n| answer(door.request("push", body.as_bytes()).header("X-GitHub-Delivery", n.to_string())));
    let answers = join_all(copies).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 202).count(), 1);
    assert_eq!(
        answers.iter().filter(|(status, said)| *status == 200 && said["duplicate"] == json!(true)).count(),
        199
    );
    let (_, fact) = door.pushes().await.next().await;

    door.reopen().await;
    door.nats.kill();
    door.nats.revive();
    let runs = RunsOfPush {
        runs: BTreeMap::from([("a.yml".to_owned(), RunNumber(7)), ("b.yml".to_owned(), RunNumber(6))]),
    };
    let (status, said) = loop {
        let kept = door.bus.kv(Bucket::Runs).put(&format!("push.{}", fact.push), &runs).await;
        let (status, said) =
            answer(door.request("push", body.as_bytes()).header("X-GitHub-Delivery", "fresh")).await;
        if status != 503 && kept.is_ok() {
            break (status, said);
        }
    };
    assert_eq!((status, &said["duplicate"]), (200, &json!(true)), "{said}");
    assert_eq!((&said["push"], &said["run"]["number"]), (&json!(fact.push), &json!(6)));
    assert_eq!(door.sequences().await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_goes_back_and_news_that_come_late_are_told_apart() {
    let door = Door::open().await;
    let mut pushes = door.pushes().await;
    for (before, after) in [('a', 'b'), ('b', 'c'), ('c', 'b'), ('b', 'e')] {
        assert_eq!(door.deliver(&push(before, after)).await.0, 202);
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(pushes.next().await.1);
    }
    assert!(seen.iter().all(|fact| !fact.superseded));
    assert_ne!(seen[0].push, seen[2].push, "the same commit again is another push");
    // Heard of in other words after the branch moved on: nothing new.
    let mut again = push('c', 'b');
    again["repository"]["pushed_at"] = json!(1);
    assert_eq!(door.deliver(&again).await.0, 202);
    // f → g overtook e → f.
    assert_eq!(door.deliver(&push('f', 'd')).await.0, 202);
    assert_eq!(door.deliver(&push('e', 'e')).await.0, 202);
    assert_eq!(pushes.next().await.1.after.as_str(), sha('d'));
    let head = head(&door).await;
    assert_eq!((head.before.as_str(), head.after.as_str()), (sha('e').as_str(), sha('d').as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_news_are_a_fact_of_their_own_and_leave_the_head() {
    let door = Door::open().await;
    let mut pushes = door.pushes().await;
    assert_eq!(door.deliver(&push('b', 'c')).await.0, 202);
    pushes.next().await;
    assert_eq!(door.deliver(&push('a', 'b')).await.0, 202);
    let (_, late) = pushes.next().await;
    assert_eq!((late.after.as_str(), late.superseded), (sha('b').as_str(), true));
    assert_eq!(head(&door).await.after.as_str(), sha('c'));
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_deletions_are_pushes_and_a_bump_continues_its_chain() {
    let door = Door::open().await;
    let mut pushes = door.pushes().await;
    let mut tag = push('0', 'b');
    tag["ref"] = json!("refs/tags/v1");
    tag["after"] = json!(sha('9'));
    assert_eq!(door.deliver(&tag).await.0, 202);
    let (_, fact) = pushes.next().await;
    assert_eq!((fact.tag(), fact.created, fact.after.as_str()), (Some("v1"), true, sha('b').as_str()));
    let mut gone = push('b', '0');
    gone["head_commit"] = json!(null);
    gone["commits"] = json!([]);
    assert_eq!(door.deliver(&gone).await.0, 202);
    let (_, fact) = pushes.next().await;
    assert!(fact.deleted && fact.head_commit.is_none() && fact.after.is_null());
    let mut bump = push('0', 'd');
    bump["head_commit"]["message"] =
        json!("update(shop-web): dddddddd\n\nSluice-Correlation: c0ffee\nSluice-Run: x#1");
    assert_eq!(door.deliver(&bump).await.0, 202);
    assert_eq!(pushes.next().await.0.correlation.as_str(), "c0ffee");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_away_is_said_within_two_seconds_and_nothing_is_lost() {
    let mut door = Door::open().await;
    door.nats.kill();
    let started = Instant::now();
    let response =
        door.request("push", push('a', 'b').to_string().as_bytes()).send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    door.nats.revive();
    while door.deliver(&push('a', 'b')).await.0 == 503 {}
    assert_eq!(door.pushes().await.next().await.1.after.as_str(), sha('b'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_died_after_writing_the_fact_is_made_good() {
    let door = Door::open().await;
    let slug = RepoSlug::from_full_name("dev/shop-web");
    let id = HeadState::push_id(&slug, "refs/heads/main", &sha('b').parse().expect("a commit"), None);
    let fact = PushReceived { push: id.clone(), ..PushReceived::example() };
    let cause = Cause::root(correlation_of("x"), "x");
    door.bus.append(&fact, &cause, Expected::Absent).await.expect("written by the handler that died");
    assert_eq!(door.deliver(&push('a', 'b')).await.0, 202);
    assert_eq!(door.deliver(&push('b', 'c')).await.0, 202);
    let mut pushes = door.pushes().await;
    assert_eq!(pushes.next().await.1.push, id);
    let (_, second) = pushes.next().await;
    assert_eq!(second.after.as_str(), sha('c'), "one fact for b, and the head had moved there");
    assert_eq!(door.sequences().await, (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_a_dead_letter_and_the_rest_flows() {
    let door = Door::open().await;
    let lost = InboxDelivery { payload: Digest::of(b"never stored"), ..InboxDelivery::example() };
    let cause = Cause::root(correlation_of("x"), "x");
    door.bus.publish_once(&lost, &cause).await.expect("published");
    // A command on the inbox: a message that is no delivery.
    let odd = InboxDelivery { event: "dance".to_owned(), delivery: "odd".parse().expect("an id"), ..lost };
    door.bus.publish_once(&odd, &cause.nth(1)).await.expect("published");
    assert_eq!(door.deliver(&push('a', 'b')).await.0, 202);
    assert_eq!(door.pushes().await.next().await.1.after.as_str(), sha('b'));
    let letters = door.bus.dead_letters().await.expect("readable");
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(letters.iter().all(|letter| letter.consumer == "ingress-inbox" && !letter.reason.is_empty()));
}

async fn head(door: &Door) -> HeadState {
    let key = HeadState::key(&RepoSlug::from_full_name("dev/shop-web"), "refs/heads/main");
    door.bus.kv::<HeadState>(Bucket::Heads).get(&key).await.expect("readable").expect("a head").value
}
