//! Argo CD's JSON: status, tree and managed resources made from our states.
//!
//! Source of the shapes: Argo CD v3.5 `types.go`. Invariant: pure.

use serde_json::{Map, Value, json};
use sluice_schemas::events::{SyncOutcome, SyncTrigger};
use sluice_schemas::state::{AppState, Comparison, ObjectAction, ObjectComparison, OperationState};

use crate::model::actor;
use crate::text::words::argo_time;

/// An Application with our state as its status. What we do not know stays as it was.
#[must_use]
pub(super) fn with_status(
    mut application: Value,
    state: &AppState,
    comparison: Option<&Comparison>,
) -> Value {
    let source = application["spec"]["source"].clone();
    let destination = application["spec"]["destination"].clone();
    let mut status = application["status"].as_object().cloned().unwrap_or_default();
    let mut sync = json!({
        "status": format!("{:?}", state.sync),
        "comparedTo": { "source": source, "destination": destination },
    });
    if let Some(revision) = &state.revision {
        sync["revision"] = json!(revision);
    }
    let mut health = json!({ "status": format!("{:?}", state.health) });
    if !state.health_message.is_empty() {
        health["message"] = json!(state.health_message);
    }
    let history = state.history.iter().rev().map(|entry| {
        let (person, _) = actor(&entry.trigger);
        let mut by = Map::new();
        match person {
            Some(person) => by.insert("username".to_owned(), json!(person)),
            None => by.insert("automated".to_owned(), json!(true)),
        };
        json!({
            "id": entry.id, "revision": entry.revision, "deployedAt": argo_time(entry.deployed_at),
            "source": source, "initiatedBy": by,
        })
    });
    let conditions: Vec<Value> = state
        .conditions
        .iter()
        .map(
            |it| json!({ "type": it.kind, "message": it.message, "lastTransitionTime": argo_time(it.since) }),
        )
        .collect();
    status.insert("sync".to_owned(), sync);
    status.insert("health".to_owned(), health);
    status.insert("history".to_owned(), Value::Array(history.collect()));
    status.insert("summary".to_owned(), json!({ "images": state.live_images }));
    status.insert("sourceType".to_owned(), json!("Directory"));
    match conditions.is_empty() {
        true => status.remove("conditions"),
        false => status.insert("conditions".to_owned(), json!(conditions)),
    };
    if let Some(at) = state.compared_at {
        status.insert("reconciledAt".to_owned(), json!(argo_time(at)));
    }
    if let Some(operation) = &state.operation {
        status.insert("operationState".to_owned(), operation_state(operation, &source));
    }
    if let Some(comparison) = comparison {
        let resources: Vec<Value> = managed(comparison).map(resource_status).collect();
        status.insert("resources".to_owned(), json!(resources));
    }
    application["status"] = Value::Object(status);
    application
}

/// The tree of live objects.
#[must_use]
pub(super) fn resource_tree(comparison: &Comparison) -> Value {
    let nodes: Vec<Value> = comparison
        .objects
        .iter()
        .filter(|it| it.live.is_some())
        .map(|it| {
            let mut node = reference(it);
            let live = it.live.as_ref().unwrap_or(&Value::Null);
            if let Some(uid) = live["metadata"]["uid"].as_str() {
                node["uid"] = json!(uid);
            }
            if let Some(created) = live["metadata"]["creationTimestamp"].as_str() {
                node["createdAt"] = json!(created);
            }
            if let Some(parent) = it.parent.as_deref().and_then(|parent| find(comparison, it, parent)) {
                node["parentRefs"] = json!([reference(parent)]);
            }
            if let Some(health) = it.health {
                node["health"] = json!({ "status": format!("{health:?}"), "message": it.health_message });
            }
            let images = images(live);
            if !images.is_empty() {
                node["images"] = json!(images);
            }
            node
        })
        .collect();
    json!({ "nodes": nodes })
}

/// Desired and live, object by object.
#[must_use]
pub(super) fn managed_resources(comparison: &Comparison) -> Value {
    let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "null".to_owned(), Value::to_string);
    let items: Vec<Value> = managed(comparison)
        .filter(|it| !it.hook)
        .map(|it| {
            json!({
                "group": it.group, "kind": it.kind, "namespace": it.namespace, "name": it.name,
                "targetState": text(&it.desired), "liveState": text(&it.live),
                "normalizedLiveState": text(&it.live), "predictedLiveState": text(&it.desired),
                "hook": it.hook, "modified": it.action != ObjectAction::None,
            })
        })
        .collect();
    json!({ "items": items })
}

