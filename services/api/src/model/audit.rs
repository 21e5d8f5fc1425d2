//! The audit log: facts about what people and gates did, as rows.

use serde::Serialize;
use sluice_bus::Recorded;
use sluice_schemas::events::{BumpKind, Surface, SyncOutcome, SyncTrigger};
use sluice_schemas::ids::Correlation;
use sluice_schemas::{Event, Timestamp};

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AuditResult {
    /// A right was used.
    Allowed,
    /// A right or grant was missing.
    Refused,
    /// Something was changed.
    Done,
    /// Something could not be changed.
    Failed,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AuditEntry {
    /// Place in EVENTS: the evidence.
    pub(crate) sequence: u64,
    /// When.
    pub(crate) time: Timestamp,
    /// Who; absent for Sluice itself.
    pub(crate) person: Option<String>,
    /// From where.
    pub(crate) surface: Option<Surface>,
    /// What was done.
    pub(crate) action: String,
    /// To what.
    pub(crate) object: String,
    /// With what result.
    pub(crate) result: AuditResult,
    /// Details and reasons.
    pub(crate) detail: String,
    /// The chain.
    pub(crate) correlation: Correlation,
    /// Subject of the fact.
    pub(crate) subject: String,
}

/// The row for a fact; none for facts that are no act of anybody.
#[must_use]
pub(super) fn entry(record: &Recorded) -> Option<AuditEntry> {
    use AuditResult::{Allowed, Done, Failed, Refused};
    let row = |person: Option<String>, surface, action: &str, object: String, result, detail: String| {
        Some(AuditEntry {
            sequence: record.sequence,
            time: record.envelope.time,
            person,
            surface,
            action: action.to_owned(),
            object,
            result,
            detail,
            correlation: record.envelope.correlation.clone(),
            subject: record.subject.clone(),
        })
    };
    match &record.event {
        Event::SessionOpened(it) => row(
            Some(it.person.to_string()),
            Some(it.surface),
            "signed in",
            String::new(),
            Allowed,
            String::new(),
        ),
        Event::SessionRefused(it) => row(
            Some(it.person.to_string()),
            Some(it.surface),
            "tried to sign in",
            String::new(),
            Refused,
            it.reason.clone(),
        ),
        Event::GrantIssued(it) => row(
            Some(it.person.to_string()),
            Some(it.surface),
            "granted",
            it.app.app.name(),
            Allowed,
            format!(
                "revision {}, manifests {}, until {}",
                it.revision.short(),
                it.manifests.short(),
                it.expires_at
            ),
        ),
        Event::GrantConsumed(it) => row(
            Some(it.person.to_string()),
            Some(it.surface),
            "used the grant for",
            it.app.app.name(),
            Done,
            format!("revision {}, grant {}", it.revision.short(), it.grant),
        ),
        Event::GrantRefused(it) => row(
            it.person.as_ref().map(ToString::to_string),
            None,
            &format!("attempted {} of", it.attempt),
            it.app.app.name(),
            Refused,
            it.reason.clone(),
        ),
        Event::SyncFinished(it) => {
            let (person, surface) = actor(&it.sync.trigger);
            let result = if it.outcome == SyncOutcome::Succeeded { Done } else { Failed };
            let detail = format!("revision {}: {}", it.sync.revision.short(), it.message);
            row(person, surface, "synced", it.sync.app.app.name(), result, detail)
        }
        Event::BumpCommitted(it) if it.bump.kind == BumpKind::Promotion => row(
            it.bump.person.as_ref().map(ToString::to_string),
            None,
            "promoted to prod",
            format!("{}:{}", it.bump.image, it.bump.tag),
            Done,
            format!("commit {}", it.commit.short()),
        ),
        Event::BumpFailed(it) if it.bump.kind == BumpKind::Promotion => row(
            it.bump.person.as_ref().map(ToString::to_string),
            None,
            "promoted to prod",
            format!("{}:{}", it.bump.image, it.bump.tag),
            Failed,
            it.reason.clone(),
        ),
        Event::AppGateChanged(it) => {
            let action = if it.gated { "closed the gate of" } else { "opened the gate for good of" };
            row(None, None, action, it.app.app.name(), Done, it.reason.clone())
        }
        Event::AppDeleted(it) => row(
            None,
            None,
            "deleted",
            it.app.app.name(),
            Done,
            format!("{} objects deleted with it", it.pruned),
        ),
        Event::ChatCommand(it) => row(
            it.person.as_ref().map(ToString::to_string),
            Some(Surface::Telegram),
            &format!("sent /{}", it.command),
            String::new(),
            if it.person.is_some() { Allowed } else { Refused },
            it.outcome.clone(),
        ),
        _ => None,
    }
}

/// Who started a sync.
#[must_use]
pub(crate) fn actor(trigger: &SyncTrigger) -> (Option<String>, Option<Surface>) {
    match trigger {
        SyncTrigger::Automated | SyncTrigger::SelfHeal => (None, None),
        SyncTrigger::Person { person, surface } | SyncTrigger::Grant { person, surface, .. } => {
            (Some(person.to_string()), Some(*surface))
        }
    }
}
