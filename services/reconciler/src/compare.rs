//! Comparing an application: every desired object against the live one, side by side.
//!
//! The API server predicts the result of an apply (dry run); a prediction is remembered for as long as neither the desired
//! object nor the live one (but for its status) changes, so that a rollout costs no requests and a push costs one request
//! for each object that it touches. One object that cannot be compared is one error. Called by the application's actor.

mod predict;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use serde_json::Value;
use sluice_gitops::compare::{images, normalise};
use sluice_gitops::health::{self, Contribution, Health};
use sluice_gitops::plan::{self, State};
use sluice_gitops::{Gvk, ObjectKey, SyncOptions, redact, tracking};
use sluice_kubernetes::apply::ApplyError;
use sluice_schemas::events::SyncStatus;

use crate::context::Context;
use crate::desired::{Desired, DesiredObject, Resolution};
use predict::{live_object, predict};

/// The API server could not be asked; nothing is known, and nothing is concluded.
#[derive(Debug, thiserror::Error)]
#[error("failed to compare {key}: {source}")]
pub(crate) struct CompareError {
    key: ObjectKey,
    #[source]
    source: ApplyError,
}

/// Which applications are gated: their objects are not taken over by others.
pub(crate) trait Owners: Sync {
    fn is_gated(&self, application: &str) -> bool;
}

/// What is remembered between comparisons of one application.
#[derive(Default)]
pub(crate) struct Memo {
    predictions: HashMap<ObjectKey, Prediction>,
    /// Objects that the API server said are not there; the watch reports when they appear.
    absent: HashSet<ObjectKey>,
}

#[derive(Clone)]
struct Prediction {
    desired: String,
    /// Normalised live object that this was predicted from.
    live: Option<Arc<Value>>,
    state: State,
    /// Masked.
    predicted: Option<Arc<Value>>,
    /// It follows from the two objects alone, and not from a namespace or a permission that may come.
    lasts: bool,
}

/// One object, compared.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) plan: plan::Compared,
    /// Normalised and masked.
    pub(crate) predicted: Option<Arc<Value>>,
    /// Normalised and masked.
    pub(crate) live: Option<Arc<Value>>,
    pub(crate) health: Option<Health>,
    pub(crate) exists: bool,
    /// On its way out already.
    pub(crate) terminating: bool,
}

/// One application, compared.
pub(crate) struct Compared {
    pub(crate) objects: Vec<Object>,
    pub(crate) sync: SyncStatus,
    pub(crate) health: Health,
    pub(crate) images: Vec<String>,
    pub(crate) live_images: Vec<String>,
    pub(crate) errors: Vec<String>,
}

impl Compared {
    pub(crate) fn out_of_sync(&self) -> usize {
        self.objects.iter().filter(|it| it.sync_status() == SyncStatus::OutOfSync).count()
    }

    /// For the planner.
    pub(crate) fn plan_objects(&self) -> Vec<plan::Compared> {
        self.objects.iter().filter(|it| !it.terminating).map(|it| it.plan.clone()).collect()
    }
}

impl Object {
    pub(crate) fn sync_status(&self) -> SyncStatus {
        if self.plan.options.is_hook() {
            return SyncStatus::Synced;
        }
        match &self.plan.state {
            State::Same => SyncStatus::Synced,
            State::Extra if self.plan.options.ignore_extraneous => SyncStatus::Synced,
            State::Differs | State::Missing | State::Extra => SyncStatus::OutOfSync,
            State::Broken(_) => SyncStatus::Unknown,
        }
    }
}

