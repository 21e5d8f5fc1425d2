//! One desired object: the live one beside it, and what the API server says an apply would make of it.

use std::sync::Arc;

use serde_json::Value;
use sluice_gitops::Gvk;
use sluice_gitops::compare::{is_part_of, normalise};
use sluice_gitops::plan::State;
use sluice_gitops::resource::{annotation, set_annotation};
use sluice_kubernetes::annotations::OPERATION;
use sluice_kubernetes::discovery::Kind;

use super::{CompareError, Memo, Prediction, masked};
use crate::context::Context;
use crate::desired::{Desired, DesiredObject};

/// From the cache; from the API server where the cache cannot know.
pub(super) async fn live_object(
    context: &Context,
    memo: &Memo,
    object: &DesiredObject,
    kind: &Kind,
) -> Result<(Option<Arc<Value>>, bool), CompareError> {
    let key = &object.key;
    let held = context.live.get(key);
    if let Some(held) = held
        && Gvk::of(&held).is_some_and(|gvk| gvk == object.gvk)
        && context.live.is_ready(&key.group, &key.kind)
    {
        return Ok((Some(held), false));
    }
    if memo.absent.contains(key)
        && context.live.is_ready(&key.group, &key.kind)
        && context.live.get(key).is_none()
    {
        return Ok((None, true));
    }
    let answer = context.objects.get(kind, &key.namespace, &key.name).await;
    match answer {
        Ok(Some(live)) => Ok((Some(context.live.offer(key, live)), false)),
        Ok(None) => Ok((None, true)),
        Err(source) => Err(CompareError { key: key.clone(), source }),
    }
}

pub(super) async fn predict(
    context: &Context,
    desired: &Desired,
    creates_namespace: bool,
    object: &DesiredObject,
    kind: &Kind,
    live: Option<&Value>,
    normalised: Option<Arc<Value>>,
) -> Result<Prediction, CompareError> {
    let key = &object.key;
    let mut manifest = (*object.manifest).clone();
    // The mark of the last operation is ours to keep: leaving it out would count as taking it away.
    if let Some(operation) = live.and_then(|live| annotation(live, OPERATION)) {
        set_annotation(&mut manifest, OPERATION, operation);
    }
    let shown = || Some(masked(context, &object.manifest, key, desired));
    let prediction = |state, live, predicted| Prediction {
        desired: object.hash.clone(),
        live,
        state,
        predicted,
        lasts: false,
    };
    match context.objects.apply(kind, &manifest, true).await {
        Ok(predicted) => {
            let mut normalised = normalised;
            // Another version than the one held: the cache is behind, and the comparison would be with the past.
            let seen = |object: &Value| object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
            if live.is_some_and(|live| seen(live) != seen(&predicted))
                && let Ok(Some(fresh)) = context.objects.get(kind, &key.namespace, &key.name).await
            {
                let held = context.live.offer(key, fresh);
                normalised = Some(Arc::new(normalise(&held, key, &desired.ignores)));
            }
            let predicted = masked(context, &predicted, key, desired);
            let state = match &normalised {
                None => State::Missing,
                Some(live) if *live == predicted => State::Same,
                Some(_) => State::Differs,
            };
            Ok(Prediction { lasts: true, ..prediction(state, normalised, Some(predicted)) })
        }
        // An admission webhook that refuses dry runs: what the manifest itself says has to do.
        Err(error) if error.to_string().contains("does not support dry run") => {
            let wanted = masked(context, &manifest, key, desired);
            let state = match &normalised {
                None => State::Missing,
                Some(live) if is_part_of(&wanted, live) => State::Same,
                Some(_) => State::Differs,
            };
            Ok(prediction(state, normalised, shown()))
        }
        Err(error) if error.is_transient() => Err(CompareError { key: key.clone(), source: error }),
        Err(error) if error.is_not_found() && live.is_none() => {
            let coming = desired.declares_namespace(&key.namespace)
                || (creates_namespace && key.namespace == desired.namespace);
            let state = if coming {
                State::Missing
            } else {
                State::Broken(format!(
                    "{error}; add the Namespace to the manifests, or the sync option CreateNamespace=true"
                ))
            };
            Ok(prediction(state, None, shown()))
        }
        Err(error)
            if error.is_invalid() && live.is_some() && (object.options.replace || object.options.force) =>
        {
            Ok(prediction(State::Differs, normalised, shown()))
        }
        Err(error) => Ok(prediction(State::Broken(error.to_string()), normalised, shown())),
    }
}
