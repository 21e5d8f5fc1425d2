//! Live objects, held by watches: what the reconciler compares with.
//!
//! One watch a kind, started when an application first needs the kind. Bounded memory: an object is held only when an
//! application wants it or when it carries a tracking id of its own, and then without managed fields and with Secret values
//! redacted by the caller's function. An answer of the API server (get, apply) can be offered to the cache, so that it never
//! lags behind our own writes; resource versions decide which of two is newer.
//!
//! Invariant: the cache may lack an object that exists (a watch that has not started, or fails), never the reverse for long.
//! A miss therefore means "ask the API server". Called by the reconciler alone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use sluice_gitops::{ObjectKey, tracking};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::discovery::Kind;

/// Kinds that may be asked for before the driver has taken them up; more wait.
const REQUEST_CAPACITY: usize = 64;

/// A live object changed, appeared or went.
#[derive(Debug, Clone)]
pub struct LiveChange {
    pub key: ObjectKey,
    /// Application names that want it or own it by tracking id.
    pub applications: BTreeSet<String>,
    /// The object as it now is; `None` when it went.
    pub object: Option<Arc<Value>>,
}

/// Whether a kind is being watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchState {
    Starting,
    Ready,
    /// The API server refuses it for now; it is tried again with back-off.
    Failing(String),
}

/// Takes secret values out of an object before it is held.
pub type Redact = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// Handle of the cache. Cheap to clone.
#[derive(Clone)]
pub struct LiveCache {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Kind>,
}

/// The part that runs the watches: give its [`CacheDriver::run`] to the task registry.
pub struct CacheDriver {
    client: kube::Client,
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Kind>,
    changes: mpsc::Sender<LiveChange>,
}

struct Shared {
    state: Mutex<State>,
    redact: Redact,
}

#[derive(Default)]
struct State {
    objects: HashMap<ObjectKey, Arc<Value>>,
    /// Who wants which object.
    wanted: HashMap<ObjectKey, BTreeSet<String>>,
    /// By group and kind.
    kinds: HashMap<(String, String), watch::Sender<WatchState>>,
}

/// Makes the cache and its driver. Changes are sent to `changes`; when its reader is slow, the watches wait.
pub fn new(
    client: kube::Client,
    redact: Redact,
    changes: mpsc::Sender<LiveChange>,
) -> (LiveCache, CacheDriver) {
    let shared = Arc::new(Shared { state: Mutex::default(), redact });
    let (sender, requests) = mpsc::channel(REQUEST_CAPACITY);
    (
        LiveCache { shared: shared.clone(), requests: sender },
        CacheDriver { client, shared, requests, changes },
    )
}

impl LiveCache {
    /// Has these kinds watched and waits until each is listed or known to fail.
    pub async fn track(&self, kinds: impl IntoIterator<Item = Kind>) {
        let mut waiting = Vec::new();
        for kind in kinds.into_iter().filter(|kind| kind.watchable) {
            let id = (kind.gvk.group.clone(), kind.gvk.kind.clone());
            let (receiver, is_new) = {
                let mut state = self.shared.lock();
                match state.kinds.get(&id) {
                    Some(sender) => (sender.subscribe(), false),
                    None => {
                        let (sender, receiver) = watch::channel(WatchState::Starting);
                        state.kinds.insert(id, sender);
                        (receiver, true)
                    }
                }
            };
            if is_new && self.requests.send(kind).await.is_err() {
                return; // The driver is gone: the service is stopping.
            }
            waiting.push(receiver);
        }
        for mut receiver in waiting {
            if receiver.wait_for(|state| *state != WatchState::Starting).await.is_err() {
                return;
            }
        }
    }

    /// Whether the listing of this kind is complete and followed.
    pub fn is_ready(&self, group: &str, kind: &str) -> bool {
        let state = self.shared.lock();
        state
            .kinds
            .get(&(group.to_owned(), kind.to_owned()))
            .is_some_and(|it| *it.borrow() == WatchState::Ready)
    }

