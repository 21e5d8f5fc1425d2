//! The watches: AppProjects, Applications, live objects. Each tells the actors concerned; none decides anything.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use sluice_chassis::TaskKind;
use sluice_kubernetes::applications::{ApplicationError, Change};
use sluice_kubernetes::cache::{CacheDriver, LiveChange};
use sluice_kubernetes::{AppProject, Application};
use sluice_schemas::Cause;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::AppDeleted;
use sluice_schemas::ids::AppId;
use tokio::sync::mpsc;

use crate::actor;
use crate::context::Context;
use crate::registry::{Registry, Signal};

/// Component name in `/readyz`.
const COMPONENT: &str = "applications";

/// Starts all watches.
pub(crate) fn start(
    context: &Arc<Context>,
    registry: &Arc<Registry>,
    driver: CacheDriver,
    changes: mpsc::Receiver<LiveChange>,
) {
    let shutdown = context.service.shutdown().clone();
    let spawn = |name, future: futures::future::BoxFuture<'static, ()>| {
        let shutdown = shutdown.clone();
        context.service.tasks().spawn(TaskKind::Watcher, name, async move {
            tokio::select! { () = future => {}, () = shutdown.cancelled() => {} }
        });
    };
    context.service.health().not_ready(COMPONENT, "the Applications are not listed yet");
    spawn("live-cache", Box::pin(driver.run()));
    spawn("projects", Box::pin(projects(context.clone(), registry.clone())));
    spawn("applications", Box::pin(applications(context.clone(), registry.clone())));
    spawn("live-changes", Box::pin(live(registry.clone(), changes)));
}

async fn projects(context: Arc<Context>, registry: Arc<Registry>) {
    let mut changes = context.cluster.watch_declared::<AppProject>();
    while let Some(change) = changes.next().await {
        let name = match change {
            Change::Present(project) => {
                let name = project.name().to_owned();
                context.projects.put(*project);
                name
            }
            Change::Gone(project) => {
                context.projects.remove(project.name());
                project.name().to_owned()
            }
            Change::Broken { name, error } => {
                // Unreadable is unknown, and unknown is gated.
                tracing::warn!(project = name, %error, "an AppProject cannot be used");
                context.projects.remove(&name);
                name
            }
            Change::Listed { names } => {
                context.projects.set_listed(&names);
                continue;
            }
        };
        for handle in registry.all() {
            let app = handle.shared.app();
            if app.spec.project == name {
                tell(&handle.mailbox, Signal::Spec(Box::new((*app).clone()))).await;
            }
        }
    }
}

async fn applications(context: Arc<Context>, registry: Arc<Registry>) {
    let mut changes = context.cluster.watch_declared::<Application>();
    while let Some(change) = changes.next().await {
        match change {
            Change::Present(app) => present(&context, &registry, *app).await,
            Change::Gone(app) => gone(&registry, &AppId::from_name(app.name())).await,
            Change::Broken { name, error } => broken(&context, &name, &error).await,
            Change::Listed { names } => {
                let known: HashSet<AppId> = names.iter().map(|name| AppId::from_name(name)).collect();
                for id in registry.ids().into_iter().filter(|id| !known.contains(id)) {
                    gone(&registry, &id).await;
                }
                forget_ghosts(&context, &known).await;
                registry.set_listed();
                context.service.health().ready(COMPONENT);
            }
        }
    }
}

async fn present(context: &Arc<Context>, registry: &Arc<Registry>, app: Application) {
    let id = AppId::from_name(app.name());
    let Some(handle) = registry.get(&id) else {
        tracing::info!(app = app.name(), "an application is known");
        return actor::start(context, registry, app);
    };
    let known = handle.shared.app();
    if known.metadata.uid != app.metadata.uid {
        // Deleted and created anew between two looks.
        gone(registry, &id).await;
        return actor::start(context, registry, app);
    }
    if is_news(&known, &app) {
        tell(&handle.mailbox, Signal::Spec(Box::new(app))).await;
    }
}

/// Our own status writes come back as changes; they are none.
fn is_news(known: &Application, app: &Application) -> bool {
    known.spec != app.spec
        || known.operation != app.operation
        || known.metadata.annotations != app.metadata.annotations
        || known.metadata.finalizers != app.metadata.finalizers
        || known.metadata.deletion_timestamp != app.metadata.deletion_timestamp
}

async fn gone(registry: &Registry, id: &AppId) {
    if let Some(handle) = registry.remove(id) {
        tell(&handle.mailbox, Signal::Gone).await;
    }
}

/// Applications that were deleted while nobody watched leave a state behind: it is taken away, and said so.
async fn forget_ghosts(context: &Context, known: &HashSet<AppId>) {
    let keys = match context.states.keys().await {
        Ok(keys) => keys,
        Err(error) => return tracing::warn!(%error, "failed to look for states of deleted applications"),
    };
    for key in keys {
        let Ok(Some(entry)) = context.states.get(&key).await else { continue };
        let app = entry.value.app;
        if known.contains(&app.app) {
            continue;
        }
        let cause = Cause::root(correlation_of(&key), format!("ghost:{key}:{}", entry.revision));
        let fact = AppDeleted { app, pruned: 0 };
        let told = context.bus.publish(&fact, &cause).await.map_err(|error| error.to_string());
        let deleted =
            context.states.delete_revision(&key, entry.revision).await.map_err(|error| error.to_string());
        if let Err(error) = told.and(deleted) {
            tracing::warn!(key, error, "failed to take away the state of a deleted application");
        }
    }
}

async fn broken(context: &Context, name: &str, error: &ApplicationError) {
    tracing::warn!(app = name, %error, "an Application cannot be used");
    let condition = serde_json::json!({ "type": "InvalidSpecError", "message": error.to_string() });
    let patch = serde_json::json!({ "status": { "conditions": [condition] } });
    if let Err(error) = context.cluster.patch_application(name, &patch).await {
        tracing::debug!(app = name, %error, "failed to say so in its status");
    }
}

async fn live(registry: Arc<Registry>, mut changes: mpsc::Receiver<LiveChange>) {
    while let Some(change) = changes.recv().await {
        for application in &change.applications {
            if let Some(handle) = registry.by_name(application) {
                handle.live.send_modify(|count| *count = count.wrapping_add(1));
            }
        }
    }
}

async fn tell(mailbox: &mpsc::Sender<Signal>, signal: Signal) {
    if mailbox.send(signal).await.is_err() {
        tracing::debug!("an application's actor is gone");
    }
}
