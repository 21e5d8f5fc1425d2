//! Telegram users linked to accounts by a one-time code, in the KV bucket `accounts`.
//!
//! Invariants: a code works once and for ten minutes; only a linked user can be acted for. Called by the account page,
//! the notifier's redemption, and [`super::Caller`] when the notifier acts for somebody.

use serde::{Deserialize, Serialize};
use sluice_bus::{Bucket, Bus, Kv};
use sluice_chassis::Secret;
use sluice_schemas::Timestamp;
use sluice_schemas::ids::Person;

use super::token;
use crate::error::{Answer, ApiError};

const CODE_SECONDS: i64 = 600;

/// Why a code was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    /// Wrong, used or too old.
    #[error(
        "this code is not valid: it works once, for ten minutes; get a new one on the account page and send it again"
    )]
    Code,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Code {
    person: Person,
    expires_at: Timestamp,
}

/// A linked Telegram user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// The account.
    pub(crate) person: Person,
    /// As Telegram shows the user, for people.
    pub(crate) name: String,
    /// Since when.
    pub(crate) since: Timestamp,
}

/// The links. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Links {
    codes: Kv<Code>,
    links: Kv<Link>,
}

impl Links {
    /// Those of `bus`.
    #[must_use]
    pub(crate) fn new(bus: &Bus) -> Self {
        Self { codes: bus.kv(Bucket::Accounts), links: bus.kv(Bucket::Accounts) }
    }

    /// A new code for `person`, and until when it works.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn offer(&self, person: &Person) -> Answer<(Secret, Timestamp)> {
        let code = token::code();
        let expires_at = Timestamp::now().plus_seconds(CODE_SECONDS);
        let value = Code { person: person.clone(), expires_at };
        self.codes.put(&code_key(code.expose()), &value).await.map_err(away)?;
        Ok((code, expires_at))
    }

    /// Links a Telegram user by a code.
    ///
    /// # Errors
    /// When the code is not valid or the bus is away.
    pub(crate) async fn redeem(&self, code: &str, user: i64, name: &str) -> Answer<Person> {
        let key = code_key(code.trim());
        let Some(entry) = self.codes.get(&key).await.map_err(away)? else {
            return Err(ApiError::missing(LinkError::Code.to_string()));
        };
        // Using it up comes first: of two at once, the compare-and-swap lets one through.
        let used = Code { expires_at: Timestamp::from_unix_millis(0), ..entry.value.clone() };
        let won = self.codes.update(&key, &used, entry.revision).await.is_ok();
        if !won || entry.value.expires_at < Timestamp::now() {
            return Err(ApiError::missing(LinkError::Code.to_string()));
        }
        let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let link = Link { person: entry.value.person.clone(), name, since: Timestamp::now() };
        self.links.put(&link_key(user), &link).await.map_err(away)?;
        self.codes.delete(&key).await.map_err(away)?;
        Ok(link.person)
    }

    /// Who a Telegram user is.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn person(&self, user: i64) -> Answer<Option<Person>> {
        Ok(self.links.get(&link_key(user)).await.map_err(away)?.map(|entry| entry.value.person))
    }

    /// Ends the link of a Telegram user.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn remove(&self, user: i64) -> Answer<()> {
        self.links.delete(&link_key(user)).await.map_err(away)
    }

    /// The Telegram users of a person.
    ///
    /// # Errors
    /// When the bus is away.
    pub(crate) async fn of(&self, person: &Person) -> Answer<Vec<(i64, Link)>> {
        let mut found = Vec::new();
        for key in self.links.keys().await.map_err(away)? {
            let Some(user) = key.strip_prefix("telegram.").and_then(|user| user.parse::<i64>().ok()) else {
                continue;
            };
            if let Some(entry) = self.links.get(&key).await.map_err(away)?
                && &entry.value.person == person
            {
                found.push((user, entry.value));
            }
        }
        Ok(found)
    }
}

fn away(error: sluice_bus::KvError) -> ApiError {
    ApiError::away("the bus", &error)
}

fn code_key(code: &str) -> String {
    format!("link.{}", token::hashed("link", &code.to_ascii_uppercase()))
}

fn link_key(user: i64) -> String {
    format!("telegram.{user}")
}
