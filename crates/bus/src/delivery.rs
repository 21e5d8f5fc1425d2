//! What a handler gets, and what it answers.

use std::time::Duration;

use sluice_schemas::{Cause, Envelope};

/// A message for a handler.
#[derive(Debug, Clone)]
pub struct Delivery<T> {
    /// Its envelope.
    pub envelope: Envelope,
    /// Its subject.
    pub subject: String,
    /// Its payload.
    pub message: T,
    /// Its place in the stream.
    pub sequence: u64,
    /// How often it was delivered, from 1.
    pub delivered: i64,
}

impl<T> Delivery<T> {
    /// The cause of whatever the handler publishes.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.envelope.as_cause()
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its results are on disk: acknowledge it.
    Done,
    /// Not now: deliver it again after a while.
    Retry {
        /// How long to wait.
        after: Duration,
        /// Why; the last one goes with it to the DLQ.
        reason: String,
    },
    /// Never: to the DLQ with it.
    Reject {
        /// Why, for whoever reads the DLQ.
        reason: String,
    },
}

impl Outcome {
    /// Retry with a delay that grows with the number of deliveries: 0.2 s doubling up to 30 s.
    #[must_use]
    pub fn retry<T>(delivery: &Delivery<T>, reason: impl std::fmt::Display) -> Self {
        let exponent = u32::try_from(delivery.delivered.clamp(1, 8) - 1).unwrap_or(0);
        let after =
            Duration::from_millis(200).saturating_mul(2_u32.pow(exponent)).min(Duration::from_secs(30));
        Self::Retry { after, reason: reason.to_string() }
    }

    /// For metrics.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry { .. } => "retry",
            Self::Reject { .. } => "reject",
        }
    }
}
