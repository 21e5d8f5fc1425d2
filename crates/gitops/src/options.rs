//! What an object's own annotations say about syncing it: hooks, waves, options. Argo CD's names, and Helm's hooks.
//!
//! Called by the planner.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::resource::{Gvk, annotation};

const HOOK: &str = "argocd.argoproj.io/hook";
const HOOK_DELETE: &str = "argocd.argoproj.io/hook-delete-policy";
const WAVE: &str = "argocd.argoproj.io/sync-wave";
const OPTIONS: &str = "argocd.argoproj.io/sync-options";
const COMPARE: &str = "argocd.argoproj.io/compare-options";
const HELM_HOOK: &str = "helm.sh/hook";
const HELM_WEIGHT: &str = "helm.sh/hook-weight";
const HELM_DELETE: &str = "helm.sh/hook-delete-policy";

/// The phases of a sync, in order. `SyncFail` runs only after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    PreSync,
    Sync,
    PostSync,
    SyncFail,
}

/// When a hook object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HookDeletePolicy {
    HookSucceeded,
    HookFailed,
    BeforeHookCreation,
}

/// Everything that an object's annotations say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncOptions {
    /// Phases in which it runs as a hook; empty for an ordinary object.
    pub hooks: BTreeSet<Phase>,
    /// `hook: Skip`, or a Helm hook that has no meaning here: never applied.
    pub skip: bool,
    pub delete_policies: BTreeSet<HookDeletePolicy>,
    pub wave: i32,
    /// `Prune=false`: stays when it is no longer desired.
    pub no_prune: bool,
    /// `Delete=false`: stays when the application is deleted.
    pub no_delete: bool,
    pub prune_last: bool,
    /// `Replace=true` or `Force=true`: deleted and created anew when it cannot be changed.
    pub replace: bool,
    pub force: bool,
    /// `SkipDryRunOnMissingResource=true`.
    pub skip_dry_run_on_missing_kind: bool,
    /// `compare-options: IgnoreExtraneous`: not wanted, and not out of sync for it.
    pub ignore_extraneous: bool,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreSync => "PreSync",
            Self::Sync => "Sync",
            Self::PostSync => "PostSync",
            Self::SyncFail => "SyncFail",
        }
    }
}

impl SyncOptions {
    pub fn of(object: &Value) -> Self {
        let mut options = Self::default();
        match annotation(object, HOOK) {
            Some(hooks) => options.read_hooks(hooks),
            None => options.read_helm(object),
        }
        if let Some(text) = annotation(object, HOOK_DELETE) {
            options.delete_policies.extend(words(text).filter_map(delete_policy));
        }
        if options.is_hook() && options.delete_policies.is_empty() {
            options.delete_policies.insert(HookDeletePolicy::BeforeHookCreation);
        }
        if let Some(wave) = annotation(object, WAVE).and_then(|text| text.trim().parse().ok()) {
            options.wave = wave;
        }
        for option in annotation(object, OPTIONS).into_iter().flat_map(words) {
            options.read_option(option);
        }
        options.ignore_extraneous =
            annotation(object, COMPARE).into_iter().flat_map(words).any(|it| it == "IgnoreExtraneous");
        // Argo CD never prunes these two by accident: deleting them deletes everything inside.
        if let Some(gvk) = Gvk::of(object)
            && gvk.is("apiextensions.k8s.io", "CustomResourceDefinition")
        {
            options.prune_last = true;
        }
        options
    }

    pub fn is_hook(&self) -> bool {
        !self.hooks.is_empty() || self.skip
    }

    fn read_hooks(&mut self, text: &str) {
        for hook in words(text) {
            match hook {
                "PreSync" => drop(self.hooks.insert(Phase::PreSync)),
                "Sync" => drop(self.hooks.insert(Phase::Sync)),
                "PostSync" => drop(self.hooks.insert(Phase::PostSync)),
                "SyncFail" => drop(self.hooks.insert(Phase::SyncFail)),
                // Skip, and PreDelete/PostDelete, which are not part of a sync.
                _ => self.skip = true,
            }
        }
        if !self.hooks.is_empty() {
            self.skip = false;
        }
    }

