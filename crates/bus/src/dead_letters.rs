//! The dead-letter queue: what could not be handled, why, and how to try again.
//!
//! `dlq.<consumer>.<id>` keeps payload and headers as they were, plus where they came from and the reason. Messages
//! whose handler died too often never reach a handler's error path; the broker's advisories tell of them, and the
//! mover brings them here.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream;
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sluice_chassis::Service;
use sluice_schemas::ids::hash_token;
use sluice_schemas::{Envelope, Subject, Timestamp};

use crate::consume::{ConsumeError, redelivery_subject};
use crate::publish::describe;
use crate::topology::{DEAD_LETTER_MOVER, StreamName};
use crate::{Bus, Delivery, Outcome, PublishError};

const ORIGINAL_SUBJECT: &str = "x-original-subject";
const ORIGINAL_STREAM: &str = "x-original-stream";
const ORIGINAL_SEQUENCE: &str = "x-original-sequence";
const CONSUMER: &str = "x-consumer";
const DELIVERIES: &str = "x-deliveries";
const REASON: &str = "x-reason";
const BURIED_AT: &str = "x-buried-at";

/// Why the dead-letter queue could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The broker failed.
    #[error("the dead-letter queue cannot be reached: {0}")]
    Unavailable(String),
    /// No such letter.
    #[error("there is no dead letter {0}; `sluice dlq ls` lists them")]
    NotFound(String),
    /// See [`PublishError`].
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// A message that could not be handled.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id in the queue.
    pub id: String,
    /// The consumer that could not handle it.
    pub consumer: String,
    /// Where it was published.
    pub subject: String,
    /// The stream it came from.
    pub stream: String,
    /// Its place there.
    pub sequence: u64,
    /// How often it was delivered.
    pub deliveries: i64,
    /// Why it is here.
    pub reason: String,
    /// Since when.
    pub buried_at: Option<Timestamp>,
    /// Its `ce-type`.
    pub kind: String,
    /// Its payload, as text.
    pub payload: String,
}

/// A message as it came: before decoding.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    pub(crate) stream: String,
    pub(crate) sequence: u64,
    pub(crate) delivered: i64,
}

impl Raw {
    pub(crate) fn from_message(message: &jetstream::Message) -> Result<Self, String> {
        let info = message.info().map_err(|error| error.to_string())?;
        Ok(Self {
            subject: message.subject.to_string(),
            headers: message.headers.clone().unwrap_or_default(),
            payload: message.payload.clone(),
            stream: info.stream.to_owned(),
            sequence: info.stream_sequence,
            delivered: info.delivered,
        })
    }

    pub(crate) fn delivery<T>(&self, envelope: Envelope, message: T) -> Delivery<T> {
        Delivery {
            envelope,
            subject: self.subject.clone(),
            message,
            sequence: self.sequence,
            delivered: self.delivered,
        }
    }

    /// For a redelivery: the original subject, and the consumer that it is for.
    pub(crate) fn original(&self) -> Option<(String, String)> {
        let get = |name: &str| self.headers.get(name).map(|value| value.as_str().to_owned());
        Some((get(ORIGINAL_SUBJECT)?, get(CONSUMER)?))
    }
}

/// The broker's notice of a message that was delivered as often as allowed.
#[derive(Debug, Deserialize)]
struct Advisory {
    stream: String,
    consumer: String,
    stream_seq: u64,
    deliveries: i64,
}

impl Bus {
    /// Puts a message into the queue. Doing it twice leaves one letter, within the broker's de-duplication window.
    pub(crate) async fn bury(&self, consumer: &str, raw: &Raw, reason: &str) -> Result<(), PublishError> {
        // A redelivered message is a letter again under the consumer that it was for.
        let (subject, consumer) = raw.original().unwrap_or((raw.subject.clone(), consumer.to_owned()));
        let id = hash_token(&[&raw.stream, &raw.sequence.to_string(), &consumer]);
        let mut headers = raw.headers.clone();
        headers.insert(ORIGINAL_SUBJECT, subject.as_str());
        headers.insert(ORIGINAL_STREAM, raw.stream.as_str());
        headers.insert(ORIGINAL_SEQUENCE, raw.sequence.to_string().as_str());
        headers.insert(CONSUMER, consumer.as_str());
        headers.insert(DELIVERIES, raw.delivered.to_string().as_str());
        // Header values are one line.
        headers.insert(REASON, reason.replace(['\r', '\n'], " ").as_str());
        headers.insert(BURIED_AT, Timestamp::now().to_string().as_str());
        headers.insert("Nats-Msg-Id", id.as_str());
        let target = Subject::DeadLetter { consumer: consumer.clone(), id };
        self.publish_raw(&target.to_string(), without_expectations(headers), raw.payload.clone()).await?;
        self.inner.metrics.dead.with_label_values(&[consumer.as_str()]).inc();
        Ok(())
    }

