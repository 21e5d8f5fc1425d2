//! Birth, change and death of an application.

use sluice_bus::topology::StreamName;
use sluice_gitops::plan::kind_rank;
use sluice_gitops::{Gvk, ObjectKey, SyncOptions, resource};
use sluice_kubernetes::Application;
use sluice_kubernetes::annotations::{GATED, REFRESH, SKIP_RECONCILE};
use sluice_kubernetes::apply::Propagation;
use sluice_kubernetes::discovery::Kind;
use sluice_schemas::events::AppDeleted;
use sluice_schemas::ids::{SyncId, hash_token};
use sluice_schemas::{Digest, Message, Sha};
use tokio::time::Instant;

use super::{Actor, Next};
use crate::compare;
use crate::convert::Attempt;
use crate::desired::Target;
use crate::gatekeeper::{Ask, Denied, Keeper, gate_of};
use crate::operation::{self, BeginError};
use crate::record;
use crate::state::app_ref;

/// Kinds in which objects that are no longer desired are looked for, whatever was known before.
const COMMON_KINDS: [(&str, &str); 17] = [
    ("", "Namespace"),
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("", "PersistentVolumeClaim"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("networking.k8s.io", "Ingress"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("policy", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
];

impl Actor {
    /// The first look, with what an earlier process knew.
    pub(super) async fn boot(&mut self) {
        let mut kinds: Vec<(String, String)> =
            COMMON_KINDS.iter().map(|(group, kind)| ((*group).to_owned(), (*kind).to_owned())).collect();
        if let Some(digest) = self.state().comparison.clone()
            && let Some(comparison) = record::load(&self.context, &digest).await
        {
            kinds.extend(record::known_kinds(&comparison));
            let places = comparison.objects.iter().map(|it| it.namespace.clone()).filter(|it| !it.is_empty());
            self.namespaces.extend(places);
        }
        self.namespaces.extend(self.app.spec.destination.namespace.clone());
        self.track(&kinds).await;
        self.find_chain().await;
        if self.app.metadata.deletion_timestamp.is_some() {
            return;
        }
        self.refreshing = self.app.annotation(REFRESH).is_some();
        self.ask_for_render(self.app.annotation(REFRESH) == Some("hard")).await;
        self.look_again().await;
        self.sync_by_kubectl().await;
    }

    /// The Application or its project changed.
    pub(super) async fn spec_changed(&mut self, app: Application) -> Next {
        let before = std::mem::replace(&mut self.app, std::sync::Arc::new(app));
        self.shared.set_app(self.app.clone());
        let reference = app_ref(&self.app);
        if reference != self.reference {
            tracing::info!(app = self.app.name(), from = %self.reference.project, to = %reference.project, "moved to another project");
            if let Err(error) = self.stored.delete(&self.context).await {
                tracing::warn!(app = self.app.name(), %error, "failed to delete the state under the old project");
            }
            self.reference = reference.clone();
            if let Ok(mut stored) = crate::state::Stored::load(&self.context, &self.app).await {
                let mut value = std::mem::replace(&mut self.stored.value, stored.value.clone());
                value.app = reference;
                stored.value = value;
                self.stored = stored;
            }
        }
        if self.app.metadata.deletion_timestamp.is_some() {
            return self.deleting().await;
        }
        let watched =
            |app: &Application| [GATED, SKIP_RECONCILE].map(|key| app.annotation(key).map(str::to_owned));
        let sources_changed = before.sources() != self.app.sources();
        let changed = before.spec != self.app.spec || watched(&before) != watched(&self.app);
        let project_changed = self.context.projects.get(&self.app.spec.project) != self.project;
        if changed || project_changed {
            self.desired = None;
            self.memo = crate::compare::Memo::default();
            self.retries = 0;
        }
        let taken_back = before.annotation(SKIP_RECONCILE) == Some("true") && !self.is_skipped();
        if sources_changed || taken_back {
            self.ask_for_render(false).await;
        }
        if let Some(kind) = self.app.annotation(REFRESH).map(str::to_owned) {
            self.refreshing = true;
            self.ask_for_render(kind == "hard").await;
            self.look_again().await;
        } else if changed || project_changed {
            self.look_again().await;
        }
        if self.app.operation.is_some() {
            self.sync_by_kubectl().await;
        }
        Next::On
    }

    /// Whether a person took the application out of reconciliation.
    pub(super) fn is_skipped(&self) -> bool {
        self.app.annotation(SKIP_RECONCILE) == Some("true")
    }

    /// The Application is marked for deletion: its finalizer says what becomes of its objects.
    pub(super) async fn deleting(&mut self) -> Next {
        self.look_at = Instant::now() + super::RETRY;
        let Some(cascade) = self.app.cascade() else { return Next::On };
        let propagation = match cascade {
            sluice_kubernetes::Cascade::Foreground => Propagation::Foreground,
            sluice_kubernetes::Cascade::Background => Propagation::Background,
        };
        match self.delete_objects(propagation).await {
            Ok(0) => self.take_finalizer_away().await,
            Ok(left) => {
                tracing::debug!(app = self.app.name(), left, "waiting for objects to go");
                self.look_at = Instant::now() + std::time::Duration::from_millis(500);
            }
            Err(reason) => {
                tracing::warn!(
                    app = self.app.name(),
                    reason,
                    "failed to delete the application's objects; trying again"
                );
            }
        }
        Next::On
    }

    /// Deletes what belongs to the application. Says how many objects are still there.
    async fn delete_objects(&mut self, propagation: Propagation) -> Result<usize, String> {
        let project = self.context.projects.get(&self.app.spec.project);
        let gate =
            gate_of(&self.context, &self.app, project.as_deref()).await.map_err(|it| it.to_string())?;
        let keeper =
            Keeper { context: &self.context, app: &self.app, app_ref: &self.reference, cause: &self.cause };
        let state = self.state();
        let target = Target {
            revision: state.revision.clone().or_else(|| Sha::NULL.parse().ok()).ok_or("no revision")?,
            manifests: state.manifests.clone().unwrap_or_else(|| Digest::of(b"[]")),
        };
        let uid = self.app.metadata.uid.clone().unwrap_or_default();
        let sync = SyncId::from_text(&hash_token(&["delete", &uid]));
        let ask = Ask::Nobody { attempt: Attempt::Delete, person: None };
        match keeper.permit(&gate, &target, true, &sync, ask).await {
            Ok(_permit) => {}
            // Recorded; the Application goes, its objects stay.
            Err(Denied::Refused(_)) => return Ok(0),
            Err(error) => return Err(error.to_string()),
        }
        let _lease = match operation::lease(&self.context, &self.reference).await {
            Ok(lease) => lease,
            Err(BeginError::Busy) => return Err("an operation is under way".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let own = ObjectKey::new("argoproj.io", "Application", self.app.namespace(), self.app.name());
        let mut owned = compare::owned(&self.context, self.app.name(), &self.namespaces);
        owned.retain(|(key, object)| *key != own && !SyncOptions::of(object).no_delete);
        owned.sort_by_key(|(key, _)| std::cmp::Reverse(kind_rank(&key.kind)));
        for (key, object) in &owned {
            if object["metadata"].get("deletionTimestamp").is_some() {
                continue;
            }
            let Some(gvk) = Gvk::of(object) else { continue };
            let kind = self.context.discovery.resolve(&gvk).await.map_err(|it| it.to_string())?;
            let uid = object["metadata"]["uid"].as_str();
            let (namespace, name) = (resource::namespace_of(object).unwrap_or_default(), &key.name);
            let deleted = self.context.objects.delete(&kind, namespace, name, uid, propagation).await;
            if !deleted.map_err(|error| format!("{key}: {error}"))? {
                self.context.live.forget(key);
            }
            self.pruned.insert(key.to_string());
        }
        let left = compare::owned(&self.context, self.app.name(), &self.namespaces);
        Ok(left.iter().filter(|(key, object)| *key != own && !SyncOptions::of(object).no_delete).count())
    }

    async fn take_finalizer_away(&self) {
        let finalizers: Vec<_> = self
            .app
            .metadata
            .finalizers
            .iter()
            .flatten()
            .filter(|it| !it.starts_with("resources-finalizer.argocd.argoproj.io"))
            .collect();
        let patch = serde_json::json!({ "metadata": { "finalizers": finalizers } });
        match self.context.cluster.patch_application(self.app.name(), &patch).await {
            Ok(_) => tracing::info!(
                app = self.app.name(),
                pruned = self.pruned.len(),
                "the application's finalizer is taken away"
            ),
            Err(error) => {
                tracing::warn!(app = self.app.name(), %error, "failed to take the finalizer away; trying again")
            }
        }
    }

    /// The Application is gone.
    pub(super) async fn gone(&mut self) {
        let fact = AppDeleted { app: self.reference.clone(), pruned: record::count(self.pruned.len()) };
        let uid = self.app.metadata.uid.clone().unwrap_or_default();
        let cause = self.cause.seeded(hash_token(&["deleted", self.reference.app.as_str(), &uid]));
        if let Err(error) = self.context.bus.publish(&fact, &cause).await {
            tracing::warn!(app = self.app.name(), %error, "failed to say that the application is deleted");
        }
        if let Err(error) = self.stored.delete(&self.context).await {
            tracing::warn!(app = self.app.name(), %error, "failed to delete the application's state");
        }
        self.context.live.want(self.app.name(), &std::collections::HashSet::new());
        self.forget_metrics();
    }

    async fn track(&self, kinds: &[(String, String)]) {
        let mut resolved: Vec<Kind> = Vec::new();
        for (group, kind) in kinds {
            match self.context.discovery.resolve_any(group, kind).await {
                Ok(kind) => resolved.push(kind),
                Err(error) => tracing::debug!(group, kind, %error, "not watched"),
            }
        }
        self.context.live.track(resolved).await;
    }

    /// Goes on in the chain that the application was in.
    async fn find_chain(&mut self) {
        let Some(revision) = self.state().revision.clone() else { return };
        let mut example = sluice_schemas::events::AppCompared::example();
        example.app = self.reference.clone();
        example.revision = revision;
        match self.context.bus.last_fact(&example.subject()).await {
            Ok(Some(recorded)) => self.cause.correlation = recorded.envelope.correlation,
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(stream = StreamName::Events.as_str(), %error, "the application's chain is not known");
            }
        }
    }
}
