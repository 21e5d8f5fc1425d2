//! Who looked at which preview and when: without a look there is nothing to confirm.
//!
//! Invariant: a look belongs to one person, application, revision and set of manifests, and ages out.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_bus::{Bucket, Kv, KvError};
use sluice_schemas::ids::{Person, hash_token};
use sluice_schemas::state::AppState;
use sluice_schemas::{Digest, Sha, Timestamp};

use crate::Api;
use crate::error::{Answer, ApiError};

/// Somebody looked.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Look {
    at: Timestamp,
}

/// Whether `person` looked at exactly this lately.
pub(super) async fn was_seen(
    api: &Api,
    person: &Person,
    state: &AppState,
    revision: &Sha,
    manifests: &Digest,
    now: Timestamp,
) -> Answer<bool> {
    let kv: Kv<Look> = api.bus.kv(Bucket::Accounts);
    let seconds = api.config.look_seconds();
    for slot in slots(now, seconds) {
        let key = look_key(person, state, revision, manifests, slot);
        let found = kv.get(&key).await.map_err(|error| ApiError::away("the bus", &error))?;
        if found.is_some_and(|entry| entry.value.at.plus_seconds(seconds) > now) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Notes a look; gives until when it can be confirmed.
pub(super) async fn remember(
    api: &Api,
    person: &Person,
    state: &AppState,
    revision: &Sha,
    manifests: &Digest,
    now: Timestamp,
) -> Answer<Timestamp> {
    let kv: Kv<Look> = api.bus.kv(Bucket::Accounts);
    let seconds = api.config.look_seconds();
    let key = look_key(person, state, revision, manifests, slot_of(now, seconds));
    let ttl = Duration::from_secs(u64::try_from(seconds).unwrap_or(1).max(1) + 60);
    let at = match kv.create_with_ttl(&key, &Look { at: now }, ttl).await {
        Ok(_) => now,
        // Looked at within this slot before: that look counts.
        Err(KvError::Conflict { .. }) => {
            let found = kv.get(&key).await.map_err(|error| ApiError::away("the bus", &error))?;
            found.map_or(now, |entry| entry.value.at)
        }
        Err(error) => return Err(ApiError::away("the bus", &error)),
    };
    Ok(at.plus_seconds(seconds))
}

/// Looks are kept in slots of a fifth of their life, so that a second look renews the first.
fn slot_of(now: Timestamp, seconds: i64) -> i64 {
    now.unix_millis() / (seconds * 200).max(1)
}

fn slots(now: Timestamp, seconds: i64) -> impl Iterator<Item = i64> {
    let newest = slot_of(now, seconds);
    (0..=5).map(move |back| newest - back)
}

fn look_key(person: &Person, state: &AppState, revision: &Sha, manifests: &Digest, slot: i64) -> String {
    let parts = [
        "look",
        person.as_str(),
        state.app.project.as_str(),
        state.app.app.as_str(),
        revision.as_str(),
        manifests.as_str(),
        &slot.to_string(),
    ];
    format!("look.{}", hash_token(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK_SECONDS: i64 = 900;

    #[test]
    fn a_look_is_found_during_its_whole_life_and_not_after() {
        let now = Timestamp::from_unix_millis(1_790_000_000_123);
        let taken = slot_of(now, LOOK_SECONDS);
        assert!(slots(now, LOOK_SECONDS).any(|slot| slot == taken));
        assert!(slots(now.plus_seconds(LOOK_SECONDS - 1), LOOK_SECONDS).any(|slot| slot == taken));
        assert!(!slots(now.plus_seconds(LOOK_SECONDS * 2), LOOK_SECONDS).any(|slot| slot == taken));
    }

    #[test]
    fn a_look_belongs_to_person_revision_and_manifests() {
        let state = crate::text::example_app();
        let (ada, eve) = (Person::from_text("ada"), Person::from_text("eve"));
        let sha = |digit: char| Sha::try_from(digit.to_string().repeat(40)).expect("a commit");
        let (one, other) = (Digest::of(b"[]"), Digest::of(b"[1]"));
        let key = look_key(&ada, &state, &sha('a'), &one, 7);
        assert_eq!(key, look_key(&ada, &state, &sha('a'), &one, 7));
        for different in [
            look_key(&eve, &state, &sha('a'), &one, 7),
            look_key(&ada, &state, &sha('b'), &one, 7),
            look_key(&ada, &state, &sha('a'), &other, 7),
        ] {
            assert_ne!(key, different);
        }
    }
}
