//! The sync planner: compared objects → an immutable plan.
//!
//! A plan is complete: the executor applies it in order and decides nothing. Order, as in Argo CD: phase, wave, kind, name;
//! what a kind may depend on comes before it (namespaces first, custom resources last). Deleting comes after all waves, in
//! reverse order, and before `PostSync`. Called by the reconciler; pure, so that what is previewed is what is done.

mod order;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::options::{HookDeletePolicy, Phase, SyncOptions};
use crate::resource::{Gvk, ObjectKey};

pub use order::kind_rank;

/// One object, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    pub key: ObjectKey,
    pub gvk: Gvk,
    /// Ready to be applied; `None` for what is no longer desired.
    pub desired: Option<Value>,
    /// Of the live object.
    pub uid: Option<String>,
    pub state: State,
    pub options: SyncOptions,
}

/// How desired and live relate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Same,
    Differs,
    /// Desired, not there.
    Missing,
    /// There and ours, not desired.
    Extra,
    /// Cannot be compared; in words for a person.
    Broken(String),
}

/// What a person or the application's policy asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub prune: bool,
    /// `PruneLast=true` for the whole application.
    pub prune_last: bool,
    /// `Replace=true` for the whole application.
    pub replace: bool,
    /// Create this namespace first (`CreateNamespace=true`, and it is not there), with labels and annotations.
    pub create_namespace: Option<(String, Value)>,
    /// The Application itself, when it is among its own objects: it is never pruned by its own sync.
    pub own: Option<ObjectKey>,
}

/// What is done to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    Create,
    Update,
    /// Deleted and created anew when the API server refuses the update.
    Replace,
    Hook {
        phase: Phase,
        policies: BTreeSet<HookDeletePolicy>,
    },
    Prune {
        uid: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Task {
    pub key: ObjectKey,
    pub gvk: Gvk,
    pub action: Action,
    /// Absent for `Prune`.
    pub manifest: Option<Value>,
}

/// Tasks of one phase and wave. Groups run one after the other, tasks of a group at the same time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    pub phase: Phase,
    pub wave: i32,
    /// Objects of earlier steps that must be healthy before this step begins.
    pub wait_for: Vec<ObjectKey>,
    pub groups: Vec<Vec<Task>>,
    pub deletes: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Run only when a step fails.
    pub on_failure: Vec<Step>,
    /// Objects that stay though they are no longer desired, and why.
    pub kept: Vec<(ObjectKey, String)>,
    /// Objects that cannot be applied, and why. They fail the sync, and do not stop it.
    pub refused: Vec<(ObjectKey, Gvk, String)>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Tasks that write, hooks included.
    pub fn applies(&self) -> usize {
        self.tasks().filter(|task| !matches!(task.action, Action::Prune { .. })).count()
    }

    pub fn prunes(&self) -> usize {
        self.tasks().filter(|task| matches!(task.action, Action::Prune { .. })).count()
    }

    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.steps.iter().flat_map(|step| step.groups.iter().flatten())
    }
}

/// Makes the plan.
pub fn plan(objects: &[Compared], settings: &Settings) -> Plan {
    let mut plan = Plan::default();
    for object in objects {
        if let State::Broken(reason) = &object.state
            && !object.options.is_hook()
        {
            plan.refused.push((object.key.clone(), object.gvk.clone(), reason.clone()));
        }
    }
    plan.steps.extend(hook_steps(objects, Phase::PreSync));
    if let Some(step) = namespace_step(objects, settings) {
        plan.steps.insert(0, step);
    }
    plan.steps.extend(sync_steps(objects, settings));
    let (deletions, kept) = prune_steps(objects, settings);
    plan.kept = kept;
    plan.steps.extend(deletions);
    let mut after = hook_steps(objects, Phase::PostSync);
    if let Some(first) = after.first_mut() {
        first.wait_for = objects.iter().filter(|it| is_applied(it)).map(|it| it.key.clone()).collect();
    }
    plan.steps.extend(after);
    plan.on_failure = hook_steps(objects, Phase::SyncFail);
    plan
}

fn is_applied(object: &Compared) -> bool {
    object.desired.is_some() && !object.options.is_hook() && !matches!(object.state, State::Broken(_))
}

fn namespace_step(objects: &[Compared], settings: &Settings) -> Option<Step> {
    let (name, metadata) = settings.create_namespace.as_ref()?;
    let key = ObjectKey::new("", "Namespace", "", name);
    if objects.iter().any(|object| object.key == key && object.desired.is_some()) {
        return None;
    }
    let mut manifest = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
    manifest["metadata"]["name"] = name.clone().into();
    let task =
        Task { key, gvk: Gvk::new("", "v1", "Namespace"), action: Action::Create, manifest: Some(manifest) };
    Some(Step {
        phase: Phase::PreSync,
        wave: i32::MIN,
        wait_for: vec![],
        groups: vec![vec![task]],
        deletes: false,
    })
}