    /// Declares which objects `application` is about; replaces what it declared before.
    pub fn want(&self, application: &str, keys: &HashSet<ObjectKey>) {
        let mut state = self.shared.lock();
        state.wanted.retain(|key, wanting| {
            if !keys.contains(key) {
                wanting.remove(application);
            }
            !wanting.is_empty()
        });
        for key in keys {
            state.wanted.entry(key.clone()).or_default().insert(application.to_owned());
        }
        let State { objects, wanted, .. } = &mut *state;
        objects.retain(|key, object| wanted.contains_key(key) || tracking::owner(object).is_some());
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Value>> {
        self.shared.lock().objects.get(key).cloned()
    }

    /// Every held object that says by its tracking id that it belongs to `application`.
    pub fn owned_by(&self, application: &str) -> Vec<(ObjectKey, Arc<Value>)> {
        let state = self.shared.lock();
        let owned = state
            .objects
            .iter()
            .filter(|(_, object)| tracking::owner(object).as_deref() == Some(application));
        owned.map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// Puts in what the API server just answered, unless something newer is there. Gives back what is now held.
    pub fn offer(&self, key: &ObjectKey, mut object: Value) -> Arc<Value> {
        (self.shared.redact)(&mut object);
        let mut state = self.shared.lock();
        if let Some(held) = state.objects.get(key)
            && version(held) > version(&object)
        {
            return held.clone();
        }
        let object = Arc::new(object);
        state.objects.insert(key.clone(), object.clone());
        object
    }

    /// Forgets an object that we deleted or that the API server says is not there.
    pub fn forget(&self, key: &ObjectKey) {
        self.shared.lock().objects.remove(key);
    }

    /// Number of objects held.
    pub fn len(&self) -> usize {
        self.shared.lock().objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl CacheDriver {
    /// Runs until dropped or until no handle is left.
    pub async fn run(mut self) {
        let mut watches = JoinSet::new();
        loop {
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(kind) => {
                        watches.spawn(follow(self.client.clone(), self.shared.clone(), self.changes.clone(), kind));
                    }
                    None => return,
                },
                Some(_) = watches.join_next(), if !watches.is_empty() => {}
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_watch_state(&self, kind: &Kind, to: WatchState) {
        if let Some(sender) = self.lock().kinds.get(&(kind.gvk.group.clone(), kind.gvk.kind.clone())) {
            sender.send_replace(to);
        }
    }

    /// Takes in a watched object; the change to report, if it is one that matters.
    fn present(&self, key: ObjectKey, mut value: Value) -> Option<LiveChange> {
        (self.redact)(&mut value);
        let mut state = self.lock();
        let mut applications = state.wanted.get(&key).cloned().unwrap_or_default();
        applications.extend(tracking::owner(&value));
        if applications.is_empty() {
            // Ours no longer, if it ever was.
            let lost = tracking::owner(&*state.objects.remove(&key)?)?;
            return Some(LiveChange { key, applications: BTreeSet::from([lost]), object: None });
        }
        let held = state.objects.get(&key);
        if held.is_some_and(|held| version(held) > version(&value)) {
            return None;
        }
        let matters = held.is_none_or(|held| !same_but_version(held, &value));
        let value = Arc::new(value);
        state.objects.insert(key.clone(), value.clone());
        matters.then_some(LiveChange { key, applications, object: Some(value) })
    }

    fn gone(&self, key: ObjectKey, last_version: u64) -> Option<LiveChange> {
        let mut state = self.lock();
        if state.objects.get(&key).is_some_and(|held| version(held) > last_version) {
            return None; // Created anew in the meantime.
        }
        let held = state.objects.remove(&key);
        let mut applications = state.wanted.get(&key).cloned().unwrap_or_default();
        applications.extend(held.as_deref().and_then(tracking::owner));
        (!applications.is_empty()).then_some(LiveChange { key, applications, object: None })
    }

    /// After a new listing: what is held but was not listed is gone.
    fn unlisted(&self, kind: &Kind, listed: &HashSet<ObjectKey>) -> Vec<ObjectKey> {
        let state = self.lock();
        let of_kind =
            state.objects.keys().filter(|key| key.group == kind.gvk.group && key.kind == kind.gvk.kind);
        of_kind.filter(|key| !listed.contains(key)).cloned().collect()
    }
}

async fn follow(client: kube::Client, shared: Arc<Shared>, changes: mpsc::Sender<LiveChange>, kind: Kind) {
    let api: Api<DynamicObject> = Api::all_with(client, &kind.resource());
    let config = watcher::Config::default().page_size(200);
    let mut events = std::pin::pin!(
        watcher(api, config)
            .modify(|object: &mut DynamicObject| object.metadata.managed_fields = None)
            .default_backoff()
    );
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        let mut report = Vec::new();
        match event {
            Ok(watcher::Event::Apply(object)) => {
                let value = as_value(&kind, object);
                report.extend(ObjectKey::of(&value).and_then(|key| shared.present(key, value)));
            }
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                let value = as_value(&kind, object);
                if let Some(key) = ObjectKey::of(&value) {
                    listed.insert(key.clone());
                    report.extend(shared.present(key, value));
                }
            }
            Ok(watcher::Event::InitDone) => {
                let gone = shared.unlisted(&kind, &listed);
                report.extend(gone.into_iter().filter_map(|key| shared.gone(key, u64::MAX)));
                shared.set_watch_state(&kind, WatchState::Ready);
            }
            Ok(watcher::Event::Delete(object)) => {
                let value = as_value(&kind, object);
                report.extend(ObjectKey::of(&value).and_then(|key| shared.gone(key, version(&value))));
            }
            Err(error) => {
                tracing::warn!(kind = %kind.gvk, error = %error, "failed to watch a kind; trying again");
                shared.set_watch_state(&kind, WatchState::Failing(error.to_string()));
            }
        }
        for change in report {
            if changes.send(change).await.is_err() {
                return; // The reader is gone: the service is stopping.
            }
        }
    }
}

fn as_value(kind: &Kind, mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    let mut value = serde_json::to_value(object).unwrap_or_default();
    // Items of a listing carry neither.
    value["apiVersion"] = kind.gvk.api_version().into();
    value["kind"] = kind.gvk.kind.clone().into();
    value
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn same_but_version(left: &Value, right: &Value) -> bool {
    let (Some(left), Some(right)) = (left.as_object(), right.as_object()) else { return false };
    left.len() == right.len()
        && left.iter().all(|(key, value)| match (key.as_str(), right.get(key)) {
            ("metadata", Some(other)) => same_metadata(value, other),
            (_, Some(other)) => value == other,
            (_, None) => false,
        })
}

fn same_metadata(left: &Value, right: &Value) -> bool {
    let (Some(left), Some(right)) = (left.as_object(), right.as_object()) else { return false };
    left.len() == right.len()
        && left.iter().all(|(key, value)| key == "resourceVersion" || right.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(
        shared: &Shared,
        name: &str,
        version: &str,
        data: &str,
        owner: Option<&str>,
    ) -> Option<LiveChange> {
        let mut value = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": data },
            "metadata": { "name": name, "namespace": "dev", "resourceVersion": version },
        });
        if let Some(app) = owner {
            tracking::mark(&mut value, app, "dev");
        }
        shared.present(ObjectKey::of(&value).expect("a key"), value)
    }

    fn cache() -> (LiveCache, Arc<Shared>) {
        let shared = Arc::new(Shared { state: Mutex::default(), redact: Arc::new(|_| ()) });
        let (requests, _) = mpsc::channel(1);
        (LiveCache { shared: shared.clone(), requests }, shared)
    }

    #[test]
    fn strangers_are_not_held() {
        let (cache, shared) = cache();
        assert!(put(&shared, "x", "5", "1", None).is_none());
        assert!(cache.is_empty());
        assert!(put(&shared, "y", "6", "1", Some("shop")).is_some());
        assert_eq!(cache.owned_by("shop").len(), 1);
    }

    #[test]
    fn wanted_objects_are_held_and_dropped_with_the_wish() {
        let (cache, shared) = cache();
        let key = ObjectKey::new("", "ConfigMap", "dev", "x");
        cache.want("shop", &HashSet::from([key.clone()]));
        let change = put(&shared, "x", "5", "1", None).expect("a change");
        assert_eq!(change.applications, BTreeSet::from(["shop".to_owned()]));
        cache.want("shop", &HashSet::new());
        assert!(cache.get(&key).is_none());
    }

    #[test]
    fn older_news_and_mere_version_bumps_are_no_change() {
        let (cache, shared) = cache();
        put(&shared, "y", "6", "1", Some("shop"));
        assert!(put(&shared, "y", "5", "0", Some("shop")).is_none(), "older");
        assert!(put(&shared, "y", "7", "1", Some("shop")).is_none(), "only the version");
        assert!(put(&shared, "y", "8", "2", Some("shop")).is_some());
        let key = ObjectKey::new("", "ConfigMap", "dev", "y");
        assert!(shared.gone(key.clone(), 7).is_none(), "deleted before it was created anew");
        assert!(shared.gone(key.clone(), 9).is_some());
        assert!(cache.get(&key).is_none());
    }

    #[test]
    fn losing_the_tracking_id_is_reported_to_the_former_owner() {
        let (cache, shared) = cache();
        put(&shared, "y", "6", "1", Some("shop"));
        let change = put(&shared, "y", "7", "1", None).expect("a change");
        assert_eq!((change.object, change.applications), (None, BTreeSet::from(["shop".to_owned()])));
        assert!(cache.is_empty());
    }
}
