//! Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob.

use serde_json::Value;

use super::{Health, Status, condition, int, list, text};

pub(super) fn deployment(object: &Value) -> Health {
    if object["spec"]["paused"] == true {
        return Health::new(Status::Suspended, "Deployment is paused");
    }
    if int(object, "/metadata/generation") > int(object, "/status/observedGeneration") {
        return progressing(
            "Waiting for rollout to finish: observed deployment generation less than desired generation",
        );
    }
    if condition(object, "Progressing").is_some_and(|it| it["reason"] == "ProgressDeadlineExceeded") {
        let name = text(object, "/metadata/name");
        return Health::new(Status::Degraded, format!("Deployment {name:?} exceeded its progress deadline"));
    }
    let updated = int(object, "/status/updatedReplicas");
    let replicas = int(object, "/status/replicas");
    let available = int(object, "/status/availableReplicas");
    if let Some(wanted) = object["spec"]["replicas"].as_i64()
        && updated < wanted
    {
        return progressing(format!(
            "Waiting for rollout to finish: {updated} out of {wanted} new replicas have been updated..."
        ));
    }
    if replicas > updated {
        let old = replicas - updated;
        return progressing(format!(
            "Waiting for rollout to finish: {old} old replicas are pending termination..."
        ));
    }
    if available < updated {
        return progressing(format!(
            "Waiting for rollout to finish: {available} of {updated} updated replicas are available..."
        ));
    }
    Health::healthy()
}

pub(super) fn stateful_set(object: &Value) -> Health {
    let observed = int(object, "/status/observedGeneration");
    if observed == 0 || int(object, "/metadata/generation") > observed {
        return progressing("Waiting for statefulset spec update to be observed...");
    }
    let wanted = object["spec"]["replicas"].as_i64();
    let ready = int(object, "/status/readyReplicas");
    if let Some(wanted) = wanted
        && ready < wanted
    {
        return progressing(format!("Waiting for {} pods to be ready...", wanted - ready));
    }
    let updated = int(object, "/status/updatedReplicas");
    let strategy = text(object, "/spec/updateStrategy/type");
    let rolling = object.pointer("/spec/updateStrategy/rollingUpdate").filter(|it| !it.is_null());
    if let (Some(rolling), "RollingUpdate") = (rolling, strategy) {
        if let (Some(wanted), Some(partition)) = (wanted, rolling["partition"].as_i64())
            && updated < wanted - partition
        {
            return progressing(format!(
                "Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...",
                wanted - partition
            ));
        }
        return Health::new(
            Status::Healthy,
            format!("partitioned roll out complete: {updated} new pods have been updated..."),
        );
    }
    if strategy == "OnDelete" {
        return Health::new(Status::Healthy, format!("statefulset has {ready} ready pods"));
    }
    let (update, current) = (text(object, "/status/updateRevision"), text(object, "/status/currentRevision"));
    if update != current {
        return progressing(format!(
            "waiting for statefulset rolling update to complete {updated} pods at revision {update}..."
        ));
    }
    let count = int(object, "/status/currentReplicas");
    Health::new(
        Status::Healthy,
        format!("statefulset rolling update complete {count} pods at revision {current}..."),
    )
}

pub(super) fn daemon_set(object: &Value) -> Health {
    if int(object, "/metadata/generation") > int(object, "/status/observedGeneration") {
        return progressing(
            "Waiting for rollout to finish: observed daemon set generation less than desired generation",
        );
    }
    let name = text(object, "/metadata/name");
    let updated = int(object, "/status/updatedNumberScheduled");
    let wanted = int(object, "/status/desiredNumberScheduled");
    let available = int(object, "/status/numberAvailable");
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Health::new(
            Status::Healthy,
            format!("daemon set {updated} out of {wanted} new pods have been updated"),
        );
    }
    if updated < wanted {
        return progressing(format!(
            "Waiting for daemon set {name:?} rollout to finish: {updated} out of {wanted} new pods have been updated..."
        ));
    }
    if available < wanted {
        return progressing(format!(
            "Waiting for daemon set {name:?} rollout to finish: {available} of {wanted} updated pods are available..."
        ));
    }
    Health::healthy()
}

pub(super) fn replica_set(object: &Value) -> Health {
    if int(object, "/metadata/generation") > int(object, "/status/observedGeneration") {
        return progressing(
            "Waiting for rollout to finish: observed replica set generation less than desired generation",
        );
    }
    if let Some(failure) = condition(object, "ReplicaFailure").filter(|it| it["status"] == "True") {
        return Health::new(Status::Degraded, failure["message"].as_str().unwrap_or_default());
    }
    let available = int(object, "/status/availableReplicas");
    match object["spec"]["replicas"].as_i64() {
        Some(wanted) if available < wanted => progressing(format!(
            "Waiting for rollout to finish: {available} out of {wanted} new replicas are available..."
        )),
        _ => Health::healthy(),
    }
}

pub(super) fn job(object: &Value) -> Health {
    let (mut failed, mut complete, mut suspended) = (false, false, false);
    let (mut message, mut failure) = (String::new(), String::new());
    for condition in list(object, "/status/conditions") {
        let says = condition["message"].as_str().unwrap_or_default().to_owned();
        match condition["type"].as_str() {
            Some("Failed") => (failed, complete, failure) = (true, true, says),
            Some("Complete") => (complete, message) = (true, says),
            Some("Suspended") => {
                (complete, message) = (true, says);
                suspended = condition["status"] == "True";
            }
            _ => {}
        }
    }
    match () {
        () if !complete => progressing(message),
        () if failed => Health::new(Status::Degraded, failure),
        () if suspended => Health::new(Status::Suspended, message),
        () => Health::new(Status::Healthy, message),
    }
}

pub(super) fn cron_job(object: &Value) -> Health {
    if object["spec"]["suspend"] == true {
        return Health::new(Status::Suspended, "CronJob is Suspended");
    }
    Health::healthy()
}

fn progressing(message: impl Into<String>) -> Health {
    Health::new(Status::Progressing, message)
}