/// Objects that Git has, or that are tracked: not their pods and the like.
pub(crate) fn managed(comparison: &Comparison) -> impl Iterator<Item = &ObjectComparison> {
    comparison.objects.iter().filter(|it| it.parent.is_none())
}

/// The parent of an object: `kind/name`, in the same namespace where there are several.
pub(crate) fn find<'a>(
    comparison: &'a Comparison,
    child: &ObjectComparison,
    parent: &str,
) -> Option<&'a ObjectComparison> {
    let (kind, name) = parent.rsplit_once('/')?;
    // A group may stand before the kind: `apps/Deployment/web`.
    let kind = kind.rsplit('/').next().unwrap_or(kind);
    let fits = |it: &&ObjectComparison| it.kind == kind && it.name == name;
    let same = comparison.objects.iter().filter(fits).find(|it| it.namespace == child.namespace);
    same.or_else(|| comparison.objects.iter().find(fits))
}

fn resource_status(it: &ObjectComparison) -> Value {
    let mut status = reference(it);
    status["status"] = json!(format!("{:?}", it.sync));
    status["syncWave"] = json!(it.wave);
    if let Some(health) = it.health {
        status["health"] = json!({ "status": format!("{health:?}"), "message": it.health_message });
    }
    if it.hook {
        status["hook"] = json!(true);
    }
    if it.action == ObjectAction::Prune {
        status["requiresPruning"] = json!(true);
    }
    status
}

fn reference(it: &ObjectComparison) -> Value {
    json!({ "group": it.group, "version": it.version, "kind": it.kind, "namespace": it.namespace, "name": it.name })
}

/// Images of a workload or pod.
pub(crate) fn images(object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let pod = if spec["template"]["spec"].is_object() { &spec["template"]["spec"] } else { spec };
    let containers = ["initContainers", "containers"].iter().filter_map(|key| pod[key].as_array());
    containers.flatten().filter_map(|it| it["image"].as_str().map(str::to_owned)).collect()
}

fn operation_state(operation: &OperationState, source: &Value) -> Value {
    let phase = match operation.outcome {
        None => "Running",
        Some(SyncOutcome::Succeeded) => "Succeeded",
        Some(SyncOutcome::Failed) => "Failed",
        Some(SyncOutcome::Error) => "Error",
    };
    let (person, _) = actor(&operation.trigger);
    let by = match (&operation.trigger, person) {
        (SyncTrigger::Automated | SyncTrigger::SelfHeal, _) | (_, None) => json!({ "automated": true }),
        (_, Some(person)) => json!({ "username": person }),
    };
    let resources: Vec<Value> = operation
        .results
        .iter()
        .map(|it| {
            json!({
                "group": it.group, "version": it.version, "kind": it.kind, "namespace": it.namespace, "name": it.name,
                "status": format!("{:?}", it.status), "message": it.message, "syncPhase": "Sync",
            })
        })
        .collect();
    let mut state = json!({
        "operation": { "sync": { "revision": operation.revision }, "initiatedBy": by, "retry": {} },
        "phase": phase,
        "message": operation.message,
        "startedAt": argo_time(operation.started_at),
        "syncResult": { "revision": operation.revision, "source": source, "resources": resources },
    });
    if let Some(at) = operation.finished_at {
        state["finishedAt"] = json!(argo_time(at));
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_what_clients_of_argo_cd_read() {
        let mut state = crate::text::example_app();
        state.compared_at = Some(sluice_schemas::Timestamp::from_unix_millis(1_790_000_000_250));
        let application = json!({
            "metadata": { "name": "shop-prod" },
            "spec": { "source": { "repoURL": "x" }, "destination": { "namespace": "prod" }, "future": 1 },
            "status": { "ours": "stays" }
        });
        let it = with_status(application, &state, None);
        assert_eq!(it["status"]["sync"]["status"], "OutOfSync");
        assert_eq!(it["status"]["health"]["status"], "Healthy");
        assert_eq!(it["status"]["reconciledAt"], "2026-09-21T14:13:20Z");
        assert_eq!(it["status"]["ours"], "stays");
        assert_eq!(it["spec"]["future"], 1);
    }

    #[test]
    fn images_of_workloads_and_pods() {
        let deployment = json!({"spec": {"template": {"spec": {"containers": [{"image": "a"}], "initContainers": [{"image": "b"}]}}}});
        assert_eq!(images(&deployment), ["b", "a"]);
        assert_eq!(images(&json!({"spec": {"containers": [{"image": "a"}]}})), ["a"]);
        assert!(images(&json!({"data": {}})).is_empty());
    }
}
