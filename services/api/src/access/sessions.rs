//! Sessions and bearer tokens: 256 random bits, stored as a hash in the KV bucket `accounts`.
//!
//! Invariant: whoever reads the bucket cannot log in with what it holds. Called by login and by every request.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_bus::{Bucket, Bus, Kv};
use sluice_chassis::Secret;
use sluice_schemas::Timestamp;
use sluice_schemas::events::Surface;
use sluice_schemas::ids::{CommandId, Person};

use super::token;
use crate::error::{Answer, ApiError};

/// What a session's id begins with.
const PREFIX: &str = "slc_";

/// A login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Whose.
    pub(crate) person: Person,
    /// From where.
    pub(crate) surface: Surface,
    /// Since when.
    pub(crate) created_at: Timestamp,
    /// Until when.
    pub(crate) expires_at: Timestamp,
}

/// The sessions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sessions {
    kv: Kv<Session>,
}

impl Sessions {
    /// Those of `bus`.
    #[must_use]
    pub(crate) fn new(bus: &Bus) -> Self {
        Self { kv: bus.kv(Bucket::Accounts) }
    }

    /// Opens a session; the returned id is nowhere else.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn open(&self, person: &Person, surface: Surface, hours: u32) -> Answer<Secret> {
        let id = token::secret(PREFIX);
        let now = Timestamp::now();
        let session = Session {
            person: person.clone(),
            surface,
            created_at: now,
            expires_at: now.plus_seconds(i64::from(hours.max(1)) * 3600),
        };
        self.kv
            .create_with_ttl(&key(&id), &session, Duration::from_secs(u64::from(hours.max(1)) * 3600))
            .await
            .map_err(|error| ApiError::away("the bus", &error))?;
        Ok(id)
    }

    /// The session with this id, unless it has ended.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn get(&self, id: &Secret) -> Answer<Option<Session>> {
        if !id.expose().starts_with(PREFIX) || id.expose().len() > 128 {
            return Ok(None);
        }
        let found = self.kv.get(&key(id)).await.map_err(|error| ApiError::away("the bus", &error))?;
        Ok(found.map(|entry| entry.value).filter(|session| session.expires_at > Timestamp::now()))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn close(&self, id: &Secret) -> Answer<()> {
        self.kv.delete(&key(id)).await.map_err(|error| ApiError::away("the bus", &error))
    }
}

/// The session in facts: a hash of the id, shortened.
#[must_use]
pub(crate) fn fact_id(id: &Secret) -> CommandId {
    CommandId::from_text(&token::hashed("session-fact", id.expose())[..24])
}

fn key(id: &Secret) -> String {
    format!("session.{}", token::hashed("session", id.expose()))
}
