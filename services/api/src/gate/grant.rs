//! Confirming: exactly what was looked at becomes a SyncGrant and a sync command.
//!
//! Invariants: `evt.grant.….issued` is on disk before the command; ids follow from the request's key; whatever is
//! refused is recorded as `evt.grant.….refused`.

use fail::fail_point;
use serde::{Deserialize, Serialize};
use sluice_schemas::commands::Sync;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{GrantIssued, GrantRefused, Surface};
use sluice_schemas::grant::{GrantScope, GrantTerms, SyncGrant};
use sluice_schemas::ids::{Correlation, GrantId, Person, SyncId, hash_token};
use sluice_schemas::state::AppState;
use sluice_schemas::{Cause, Digest, Message as _, Sha, Timestamp};

use super::looks;
use super::once::Seed;
use crate::Api;
use crate::access::{Caller, token};
use crate::error::{Answer, ApiError};

/// What a person confirms.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wish {
    /// The commit previewed.
    pub(crate) revision: Sha,
    /// The manifests previewed.
    pub(crate) manifest_digest: Digest,
    /// Whether objects may be deleted.
    #[serde(default)]
    pub(crate) prune: bool,
    /// A sync, or automation for good.
    #[serde(default = "sync_scope")]
    pub(crate) scope: GrantScope,
}

