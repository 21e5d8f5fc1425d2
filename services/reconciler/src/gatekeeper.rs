//! The gate's keeper: nothing writes for an application without a [`Permit`], and only this module makes one.
//!
//! For a gated application a permit is given for a valid SyncGrant alone, whose nonce is consumed here by compare-and-swap
//! before the first write. Every refusal is an event. Called by the application's actor before each operation.

mod key;

use serde::{Deserialize, Serialize};
use sluice_bus::{AppendError, Expected, KvError, PublishError};
use sluice_gitops::gate::{self, Declared, Gate};
use sluice_kubernetes::{AppProject, Application};
use sluice_schemas::events::{AppRef, GrantConsumed, GrantRefused};
use sluice_schemas::grant::{GrantScope, SyncGrant, Wanted};
use sluice_schemas::ids::{GrantId, Person, SyncId, hash_token};
use sluice_schemas::{Cause, Timestamp};

use crate::context::Context;
use crate::convert::{Attempt, advice};
use crate::desired::Target;
use crate::policy::glob;

pub(crate) use key::PublicKey;

/// A nonce is kept far longer than any grant lives; then the grant is void by its age.
const NONCES_KEPT: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);
/// A consumed grant is good for resuming its own operation for this long after it was consumed.
const RESUME_SECONDS: i64 = 24 * 3600;

/// The right to carry out one operation. Made by this module only.
pub(crate) struct Permit {
    sync: SyncId,
    prune: bool,
}

impl Permit {
    /// The one operation that it is for.
    pub(crate) fn sync(&self) -> &SyncId {
        &self.sync
    }

    /// Whether objects may be deleted.
    pub(crate) fn prune(&self) -> bool {
        self.prune
    }
}

/// A nonce that is used up: bucket `grants`, key `nonce.<grant>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ConsumedGrant {
    /// The operation that used it: the same one may go on after a crash.
    pub(crate) sync: SyncId,
    /// Kept whole, so that its signature can be checked again.
    pub(crate) grant: SyncGrant,
    pub(crate) consumed_at: Timestamp,
}

/// Who asks for an operation.
pub(crate) enum Ask<'a> {
    /// The reconciler itself (automated sync or self-heal), or a person without a grant.
    Nobody {
        attempt: Attempt,
        person: Option<&'a Person>,
    },
    Grant(&'a SyncGrant),
    /// An operation that was begun before this process lived.
    Resume,
}

/// Why no permit was given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    /// Final; the event is recorded.
    #[error("{0}")]
    Refused(String),
    /// Nobody could tell: ask again.
    #[error("failed to ask for the gate's state: {0}")]
    Unavailable(String),
}

