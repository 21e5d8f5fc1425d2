//! The gate: nine ways to change a gated application without a grant, and the one way that works.
//!
//! Each attempt leaves the live objects unchanged and an event that says how to get a grant.

use serde_json::json;
use sluice_bus::topology::Bucket;
use sluice_schemas::events::{Event, SyncOutcome, SyncTrigger};
use sluice_schemas::grant::{GrantScope, GrantTerms, SyncGrant};
use sluice_schemas::ids::SyncId;
use sluice_schemas::state::{AppState, OperationState};
use sluice_schemas::{Digest, Timestamp};

use crate::stage::{Stage, automated, sha, succeeded};

/// A gated application `prod`, out of sync: live holds "1" (revision a), Git wants "2" (revision b).
async fn gated(name: &str) -> (Stage, AppState) {
    let stage = Stage::new(name).await;
    stage.source("prod", 'a', vec![stage.config_map("one", "1")]);
    stage.app("prod", json!(null)).await;
    let state = stage.is_out_of_sync("prod", 'a').await;
    assert!(state.gated, "{}", state.gate_reason);
    assert_eq!(stage.value("one").await, None, "nothing is written before a person says so");
    stage.command(&state, "first", Some(stage.grant(stage.terms(&state, "first-grant")))).await;
    let finished = stage.synced("prod", 'a').await;
    succeeded(&finished);
    assert!(matches!(finished.sync.trigger, SyncTrigger::Grant { .. }));
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    stage.push("prod", 'b', vec![stage.config_map("one", "2")]).await;
    let state = stage.is_out_of_sync("prod", 'b').await;
    (stage, state)
}

async fn unchanged(stage: Stage, reason: &str, parts: &[&str]) {
    for part in parts {
        assert!(reason.contains(part), "`{part}` is not in: {reason}");
    }
    assert_eq!(stage.value("one").await.as_deref(), Some("1"), "the live object was changed");
    let syncs = stage.facts().await.into_iter().filter(|it| matches!(it, Event::SyncStarted(_))).count();
    assert_eq!(syncs, 1, "{:#?}", stage.log().await);
    stage.finish().await;
}

