//! A process that dies at the worst points: the same end, nothing twice. And the four standard cases of each handler.

use serde_json::json;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{Event, PushReceived};
use sluice_schemas::ids::PushId;
use sluice_schemas::{Cause, Message};

use crate::stage::{Stage, URL, automated, sha, succeeded};

/// Lets the reconciler die at a point, starts another, and counts what there must be one of.
async fn dies_at(name: &str, point: &str, gated: bool) {
    let mut stage = Stage::alone(name).await;
    let objects =
        |value: &str| (0..6).map(|n| stage.config_map(&format!("map-{n}"), value)).collect::<Vec<_>>();
    let (first, second) = (objects("1"), objects("2"));
    stage.source("shop", 'a', first);
    stage.app("shop", if gated { json!(null) } else { automated() }).await;
    if gated {
        let state = stage.is_out_of_sync("shop", 'a').await;
        stage.command(&state, "first", Some(stage.grant(stage.terms(&state, "first")))).await;
    }
    stage.is_synced("shop", 'a').await;
    fail::cfg(point, "1*panic(killed)->off").expect("armed");
    stage.push("shop", 'b', second).await;
    if gated && point != "reconciler-compared-before-event" {
        let state = stage.is_out_of_sync("shop", 'b').await;
        stage.command(&state, "second", Some(stage.grant(stage.terms(&state, "second")))).await;
    }
    stage.died().await;
    fail::remove(point);
    stage.start().await;
    if gated && point == "reconciler-compared-before-event" {
        let state = stage.is_out_of_sync("shop", 'b').await;
        stage.command(&state, "second", Some(stage.grant(stage.terms(&state, "second")))).await;
    }
    succeeded(&stage.synced("shop", 'b').await);
    let state = stage.is_synced("shop", 'b').await;
    for n in 0..6 {
        assert_eq!(stage.value(&format!("map-{n}")).await.as_deref(), Some("2"));
    }
    assert_eq!(state.history.len(), 2);
    let facts = stage.facts().await;
    let of_b = |it: &&Event| match it {
        Event::SyncStarted(it) => it.sync.revision == sha('b'),
        Event::SyncFinished(it) => it.sync.revision == sha('b'),
        Event::GrantConsumed(it) => it.revision == sha('b'),
        _ => false,
    };
    let kinds: Vec<_> = facts.iter().filter(of_b).map(|it| it.kind().to_owned()).collect();
    let mut expected = vec!["dev.sluice.sync.started.v1", "dev.sluice.sync.finished.v1"];
    if gated {
        expected.insert(0, "dev.sluice.grant.consumed.v1");
    }
    assert_eq!(kinds, expected, "{:#?}", stage.log().await);
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_comparison_and_event() {
    dies_at("kill-compare", "reconciler-compared-before-event", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_grant_is_consumed_and_nothing_applied() {
    dies_at("kill-grant", "reconciler-grant-consumed", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_some_of_the_objects() {
    dies_at("kill-some", "reconciler-applied-some", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_some_of_the_objects_under_a_grant() {
    dies_at("kill-some-g", "reconciler-applied-some", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_apply_and_status() {
    dies_at("kill-status", "reconciler-applied-before-status", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_do_it_once_and_one_takes_over() {
    let mut stage = Stage::new("replicas").await;
    let first = stage.second().await;
    stage.source("shop", 'a', vec![stage.config_map("one", "1")]);
    stage.app("shop", automated()).await;
    succeeded(&stage.synced("shop", 'a').await);
    stage.is_synced("shop", 'a').await;
    stage.push("shop", 'b', vec![stage.config_map("one", "2")]).await;
    succeeded(&stage.synced("shop", 'b').await);
    stage.is_synced("shop", 'b').await;
    stage.edit("one", "drifted").await;
    stage.state("shop", |it| it.history.len() == 3).await;
    first.tasks().shutdown().cancel();
    stage.push("shop", 'c', vec![stage.config_map("one", "3")]).await;
    succeeded(&stage.synced("shop", 'c').await);
    assert_eq!(stage.value("one").await.as_deref(), Some("3"));
    let facts = stage.facts().await;
    let started = facts.iter().filter(|it| matches!(it, Event::SyncStarted(_))).count();
    let finished = facts.iter().filter(|it| matches!(it, Event::SyncFinished(_))).count();
    assert_eq!((started, finished), (4, 4), "{:#?}", stage.log().await);
    stage.stop().await;
    // Deleted while nobody watches: the next one cleans up.
    stage.cluster.delete_application("shop").await.expect("deleted");
    stage.start().await;
    stage.fact("deletion", |event| matches!(event, Event::AppDeleted(_)).then_some(())).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_change_nothing() {
    let stage = Stage::new("twice").await;
    stage.source("shop", 'a', vec![stage.config_map("one", "1")]);
    stage.app("shop", json!(null)).await;
    let state = stage.is_out_of_sync("shop", 'a').await;
    let grant = stage.grant(stage.terms(&state, "once"));
    stage.command(&state, "twice", Some(grant.clone())).await;
    succeeded(&stage.synced("shop", 'a').await);
    // The same command with another message id, as a redelivery through the dead-letter queue would be.
    let command = sluice_schemas::commands::Sync {
        sync: "twice".parse().expect("an id"),
        app: state.app.app.clone(),
        project: state.app.project.clone(),
        revision: sha('a'),
        prune: false,
        person: "ada".parse().expect("an id"),
        surface: sluice_schemas::events::Surface::Web,
        grant: Some(grant),
    };
    stage.bus.publish(&command, &Cause::root(correlation_of("again"), "again")).await.expect("published");
    // The same push with another id: another delivery of the same thing.
    let mut push = PushReceived::example();
    push.push = PushId::from_text("another-delivery");
    push.repository.clone_url = URL.to_owned();
    push.git_ref = "refs/heads/main".to_owned();
    push.after = sha('a');
    stage.bus.publish(&push, &Cause::root(correlation_of("again"), "push-again")).await.expect("published");
    // A sync of an application that does not exist is answered on record.
    let mut unknown = command.clone();
    (unknown.app, unknown.sync) = ("nobody".parse().expect("an id"), "unknown".parse().expect("an id"));
    stage.bus.publish(&unknown, &Cause::root(correlation_of("u"), "unknown")).await.expect("published");
    assert!(stage.refused("nobody", "sync").await.contains("no Application"));
    let facts = stage.facts().await;
    assert_eq!(facts.iter().filter(|it| matches!(it, Event::SyncStarted(_))).count(), 1);
    assert_eq!(facts.iter().filter(|it| matches!(it, Event::GrantConsumed(_))).count(), 1);
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_buried() {
    let stage = Stage::new("poison").await;
    let cause = |seed: &str| Cause::root(correlation_of(seed), seed);
    stage.bus.publish(&poison::Sync {}, &cause("1")).await.expect("published");
    stage.bus.publish(&poison::Refresh {}, &cause("2")).await.expect("published");
    stage.bus.publish(&poison::PushReceived {}, &cause("3")).await.expect("published");
    stage.bus.publish(&poison::RenderSucceeded {}, &cause("4")).await.expect("published");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut consumers = Vec::new();
    while consumers.len() < 4 {
        assert!(std::time::Instant::now() < until, "only {consumers:?} are in the dead-letter queue");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let letters = stage.bus.dead_letters().await.expect("readable");
        consumers = letters.into_iter().map(|it| it.consumer).collect();
        consumers.retain(|it| it.starts_with("reconciler-"));
    }
    consumers.sort();
    assert_eq!(
        consumers,
        ["reconciler-push", "reconciler-refresh", "reconciler-rendered", "reconciler-sync"]
    );
    // And the rest goes on.
    stage.source("shop", 'a', vec![stage.config_map("one", "1")]);
    stage.app("shop", automated()).await;
    succeeded(&stage.synced("shop", 'a').await);
    stage.finish().await;
}

/// Payloads that are not of the type that they claim to be.
mod poison {
    use serde::{Deserialize, Serialize};
    use sluice_schemas::subject::{Entity, Service};
    use sluice_schemas::{Message, Subject};

    macro_rules! poison {
        ($name:ident, $claims:ty, $subject:expr) => {
            #[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
            pub(super) struct $name {}

            impl Message for $name {
                const TYPE: &'static str = <$claims as Message>::TYPE;
                fn subject(&self) -> Subject {
                    $subject
                }
                fn example() -> Self {
                    Self {}
                }
            }
        };
    }

    poison!(Sync, sluice_schemas::commands::Sync, Subject::command(Service::Reconciler, "sync", "poison"));
    poison!(
        Refresh,
        sluice_schemas::commands::Refresh,
        Subject::command(Service::Reconciler, "refresh", "poison")
    );
    poison!(
        PushReceived,
        sluice_schemas::events::PushReceived,
        Subject::fact(Entity::Push, "x", "poison", "received")
    );
    poison!(
        RenderSucceeded,
        sluice_schemas::events::RenderSucceeded,
        Subject::fact(Entity::Render, "x", "poison", "succeeded")
    );
}