impl From<KvError> for Denied {
    fn from(error: KvError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<PublishError> for Denied {
    fn from(error: PublishError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Whether the application is gated now; what has to be remembered is stored before the answer.
pub(crate) async fn gate_of(
    context: &Context,
    app: &Application,
    project: Option<&AppProject>,
) -> Result<Gate, KvError> {
    let namespace = app.spec.destination.namespace.as_deref().unwrap_or_default();
    let declared = Declared {
        automated: app.automated().is_some(),
        by_application: app.declared_gated(),
        by_project: project.is_some_and(AppProject::declared_gated),
        by_destination: context
            .config
            .gated_destinations
            .iter()
            .any(|pattern| glob(pattern, namespace, None)),
        project_unknown: project.is_none(),
    };
    let key = memory_key(app);
    let remembered = context.gates.get(&key).await?;
    let gate = gate::decide(&declared, remembered.as_ref().map(|entry| &entry.value));
    match &remembered {
        Some(entry) if entry.value == gate.memory => {}
        Some(entry) => drop(context.gates.update(&key, &gate.memory, entry.revision).await?),
        None => drop(context.gates.create(&key, &gate.memory).await?),
    }
    Ok(gate)
}

/// The keeper for one application and one chain.
pub(crate) struct Keeper<'a> {
    pub(crate) context: &'a Context,
    pub(crate) app: &'a Application,
    pub(crate) app_ref: &'a AppRef,
    pub(crate) cause: &'a Cause,
}

impl Keeper<'_> {
    /// Asks for the right to sync to `target` as operation `sync`.
    pub(crate) async fn permit(
        &self,
        gate: &Gate,
        target: &Target,
        prune: bool,
        sync: &SyncId,
        ask: Ask<'_>,
    ) -> Result<Permit, Denied> {
        match ask {
            Ask::Grant(grant) => {
                self.verify(target, prune, GrantScope::Sync, grant, Attempt::Sync).await?;
                self.consume(sync, grant).await?;
            }
            _ if !gate.gated => {}
            Ask::Nobody { attempt, person } => {
                let reason =
                    format!("`{}` is gated: {}; {}", self.app.name(), gate.reason, self.advice(attempt));
                let token = self.refusal_token(attempt, target, sync);
                return Err(self.refuse(token, attempt, reason, person.cloned()).await);
            }
            Ask::Resume => {
                let prune = self.check_begun(target, sync).await?;
                return Ok(Permit { sync: sync.clone(), prune });
            }
        }
        Ok(Permit { sync: sync.clone(), prune })
    }

    /// Opens the gate for good under a grant of scope `automation`.
    pub(crate) async fn open(&self, target: &Target, sync: &SyncId, grant: &SyncGrant) -> Result<(), Denied> {
        self.verify(target, false, GrantScope::Automation, grant, Attempt::Automation).await?;
        self.consume(sync, grant).await?;
        let opened = gate::open(grant.terms.nonce.as_str());
        self.context.gates.put(&memory_key(self.app), &opened).await?;
        Ok(())
    }

    /// Records that something was held back without anybody asking; the same attempt is recorded once.
    pub(crate) async fn held_back(
        &self,
        gate: &Gate,
        target: Option<&Target>,
        attempt: Attempt,
        detail: &str,
    ) -> Result<(), Denied> {
        let revision = target.map_or("", |target| target.revision.as_str());
        let seed = ["held", self.app_ref.app.as_str(), attempt.word(), revision, detail];
        let token = GrantId::from_text(&hash_token(&seed));
        let reason =
            format!("`{}` is gated: {}{detail}; {}", self.app.name(), gate.reason, self.advice(attempt));
        match self.refuse(token, attempt, reason, None).await {
            Denied::Refused(_) => Ok(()),
            unavailable => Err(unavailable),
        }
    }

    /// Records a refusal, once for each token.
    pub(crate) async fn refuse(
        &self,
        token: GrantId,
        attempt: Attempt,
        reason: String,
        person: Option<Person>,
    ) -> Denied {
        let fact = GrantRefused {
            grant: token.clone(),
            app: self.app_ref.clone(),
            attempt: attempt.word().to_owned(),
            reason: reason.clone(),
            person,
        };
        let cause = self.cause.seeded(format!("refused:{token}:{}", attempt.word()));
        match self.context.bus.append(&fact, &cause, Expected::Absent).await {
            Ok(_) => {
                self.context.metrics.refused.with_label_values(&[attempt.word()]).inc();
                tracing::warn!(app = %self.app_ref.app, attempt = attempt.word(), reason, "refused");
                Denied::Refused(reason)
            }
            Err(AppendError::Conflict { .. }) => Denied::Refused(reason),
            Err(AppendError::Publish(error)) => Denied::Unavailable(error.to_string()),
        }
    }

    async fn verify(
        &self,
        target: &Target,
        prune: bool,
        scope: GrantScope,
        grant: &SyncGrant,
        attempt: Attempt,
    ) -> Result<(), Denied> {
        let key = self.context.key.get().await.map_err(Denied::Unavailable)?;
        let wanted = self.wanted(target, prune, scope);
        let verdict = match key {
            Some(key) => grant.verify(&key, &wanted, Timestamp::now()).map_err(|refusal| refusal.to_string()),
            None => Err("this installation has no grant key yet: start the API server once".to_owned()),
        };
        let Err(why) = verdict else { return Ok(()) };
        let reason = format!("{why}; {}", self.advice(attempt));
        // A grant whose signature is not good says nothing about who asks, nor which nonce is spent.
        let token = GrantId::from_text(&hash_token(&[
            "invalid",
            grant.terms.nonce.as_str(),
            &grant.signature,
            &reason,
        ]));
        Err(self.refuse(token, attempt, reason, Some(grant.terms.person.clone())).await)
    }

    async fn consume(&self, sync: &SyncId, grant: &SyncGrant) -> Result<(), Denied> {
        let nonce = grant.terms.nonce.as_str();
        let key = format!("nonce.{nonce}");
        let consumed =
            ConsumedGrant { sync: sync.clone(), grant: grant.clone(), consumed_at: Timestamp::now() };
        match self.context.nonces.create_with_ttl(&key, &consumed, NONCES_KEPT).await {
            Ok(_) => {}
            Err(KvError::Conflict { .. }) => {
                let first = self.context.nonces.get(&key).await?;
                // The same command once more, after a crash: its own use does not stand in its way.
                if first.is_none_or(|entry| entry.value.sync != *sync) {
                    let reason = format!("the grant was already used; {}", self.advice(Attempt::Sync));
                    let token = GrantId::from_text(&hash_token(&["reused", nonce, sync.as_str()]));
                    let person = Some(grant.terms.person.clone());
                    return Err(self.refuse(token, Attempt::Sync, reason, person).await);
                }
            }
            Err(error) => return Err(error.into()),
        }
        match self.context.nonces.create_with_ttl(&begun_key(sync), &consumed, NONCES_KEPT).await {
            Ok(_) | Err(KvError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        fail::fail_point!("reconciler-grant-consumed");
        let fact = GrantConsumed {
            grant: grant.terms.nonce.clone(),
            app: self.app_ref.clone(),
            revision: grant.terms.revision.clone(),
            person: grant.terms.person.clone(),
            surface: grant.terms.surface,
        };
        let cause = self.cause.seeded(format!("consumed:{nonce}"));
        match self.context.bus.append(&fact, &cause, Expected::Absent).await {
            Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
            Err(AppendError::Publish(error)) => Err(error.into()),
        }
    }

    /// An operation that claims to be begun goes on only if a grant was consumed by it, whose signature and terms are
    /// checked once more as of that moment. Says whether the grant covers deleting.
    async fn check_begun(&self, target: &Target, sync: &SyncId) -> Result<bool, Denied> {
        if let Some(entry) = self.context.nonces.get(&begun_key(sync)).await? {
            let consumed = entry.value;
            let key = self.context.key.get().await.map_err(Denied::Unavailable)?;
            let wanted = self.wanted(target, false, GrantScope::Sync);
            let is_recent = Timestamp::now() <= consumed.consumed_at.plus_seconds(RESUME_SECONDS);
            let valid =
                key.is_some_and(|key| consumed.grant.verify(&key, &wanted, consumed.consumed_at).is_ok());
            if valid && is_recent && consumed.sync == *sync {
                return Ok(consumed.grant.terms.prune);
            }
        }
        let advice = self.advice(Attempt::Resume);
        let reason =
            format!("the operation {sync} was found begun, but no valid grant was consumed by it; {advice}");
        let token = self.refusal_token(Attempt::Resume, target, sync);
        Err(self.refuse(token, Attempt::Resume, reason, None).await)
    }

    fn wanted<'a>(&'a self, target: &'a Target, prune: bool, scope: GrantScope) -> Wanted<'a> {
        Wanted {
            scope,
            app: &self.app_ref.app,
            project: &self.app_ref.project,
            revision: &target.revision,
            manifests: &target.manifests,
            prune,
        }
    }

    fn refusal_token(&self, attempt: Attempt, target: &Target, sync: &SyncId) -> GrantId {
        let app = self.app_ref.app.as_str();
        let seed = ["refused", app, attempt.word(), target.revision.as_str(), sync.as_str()];
        GrantId::from_text(&hash_token(&seed))
    }

    fn advice(&self, attempt: Attempt) -> String {
        advice(attempt, self.app.name())
    }
}

/// The consumed grant by the operation that consumed it.
fn begun_key(sync: &SyncId) -> String {
    format!("begun.{sync}")
}

/// By the Application's own name: moving it to another project, or making it anew, is no way round.
fn memory_key(app: &Application) -> String {
    format!("gate.{}", sluice_schemas::ids::AppId::from_name(app.name()))
}
