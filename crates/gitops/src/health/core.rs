//! Pod, Service, PersistentVolumeClaim, Ingress, HorizontalPodAutoscaler, APIService, Application.

use serde_json::Value;

use super::{Health, Status, condition, list, text};

pub(super) fn pod(object: &Value) -> Health {
    let policy = match text(object, "/spec/restartPolicy") {
        "" => "Always",
        policy => policy,
    };
    let containers = list(object, "/status/containerStatuses");
    // A pod that restarts for ever is never done; one with another policy is a hook or a job and may still succeed.
    if policy == "Always" {
        let stuck: Vec<_> = containers
            .iter()
            .filter_map(|it| it.pointer("/state/waiting"))
            .filter(|it| is_stuck(it))
            .collect();
        if !stuck.is_empty() {
            let messages: Vec<_> =
                stuck.iter().map(|it| it["message"].as_str().unwrap_or_default()).collect();
            return Health::new(Status::Degraded, messages.join(", "));
        }
    }
    let message = text(object, "/status/message");
    match text(object, "/status/phase") {
        "Pending" => Health::new(Status::Progressing, message),
        "Succeeded" => Health::new(Status::Healthy, message),
        "Failed" if !message.is_empty() => Health::new(Status::Degraded, message),
        "Failed" => {
            let all = list(object, "/status/initContainerStatuses").iter().chain(containers);
            Health::new(Status::Degraded, all.filter_map(failure).next().unwrap_or_default())
        }
        "Running" if policy != "Always" => Health::new(Status::Progressing, message),
        "Running" => {
            if condition(object, "Ready").is_some_and(|it| it["status"] == "True") {
                return Health::new(Status::Healthy, message);
            }
            let died = containers
                .iter()
                .any(|it| it.pointer("/lastState/terminated").is_some_and(|it| !it.is_null()));
            Health::new(if died { Status::Degraded } else { Status::Progressing }, message)
        }
        _ => Health::new(Status::Unknown, message),
    }
}

pub(super) fn service(object: &Value) -> Health {
    if text(object, "/spec/type") == "LoadBalancer" && list(object, "/status/loadBalancer/ingress").is_empty()
    {
        return Health::new(Status::Progressing, "");
    }
    Health::healthy()
}

pub(super) fn ingress(object: &Value) -> Health {
    if list(object, "/status/loadBalancer/ingress").is_empty() {
        return Health::new(Status::Progressing, "");
    }
    Health::healthy()
}

pub(super) fn claim(object: &Value) -> Health {
    match text(object, "/status/phase") {
        "Bound" => Health::healthy(),
        "Pending" => Health::new(Status::Progressing, ""),
        "Lost" => Health::new(Status::Degraded, ""),
        _ => Health::new(Status::Unknown, ""),
    }
}

pub(super) fn autoscaler(object: &Value) -> Health {
    // `autoscaling/v1` carries its conditions as JSON in an annotation.
    let annotated: Vec<Value> =
        crate::resource::annotation(object, "autoscaling.alpha.kubernetes.io/conditions")
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
    for condition in list(object, "/status/conditions").iter().chain(&annotated) {
        let says = condition["message"].as_str().unwrap_or_default();
        let (kind, reason) = (condition["type"].as_str().unwrap_or_default(), condition["reason"].as_str());
        let broken = matches!(
            (kind, reason.unwrap_or_default()),
            ("AbleToScale", "FailedGetScale" | "FailedUpdateScale")
                | ("ScalingActive", "FailedGetResourceMetric" | "InvalidSelector")
        );
        if broken && condition["status"] == "False" {
            return Health::new(Status::Degraded, says);
        }
        if matches!(kind, "AbleToScale" | "ScalingLimited") && condition["status"] == "True" {
            return Health::new(Status::Healthy, says);
        }
    }
    Health::new(Status::Progressing, "Waiting to Autoscale")
}

pub(super) fn api_service(object: &Value) -> Health {
    match condition(object, "Available") {
        Some(it) => {
            let status = if it["status"] == "True" { Status::Healthy } else { Status::Progressing };
            let part = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
            Health::new(status, format!("{}: {}", part("reason"), part("message")))
        }
        None => Health::new(Status::Progressing, "Waiting to be processed"),
    }
}

/// A child application is as healthy as it says; before it says anything it has no health.
pub(super) fn application(object: &Value) -> Option<Health> {
    let status = match text(object, "/status/health/status") {
        "Healthy" => Status::Healthy,
        "Suspended" => Status::Suspended,
        "Progressing" => Status::Progressing,
        "Missing" => Status::Missing,
        "Degraded" => Status::Degraded,
        "Unknown" => Status::Unknown,
        _ => return None,
    };
    Some(Health::new(status, text(object, "/status/health/message")))
}

fn is_stuck(waiting: &Value) -> bool {
    let reason = waiting["reason"].as_str().unwrap_or_default();
    reason.starts_with("Err") || reason.ends_with("Error") || reason.ends_with("BackOff")
}

fn failure(container: &Value) -> Option<String> {
    let end = container.pointer("/state/terminated").filter(|it| !it.is_null())?;
    if let Some(message) = end["message"].as_str().filter(|it| !it.is_empty()) {
        return Some(message.to_owned());
    }
    if end["reason"] == "OOMKilled" {
        return Some("OOMKilled".to_owned());
    }
    let code = end["exitCode"].as_i64().filter(|code| *code != 0)?;
    Some(format!(
        "container {:?} failed with exit code {code}",
        container["name"].as_str().unwrap_or_default()
    ))
}