/// Compares. `app` is the Application's name.
pub(crate) async fn compare(
    context: &Context,
    app: &str,
    desired: &Desired,
    creates_namespace: bool,
    owners: &dyn Owners,
    namespaces: &BTreeSet<String>,
    memo: &mut Memo,
) -> Result<Compared, CompareError> {
    let timer = context.metrics.compare.with_label_values(&[] as &[&str]).start_timer();
    memo.forget_all_but(&desired.keys);
    let shared = &*memo;
    let tasks: Vec<_> = desired
        .objects
        .iter()
        .map(|object| one(context, app, desired, creates_namespace, owners, shared, object).boxed())
        .collect();
    let results: Vec<_> =
        futures::stream::iter(tasks).buffered(context.config.parallel_requests.max(1)).collect().await;
    let mut objects = Vec::with_capacity(results.len());
    for result in results {
        let (object, prediction, absent) = result?;
        let key = object.plan.key.clone();
        if absent {
            memo.absent.insert(key.clone());
        }
        if let Some(prediction) = prediction {
            memo.predictions.insert(key, prediction);
        }
        objects.push(object);
    }
    objects.extend(extras(context, app, desired, namespaces));
    timer.observe_duration();
    context
        .metrics
        .objects
        .with_label_values(&[] as &[&str])
        .set(i64::try_from(context.live.len()).unwrap_or(i64::MAX));
    Ok(summarise(context, desired, objects))
}

async fn one(
    context: &Context,
    app: &str,
    desired: &Desired,
    creates_namespace: bool,
    owners: &dyn Owners,
    memo: &Memo,
    object: &DesiredObject,
) -> Result<(Object, Option<Prediction>, bool), CompareError> {
    let kind = match &object.kind {
        Resolution::Known(kind) => kind,
        Resolution::DefinedHere => return Ok((unseen(object, State::Missing), None, false)),
        Resolution::Refused(reason) => {
            return Ok((unseen(object, State::Broken(reason.clone())), None, false));
        }
    };
    let (live, absent) = live_object(context, memo, object, kind).await?;
    let normalised = live.as_deref().map(|live| Arc::new(normalise(live, &object.key, &desired.ignores)));
    let mut result = Object {
        plan: plan::Compared {
            key: object.key.clone(),
            gvk: object.gvk.clone(),
            desired: Some((*object.manifest).clone()),
            uid: live.as_deref().and_then(|live| live["metadata"]["uid"].as_str().map(str::to_owned)),
            state: State::Missing,
            options: object.options.clone(),
        },
        predicted: None,
        live: normalised.clone(),
        health: live.as_deref().and_then(health::of),
        exists: live.is_some(),
        terminating: false,
    };
    if object.options.is_hook() {
        result.predicted = Some(masked(context, &object.manifest, &object.key, desired));
        return Ok((result, None, absent));
    }
    if let Some(owner) = live.as_deref().and_then(tracking::owner)
        && owner != app
        && owners.is_gated(&owner)
    {
        result.plan.state = State::Broken(format!(
            "it belongs to the gated application `{owner}`; remove it from one of the two applications"
        ));
        return Ok((result, None, absent));
    }
    if let Some(known) = memo.predictions.get(&object.key)
        && known.desired == object.hash
        && known.live == normalised
    {
        result.plan.state = known.state.clone();
        result.predicted = known.predicted.clone();
        return Ok((result, None, absent));
    }
    let prediction =
        predict(context, desired, creates_namespace, object, kind, live.as_deref(), normalised).await?;
    result.plan.state = prediction.state.clone();
    result.predicted = prediction.predicted.clone();
    result.live = prediction.live.clone();
    result.exists = prediction.live.is_some();
    Ok((result, prediction.lasts.then_some(prediction), absent))
}

/// What belongs to an application by tracking id, in the namespaces that it is or was in. Another installation in the same
/// cluster may have an application of the same name: what lies elsewhere is not ours to delete.
pub(crate) fn owned(
    context: &Context,
    app: &str,
    namespaces: &BTreeSet<String>,
) -> Vec<(ObjectKey, Arc<Value>)> {
    let mut owned = context.live.owned_by(app);
    owned.retain(|(key, object)| {
        let place =
            if key.namespace.is_empty() { tracking::namespace(object) } else { Some(key.namespace.clone()) };
        place.is_some_and(|place| namespaces.contains(&place))
    });
    owned
}

