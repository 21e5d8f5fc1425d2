//! What Applications and AppProjects declare: namespaces, deletion, waves, projects, ignored differences, refresh.

use std::time::{Duration, Instant};

use serde_json::json;
use sluice_schemas::Cause;
use sluice_schemas::commands::Refresh;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{Event, SyncStatus};
use sluice_schemas::ids::{AppId, ProjectId};

use crate::stage::{Stage, automated, sha, succeeded};

#[tokio::test(flavor = "multi_thread")]
async fn an_application_in_its_own_directory_manages_itself() {
    let stage = Stage::new("own").await;
    let own = |extra: serde_json::Value| {
        stage.app_object("shop", json!({ "syncPolicy": automated(), "info": extra }), json!({}))
    };
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": stage.destination } });
    stage.source("shop", 'a', vec![namespace.clone(), own(json!([])), stage.config_map("one", "1")]);
    stage.app("shop", automated()).await;
    succeeded(&stage.synced("shop", 'a').await);
    stage.is_synced("shop", 'a').await;
    // A change of the Application in Git reaches the cluster by its own sync.
    let info = json!([{ "name": "team", "value": "web" }]);
    stage.push("shop", 'b', vec![namespace.clone(), own(info), stage.config_map("one", "2")]).await;
    succeeded(&stage.synced("shop", 'b').await);
    let app = stage.cluster.application("shop").await.expect("there");
    assert_eq!(app.spec.info.first().map(|it| it.value.as_str()), Some("web"));
    stage.is_synced("shop", 'b').await;
    // Taken out of its directory it stays: an application does not prune itself.
    stage.push("shop", 'c', vec![namespace, stage.config_map("one", "3")]).await;
    succeeded(&stage.synced("shop", 'c').await);
    assert!(stage.cluster.application("shop").await.is_ok());
    assert_eq!(stage.value("one").await.as_deref(), Some("3"));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_namespace_is_created_when_asked_for() {
    let mut stage = Stage::new("namespace").await;
    let fresh = format!("{}-fresh", stage.destination);
    stage.source("shop", 'a', vec![stage.config_map("one", "1")]);
    let destination = json!({ "server": "https://kubernetes.default.svc", "namespace": fresh });
    let spec = |policy| json!({ "destination": destination, "syncPolicy": policy });
    stage.app_with("shop", spec(automated()), json!({})).await;
    let state = stage.state("shop", |it| !it.conditions.is_empty()).await;
    assert!(state.conditions[0].message.contains("CreateNamespace=true"), "{:?}", state.conditions);
    let mut policy = automated();
    policy["syncOptions"] = json!(["CreateNamespace=true"]);
    policy["managedNamespaceMetadata"] = json!({ "labels": { "team": "web" } });
    stage.app_with("shop", spec(policy), json!({})).await;
    let done = stage.fact("sync", |event| match event {
        Event::SyncFinished(it) if it.outcome == sluice_schemas::events::SyncOutcome::Succeeded => Some(()),
        _ => None,
    });
    done.await;
    stage.destination.clone_from(&fresh);
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    let kind =
        stage.discovery.resolve(&sluice_gitops::Gvk::new("", "v1", "Namespace")).await.expect("a kind");
    let namespace = stage.objects.get(&kind, "", &fresh).await.expect("answered").expect("there");
    assert_eq!(namespace["metadata"]["labels"]["team"], "web");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_cascades_for_an_open_application() {
    let stage = Stage::new("cascade").await;
    let mut kept = stage.config_map("kept", "1");
    kept["metadata"]["annotations"] = json!({ "argocd.argoproj.io/sync-options": "Delete=false" });
    stage.source("shop", 'a', vec![stage.config_map("one", "1"), kept]);
    let finalizer = json!({ "finalizers": ["resources-finalizer.argocd.argoproj.io"] });
    stage.app_with("shop", json!({ "syncPolicy": automated() }), finalizer).await;
    stage.is_synced("shop", 'a').await;
    stage.cluster.delete_application("shop").await.expect("deleted");
    let pruned = stage.fact("deletion", |event| match event {
        Event::AppDeleted(it) => Some(it.pruned),
        _ => None,
    });
    assert_eq!(pruned.await, 1);
    assert_eq!((stage.value("one").await, stage.value("kept").await.as_deref()), (None, Some("1")));
    assert!(stage.cluster.application("shop").await.is_err());
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_spec_or_project_forbids_is_a_condition() {
    let stage = Stage::new("forbidden").await;
    stage.project(json!({ "metadata": { "name": "narrow" }, "spec": { "sourceRepos": ["*"], "destinations": [{ "server": "*", "namespace": "elsewhere" }] } })).await;
    stage.source("shop", 'a', vec![stage.config_map("one", "1")]);
    stage.app_with("shop", json!({ "project": "narrow", "syncPolicy": automated() }), json!({})).await;
    let state = stage.state("shop", |it| !it.conditions.is_empty()).await;
    assert_eq!(state.conditions[0].kind, "InvalidSpecError");
    assert!(state.conditions[0].message.contains("does not permit the namespace"), "{:?}", state.conditions);
    assert_eq!(stage.value("one").await, None);
    // Permitted, it goes on by itself.
    stage.project(json!({ "metadata": { "name": "narrow" }, "spec": { "sourceRepos": ["*"], "destinations": [{ "server": "*", "namespace": stage.destination }] } })).await;
    succeeded(&stage.synced("shop", 'a').await);
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_differences_are_none_and_refresh_looks_again() {
    let stage = Stage::new("ignore").await;
    stage.source("shop", 'a', vec![stage.config_map("one", "1")]);
    let ignore =
        json!([{ "group": "", "kind": "ConfigMap", "name": "one", "jsonPointers": ["/data/value"] }]);
    stage
        .app_with("shop", json!({ "syncPolicy": automated(), "ignoreDifferences": ignore }), json!({}))
        .await;
    stage.is_synced("shop", 'a').await;
    stage.edit("one", "by-hand").await;
    stage.source("shop", 'b', vec![stage.config_map("one", "1"), stage.config_map("two", "1")]);
    // Nobody was told of the new revision: a person asks for a look.
    stage.cluster.request_refresh("shop", false).await.expect("asked");
    succeeded(&stage.synced("shop", 'b').await);
    assert_eq!(stage.value("one").await.as_deref(), Some("by-hand"));
    let until = Instant::now() + Duration::from_secs(10);
    while stage
        .cluster
        .application("shop")
        .await
        .expect("there")
        .annotation("argocd.argoproj.io/refresh")
        .is_some()
    {
        assert!(Instant::now() < until, "the annotation stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The same by command.
    stage.source("shop", 'c', vec![stage.config_map("two", "2")]);
    let refresh =
        Refresh { app: AppId::from_name("shop"), project: ProjectId::from_name("default"), hard: true };
    stage.bus.publish(&refresh, &Cause::root(correlation_of("r"), "refresh")).await.expect("published");
    succeeded(&stage.synced("shop", 'c').await);
    assert_eq!(stage.value("two").await.as_deref(), Some("2"));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_prune_objects_stay_and_are_said_to() {
    let stage = Stage::new("noprune").await;
    stage.source("shop", 'a', vec![stage.config_map("one", "1"), stage.config_map("two", "1")]);
    stage.app("shop", json!({ "automated": {} })).await;
    stage.is_synced("shop", 'a').await;
    stage.push("shop", 'b', vec![stage.config_map("one", "1")]).await;
    let state = stage.is_out_of_sync("shop", 'b').await;
    assert_eq!(state.sync, SyncStatus::OutOfSync);
    assert_eq!(stage.value("two").await.as_deref(), Some("1"));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_gone_at_once_is_not_done_without_a_word() {
    let stage = Stage::new("empty").await;
    stage.source("shop", 'a', vec![stage.config_map("one", "1")]);
    stage.app("shop", automated()).await;
    stage.is_synced("shop", 'a').await;
    stage.push("shop", 'b', vec![]).await;
    let state = stage.state("shop", |it| it.revision == Some(sha('b')) && !it.conditions.is_empty()).await;
    assert!(state.conditions[0].message.contains("allowEmpty"), "{:?}", state.conditions);
    assert_eq!(stage.value("one").await.as_deref(), Some("1"));
    stage.app("shop", json!({ "automated": { "prune": true, "allowEmpty": true } })).await;
    succeeded(&stage.synced("shop", 'b').await);
    stage.vanishes("one").await;
    stage.finish().await;
}