    /// All dead letters, oldest first.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let mut letters = Vec::new();
        let unavailable = |error: &dyn std::error::Error| DeadLetterError::Unavailable(describe(error));
        let stream =
            self.inner.js.get_stream(StreamName::DeadLetters.as_str()).await.map_err(|e| unavailable(&e))?;
        if stream.cached_info().state.messages == 0 {
            return Ok(letters);
        }
        let consumer = stream
            .create_consumer(jetstream::consumer::pull::OrderedConfig::default())
            .await
            .map_err(|e| unavailable(&e))?;
        let mut messages = consumer.messages().await.map_err(|e| unavailable(&e))?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|e| unavailable(&e))?;
            let pending = message.info().map_or(0, |info| info.pending);
            letters.push(letter(&message.subject, message.headers.as_ref(), &message.payload));
            if pending == 0 {
                break;
            }
        }
        Ok(letters)
    }

    /// Sends a dead letter to its consumer again and takes it out of the queue.
    ///
    /// # Errors
    /// When there is no such letter or the broker fails.
    pub async fn retry_dead_letter(&self, id: &str) -> Result<DeadLetter, DeadLetterError> {
        let letter = self
            .dead_letters()
            .await?
            .into_iter()
            .find(|letter| letter.id == id)
            .ok_or_else(|| DeadLetterError::NotFound(id.to_owned()))?;
        let unavailable = |error: &dyn std::error::Error| DeadLetterError::Unavailable(describe(error));
        let stream =
            self.inner.js.get_stream(StreamName::DeadLetters.as_str()).await.map_err(|e| unavailable(&e))?;
        let subject =
            Subject::DeadLetter { consumer: letter.consumer.clone(), id: letter.id.clone() }.to_string();
        let stored = stream.get_last_raw_message_by_subject(&subject).await.map_err(|e| unavailable(&e))?;
        let mut headers = stored.headers;
        // A new id each time, or the broker takes the second retry for a duplicate.
        headers.insert("Nats-Msg-Id", format!("retry-{}", stored.sequence).as_str());
        self.publish_raw(&redelivery_subject(&letter.consumer, id), headers, stored.payload).await?;
        stream.delete_message(stored.sequence).await.map_err(|e| unavailable(&e))?;
        Ok(letter)
    }

    pub(crate) async fn move_dead_letters(&self, service: &Service) -> Result<(), ConsumeError> {
        let bus = self.clone();
        let dispatch = move |raw: Raw| -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
            let bus = bus.clone();
            Box::pin(async move { bus.move_advised(&raw).await })
        };
        self.run_consumer(service, DEAD_LETTER_MOVER, 1, Arc::new(dispatch)).await
    }

    async fn move_advised(&self, raw: &Raw) -> Outcome {
        // Advisories are the broker's, so one that cannot be read is not worth a letter of its own.
        let Ok(advisory) = serde_json::from_slice::<Advisory>(&raw.payload) else { return Outcome::Done };
        if advisory.stream == StreamName::Advisories.as_str() {
            return Outcome::Done;
        }
        let retry = |reason: String| Outcome::Retry { after: std::time::Duration::from_secs(2), reason };
        let stream = match self.inner.js.get_stream(&advisory.stream).await {
            Ok(stream) => stream,
            Err(error) => return retry(describe(&error)),
        };
        let Ok(stored) = stream.get_raw_message(advisory.stream_seq).await else {
            // Acknowledged or removed meanwhile.
            return Outcome::Done;
        };
        let dead = Raw {
            subject: stored.subject.to_string(),
            headers: stored.headers,
            payload: stored.payload,
            stream: advisory.stream.clone(),
            sequence: advisory.stream_seq,
            delivered: advisory.deliveries,
        };
        let reason = format!("given up after {} deliveries without an answer", advisory.deliveries);
        if let Err(error) = self.bury(&advisory.consumer, &dead, &reason).await {
            return retry(error.to_string());
        }
        if advisory.stream == StreamName::Work.as_str()
            && let Err(error) = stream.delete_message(advisory.stream_seq).await
        {
            return retry(describe(&error));
        }
        Outcome::Done
    }
}

/// A letter must not carry the conditions of its first publication.
fn without_expectations(headers: HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, values) in headers.iter() {
        if !name.to_string().starts_with("Nats-Expected") {
            for value in values {
                kept.append(name.clone(), value.clone());
            }
        }
    }
    kept
}

fn letter(subject: &str, headers: Option<&HeaderMap>, payload: &[u8]) -> DeadLetter {
    let values: HashMap<&str, String> = [
        ORIGINAL_SUBJECT,
        ORIGINAL_STREAM,
        ORIGINAL_SEQUENCE,
        CONSUMER,
        DELIVERIES,
        REASON,
        BURIED_AT,
        "ce-type",
    ]
    .into_iter()
    .filter_map(|name| Some((name, headers?.get(name)?.as_str().to_owned())))
    .collect();
    let get = |name: &str| values.get(name).cloned().unwrap_or_default();
    DeadLetter {
        id: subject.rsplit('.').next().unwrap_or(subject).to_owned(),
        consumer: get(CONSUMER),
        subject: get(ORIGINAL_SUBJECT),
        stream: get(ORIGINAL_STREAM),
        sequence: get(ORIGINAL_SEQUENCE).parse().unwrap_or(0),
        deliveries: get(DELIVERIES).parse().unwrap_or(0),
        reason: get(REASON),
        buried_at: Timestamp::parse(&get(BURIED_AT)).ok(),
        kind: get("ce-type"),
        payload: String::from_utf8_lossy(payload).into_owned(),
    }
}