    fn read_helm(&mut self, object: &Value) {
        let Some(text) = annotation(object, HELM_HOOK) else { return };
        for hook in words(text) {
            match hook {
                "pre-install" | "pre-upgrade" => drop(self.hooks.insert(Phase::PreSync)),
                "post-install" | "post-upgrade" => drop(self.hooks.insert(Phase::PostSync)),
                // Argo CD applies CRDs that an old chart declares as hooks as ordinary objects.
                "crd-install" => return,
                _ => self.skip = true,
            }
        }
        if !self.hooks.is_empty() {
            self.skip = false;
        }
        if let Some(weight) = annotation(object, HELM_WEIGHT).and_then(|text| text.trim().parse().ok()) {
            self.wave = weight;
        }
        for policy in annotation(object, HELM_DELETE).into_iter().flat_map(words) {
            self.delete_policies.extend(match policy {
                "before-hook-creation" => Some(HookDeletePolicy::BeforeHookCreation),
                "hook-succeeded" => Some(HookDeletePolicy::HookSucceeded),
                "hook-failed" => Some(HookDeletePolicy::HookFailed),
                _ => None,
            });
        }
    }

    fn read_option(&mut self, option: &str) {
        match option {
            "Prune=false" | "Prune=confirm" => self.no_prune = true,
            "Delete=false" | "Delete=confirm" => self.no_delete = true,
            "PruneLast=true" => self.prune_last = true,
            "Replace=true" => self.replace = true,
            "Force=true" => self.force = true,
            "SkipDryRunOnMissingResource=true" => self.skip_dry_run_on_missing_kind = true,
            _ => {}
        }
    }
}

fn delete_policy(text: &str) -> Option<HookDeletePolicy> {
    match text {
        "HookSucceeded" => Some(HookDeletePolicy::HookSucceeded),
        "HookFailed" => Some(HookDeletePolicy::HookFailed),
        "BeforeHookCreation" => Some(HookDeletePolicy::BeforeHookCreation),
        _ => None,
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(annotations: Value) -> SyncOptions {
        SyncOptions::of(
            &json!({ "kind": "Job", "apiVersion": "batch/v1", "metadata": { "name": "x", "annotations": annotations } }),
        )
    }

    #[test]
    fn hooks_waves_and_policies() {
        let options =
            with(json!({ HOOK: "PreSync, PostSync", WAVE: "-5", HOOK_DELETE: "HookSucceeded,HookFailed" }));
        assert_eq!(options.hooks, BTreeSet::from([Phase::PreSync, Phase::PostSync]));
        assert_eq!(options.wave, -5);
        assert_eq!(
            options.delete_policies,
            BTreeSet::from([HookDeletePolicy::HookSucceeded, HookDeletePolicy::HookFailed])
        );
        let plain = with(json!({ HOOK: "Sync" }));
        assert_eq!(plain.delete_policies, BTreeSet::from([HookDeletePolicy::BeforeHookCreation]));
        let skipped = with(json!({ HOOK: "Skip" }));
        assert!(skipped.skip && skipped.is_hook());
        assert!(!with(json!({ WAVE: "nonsense" })).is_hook());
    }

    #[test]
    fn helm_hooks_become_ours() {
        let options = with(
            json!({ HELM_HOOK: "pre-install,pre-upgrade", HELM_WEIGHT: "3", HELM_DELETE: "hook-succeeded" }),
        );
        assert_eq!((options.hooks.clone(), options.wave), (BTreeSet::from([Phase::PreSync]), 3));
        assert_eq!(options.delete_policies, BTreeSet::from([HookDeletePolicy::HookSucceeded]));
        assert!(with(json!({ HELM_HOOK: "test" })).skip);
        assert!(!with(json!({ HELM_HOOK: "crd-install" })).is_hook());
    }

    #[test]
    fn sync_options_are_read_from_a_list() {
        let options =
            with(json!({ OPTIONS: "Prune=false, Replace=true,SkipDryRunOnMissingResource=true,Unknown=1" }));
        assert!(
            options.no_prune && options.replace && options.skip_dry_run_on_missing_kind && !options.force
        );
        assert!(with(json!({ COMPARE: "IgnoreExtraneous" })).ignore_extraneous);
    }
}
