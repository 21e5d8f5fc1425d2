//! The envelope of every message: CloudEvents 1.0 attributes, carried in NATS headers (binary mode).
//!
//! Invariants: an id is a function of what caused the message, its type and an ordinal, so a handler that runs twice
//! publishes the same id twice and the second copy is dropped; a correlation id is made once, at the front door.
//! Source of the attribute names: CloudEvents 1.0 and its NATS binding, lower case.

use crate::ids::{Correlation, MessageId, hash_token};
use crate::{Message, Timestamp};

/// Header names.
pub mod header {
    /// The message's id; also sent as `Nats-Msg-Id`.
    pub const ID: &str = "ce-id";
    /// Type and version, `dev.sluice.run.finished.v1`.
    pub const TYPE: &str = "ce-type";
    /// The service that speaks, `/sluice/builder`.
    pub const SOURCE: &str = "ce-source";
    /// When it happened.
    pub const TIME: &str = "ce-time";
    /// The aggregate.
    pub const SUBJECT: &str = "ce-subject";
    /// Always `1.0`.
    pub const SPEC_VERSION: &str = "ce-specversion";
    /// Always `application/json`.
    pub const CONTENT_TYPE: &str = "ce-datacontenttype";
    /// Path of the JSON Schema below `schemas/`.
    pub const SCHEMA: &str = "ce-dataschema";
    /// The chain, from commit to pod.
    pub const CORRELATION: &str = "ce-correlationid";
    /// The id of the message that led to this one.
    pub const CAUSATION: &str = "ce-causationid";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// Set on messages that were copied by a replay.
    pub const REPLAY: &str = "x-replay";
}

/// What surrounds a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Unique, deterministic.
    pub id: MessageId,
    /// `dev.sluice.<entity>.<fact>.v<n>`.
    pub kind: String,
    /// `/sluice/<service>`.
    pub source: String,
    /// When it happened.
    pub time: Timestamp,
    /// The chain.
    pub correlation: Correlation,
    /// The parent message, absent only at the front door and for timers.
    pub causation: Option<MessageId>,
    /// W3C trace context, when tracing is on.
    pub traceparent: Option<String>,
}

impl Envelope {
    /// The envelope of a message of type `M` that `cause` led to.
    #[must_use]
    pub fn new<M: Message>(cause: &Cause, source: &str) -> Self {
        Self {
            id: cause.message_id(M::TYPE),
            kind: M::TYPE.to_owned(),
            source: source.to_owned(),
            time: Timestamp::now(),
            correlation: cause.correlation.clone(),
            causation: cause.parent.clone(),
            traceparent: cause.traceparent.clone(),
        }
    }

    /// The cause that this message is for whatever it leads to.
    #[must_use]
    pub fn as_cause(&self) -> Cause {
        Cause {
            correlation: self.correlation.clone(),
            parent: Some(self.id.clone()),
            seed: self.id.to_string(),
            ordinal: 0,
            traceparent: self.traceparent.clone(),
        }
    }
}

/// Why a message is published: everything that its id and its chain follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The chain.
    pub correlation: Correlation,
    /// The message being handled, if any.
    pub parent: Option<MessageId>,
    /// What the id is derived from: the parent's id, or a natural key.
    pub seed: String,
    /// Tells apart messages of one type with one cause.
    pub ordinal: u64,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Cause {
    /// A cause without a parent message. `seed` is the natural key: the same key gives the same message id.
    #[must_use]
    pub fn root(correlation: Correlation, seed: impl Into<String>) -> Self {
        Self { correlation, parent: None, seed: seed.into(), ordinal: 0, traceparent: None }
    }

    /// The same cause for the `ordinal`-th message of a type.
    #[must_use]
    pub fn nth(&self, ordinal: u64) -> Self {
        Self { ordinal, ..self.clone() }
    }

    /// The same chain and parent, with ids derived from `seed` instead: for messages whose identity is that of the
    /// aggregate (a job's end), whoever reports it.
    #[must_use]
    pub fn seeded(&self, seed: impl Into<String>) -> Self {
        Self { seed: seed.into(), ..self.clone() }
    }

    /// The id of a message of type `kind` with this cause.
    #[must_use]
    pub fn message_id(&self, kind: &str) -> MessageId {
        MessageId::from_text(&hash_token(&[&self.seed, kind, &self.ordinal.to_string()]))
    }
}

/// A new chain whose id follows from `seed`.
#[must_use]
pub fn correlation_of(seed: &str) -> Correlation {
    Correlation::from_text(&hash_token(&["correlation", seed]))
}