/// Ours, but no longer desired.
fn extras(context: &Context, app: &str, desired: &Desired, namespaces: &BTreeSet<String>) -> Vec<Object> {
    let mut extras = Vec::new();
    for (key, live) in owned(context, app, namespaces) {
        let options = SyncOptions::of(&live);
        if desired.keys.contains(&key) || options.is_hook() || key == desired.own {
            continue;
        }
        let Some(gvk) = Gvk::of(&live) else { continue };
        extras.push(Object {
            plan: plan::Compared {
                gvk,
                desired: None,
                uid: live["metadata"]["uid"].as_str().map(str::to_owned),
                state: State::Extra,
                options,
                key: key.clone(),
            },
            predicted: None,
            live: Some(Arc::new(normalise(&live, &key, &desired.ignores))),
            health: health::of(&live),
            exists: true,
            terminating: live["metadata"].get("deletionTimestamp").is_some(),
        });
    }
    extras.sort_by(|a, b| a.plan.key.cmp(&b.plan.key));
    extras
}

fn summarise(context: &Context, desired: &Desired, objects: Vec<Object>) -> Compared {
    let statuses: BTreeSet<_> = objects.iter().map(Object::sync_status).collect();
    let sync = if statuses.contains(&SyncStatus::OutOfSync) {
        SyncStatus::OutOfSync
    } else if statuses.contains(&SyncStatus::Unknown) {
        SyncStatus::Unknown
    } else {
        SyncStatus::Synced
    };
    let names: Vec<_> =
        objects.iter().map(|it| format!("{}/{}", it.plan.key.kind, it.plan.key.name)).collect();
    // An application does not wait for its own health.
    let counted = |it: &&(usize, &Object)| !it.1.plan.options.is_hook() && it.1.plan.key != desired.own;
    let indexed: Vec<_> = objects.iter().enumerate().collect();
    let health = health::aggregate(indexed.iter().filter(counted).map(|(index, it)| Contribution {
        health: it.health.as_ref(),
        exists: it.exists,
        name: &names[*index],
    }));
    let errors = objects.iter().filter_map(|it| match &it.plan.state {
        State::Broken(reason) => Some(format!("{}: {reason}", it.plan.key)),
        _ => None,
    });
    Compared {
        sync,
        health,
        images: images(desired.objects.iter().filter(|it| !it.options.is_hook()).map(|it| &*it.manifest)),
        live_images: images(
            objects
                .iter()
                .filter(|it| !it.plan.options.is_hook())
                .filter_map(|it| context.live.get(&it.plan.key))
                .collect::<Vec<_>>()
                .iter()
                .map(|it| &**it),
        ),
        errors: errors.collect(),
        objects,
    }
}

fn unseen(object: &DesiredObject, state: State) -> Object {
    let mut shown = (*object.manifest).clone();
    if object.gvk.is("", "Secret") {
        // Not reachable for a known kind; never show a value of an unknown one either.
        shown = Value::Null;
    }
    Object {
        plan: plan::Compared {
            key: object.key.clone(),
            gvk: object.gvk.clone(),
            desired: Some((*object.manifest).clone()),
            uid: None,
            state,
            options: object.options.clone(),
        },
        predicted: Some(Arc::new(shown)),
        live: None,
        health: None,
        exists: false,
        terminating: false,
    }
}

fn masked(context: &Context, object: &Value, key: &ObjectKey, desired: &Desired) -> Arc<Value> {
    let mut object = normalise(object, key, &desired.ignores);
    redact::secret(&mut object, &context.redaction);
    Arc::new(object)
}

impl Memo {
    fn forget_all_but(&mut self, keys: &HashSet<ObjectKey>) {
        self.predictions.retain(|key, _| keys.contains(key));
        self.absent.retain(|key| keys.contains(key));
    }
}