/// Sends a command whose grant is spoilt, and waits for the refusal.
async fn with_grant(name: &str, spoil: impl FnOnce(&mut GrantTerms, &AppState), parts: &[&str]) {
    let (stage, state) = gated(name).await;
    let mut terms = stage.terms(&state, "spoilt");
    spoil(&mut terms, &state);
    stage.command(&state, "attack", Some(stage.grant(terms))).await;
    let reason = stage.refused("prod", "sync").await;
    unchanged(stage, &reason, parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_grant() {
    let expire = |terms: &mut GrantTerms, _: &AppState| {
        terms.issued_at = Timestamp::now().plus_seconds(-600);
        terms.expires_at = Timestamp::now().plus_seconds(-1);
    };
    with_grant("expired", expire, &["expired", "sluice app sync prod"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_another_revision() {
    with_grant("revision", |terms, _| terms.revision = sha('a'), &["revision", "sluice app sync prod"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_another_application() {
    let other = |terms: &mut GrantTerms, _: &AppState| terms.app = "another".parse().expect("an id");
    with_grant("another", other, &["another", "sluice app sync prod"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_other_manifests() {
    with_grant("manifests", |terms, _| terms.manifests = Digest::of(b"[]"), &["manifests"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_signature() {
    let (stage, state) = gated("forged").await;
    let foreign = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    let grant = SyncGrant::sign(stage.terms(&state, "forged"), &foreign);
    stage.command(&state, "attack", Some(grant)).await;
    let reason = stage.refused("prod", "sync").await;
    unchanged(stage, &reason, &["signature", "sluice app sync prod"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_used_twice() {
    let (stage, _) = gated("reused").await;
    let grant = |stage: &Stage, state: &AppState| stage.grant(stage.terms(state, "once"));
    let state = stage.is_out_of_sync("prod", 'b').await;
    let granted = grant(&stage, &state);
    stage.command(&state, "first-use", Some(granted.clone())).await;
    succeeded(&stage.synced("prod", 'b').await);
    stage.edit("one", "drifted").await;
    let state = stage.is_out_of_sync("prod", 'b').await;
    stage.command(&state, "second-use", Some(granted)).await;
    let reason = stage.refused("prod", "sync").await;
    assert!(reason.contains("already used") && reason.contains("sluice app sync prod"), "{reason}");
    assert_eq!(stage.value("one").await.as_deref(), Some("drifted"));
    let consumed = stage.facts().await.into_iter().filter(|it| matches!(it, Event::GrantConsumed(_))).count();
    assert_eq!(consumed, 2, "the first sync of all, and this one once");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_injected_on_the_bus() {
    let (stage, state) = gated("injected").await;
    stage.command(&state, "injected", None).await;
    let reason = stage.refused("prod", "sync").await;
    unchanged(stage, &reason, &["gated", "sluice app sync prod"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_smuggled_in_as_if_it_were_begun() {
    let (mut stage, state) = gated("smuggled").await;
    stage.stop().await;
    let trigger = SyncTrigger::Grant {
        grant: "smuggled".parse().expect("an id"),
        person: "eve".parse().expect("an id"),
        surface: sluice_schemas::events::Surface::Web,
    };
    let mut smuggled = state.clone();
    smuggled.operation = Some(OperationState {
        sync: SyncId::from_text("smuggled"),
        revision: sha('b'),
        manifests: state.manifests.clone().expect("compared"),
        trigger,
        epoch: 1,
        started_at: Timestamp::now(),
        finished_at: None,
        outcome: None,
        message: String::new(),
        results: vec![],
    });
    stage.bus.kv::<AppState>(Bucket::Apps).put("default.prod", &smuggled).await.expect("written");
    stage.start().await;
    let reason = stage.refused("prod", "resume").await;
    let state =
        stage.state("prod", |it| it.operation.as_ref().is_some_and(|it| it.finished_at.is_some())).await;
    assert_eq!(state.operation.and_then(|it| it.outcome), Some(SyncOutcome::Error));
    unchanged(stage, &reason, &["no valid grant", "sluice app sync prod"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn automation_switched_on_by_kubectl() {
    let (stage, _) = gated("automation").await;
    stage.app("prod", automated()).await;
    let reason = stage.refused("prod", "automation").await;
    // Not by deleting and creating it anew either.
    stage.cluster.delete_application("prod").await.expect("deleted");
    stage.fact("deletion", |event| matches!(event, Event::AppDeleted(_)).then_some(())).await;
    stage.app("prod", automated()).await;
    let state = stage.is_out_of_sync("prod", 'b').await;
    assert!(state.gated, "{}", state.gate_reason);
    unchanged(stage, &reason, &["switched on", "grants its automation"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn automation_switched_on_in_git() {
    let stage = Stage::new("flipped").await;
    let own = |policy| stage.app_object("prod", json!({ "syncPolicy": policy }), json!({}));
    let objects = |policy, value| vec![own(policy), stage.config_map("one", value)];
    stage.source("prod", 'a', objects(json!(null), "1"));
    stage.app("prod", json!(null)).await;
    let state = stage.is_out_of_sync("prod", 'a').await;
    stage.command(&state, "first", Some(stage.grant(stage.terms(&state, "first")))).await;
    succeeded(&stage.synced("prod", 'a').await);
    // The Application in its own directory is in sync with itself.
    stage.is_synced("prod", 'a').await;
    stage.push("prod", 'b', objects(automated(), "2")).await;
    stage.is_out_of_sync("prod", 'b').await;
    let reason = stage.refused("prod", "automation").await;
    assert!(stage.cluster.application("prod").await.expect("there").automated().is_none());
    unchanged(stage, &reason, &["in Git switches automation on"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn self_heal() {
    let (stage, state) = gated("drift").await;
    stage.command(&state, "second", Some(stage.grant(stage.terms(&state, "second")))).await;
    succeeded(&stage.synced("prod", 'b').await);
    stage.app("prod", automated()).await;
    stage.edit("one", "drifted").await;
    let reason = stage.refused("prod", "self_heal").await;
    assert!(reason.contains("drifted"), "{reason}");
    assert_eq!(stage.value("one").await.as_deref(), Some("drifted"), "it was healed");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback() {
    let (stage, state) = gated("rollback").await;
    stage.command(&state, "second", Some(stage.grant(stage.terms(&state, "second")))).await;
    succeeded(&stage.synced("prod", 'b').await);
    stage.command_at(&state, "back", sha('a'), None).await;
    let reason = stage.refused("prod", "rollback").await;
    assert!(reason.contains("gated") && reason.contains("sluice app sync prod"), "{reason}");
    assert_eq!(stage.value("one").await.as_deref(), Some("2"));
    // A revision that never was is refused by name.
    stage.command_at(&state, "nowhere", sha('f'), None).await;
    let reason = stage.refused("prod", "sync").await;
    assert!(reason.contains("not the current revision"), "{reason}");
    // With a grant for exactly that, it goes back.
    let state = stage.is_synced("prod", 'b').await;
    let entry = state.history.iter().find(|it| it.revision == sha('a')).expect("kept").clone();
    let mut terms = stage.terms(&state, "back-grant");
    (terms.revision, terms.manifests) = (entry.revision, entry.manifests);
    stage.command_at(&state, "back-granted", sha('a'), Some(stage.grant(terms))).await;
    let back = stage.fact("rollback", |event| match event {
        Event::SyncFinished(it) if it.sync.sync.as_str() == "back-granted" => Some((**it).clone()),
        _ => None,
    });
    succeeded(&back.await);
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_leaves_a_gated_applications_objects() {
    let (stage, _) = gated("deletion").await;
    let finalizer = json!({ "metadata": { "finalizers": ["resources-finalizer.argocd.argoproj.io"] } });
    stage.cluster.patch_application("prod", &finalizer).await.expect("patched");
    stage.cluster.delete_application("prod").await.expect("deleted");
    let reason = stage.refused("prod", "delete").await;
    stage.fact("deletion", |event| matches!(event, Event::AppDeleted(_)).then_some(())).await;
    unchanged(stage, &reason, &["gated", "left as they are"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_gates_and_an_automation_grant_opens() {
    let stage = Stage::new("open").await;
    let project = |gated: &str| json!({ "metadata": { "name": "vault", "annotations": { "sluice.dev/gated": gated } }, "spec": { "sourceRepos": ["*"], "destinations": [{ "server": "*", "namespace": "*" }] } });
    stage.project(project("true")).await;
    stage.source("prod", 'a', vec![stage.config_map("one", "1")]);
    stage.app_with("prod", json!({ "project": "vault", "syncPolicy": automated() }), json!({})).await;
    let state = stage.is_out_of_sync("prod", 'a').await;
    assert!(state.gated && state.gate_reason.contains("AppProject"), "{}", state.gate_reason);
    // The project's word taken back is not enough: it was gated.
    stage.project(project("false")).await;
    let state = stage.state("prod", |it| it.gate_reason.contains("switched on")).await;
    assert!(state.gated);
    assert_eq!(stage.value("one").await, None);
    // A grant to sync does not open it; one for automation does.
    stage.command(&state, "sync-grant", Some(stage.grant(stage.terms(&state, "sync-only")))).await;
    succeeded(&stage.synced("prod", 'a').await);
    assert!(stage.state("prod", |_| true).await.gated);
    let terms = GrantTerms { scope: GrantScope::Automation, ..stage.terms(&state, "automation") };
    stage.command(&state, "open", Some(stage.grant(terms))).await;
    stage.state("prod", |it| !it.gated).await;
    stage
        .fact("opened gate", |event| matches!(event, Event::AppGateChanged(it) if !it.gated).then_some(()))
        .await;
    stage.push("prod", 'b', vec![stage.config_map("one", "2")]).await;
    let finished = stage.synced("prod", 'b').await;
    assert_eq!(finished.sync.trigger, SyncTrigger::Automated);
    assert_eq!(stage.value("one").await.as_deref(), Some("2"));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_application_does_not_take_over_gated_objects() {
    let (stage, _) = gated("takeover").await;
    stage.source("thief", 'c', vec![stage.config_map("one", "stolen")]);
    stage.app("thief", automated()).await;
    let state = stage.state("thief", |it| it.revision == Some(sha('c')) && !it.conditions.is_empty()).await;
    let message = &state.conditions[0].message;
    assert!(message.contains("belongs to the gated application `prod`"), "{message}");
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grant_key_cannot_be_replaced_by_a_commit() {
    let stage = Stage::new("key").await;
    let before = stage.cluster.signing_public().await.expect("readable").expect("there");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": { "public": "forged" },
        "metadata": { "name": "sluice-signing-grants-public", "namespace": stage.namespace },
    });
    stage.source("shop", 'a', vec![secret, stage.config_map("one", "1")]);
    stage.app("shop", automated()).await;
    let finished = stage.synced("shop", 'a').await;
    assert!(finished.message.contains("Sluice's own keys"), "{}", finished.message);
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    let after = stage.cluster.signing_public().await.expect("readable").expect("there");
    assert_eq!(after.expose(), before.expose());
    stage.finish().await;
}