fn sync_scope() -> GrantScope {
    GrantScope::Sync
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Confirmed {
    /// The grant; none where none was needed.
    pub(crate) grant: Option<GrantId>,
    /// The sync.
    pub(crate) sync: SyncId,
    /// The application.
    pub(crate) app: String,
    /// The commit.
    pub(crate) revision: Sha,
    /// The manifests.
    pub(crate) manifest_digest: Digest,
    /// Who.
    pub(crate) person: Person,
    /// From where.
    pub(crate) surface: Surface,
    /// Until when the grant can be used.
    pub(crate) expires_at: Option<Timestamp>,
    /// The chain.
    pub(crate) correlation: Correlation,
}

/// Grants and orders the sync. The caller's right was checked; `state` was read a moment ago.
///
/// # Errors
/// When the wish is not what was looked at, or no longer what would be applied.
pub(crate) async fn confirm(
    api: &Api,
    caller: &Caller,
    state: &AppState,
    wish: Wish,
    seed: Seed,
) -> Answer<Confirmed> {
    if let Err(reason) = allowed(api, caller, state, &wish).await? {
        refuse(api, caller, state, attempt_word(wish.scope), &reason).await;
        api.metrics.grant("refused");
        return Err(ApiError::conflict(reason));
    }
    let app = state.app.app.name();
    let nonce = GrantId::from_text(&hash_token(&["grant", &seed.id, &app]));
    let sync = sync_of(&nonce);
    let chain = api.model.read().chain_of_commit(&wish.revision).map(|chain| chain.correlation.clone());
    let correlation = chain.unwrap_or_else(|| correlation_of(sync.as_str()));
    let mut cause = Cause::root(correlation.clone(), format!("sync:{sync}"));
    let grant = match state.gated {
        false => None,
        true => Some(sign(api, caller, state, &wish, nonce, seed.at)),
    };
    fail_point!("api-grant-signed");
    if let Some(grant) = &grant {
        let fact = GrantIssued {
            grant: grant.terms.nonce.clone(),
            app: state.app.clone(),
            revision: wish.revision.clone(),
            manifests: wish.manifest_digest.clone(),
            person: caller.person.clone(),
            surface: caller.surface,
            expires_at: grant.terms.expires_at,
        };
        let issued = Cause::root(correlation.clone(), format!("grant:{}", grant.terms.nonce));
        api.bus.publish(&fact, &issued).await.map_err(|error| ApiError::away("the bus", &error))?;
        cause.parent = Some(issued.message_id(GrantIssued::TYPE));
    }
    fail_point!("api-grant-issued");
    let command = Sync {
        sync: sync.clone(),
        app: state.app.app.clone(),
        project: state.app.project.clone(),
        revision: wish.revision.clone(),
        prune: wish.prune,
        person: caller.person.clone(),
        surface: caller.surface,
        grant: grant.clone(),
    };
    api.bus.publish(&command, &cause).await.map_err(|error| ApiError::away("the bus", &error))?;
    api.metrics.grant(if grant.is_some() { "issued" } else { "not_needed" });
    Ok(Confirmed {
        grant: grant.as_ref().map(|grant| grant.terms.nonce.clone()),
        sync,
        app,
        revision: wish.revision,
        manifest_digest: wish.manifest_digest,
        person: caller.person.clone(),
        surface: caller.surface,
        expires_at: grant.map(|grant| grant.terms.expires_at),
        correlation,
    })
}

/// The sync that a grant is for: so that a refused grant can be told to who waits for its sync.
#[must_use]
pub(crate) fn sync_of(grant: &GrantId) -> SyncId {
    SyncId::from_text(&hash_token(&["sync", grant.as_str()]))
}

/// Records that somebody wanted to change a gated application and could not.
pub(crate) async fn refuse(api: &Api, caller: &Caller, state: &AppState, attempt: &str, reason: &str) {
    if !state.gated {
        return;
    }
    let id = token::id();
    let fact = GrantRefused {
        grant: GrantId::from_text(&id),
        app: state.app.clone(),
        attempt: attempt.to_owned(),
        reason: reason.to_owned(),
        person: Some(caller.person.clone()),
    };
    let cause = Cause::root(correlation_of(&id), format!("refused:{id}"));
    if let Err(error) = api.bus.publish(&fact, &cause).await {
        tracing::warn!(%error, "a refused attempt could not be recorded");
    }
}

async fn allowed(api: &Api, caller: &Caller, state: &AppState, wish: &Wish) -> Answer<Result<(), String>> {
    if let Err(reason) = still_current(state, wish) {
        return Ok(Err(reason));
    }
    if !state.gated {
        return Ok(Ok(()));
    }
    let now = Timestamp::now();
    let seen =
        looks::was_seen(api, &caller.person, state, &wish.revision, &wish.manifest_digest, now).await?;
    Ok(match seen {
        true => Ok(()),
        false => Err(format!(
            "{} did not look at the preview of {} within the last {} minutes, so there is nothing to confirm. Open the preview (SYNC in the web UI, `sluice app sync {}`, or /sync in Telegram) and confirm that",
            caller.person,
            state.app.app.name(),
            api.config.look_seconds().max(60) / 60,
            state.app.app.name(),
        )),
    })
}

/// Whether the wish is what would be applied now.
fn still_current(state: &AppState, wish: &Wish) -> Result<(), String> {
    let app = state.app.app.name();
    match (&state.revision, &state.manifests) {
        (Some(revision), _) if revision != &wish.revision => Err(format!(
            "Git moved: {app} is at {} now, you confirmed {}. Nothing was applied; look at the preview again",
            revision.short(),
            wish.revision.short()
        )),
        (Some(_), Some(manifests)) if manifests != &wish.manifest_digest => Err(format!(
            "The manifests of {app} are {} now, you confirmed {}. Nothing was applied; look at the preview again",
            manifests.short(),
            wish.manifest_digest.short()
        )),
        (Some(_), Some(_)) => Ok(()),
        _ => Err(format!(
            "{app} was not compared yet, so there is nothing to confirm; refresh it and look again"
        )),
    }
}

fn sign(
    api: &Api,
    caller: &Caller,
    state: &AppState,
    wish: &Wish,
    nonce: GrantId,
    at: Timestamp,
) -> SyncGrant {
    let terms = GrantTerms {
        nonce,
        scope: wish.scope,
        app: state.app.app.clone(),
        project: state.app.project.clone(),
        revision: wish.revision.clone(),
        manifests: wish.manifest_digest.clone(),
        prune: wish.prune,
        person: caller.person.clone(),
        surface: caller.surface,
        issued_at: at,
        expires_at: at.plus_seconds(api.config.grant_lifetime()),
    };
    SyncGrant::sign(terms, &api.signing_key)
}

fn attempt_word(scope: GrantScope) -> &'static str {
    match scope {
        GrantScope::Sync => "sync",
        GrantScope::Automation => "automation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_current_revision_and_manifests_can_be_confirmed() {
        let sha = |digit: char| Sha::try_from(digit.to_string().repeat(40)).expect("a commit");
        let mut state = crate::text::example_app();
        state.revision = Some(sha('d'));
        state.manifests = Some(Digest::of(b"[]"));
        let wish = |revision, manifests: &[u8]| Wish {
            revision,
            manifest_digest: Digest::of(manifests),
            prune: false,
            scope: GrantScope::Sync,
        };
        assert_eq!(still_current(&state, &wish(sha('d'), b"[]")), Ok(()));
        let moved = still_current(&state, &wish(sha('c'), b"[]")).expect_err("Git moved");
        assert!(
            moved.contains("Git moved") && moved.contains("dddddddd") && moved.contains("cccccccc"),
            "{moved}"
        );
        assert!(
            still_current(&state, &wish(sha('d'), b"[1]"))
                .expect_err("other manifests")
                .contains("manifests")
        );
        state.revision = None;
        assert!(still_current(&state, &wish(sha('d'), b"[]")).is_err());
    }
}
