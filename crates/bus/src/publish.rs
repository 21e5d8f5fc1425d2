//! Publishing: every message is on disk before the call returns.

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError as JsPublishError, PublishErrorKind};
use bytes::Bytes;
use sluice_schemas::{Cause, Envelope, Fact, Filter, Message};

use crate::topology::StreamName;
use crate::{Bus, headers};

const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
/// With this header the expectation covers a wildcard: the whole aggregate.
const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its place in the stream; for a duplicate the first one's.
    pub sequence: u64,
    /// A message with this id was there already, or the stream keeps one a subject and has it.
    pub duplicate: bool,
}

/// What must be true for an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing on this subject yet.
    Absent,
    /// The last message of this subject has this sequence.
    Last(u64),
    /// The last message of this fact's aggregate has this sequence; 0 for a new aggregate.
    AggregateLast(u64),
}

/// Why a message was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The payload cannot be written as JSON.
    #[error("{kind} cannot be encoded: {source}")]
    Encode {
        kind: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// The broker does not answer; it may or may not have the message, and the same id makes a retry safe.
    #[error("NATS did not confirm {subject}: {reason}")]
    Unavailable { subject: String, reason: String },
    /// The broker refused.
    #[error("NATS refused {subject}: {reason}")]
    Refused { subject: String, reason: String },
}

/// Why a fact was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer was first: read the aggregate again.
    #[error("{subject} has moved on: another writer was first")]
    Conflict { subject: String },
    /// See [`PublishError`].
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl Bus {
    /// Publishes a message to its own subject and waits for the broker's confirmation.
    ///
    /// # Errors
    /// When it cannot be encoded, or the broker refuses it or does not answer.
    pub async fn publish<M: Message>(&self, message: &M, cause: &Cause) -> Result<Published, PublishError> {
        let subject = message.subject().to_string();
        let headers = headers::write(&Envelope::new::<M>(cause, &self.inner.source), &subject);
        self.publish_raw(&subject, headers, encode(message)?).await
    }

    /// Publishes to a stream that keeps one message a subject; a second one is a duplicate, not an error.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_once<M: Message>(
        &self,
        message: &M,
        cause: &Cause,
    ) -> Result<Published, PublishError> {
        let subject = message.subject().to_string();
        let headers = headers::write(&Envelope::new::<M>(cause, &self.inner.source), &subject);
        match self.send(&subject, headers, encode(message)?).await {
            Ok(published) => Ok(published),
            Err(error) if is_subject_full(&error) => Ok(Published { sequence: 0, duplicate: true }),
            Err(error) => Err(publish_error(&subject, &error)),
        }
    }

    /// Appends a fact under an optimistic lock. A repetition of the same append (same cause) within the broker's
    /// de-duplication window answers with the first one's sequence.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when the expectation does not hold.
    pub async fn append<F: Fact>(
        &self,
        fact: &F,
        cause: &Cause,
        expected: Expected,
    ) -> Result<u64, AppendError> {
        let subject = fact.subject();
        let text = subject.to_string();
        let mut headers = headers::write(&Envelope::new::<F>(cause, &self.inner.source), &text);
        headers.insert(EXPECTED_STREAM, StreamName::Events.as_str());
        let sequence = match expected {
            Expected::Absent => 0,
            Expected::Last(sequence) => sequence,
            Expected::AggregateLast(sequence) => {
                if let Some(filter) = subject.aggregate() {
                    headers.insert(EXPECTED_SUBJECT, Filter::as_str(&filter));
                }
                sequence
            }
        };
        headers.insert(EXPECTED_SEQUENCE, sequence.to_string().as_str());
        match self.send(&text, headers, encode(fact)?).await {
            Ok(published) => Ok(published.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(AppendError::Conflict { subject: text })
            }
            Err(error) => Err(publish_error(&text, &error).into()),
        }
    }

    pub(crate) async fn publish_raw(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Published, PublishError> {
        self.send(subject, headers, payload).await.map_err(|error| publish_error(subject, &error))
    }

    async fn send(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Published, JsPublishError> {
        let ack = self.inner.js.publish_with_headers(subject.to_owned(), headers, payload).await?.await?;
        Ok(Published { sequence: ack.sequence, duplicate: ack.duplicate })
    }
}

fn encode<M: Message>(message: &M) -> Result<Bytes, PublishError> {
    let json =
        serde_json::to_vec(message).map_err(|source| PublishError::Encode { kind: M::TYPE, source })?;
    Ok(Bytes::from(json))
}

/// The stream's limit of one message a subject answers with "store failed"; the text tells it from a full disk.
fn is_subject_full(error: &JsPublishError) -> bool {
    describe(error).contains("maximum messages per subject exceeded")
}

fn publish_error(subject: &str, error: &JsPublishError) -> PublishError {
    let (subject, reason) = (subject.to_owned(), describe(error));
    match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::StreamNotFound => {
            PublishError::Unavailable { subject, reason }
        }
        _ => PublishError::Refused { subject, reason },
    }
}

/// An error with all its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        source = error.source();
    }
    text
}