fn hook_steps(objects: &[Compared], phase: Phase) -> Vec<Step> {
    let mut waves: BTreeMap<i32, Vec<Task>> = BTreeMap::new();
    for object in objects.iter().filter(|object| object.options.hooks.contains(&phase)) {
        waves.entry(object.options.wave).or_default().extend(hook_task(object, phase));
    }
    let steps = waves.into_iter().filter(|(_, tasks)| !tasks.is_empty());
    steps
        .map(|(wave, tasks)| Step { phase, wave, wait_for: vec![], groups: grouped(tasks), deletes: false })
        .collect()
}

fn hook_task(object: &Compared, phase: Phase) -> Option<Task> {
    Some(Task {
        key: object.key.clone(),
        gvk: object.gvk.clone(),
        action: Action::Hook { phase, policies: object.options.delete_policies.clone() },
        manifest: Some(object.desired.clone()?),
    })
}

fn sync_steps(objects: &[Compared], settings: &Settings) -> Vec<Step> {
    let mut waves: BTreeMap<i32, Vec<Task>> = BTreeMap::new();
    let mut members: BTreeMap<i32, Vec<ObjectKey>> = BTreeMap::new();
    for object in objects {
        if object.options.hooks.contains(&Phase::Sync) {
            waves.entry(object.options.wave).or_default().extend(hook_task(object, Phase::Sync));
        } else if is_applied(object) {
            members.entry(object.options.wave).or_default().push(object.key.clone());
            waves.entry(object.options.wave).or_default().extend(apply_task(object, settings));
        }
    }
    let mut steps: Vec<Step> = Vec::new();
    for (wave, tasks) in waves.into_iter().filter(|(_, tasks)| !tasks.is_empty()) {
        // Everything of the waves before, changed or not, has to be well before a wave begins.
        let wait_for = members.range(..wave).flat_map(|(_, keys)| keys.clone()).collect();
        steps.push(Step { phase: Phase::Sync, wave, wait_for, groups: grouped(tasks), deletes: false });
    }
    steps
}

fn apply_task(object: &Compared, settings: &Settings) -> Option<Task> {
    let replace = settings.replace || object.options.replace || object.options.force;
    let action = match object.state {
        State::Missing => Action::Create,
        State::Differs if replace => Action::Replace,
        State::Differs => Action::Update,
        State::Same | State::Extra | State::Broken(_) => return None,
    };
    Some(Task { key: object.key.clone(), gvk: object.gvk.clone(), action, manifest: object.desired.clone() })
}

fn prune_steps(objects: &[Compared], settings: &Settings) -> (Vec<Step>, Vec<(ObjectKey, String)>) {
    let mut kept = Vec::new();
    let mut waves: BTreeMap<(bool, std::cmp::Reverse<i32>), Vec<Task>> = BTreeMap::new();
    for object in objects.iter().filter(|object| object.state == State::Extra && !object.options.is_hook()) {
        let keep = if settings.own.as_ref() == Some(&object.key) {
            Some("an application does not delete itself by a sync")
        } else if object.options.no_prune {
            Some("it is annotated Prune=false")
        } else if !settings.prune {
            Some("pruning is off")
        } else {
            None
        };
        if let Some(reason) = keep {
            kept.push((object.key.clone(), reason.to_owned()));
            continue;
        }
        let last = settings.prune_last || object.options.prune_last;
        waves.entry((last, std::cmp::Reverse(object.options.wave))).or_default().push(Task {
            key: object.key.clone(),
            gvk: object.gvk.clone(),
            action: Action::Prune { uid: object.uid.clone() },
            manifest: None,
        });
    }
    let all: Vec<_> = objects.iter().filter(|it| is_applied(it)).map(|it| it.key.clone()).collect();
    let steps = waves.into_iter().map(|((last, wave), tasks)| {
        let mut groups = grouped(tasks);
        groups.reverse();
        let wait_for = if last { all.clone() } else { vec![] };
        Step { phase: Phase::Sync, wave: wave.0, wait_for, groups, deletes: true }
    });
    (steps.collect(), kept)
}

/// Sorted by kind and name; one group a kind.
fn grouped(mut tasks: Vec<Task>) -> Vec<Vec<Task>> {
    let order = |task: &Task| (kind_rank(&task.key.kind), task.key.kind.clone());
    tasks.sort_by_cached_key(|task| (order(task), task.key.namespace.clone(), task.key.name.clone()));
    let mut groups: Vec<Vec<Task>> = Vec::new();
    for task in tasks {
        match groups.last_mut() {
            Some(group) if order(&group[0]) == order(&task) => group.push(task),
            _ => groups.push(vec![task]),
        }
    }
    groups
}

#[cfg(test)]
mod tests;
