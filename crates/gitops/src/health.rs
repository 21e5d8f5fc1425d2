//! Health of live objects, with Argo CD's rules and words.
//!
//! `None` means that a kind has no health of its own: it is as healthy as it exists. Called by the reconciler after each
//! change of a live object.

mod core;
mod workloads;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::resource::Gvk;

/// From best to worst, as Argo CD orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Status {
    Healthy,
    Suspended,
    Progressing,
    Missing,
    Degraded,
    Unknown,
}

/// A judgement and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    pub status: Status,
    pub message: String,
}

impl Health {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn healthy() -> Self {
        Self::new(Status::Healthy, "")
    }
}

/// The health of one live object.
pub fn of(object: &Value) -> Option<Health> {
    if object["metadata"].get("deletionTimestamp").is_some_and(|it| !it.is_null()) {
        return Some(Health::new(Status::Progressing, "Pending deletion"));
    }
    let gvk = Gvk::of(object)?;
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("apps", "Deployment") => Some(workloads::deployment(object)),
        ("apps", "StatefulSet") => Some(workloads::stateful_set(object)),
        ("apps", "DaemonSet") => Some(workloads::daemon_set(object)),
        ("apps", "ReplicaSet") => Some(workloads::replica_set(object)),
        ("batch", "Job") => Some(workloads::job(object)),
        ("batch", "CronJob") => Some(workloads::cron_job(object)),
        ("", "Pod") => Some(core::pod(object)),
        ("", "Service") => Some(core::service(object)),
        ("", "PersistentVolumeClaim") => Some(core::claim(object)),
        ("networking.k8s.io" | "extensions", "Ingress") => Some(core::ingress(object)),
        ("autoscaling", "HorizontalPodAutoscaler") => Some(core::autoscaler(object)),
        ("apiregistration.k8s.io", "APIService") => Some(core::api_service(object)),
        ("argoproj.io", "Application") => core::application(object),
        _ => None,
    }
}

/// What one object adds to its application's health.
#[derive(Clone, Debug)]
pub struct Contribution<'a> {
    /// `None` when the object is not there.
    pub health: Option<&'a Health>,
    pub exists: bool,
    /// Named in the message: `Deployment/web`.
    pub name: &'a str,
}

/// The application's health: the worst of its objects'. A single missing object does not spoil it (being out of sync says
/// that already); when none exists, the application is `Missing`.
pub fn aggregate<'a>(objects: impl IntoIterator<Item = Contribution<'a>>) -> Health {
    let mut worst = Health::healthy();
    let (mut any, mut any_live) = (false, false);
    for object in objects {
        any = true;
        any_live |= object.exists;
        if let Some(health) = object.health
            && object.exists
            && health.status > worst.status
        {
            let message = if health.message.is_empty() {
                object.name.to_owned()
            } else {
                format!("{}: {}", object.name, health.message)
            };
            worst = Health::new(health.status, message);
        }
    }
    if any && !any_live {
        return Health::new(Status::Missing, "none of the objects exists yet");
    }
    worst
}

/// An integer field, absent as 0.
pub(crate) fn int(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

pub(crate) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|it| it["type"] == kind)
}

#[cfg(test)]
mod tests;
