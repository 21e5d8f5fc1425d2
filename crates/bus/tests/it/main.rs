//! The bus against a real nats-server: each test starts its own.

mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use server::Server;
use sluice_bus::topology::{BUILDER_EXECUTE, BUILDER_PUSH, NOTIFIER_FACTS, PUBLISHER_BUILT};
use sluice_bus::{Bucket, Delivery, Expected, From, KvError, Outcome, Store};
use sluice_schemas::commands::ExecuteJob;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{ImageBuilt, PushReceived, RunFinished, RunQueued};
use sluice_schemas::inbox::InboxDelivery;
use sluice_schemas::{Cause, Digest, Event, Filter, Message};
use tokio::sync::mpsc;

fn cause(seed: &str) -> Cause {
    Cause::root(correlation_of(seed), seed)
}

/// The next value, or a failed test: nothing here takes longer than a redelivery.
async fn next<T>(receiver: &mut mpsc::Receiver<T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), receiver.recv()).await.expect("in time").expect("a value")
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_twice_changes_nothing() {
    let server = Server::start();
    let bus = server.bus("builder").await;
    bus.provision().await.expect("a second time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_gets_a_message_once_and_its_id_is_deterministic() {
    let server = Server::start();
    let bus = server.bus("builder").await;
    let (sender, mut received) = mpsc::channel(8);
    let handler = move |delivery: Delivery<PushReceived>| {
        let sender = sender.clone();
        async move {
            sender.send(delivery).await.expect("the test listens");
            Outcome::Done
        }
    };
    bus.consume(server.service(), BUILDER_PUSH, 4, handler).await.expect("consumes");
    let first = bus.publish(&PushReceived::example(), &cause("a")).await.expect("published");
    let second = bus.publish(&PushReceived::example(), &cause("a")).await.expect("published");
    assert!(!first.duplicate && second.duplicate);
    let delivery = next(&mut received).await;
    assert_eq!(delivery.message, PushReceived::example());
    assert_eq!(delivery.envelope.id, cause("a").message_id(PushReceived::TYPE));
    assert_eq!(delivery.envelope.source, "/sluice/builder");
    bus.publish(&PushReceived::example(), &cause("b")).await.expect("published");
    assert_eq!(next(&mut received).await.sequence, delivery.sequence + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_acknowledgement_brings_the_message_again() {
    let server = Server::start();
    let bus = server.bus("builder").await;
    let (sender, mut received) = mpsc::channel(8);
    let attempts = Arc::new(AtomicU32::new(0));
    let handler = move |delivery: Delivery<PushReceived>| {
        let (sender, attempts) = (sender.clone(), Arc::clone(&attempts));
        async move {
            assert!(attempts.fetch_add(1, Ordering::SeqCst) > 0, "the first attempt dies");
            sender.send(delivery.delivered).await.expect("the test listens");
            Outcome::Done
        }
    };
    bus.consume(server.service(), BUILDER_PUSH, 1, handler).await.expect("consumes");
    bus.publish(&PushReceived::example(), &cause("a")).await.expect("published");
    assert_eq!(next(&mut received).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_the_dead_letters_the_rest_flows_and_retry_works() {
    let server = Server::start();
    let bus = server.bus("builder").await;
    let (sender, mut received) = mpsc::channel(8);
    let broken = Arc::new(AtomicU32::new(1));
    let switch = Arc::clone(&broken);
    let handler = move |delivery: Delivery<ExecuteJob>| {
        let (sender, switch) = (sender.clone(), Arc::clone(&switch));
        async move {
            if delivery.message.key == "bad" && switch.load(Ordering::SeqCst) == 1 {
                return Outcome::Reject { reason: "does\nnot work".to_owned() };
            }
            sender.send(delivery.message.key.clone()).await.expect("the test listens");
            Outcome::Done
        }
    };
    bus.consume(server.service(), BUILDER_EXECUTE, 1, handler).await.expect("consumes");
    server.publish_raw("cmd.builder.job.garbage", "not JSON").await;
    let bad = ExecuteJob { key: "bad".to_owned(), ..ExecuteJob::example() };
    bus.publish(&bad, &cause("bad")).await.expect("published");
    let good = ExecuteJob { key: "good".to_owned(), ..ExecuteJob::example() };
    bus.publish(&good, &cause("good")).await.expect("published");
    assert_eq!(next(&mut received).await, "good");
    let letters = bus.dead_letters().await.expect("readable");
    assert_eq!(letters.len(), 2);
    assert!(letters[0].reason.contains("does not come from Sluice") || letters[0].reason.contains("header"));
    assert_eq!(
        (letters[1].reason.as_str(), letters[1].consumer.as_str()),
        ("does not work", "builder-execute")
    );
    broken.store(0, Ordering::SeqCst);
    bus.retry_dead_letter(&letters[1].id).await.expect("sent again");
    assert_eq!(next(&mut received).await, "bad");
    assert_eq!(bus.dead_letters().await.expect("readable").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_fact_is_skipped_and_an_undecodable_one_buried() {
    let server = Server::start();
    let bus = server.bus("publisher").await;
    let (sender, mut received) = mpsc::channel(8);
    let handler = move |delivery: Delivery<ImageBuilt>| {
        let sender = sender.clone();
        async move {
            sender.send(delivery.sequence).await.expect("the test listens");
            Outcome::Done
        }
    };
    bus.consume(server.service(), PUBLISHER_BUILT, 1, handler).await.expect("consumes");
    server.publish_raw("evt.image.r.i.built", "{}").await;
    let built = bus.publish(&ImageBuilt::example(), &cause("a")).await.expect("published");
    assert_eq!(next(&mut received).await, built.sequence);
    assert_eq!(bus.dead_letters().await.expect("readable").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_refuses_the_second_of_a_kind_for_good() {
    let server = Server::start();
    let bus = server.bus("ingress").await;
    let first = bus.publish_once(&InboxDelivery::example(), &cause("a")).await.expect("published");
    // Another cause: another message id, so the de-duplication window plays no part.
    let second = bus.publish_once(&InboxDelivery::example(), &cause("b")).await.expect("answered");
    assert!(!first.duplicate && second.duplicate);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_locked_by_the_aggregate() {
    let server = Server::start();
    let bus = server.bus("builder").await;
    let queued =
        bus.append(&RunQueued::example(), &cause("a"), Expected::AggregateLast(0)).await.expect("first");
    assert!(bus.append(&RunFinished::example(), &cause("b"), Expected::AggregateLast(0)).await.is_err());
    bus.append(&RunFinished::example(), &cause("b"), Expected::AggregateLast(queued)).await.expect("in turn");
    assert!(bus.append(&RunQueued::example(), &cause("c"), Expected::Absent).await.is_err());
    let subject = RunQueued::example().subject();
    let facts = bus.aggregate(&subject.aggregate().expect("a fact")).await.expect("readable");
    let kinds: Vec<_> = facts.iter().map(|f| f.event.kind().to_owned()).collect();
    assert_eq!(kinds, [RunQueued::TYPE, RunFinished::TYPE]);
    assert!(
        bus.aggregate(&Filter::facts(sluice_schemas::subject::Entity::App, None, None, None))
            .await
            .expect("readable")
            .is_empty()
    );
    let last = bus.last_fact(&subject).await.expect("readable").expect("there");
    assert_eq!(last.event, Event::RunQueued(Box::new(RunQueued::example())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_backlog_and_tail_without_a_gap() {
    let server = Server::start();
    let bus = server.bus("api").await;
    bus.publish(&RunQueued::example(), &cause("a")).await.expect("published");
    let mut facts = bus.facts(&Filter::all_facts(), From::Start).await.expect("readable");
    let first = facts.next().await.expect("a fact").expect("readable");
    assert_eq!((first.sequence, first.pending), (1, 0));
    bus.publish(&RunFinished::example(), &cause("b")).await.expect("published");
    assert_eq!(facts.next().await.expect("a fact").expect("readable").sequence, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_change_only_from_the_revision_that_was_read() {
    let server = Server::start();
    let bus = server.bus("builder").await;
    let kv = bus.kv::<String>(Bucket::Runs);
    assert_eq!(kv.get("a.1").await.expect("readable"), None);
    let revision = kv.create("a.1", &"x".to_owned()).await.expect("created");
    assert!(matches!(kv.create("a.1", &"y".to_owned()).await, Err(KvError::Conflict { .. })));
    let next_revision = kv.update("a.1", &"y".to_owned(), revision).await.expect("updated");
    assert!(matches!(kv.update("a.1", &"z".to_owned(), revision).await, Err(KvError::Conflict { .. })));
    let entry = kv.get("a.1").await.expect("readable").expect("there");
    assert_eq!((entry.value.as_str(), entry.revision), ("y", next_revision));
    let mut changes = kv.watch(">").await.expect("watches");
    let change = changes.next().await.expect("a change");
    assert_eq!((change.value.as_deref(), change.current), (Some("y"), true));
    kv.delete("a.1").await.expect("deleted");
    assert_eq!(changes.next().await.expect("a change").value, None);
    assert!(kv.keys().await.expect("readable").is_empty());
    kv.create("a.1", &"again".to_owned()).await.expect("created after deletion");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_has_one_holder_and_growing_epochs() {
    let server = Server::start();
    let bus = server.bus("builder").await;
    let lease = bus.leases().acquire(server.service(), "job.r.1").await.expect("asked").expect("free");
    assert!(bus.leases().acquire(server.service(), "job.r.1").await.expect("asked").is_none());
    let epoch = lease.epoch();
    drop(lease);
    let mut holders = bus.kv::<serde_json::Value>(Bucket::Leases).watch("job.r.1").await.expect("watches");
    loop {
        if holders.next().await.expect("a change").value.is_none() {
            break;
        }
    }
    let next = bus.leases().acquire(server.service(), "job.r.1").await.expect("asked").expect("given back");
    assert!(next.epoch() > epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_learns_that_its_lease_is_lost() {
    let server = Server::start();
    let bus = server.bus("builder").await;
    let lease = bus.leases().acquire(server.service(), "job.r.2").await.expect("asked").expect("free");
    bus.kv::<serde_json::Value>(Bucket::Leases)
        .put("job.r.2", &serde_json::json!({}))
        .await
        .expect("taken over");
    tokio::time::timeout(Duration::from_secs(10), lease.lost().cancelled()).await.expect("told");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_what_their_name_says() {
    let server = Server::start();
    let bus = server.bus("builder").await;
    let objects = bus.objects(Store::Manifests);
    let bytes = Bytes::from(vec![7_u8; 300_000]);
    let digest = objects.put(bytes.clone()).await.expect("stored");
    assert_eq!(objects.put(bytes.clone()).await.expect("known"), digest);
    assert_eq!(objects.get(&digest).await.expect("read"), bytes);
    let other = Digest::of(b"other");
    assert!(objects.put_stream(&other, &b"wrong"[..]).await.is_err());
    assert!(!objects.has(&other).await.expect("asked"));
    assert!(objects.get(&other).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn work_survives_a_restart_of_the_server() {
    let mut server = Server::start();
    let bus = server.bus("builder").await;
    let (sender, mut received) = mpsc::channel(8);
    let handler = move |delivery: Delivery<PushReceived>| {
        let sender = sender.clone();
        async move {
            sender.send(delivery.envelope.id).await.expect("the test listens");
            Outcome::Done
        }
    };
    bus.consume(server.service(), BUILDER_PUSH, 1, handler).await.expect("consumes");
    bus.publish(&PushReceived::example(), &cause("before")).await.expect("published");
    next(&mut received).await;
    server.nats.kill();
    server.nats.revive();
    let published = async { while bus.publish(&PushReceived::example(), &cause("after")).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), published).await.expect("reconnected");
    // The acknowledgement of the first may have been lost with the server; then it comes again.
    while next(&mut received).await != cause("after").message_id(PushReceived::TYPE) {}
}

/// A consumer that takes one message at a time is asked for the next thousands of times; none of the requests may be
/// lost, because the wait for a missed heartbeat takes seconds.
#[tokio::test(flavor = "multi_thread")]
async fn one_after_the_other_never_waits() {
    let server = Server::start();
    let bus = server.bus("notifier").await;
    let (sender, mut received) = mpsc::channel(8);
    let handler = move |delivery: Delivery<PushReceived>| {
        let sender = sender.clone();
        async move {
            sender.send(delivery.envelope.id).await.expect("the test listens");
            Outcome::Done
        }
    };
    bus.consume(server.service(), NOTIFIER_FACTS, 1, handler).await.expect("consumes");
    for number in 0..2000 {
        bus.publish(&PushReceived::example(), &cause(&number.to_string())).await.expect("published");
        let answer = tokio::time::timeout(Duration::from_secs(4), received.recv()).await;
        assert!(answer.is_ok(), "message {number} was not delivered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_go_on_where_they_were_when_the_server_comes_back() {
    let mut server = Server::start();
    let bus = server.bus("api").await;
    let mut facts = bus.facts(&Filter::all_facts(), From::New).await.expect("readable");
    bus.publish(&RunQueued::example(), &cause("a")).await.expect("published");
    assert_eq!(facts.next().await.expect("a fact").expect("readable").sequence, 1);
    let mut changes = bus.kv::<String>(Bucket::Runs).watch(">").await.expect("watches");
    server.nats.kill();
    server.nats.revive();
    let published = async { while bus.publish(&RunFinished::example(), &cause("b")).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), published).await.expect("reconnected");
    let next = tokio::time::timeout(Duration::from_secs(5), facts.next()).await.expect("soon");
    assert_eq!(next.expect("a fact").expect("readable").sequence, 2);
    let ended = tokio::time::timeout(Duration::from_secs(5), changes.next()).await.expect("soon");
    assert_eq!(ended, None, "a watch ends with its connection");
}
