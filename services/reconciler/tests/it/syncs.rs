//! Automated applications: the chain from a push to the cluster, and everything that may lie in its way.

use std::time::{Duration, Instant};

use serde_json::json;
use sluice_schemas::events::{Event, ObjectStatus, Surface, SyncOutcome, SyncStatus, SyncTrigger};
use sluice_schemas::state::{Comparison, ObjectAction};

use crate::stage::{Stage, automated, sha, succeeded};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_applied_pruned_and_recorded_once() {
    let stage = Stage::new("push").await;
    stage.source("shop", 'a', vec![stage.config_map("one", "1"), stage.config_map("two", "1")]);
    stage.app("shop", automated()).await;
    succeeded(&stage.synced("shop", 'a').await);
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    let object = stage.get("", "v1", "ConfigMap", "one").await.expect("there");
    let annotations = &object["metadata"]["annotations"];
    assert_eq!(
        annotations["argocd.argoproj.io/tracking-id"],
        format!("shop:/ConfigMap:{}/one", stage.destination)
    );
    assert!(annotations["sluice.dev/operation"].is_string());
    let state = stage.is_synced("shop", 'a').await;
    assert!(!state.gated);
    assert_eq!(state.history.len(), 1);

    let started = Instant::now();
    let correlation = stage.push("shop", 'b', vec![stage.config_map("one", "2")]).await;
    let finished = stage.synced("shop", 'b').await;
    println!("push to synced: {:?}, of which the sync {} ms", started.elapsed(), finished.duration_ms);
    succeeded(&finished);
    assert_eq!(stage.value("one").await.as_deref(), Some("2"));
    stage.vanishes("two").await;
    let statuses: Vec<_> = finished.results.iter().map(|it| (it.name.as_str(), it.status)).collect();
    assert_eq!(statuses, [("one", ObjectStatus::Synced), ("two", ObjectStatus::Pruned)]);
    assert_eq!(finished.sync.trigger, SyncTrigger::Automated);
    let state = stage.is_synced("shop", 'b').await;
    assert_eq!(state.history.len(), 2);
    assert_eq!(state.synced_revision, Some(sha('b')));

    // One chain, one sync a revision, however often the push is told.
    stage.announce('b').await;
    let status = wait_for_status(&stage, "shop", "Synced").await;
    assert_eq!(status["sync"]["revision"], sha('b').as_str());
    assert_eq!(status["operationState"]["phase"], "Succeeded");
    assert_eq!(status["history"][1]["revision"], sha('b').as_str());
    let facts = stage.facts().await;
    let syncs =
        facts.iter().filter(|it| matches!(it, Event::SyncFinished(it) if it.sync.revision == sha('b')));
    assert_eq!(syncs.count(), 1);
    let recorded = stage.bus.aggregate(&sluice_schemas::Filter::all_facts()).await.expect("readable");
    let chain = recorded.iter().filter(|it| it.envelope.correlation.as_str() == correlation);
    let begin =
        recorded.iter().find(|it| it.envelope.correlation.as_str() == correlation).map(|it| it.envelope.time);
    let kinds: Vec<_> = chain
        .inspect(|it| {
            println!(
                "{:>5} ms {}",
                begin.map_or(0, |begin| it.envelope.time.millis_since(begin)),
                it.event.kind()
            );
        })
        .map(|it| it.event.kind().to_owned())
        .collect();
    for kind in ["push.received", "render.succeeded", "app.compared", "sync.started", "sync.finished"] {
        assert!(kinds.contains(&format!("dev.sluice.{kind}.v1")), "{kind} in {kinds:?}");
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_healed_within_a_second() {
    let stage = Stage::new("heal").await;
    stage.source("shop", 'a', vec![stage.config_map("one", "1")]);
    stage.app("shop", automated()).await;
    stage.is_synced("shop", 'a').await;
    let started = Instant::now();
    stage.edit("one", "drifted").await;
    let healed = stage.fact("self-heal", |event| match event {
        Event::SyncFinished(it) if it.sync.trigger == SyncTrigger::SelfHeal => Some((**it).clone()),
        _ => None,
    });
    succeeded(&healed.await);
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    // And a deleted object comes back.
    stage.is_synced("shop", 'a').await;
    stage.remove("one").await;
    let until = Instant::now() + Duration::from_secs(15);
    while stage.value("one").await.is_none() {
        assert!(Instant::now() < until, "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_kinds_are_single_errors_and_the_rest_flows() {
    let stage = Stage::new("unknown").await;
    let old = json!({ "apiVersion": "extensions/v1beta1", "kind": "Ingress", "metadata": { "name": "web" }, "spec": {} });
    let invalid =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "bad" }, "spec": {} });
    stage.source("shop", 'a', vec![old.clone(), invalid, stage.config_map("one", "1")]);
    stage.app("shop", automated()).await;
    let finished = stage.synced("shop", 'a').await;
    assert_eq!(finished.outcome, SyncOutcome::Failed);
    assert!(finished.message.contains("everything else is applied"), "{}", finished.message);
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    let state = stage.state("shop", |it| {
        it.sync == SyncStatus::Unknown && it.operation.as_ref().is_some_and(|it| it.finished_at.is_some())
    });
    let state = state.await;
    let digest = state.comparison.expect("stored");
    let bytes = stage.bus.objects(sluice_bus::Store::Manifests).get(&digest).await.expect("stored");
    let comparison: Comparison = serde_json::from_slice(&bytes).expect("readable");
    let find = |kind: &str| comparison.objects.iter().find(|it| it.kind == kind).expect("listed");
    let error = find("Ingress").error.clone().expect("an error");
    assert!(error.contains("extensions/v1beta1") && error.contains("networking.k8s.io/v1"), "{error}");
    assert!(find("Deployment").error.clone().expect("an error").contains("selector"));
    assert_eq!((find("ConfigMap").sync, find("ConfigMap").action), (SyncStatus::Synced, ObjectAction::None));

    // What is hopeless does not stand in the way of self-heal.
    stage.edit("one", "drifted").await;
    let until = Instant::now() + Duration::from_secs(10);
    while stage.value("one").await.as_deref() != Some("1") {
        assert!(Instant::now() < until, "not healed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_rendering_is_said_and_the_last_good_state_stays() {
    let stage = Stage::new("render").await;
    stage.source("shop", 'a', vec![stage.config_map("one", "1")]);
    stage.app("shop", automated()).await;
    stage.is_synced("shop", 'a').await;
    stage.broken_source("shop", 'b', "dev/x.yaml, line 4, column 3: a tab");
    stage.announce('b').await;
    let state = stage.state("shop", |it| !it.conditions.is_empty()).await;
    assert_eq!(state.conditions[0].kind, "ComparisonError");
    assert!(state.conditions[0].message.contains("line 4"), "{:?}", state.conditions);
    assert_eq!((state.revision, state.sync), (Some(sha('a')), SyncStatus::Synced));
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    // The last good state is defended meanwhile, and comparing with it does not take the error back.
    stage.edit("one", "drifted").await;
    let healed = stage.fact("self-heal", |event| match event {
        Event::SyncFinished(it) if it.sync.trigger == SyncTrigger::SelfHeal => Some((**it).clone()),
        _ => None,
    });
    succeeded(&healed.await);
    let state = stage.is_synced("shop", 'a').await;
    assert!(state.conditions.iter().any(|it| it.message.contains("line 4")), "{:?}", state.conditions);
    stage.push("shop", 'c', vec![stage.config_map("one", "3")]).await;
    succeeded(&stage.synced("shop", 'c').await);
    stage.state("shop", |it| it.conditions.is_empty()).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_push_is_not_deployed() {
    let stage = Stage::new("superseded").await;
    stage.source("shop", 'b', vec![stage.config_map("one", "2")]);
    stage.app("shop", automated()).await;
    stage.is_synced("shop", 'b').await;
    // The webhook of an older push comes late; then another push, so that there is something to wait for.
    stage.announce_with('a', |push| push.superseded = true).await;
    stage.push("shop", 'c', vec![stage.config_map("one", "3")]).await;
    succeeded(&stage.synced("shop", 'c').await);
    let old = stage.facts().await.into_iter().any(|event| match event {
        Event::RenderSucceeded(it) => it.render.revision == Some(sha('a')),
        _ => false,
    });
    assert!(!old, "{:#?}", stage.log().await);
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_leave_no_trace() {
    let stage = Stage::new("secret").await;
    let secret = |value: &str| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "word": value } });
    stage.source("shop", 'a', vec![secret("planted-one")]);
    stage.app("shop", automated()).await;
    stage.is_synced("shop", 'a').await;
    let before = stage.state("shop", |_| true).await.comparison.expect("stored");
    stage.app("shop", json!(null)).await;
    stage.push("shop", 'b', vec![secret("planted-two")]).await;
    let state = stage.is_out_of_sync("shop", 'b').await;
    let after = state.comparison.clone().expect("stored");
    let store = stage.bus.objects(sluice_bus::Store::Manifests);
    for digest in [before, after] {
        let text = String::from_utf8(store.get(&digest).await.expect("stored").to_vec()).expect("text");
        for planted in ["planted", "cGxhbnRlZC1vbmU=", "cGxhbnRlZC10d28="] {
            assert!(!text.contains(planted), "{text}");
        }
    }
    let log = stage.log().await.join("\n");
    assert!(!log.contains("planted"), "{log}");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_and_kubectl_sync_an_application_that_is_open() {
    let stage = Stage::new("person").await;
    stage.source("shop", 'a', vec![stage.config_map("one", "1")]);
    stage.app("shop", json!({ "automated": {} })).await;
    let state = stage.is_synced("shop", 'a').await;
    stage.edit("one", "drifted").await;
    stage.is_out_of_sync("shop", 'a').await;
    stage.command(&state, "by-hand", None).await;
    let by_hand = stage.fact("a person's sync", |event| match event {
        Event::SyncFinished(it) if it.sync.sync.as_str() == "by-hand" => Some((**it).clone()),
        _ => None,
    });
    let by_hand = by_hand.await;
    succeeded(&by_hand);
    assert!(matches!(by_hand.sync.trigger, SyncTrigger::Person { surface: Surface::Web, .. }));
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));

    stage.is_synced("shop", 'a').await;
    stage.edit("one", "again").await;
    stage.is_out_of_sync("shop", 'a').await;
    let patch =
        json!({ "operation": { "initiatedBy": { "username": "bob" }, "sync": { "revision": "HEAD" } } });
    stage.cluster.patch_application("shop", &patch).await.expect("written");
    let by_kubectl = stage.fact("kubectl's sync", |event| match event {
        Event::SyncFinished(it) => match &it.sync.trigger {
            SyncTrigger::Person { person, surface: Surface::Kubernetes } => Some(person.to_string()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(by_kubectl.await, "bob");
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    let until = Instant::now() + Duration::from_secs(10);
    while stage.cluster.application("shop").await.expect("there").operation.is_some() {
        assert!(Instant::now() < until, "the operation was not taken away");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.finish().await;
}

async fn wait_for_status(stage: &Stage, app: &str, sync: &str) -> serde_json::Value {
    let until = Instant::now() + Duration::from_secs(15);
    loop {
        let object = stage.cluster.application_json(app).await.expect("there");
        let status = object["status"].clone();
        let settled = status["operationState"]["phase"] == "Succeeded" && status["history"][1].is_object();
        if status["sync"]["status"] == sync && settled {
            return status;
        }
        assert!(Instant::now() < until, "{status:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
