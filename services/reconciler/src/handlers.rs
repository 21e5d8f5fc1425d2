//! What the bus tells: pushes, renderings, commands. Each handler finds the application and waits for its answer.

use std::sync::Arc;
use std::time::Duration;

use sluice_bus::topology::{RECONCILER_PUSH, RECONCILER_REFRESH, RECONCILER_RENDERED, RECONCILER_SYNC};
use sluice_bus::{ConsumeError, Delivery, Outcome};
use sluice_schemas::commands::{Refresh, Sync};
use sluice_schemas::events::{AppRef, GrantRefused, PushReceived};
use sluice_schemas::ids::{AppId, GrantId, hash_token};
use sluice_schemas::{Cause, Event};
use tokio::sync::oneshot;

use crate::context::Context;
use crate::registry::{Registry, Reply, Signal};
use crate::render;

/// An actor that does not answer within this is stuck behind something slow; the message comes again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts consuming.
pub(crate) async fn start(context: &Arc<Context>, registry: &Arc<Registry>) -> Result<(), ConsumeError> {
    let (service, bus, concurrency) = (&context.service, &context.bus, context.config.concurrency);
    let shared = (context.clone(), registry.clone());
    bus.consume::<PushReceived, _, _>(service, RECONCILER_PUSH, concurrency, move |delivery| {
        let (context, registry) = shared.clone();
        async move { pushed(&context, &registry, delivery).await }
    })
    .await?;
    let shared = registry.clone();
    bus.consume_events(service, RECONCILER_RENDERED, concurrency, move |delivery| {
        let registry = shared.clone();
        async move { rendered(&registry, delivery).await }
    })
    .await?;
    let shared = (context.clone(), registry.clone());
    bus.consume::<Sync, _, _>(service, RECONCILER_SYNC, concurrency, move |delivery| {
        let (context, registry) = shared.clone();
        async move { sync(&context, &registry, delivery).await }
    })
    .await?;
    let shared = registry.clone();
    bus.consume::<Refresh, _, _>(service, RECONCILER_REFRESH, concurrency, move |delivery| {
        let registry = shared.clone();
        async move { refresh(&registry, delivery).await }
    })
    .await
}

/// A push: every application that follows the ref is rendered at the pushed commit.
async fn pushed(context: &Context, registry: &Registry, delivery: Delivery<PushReceived>) -> Outcome {
    registry.wait_until_listed().await;
    let push = &delivery.message;
    // Of a superseded push the newer one was heard of before, and that one is what is deployed.
    if push.deleted || push.superseded {
        return Outcome::Done;
    }
    // A tag may be annotated, and a constraint mean another one: there the renderer resolves.
    let revision = push.branch().map(|_| push.after.clone());
    for handle in registry.all() {
        let app = handle.shared.app();
        if app.metadata.deletion_timestamp.is_some() || !render::is_concerned(&app, push) {
            continue;
        }
        let seed = delivery.envelope.id.as_str();
        let order = delivery.sequence;
        let Some(command) = render::command(&app, revision.clone(), false, seed, order) else { continue };
        let cause = delivery.cause().seeded(format!("render:{}", command.render));
        if let Err(error) = context.bus.publish(&command, &cause).await {
            return Outcome::retry(&delivery, error);
        }
    }
    Outcome::Done
}

async fn rendered(registry: &Registry, delivery: Delivery<Event>) -> Outcome {
    let cause = delivery.cause();
    match delivery.message.clone() {
        Event::RenderSucceeded(fact) => {
            let app = fact.render.app.clone();
            ask(registry, &app, |reply| Signal::Rendered { fact, cause, reply }).await
        }
        Event::RenderFailed(fact) => {
            let app = fact.render.app.clone();
            ask(registry, &app, |reply| Signal::RenderFailed { fact, cause, reply }).await
        }
        _ => Outcome::Done,
    }
}

async fn sync(context: &Context, registry: &Registry, delivery: Delivery<Sync>) -> Outcome {
    let command = Box::new(delivery.message.clone());
    let cause = delivery.cause();
    registry.wait_until_listed().await;
    if registry.get(&command.app).is_none() {
        return unknown(context, &command, &cause).await;
    }
    let app = command.app.clone();
    ask(registry, &app, |reply| Signal::Sync { command, cause, reply }).await
}

async fn refresh(registry: &Registry, delivery: Delivery<Refresh>) -> Outcome {
    let (hard, cause) = (delivery.message.hard, delivery.cause());
    ask(registry, &delivery.message.app, |reply| Signal::Refresh { hard, cause, reply }).await
}

/// Asks the application's actor and waits for its answer. What concerns an application that does not exist is done.
async fn ask(registry: &Registry, app: &AppId, signal: impl FnOnce(Reply) -> Signal) -> Outcome {
    registry.wait_until_listed().await;
    let Some(handle) = registry.get(app) else {
        tracing::debug!(%app, "a message about an application that does not exist");
        return Outcome::Done;
    };
    let (reply, answer) = oneshot::channel();
    let asked = async {
        handle.mailbox.send(signal(reply)).await.ok()?;
        answer.await.ok()
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Outcome::Retry {
            after: Duration::from_secs(1),
            reason: format!("the application {app} is being deleted or the process is stopping"),
        },
        Err(_) => Outcome::Retry {
            after: Duration::from_secs(5),
            reason: format!("the application {app} did not get to it within {} s", PATIENCE.as_secs()),
        },
    }
}

/// A sync of an application that does not exist: on record, so that who asked sees it.
async fn unknown(context: &Context, command: &Sync, cause: &Cause) -> Outcome {
    let namespace = context.cluster.applications_namespace().to_owned();
    let fact = GrantRefused {
        grant: GrantId::from_text(&hash_token(&["refused", command.sync.as_str(), "unknown"])),
        app: AppRef { app: command.app.clone(), project: command.project.clone(), namespace },
        attempt: "sync".to_owned(),
        reason: format!(
            "there is no Application `{}`; create it with `sluice app create -f app.yaml` or kubectl",
            command.app.name()
        ),
        person: Some(command.person.clone()),
    };
    match context.bus.publish(&fact, &cause.seeded(format!("refused:{}", fact.grant))).await {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Retry { after: Duration::from_secs(2), reason: error.to_string() },
    }
}
