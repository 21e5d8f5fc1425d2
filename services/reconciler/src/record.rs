//! A comparison as others read it: the stored object, the events. Called by the application's actor.

use bytes::Bytes;
use serde_json::Value;
use sluice_bus::{ObjectError, PublishError};
use sluice_gitops::plan::State;
use sluice_schemas::events::{AppCompared, AppHealthChanged, AppRef, SyncStatus};
use sluice_schemas::ids::hash_token;
use sluice_schemas::state::{AppState, Comparison, ObjectAction, ObjectComparison};
use sluice_schemas::{Cause, Digest};

use crate::compare::{Compared, Object};
use crate::context::Context;
use crate::convert::health_status;
use crate::desired::Target;

/// Errors in an event; the rest is in the comparison.
const MAX_ERRORS: usize = 20;

/// Stores a comparison under its digest, if it is not the one that is stored already.
pub(crate) async fn store(
    context: &Context,
    app: &AppRef,
    target: &Target,
    compared: &Compared,
    prunes: bool,
    known: Option<&Digest>,
) -> Result<Digest, ObjectError> {
    let comparison = Comparison {
        app: app.clone(),
        revision: target.revision.clone(),
        manifests: target.manifests.clone(),
        objects: compared.objects.iter().map(|object| object_comparison(object, prunes)).collect(),
    };
    let bytes = Bytes::from(serde_json::to_vec(&comparison).unwrap_or_default());
    let digest = Digest::of(&bytes);
    if known != Some(&digest) {
        context.manifests.put(bytes).await?;
    }
    Ok(digest)
}

/// The fact of a comparison.
pub(crate) fn compared_fact(
    app: &AppRef,
    target: &Target,
    compared: &Compared,
    gated: bool,
    comparison: Digest,
) -> AppCompared {
    let mut errors = compared.errors.clone();
    if errors.len() > MAX_ERRORS {
        let more = errors.len() - MAX_ERRORS;
        errors.truncate(MAX_ERRORS);
        errors.push(format!("and {more} more; see the comparison"));
    }
    AppCompared {
        app: app.clone(),
        revision: target.revision.clone(),
        manifests: target.manifests.clone(),
        sync: compared.sync,
        health: health_status(compared.health.status),
        gated,
        out_of_sync: count(compared.out_of_sync()),
        objects: count(compared.objects.len()),
        images: compared.images.clone(),
        live_images: compared.live_images.clone(),
        comparison,
        errors,
    }
}

/// Publishes what changed since `before`: the comparison's fact, and that of the health.
pub(crate) async fn publish(
    context: &Context,
    before: &AppState,
    before_revision: Option<u64>,
    fact: &AppCompared,
    health_message: &str,
    is_news: bool,
    cause: &Cause,
) -> Result<(), PublishError> {
    // The same transition from the same stored state has the same id, whoever publishes it and however often.
    let step = before_revision.unwrap_or(0).to_string();
    let app = fact.app.app.as_str();
    if is_news {
        let seed =
            hash_token(&["compared", app, &step, fact.comparison.as_str(), &format!("{:?}", fact.sync)]);
        context.bus.publish(fact, &cause.seeded(seed)).await?;
    }
    if before.health != fact.health {
        let changed = AppHealthChanged {
            app: fact.app.clone(),
            from: before.health,
            to: fact.health,
            message: health_message.to_owned(),
            revision: before.synced_revision.clone(),
            live_images: fact.live_images.clone(),
        };
        let seed = hash_token(&["health", app, &step, &format!("{:?}", fact.health)]);
        context.bus.publish(&changed, &cause.seeded(seed)).await?;
    }
    Ok(())
}

/// Whether a comparison says anything that the stored state does not. `published` are the errors and counts of the last
/// one that this process published; the stored state has them only by way of the comparison's digest.
pub(crate) fn is_news(
    before: &AppState,
    fact: &AppCompared,
    published: Option<&(Vec<String>, u32, u32)>,
) -> bool {
    let same_counts = published.is_some_and(|(errors, out_of_sync, objects)| {
        *errors == fact.errors && (*out_of_sync, *objects) == (fact.out_of_sync, fact.objects)
    });
    before.revision.as_ref() != Some(&fact.revision)
        || before.manifests.as_ref() != Some(&fact.manifests)
        || before.sync != fact.sync
        || before.gated != fact.gated
        || before.images != fact.images
        || before.live_images != fact.live_images
        || (before.comparison.as_ref() != Some(&fact.comparison) && !same_counts)
}

fn object_comparison(object: &Object, prunes: bool) -> ObjectComparison {
    let plan = &object.plan;
    let action = match &plan.state {
        _ if plan.options.is_hook() => ObjectAction::None,
        State::Same | State::Broken(_) => ObjectAction::None,
        State::Missing => ObjectAction::Create,
        State::Differs => ObjectAction::Update,
        State::Extra if object.terminating => ObjectAction::None,
        State::Extra if prunes && !plan.options.no_prune => ObjectAction::Prune,
        State::Extra => ObjectAction::Keep,
    };
    let show = |value: &Option<std::sync::Arc<Value>>| value.as_deref().filter(|it| !it.is_null()).cloned();
    ObjectComparison {
        group: plan.gvk.group.clone(),
        version: plan.gvk.version.clone(),
        kind: plan.gvk.kind.clone(),
        namespace: plan.key.namespace.clone(),
        name: plan.key.name.clone(),
        sync: object.sync_status(),
        action,
        health: object.health.as_ref().map(|it| health_status(it.status)),
        health_message: object.health.as_ref().map(|it| it.message.clone()).unwrap_or_default(),
        hook: plan.options.is_hook(),
        wave: plan.options.wave,
        error: match &plan.state {
            State::Broken(reason) => Some(reason.clone()),
            _ => None,
        },
        desired: show(&object.predicted),
        live: show(&object.live),
        parent: None,
    }
}

/// Keys and kinds of a stored comparison: what was ours before this process lived.
pub(crate) fn known_kinds(comparison: &Comparison) -> Vec<(String, String)> {
    let mut kinds: Vec<_> = comparison
        .objects
        .iter()
        .filter(|it| it.sync != SyncStatus::Unknown)
        .map(|it| (it.group.clone(), it.kind.clone()))
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Reads a stored comparison back.
pub(crate) async fn load(context: &Context, digest: &Digest) -> Option<Comparison> {
    let bytes = context.manifests.get(digest).await.ok()?;
    serde_json::from_slice(&bytes).ok()
}

pub(crate) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
