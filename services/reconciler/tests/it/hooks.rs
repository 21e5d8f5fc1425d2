//! Phases, waves and hooks, on pods that really run.

use serde_json::{Value, json};
use sluice_schemas::events::{Event, SyncOutcome};

use crate::stage::{Stage, automated, succeeded};

fn job(name: &str, hook: &str, policy: &str, command: &str) -> Value {
    let image =
        std::env::var("SLUICE_IMAGE_BUSYBOX").unwrap_or_else(|_| "127.0.0.1:5000/platform/busybox:1".into());
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": name, "annotations": {
            "argocd.argoproj.io/hook": hook, "argocd.argoproj.io/hook-delete-policy": policy,
        }},
        "spec": { "backoffLimit": 0, "template": { "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "main", "image": image, "command": ["sh", "-c", command] }],
        }}},
    })
}

fn wave(mut object: Value, wave: i32) -> Value {
    object["metadata"]["annotations"] = json!({ "argocd.argoproj.io/sync-wave": wave.to_string() });
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn phases_run_in_order_and_hooks_are_deleted_by_their_policy() {
    let stage = Stage::new("hooks").await;
    stage.source(
        "shop",
        'a',
        vec![
            job("migrate", "PreSync", "HookSucceeded", "true"),
            wave(stage.config_map("early", "1"), -1),
            wave(stage.config_map("late", "1"), 1),
            job("smoke", "PostSync", "BeforeHookCreation", "true"),
        ],
    );
    stage.app("shop", automated()).await;
    succeeded(&stage.synced("shop", 'a').await);
    let phases: Vec<_> = stage
        .facts()
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::SyncPhaseFinished(it) => Some((it.phase.clone(), it.wave, it.results[0].name.clone())),
            _ => None,
        })
        .collect();
    let expected =
        [("PreSync", 0, "migrate"), ("Sync", -1, "early"), ("Sync", 1, "late"), ("PostSync", 0, "smoke")];
    let expected: Vec<_> = expected.iter().map(|(a, b, c)| ((*a).to_owned(), *b, (*c).to_owned())).collect();
    assert_eq!(phases, expected);
    assert!(stage.get("batch", "v1", "Job", "smoke").await.is_some(), "kept until the next run");
    let migrate = stage.get("batch", "v1", "Job", "migrate").await;
    assert!(
        migrate.is_none_or(|it| it["metadata"]["deletionTimestamp"].is_string()),
        "deleted when it succeeded"
    );
    // Hooks are no difference, and a kept one is no object to prune.
    stage.is_synced("shop", 'a').await;
    // The next revision runs them again.
    stage
        .push(
            "shop",
            'b',
            vec![job("smoke", "PostSync", "BeforeHookCreation", "true"), stage.config_map("late", "2")],
        )
        .await;
    succeeded(&stage.synced("shop", 'b').await);
    stage.vanishes("early").await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_pre_sync_hook_stops_the_sync_and_runs_the_fail_hook() {
    let stage = Stage::new("hookfail").await;
    stage.source(
        "shop",
        'a',
        vec![
            job("migrate", "PreSync", "HookSucceeded", "exit 3"),
            stage.config_map("one", "1"),
            job("alarm", "SyncFail", "BeforeHookCreation", "true"),
        ],
    );
    stage.app("shop", automated()).await;
    let finished = stage.synced("shop", 'a').await;
    assert_eq!(finished.outcome, SyncOutcome::Failed);
    assert!(finished.message.contains("migrate"), "{}", finished.message);
    assert_eq!(stage.value("one").await, None, "nothing after the failed hook");
    assert!(finished.results.iter().any(|it| it.name == "alarm"), "{:#?}", finished.results);
    // The same revision is not tried again by itself.
    let state = stage.state("shop", |it| it.conditions.iter().any(|it| it.kind == "SyncError")).await;
    assert!(state.history.is_empty());
    stage.finish().await;
}
