//! Hooks: objects that run at a phase of a sync, usually Jobs, and are deleted by their own policy.
//!
//! Invariant: one hook runs once in an operation. The operation's id on the object tells a resumed executor that it is
//! there already.

use std::collections::BTreeSet;

use serde_json::Value;
use sluice_gitops::health::{self, Status};
use sluice_gitops::options::HookDeletePolicy;
use sluice_gitops::plan::{Action, Task};
use sluice_gitops::resource::annotation;
use sluice_kubernetes::annotations::OPERATION;
use sluice_kubernetes::apply::Propagation;
use sluice_schemas::events::ObjectStatus;

use super::Operation;
use super::task::{TaskError, again, delete_and_wait, kind, marked};
use crate::context::Context;

/// Creates a hook, unless this operation did so before.
pub(super) async fn create(
    context: &Context,
    operation: &Operation,
    task: &Task,
    policies: &BTreeSet<HookDeletePolicy>,
) -> Result<(ObjectStatus, String), TaskError> {
    let kind = kind(context, operation, task).await?;
    context.live.track([kind.clone()]).await;
    let existing = again(|| context.objects.get(&kind, &task.key.namespace, &task.key.name)).await?;
    if let Some(existing) = existing {
        if annotation(&existing, OPERATION) == Some(operation.reference.sync.as_str()) {
            context.live.offer(&task.key, existing);
            return Ok((ObjectStatus::Synced, "running".to_owned()));
        }
        if policies.contains(&HookDeletePolicy::BeforeHookCreation) {
            delete_and_wait(context, &kind, task).await?;
        }
    }
    let manifest = marked(operation, task)?;
    let created = again(|| context.objects.apply(&kind, &manifest, false)).await?;
    context.live.offer(&task.key, created);
    Ok((ObjectStatus::Synced, "running".to_owned()))
}

/// How a hook ended: whether well, and its words. `None` while it runs.
pub(super) async fn end(context: &Context, task: &Task) -> Option<(bool, String)> {
    let object = match context.live.get(&task.key) {
        Some(object) => object,
        // Deleted from outside while it ran (a TTL, a person): what it did cannot be known.
        None => return Some((false, "the hook was deleted before it ended".to_owned())),
    };
    let is_pod = task.gvk.is("", "Pod");
    match health::of(&object) {
        None => Some((true, "done".to_owned())),
        Some(_) if is_pod => match object["status"]["phase"].as_str() {
            Some("Succeeded") => Some((true, "succeeded".to_owned())),
            Some("Failed") => Some((false, message(&object))),
            _ => None,
        },
        Some(health) => match health.status {
            Status::Healthy => Some((true, or(health.message, "succeeded"))),
            Status::Degraded => Some((false, or(health.message, "failed"))),
            Status::Suspended | Status::Progressing | Status::Missing | Status::Unknown => None,
        },
    }
}

/// Deletes ended hooks whose policy says so. A failure to is only logged: the next run deletes it before it creates.
pub(super) async fn clean_up(context: &Context, ended: &[(&Task, bool)]) {
    for (task, succeeded) in ended {
        let Action::Hook { policies, .. } = &task.action else { continue };
        let policy = if *succeeded { HookDeletePolicy::HookSucceeded } else { HookDeletePolicy::HookFailed };
        if !policies.contains(&policy) {
            continue;
        }
        let (namespace, name) = (&task.key.namespace, &task.key.name);
        let Ok(kind) = context.discovery.resolve(&task.gvk).await else { continue };
        let deleted =
            again(|| context.objects.delete(&kind, namespace, name, None, Propagation::Background)).await;
        if let Err(error) = deleted {
            tracing::warn!(hook = %task.key, error = %error, "failed to delete an ended hook");
        }
    }
}

fn message(object: &Value) -> String {
    health::of(object).map(|health| or(health.message, "failed")).unwrap_or_default()
}

fn or(message: String, otherwise: &str) -> String {
    if message.is_empty() { otherwise.to_owned() } else { message }
}
