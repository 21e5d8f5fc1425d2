//! `Idempotency-Key`: the same request twice is done once and answered alike.
//!
//! Invariants: a key belongs to one person, path and body; ids of everything that the request causes follow from the key,
//! so even two copies at the same moment, or one before and one after a crash, publish the same messages.

use std::time::Duration;

use axum::http::HeaderMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_bus::{Bucket, Bus, Kv, KvError};
use sluice_schemas::Timestamp;
use sluice_schemas::ids::{Person, hash_token};

use crate::access::token;
use crate::error::{Answer, ApiError};

const HEADER: &str = "idempotency-key";
const LONGEST: usize = 200;
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What ids are made from, and the moment that counts as the request's.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    /// Deterministic for a key, random without.
    pub(crate) id: String,
    /// When it was first asked.
    pub(crate) at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    body: String,
    at: Timestamp,
    answer: Option<Value>,
}

/// Remembers answers by key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Once {
    kv: Kv<Record>,
}

impl Once {
    /// With the records of `bus`.
    #[must_use]
    pub(crate) fn new(bus: &Bus) -> Self {
        Self { kv: bus.kv(Bucket::Accounts) }
    }

    /// The key of a request.
    ///
    /// # Errors
    /// When it is no text or too long.
    pub(crate) fn key(headers: &HeaderMap) -> Answer<Option<String>> {
        let Some(value) = headers.get(HEADER) else { return Ok(None) };
        match value.to_str() {
            Ok(key) if !key.is_empty() && key.len() <= LONGEST => Ok(Some(key.to_owned())),
            _ => Err(ApiError::invalid(format!("Idempotency-Key must be 1 to {LONGEST} visible characters"))),
        }
    }

    /// Does `work` unless the same request was done before; then gives that answer.
    ///
    /// # Errors
    /// Those of `work`; a conflict when the key was used for something else.
    pub(crate) async fn run<B, T, F>(
        &self,
        person: &Person,
        path: &str,
        key: Option<&str>,
        body: &B,
        work: F,
    ) -> Answer<T>
    where
        B: Serialize,
        T: Serialize + DeserializeOwned,
        F: AsyncFnOnce(Seed) -> Answer<T>,
    {
        let Some(key) = key else {
            return work(Seed { id: token::id(), at: Timestamp::now() }).await;
        };
        let id = hash_token(&["once", person.as_str(), path, key]);
        let place = format!("once.{id}");
        let body =
            serde_json::to_string(body).map_err(|error| ApiError::internal("reading the request", &error))?;
        let body = token::hashed("once", &body);
        let record = self.claim(&place, &body).await?;
        if record.body != body {
            return Err(ApiError::conflict(
                "this Idempotency-Key was used for another request; use a new key for a new request",
            ));
        }
        if let Some(answer) = record.answer {
            return serde_json::from_value(answer)
                .map_err(|error| ApiError::internal("repeating an answer", &error));
        }
        match work(Seed { id, at: record.at }).await {
            Ok(answer) => {
                let value = serde_json::to_value(&answer)
                    .map_err(|error| ApiError::internal("keeping an answer", &error))?;
                self.keep(&place, Record { body, at: record.at, answer: Some(value) }).await;
                Ok(answer)
            }
            Err(error) => {
                // Nothing was done: the same key may be tried again.
                if let Err(error) = self.kv.delete(&place).await {
                    tracing::debug!(%error, "a used key was not given back");
                }
                Err(error)
            }
        }
    }

    async fn claim(&self, place: &str, body: &str) -> Answer<Record> {
        let fresh = Record { body: body.to_owned(), at: Timestamp::now(), answer: None };
        match self.kv.create_with_ttl(place, &fresh, KEPT).await {
            Ok(_) => Ok(fresh),
            Err(KvError::Conflict { .. }) => {
                let away = |error: KvError| ApiError::away("the bus", &error);
                if let Some(answered) = self.kv.get(&answer_place(place)).await.map_err(away)? {
                    return Ok(answered.value);
                }
                let found = self.kv.get(place).await.map_err(away)?;
                Ok(found.map_or(fresh, |entry| entry.value))
            }
            Err(error) => Err(ApiError::away("the bus", &error)),
        }
    }

    /// The answer lies beside the claim, which stays: a repetition at this very moment finds the first one's time.
    async fn keep(&self, place: &str, record: Record) {
        match self.kv.create_with_ttl(&answer_place(place), &record, KEPT).await {
            // A repetition came to the same answer first.
            Ok(_) | Err(KvError::Conflict { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, "an answer could not be kept; a repetition would be done again with the same ids");
            }
        }
    }
}

fn answer_place(place: &str) -> String {
    format!("{place}.answer")
}
