//! A table of live objects and what Argo CD says about them.

use serde_json::{Value, json};

use super::{Contribution, Health, Status, aggregate, of};

fn object(api_version: &str, kind: &str, rest: Value) -> Value {
    let mut object =
        json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "web", "generation": 2 } });
    for (key, value) in rest.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

fn deployment(spec: Value, status: Value) -> Value {
    object("apps/v1", "Deployment", json!({ "spec": spec, "status": status }))
}

#[test]
fn workloads() {
    let table = [
        (deployment(json!({"paused": true}), json!({})), Status::Suspended, "Deployment is paused"),
        (
            deployment(json!({"replicas": 1}), json!({"observedGeneration": 1})),
            Status::Progressing,
            "Waiting for rollout to finish: observed deployment generation less than desired generation",
        ),
        (
            deployment(json!({"replicas": 3}), json!({"observedGeneration": 2, "updatedReplicas": 1})),
            Status::Progressing,
            "Waiting for rollout to finish: 1 out of 3 new replicas have been updated...",
        ),
        (
            deployment(
                json!({"replicas": 1}),
                json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 2, "availableReplicas": 2}),
            ),
            Status::Progressing,
            "Waiting for rollout to finish: 1 old replicas are pending termination...",
        ),
        (
            deployment(
                json!({"replicas": 1}),
                json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 1}),
            ),
            Status::Progressing,
            "Waiting for rollout to finish: 0 of 1 updated replicas are available...",
        ),
        (
            deployment(
                json!({"replicas": 1}),
                json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}),
            ),
            Status::Degraded,
            "Deployment \"web\" exceeded its progress deadline",
        ),
        (
            deployment(
                json!({"replicas": 1}),
                json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}),
            ),
            Status::Healthy,
            "",
        ),
        (
            object(
                "apps/v1",
                "StatefulSet",
                json!({"spec": {"replicas": 2}, "status": {"observedGeneration": 2, "readyReplicas": 1}}),
            ),
            Status::Progressing,
            "Waiting for 1 pods to be ready...",
        ),
        (
            object(
                "apps/v1",
                "DaemonSet",
                json!({"status": {"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 1}}),
            ),
            Status::Progressing,
            "Waiting for daemon set \"web\" rollout to finish: 1 out of 2 new pods have been updated...",
        ),
        (
            object(
                "apps/v1",
                "ReplicaSet",
                json!({"spec": {"replicas": 1}, "status": {"observedGeneration": 2}}),
            ),
            Status::Progressing,
            "Waiting for rollout to finish: 0 out of 1 new replicas are available...",
        ),
        (
            object(
                "batch/v1",
                "Job",
                json!({"status": {"conditions": [{"type": "Failed", "message": "backoff limit"}]}}),
            ),
            Status::Degraded,
            "backoff limit",
        ),
        (object("batch/v1", "Job", json!({"status": {"active": 1}})), Status::Progressing, ""),
        (
            object(
                "batch/v1",
                "Job",
                json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
            ),
            Status::Healthy,
            "",
        ),
        (
            object("batch/v1", "CronJob", json!({"spec": {"suspend": true}})),
            Status::Suspended,
            "CronJob is Suspended",
        ),
    ];
    check(&table);
}

#[test]
fn core_kinds() {
    let pod = |spec: Value, status: Value| object("v1", "Pod", json!({ "spec": spec, "status": status }));
    let table = [
        (
            pod(
                json!({}),
                json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no image"}}}]}),
            ),
            Status::Degraded,
            "no image",
        ),
        (
            pod(
                json!({"restartPolicy": "Never"}),
                json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "x"}}}]}),
            ),
            Status::Progressing,
            "",
        ),
        (
            pod(
                json!({"restartPolicy": "Never"}),
                json!({"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 3}}}]}),
            ),
            Status::Degraded,
            "container \"c\" failed with exit code 3",
        ),
        (
            pod(json!({}), json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})),
            Status::Healthy,
            "",
        ),
        (pod(json!({}), json!({"phase": "Running"})), Status::Progressing, ""),
        (
            pod(
                json!({}),
                json!({"phase": "Running", "containerStatuses": [{"lastState": {"terminated": {"exitCode": 1}}}]}),
            ),
            Status::Degraded,
            "",
        ),
        (object("v1", "Service", json!({"spec": {"type": "ClusterIP"}})), Status::Healthy, ""),
        (object("v1", "Service", json!({"spec": {"type": "LoadBalancer"}})), Status::Progressing, ""),
        (object("networking.k8s.io/v1", "Ingress", json!({})), Status::Progressing, ""),
        (
            object(
                "networking.k8s.io/v1",
                "Ingress",
                json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}}),
            ),
            Status::Healthy,
            "",
        ),
        (object("v1", "PersistentVolumeClaim", json!({"status": {"phase": "Lost"}})), Status::Degraded, ""),
        (
            object(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                json!({"status": {"conditions": [{"type": "AbleToScale", "status": "True", "message": "ready"}]}}),
            ),
            Status::Healthy,
            "ready",
        ),
        (
            object("autoscaling/v2", "HorizontalPodAutoscaler", json!({})),
            Status::Progressing,
            "Waiting to Autoscale",
        ),
        (
            object(
                "argoproj.io/v1alpha1",
                "Application",
                json!({"status": {"health": {"status": "Degraded", "message": "m"}}}),
            ),
            Status::Degraded,
            "m",
        ),
    ];
    check(&table);
}

#[test]
fn what_is_being_deleted_is_progressing() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "deletionTimestamp": "2024-01-01T00:00:00Z"}});
    assert_eq!(of(&object), Some(Health::new(Status::Progressing, "Pending deletion")));
    assert_eq!(of(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})), None);
}

#[test]
fn the_application_is_as_healthy_as_its_worst_object() {
    let (good, bad) = (Health::healthy(), Health::new(Status::Degraded, "boom"));
    let part = |health, exists| Contribution { health, exists, name: "Deployment/web" };
    let all = aggregate([part(Some(&good), true), part(Some(&bad), true), part(None, false)]);
    assert_eq!((all.status, all.message.as_str()), (Status::Degraded, "Deployment/web: boom"));
    assert_eq!(aggregate([part(Some(&good), true), part(None, false)]).status, Status::Healthy);
    assert_eq!(aggregate([part(None, false)]).status, Status::Missing);
    assert_eq!(aggregate([]).status, Status::Healthy);
}

proptest::proptest! {
    #[test]
    fn no_object_is_too_odd(
        kind in proptest::sample::select(vec!["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Pod", "Service"]),
        generation in proptest::option::of(-3i64..3), replicas in proptest::option::of(-3i64..3), phase in "[A-Za-z]{0,8}",
    ) {
        for group in ["apps/v1", "batch/v1", "v1"] {
            let odd = json!({
                "apiVersion": group, "kind": kind, "metadata": { "generation": generation },
                "spec": { "replicas": replicas, "updateStrategy": phase },
                "status": { "observedGeneration": replicas, "phase": phase, "conditions": [phase, null, {"type": 3}] },
            });
            let _health = of(&odd);
        }
    }
}

fn check(table: &[(Value, Status, &str)]) {
    for (object, status, message) in table {
        let health = of(object).unwrap_or_else(|| panic!("no health for {object}"));
        assert_eq!((health.status, health.message.as_str()), (*status, *message), "{object}");
    }
}
