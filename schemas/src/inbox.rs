//! The inbox: webhooks whose signature was verified, waiting to be understood. Written and read by ingress.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{DeliveryId, RepoSlug, hash_token};
use crate::{Digest, Message, Subject, Timestamp};

/// `inbox.<provider>.<repo>.<delivery>`: the stream keeps one message a subject and refuses the second, so a
/// repeated delivery is dropped for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InboxDelivery {
    /// `github`.
    pub provider: String,
    /// The repository that the signature was verified for.
    pub repository: RepoSlug,
    /// Its `owner/name`.
    pub full_name: String,
    /// Made of event name and body: see [`delivery_id`].
    pub delivery: DeliveryId,
    /// The provider's event name: `push`, `ping`, …
    pub event: String,
    /// The provider's own delivery id; not covered by the signature, for people only.
    pub provider_delivery: String,
    /// The raw body, in the object store `payloads`.
    pub payload: Digest,
    /// When the request arrived.
    pub received_at: Timestamp,
}

/// The key of a delivery. The provider's own id is no part of it: the signature does not cover that header.
#[must_use]
pub fn delivery_id(event: &str, body: &Digest) -> DeliveryId {
    DeliveryId::from_text(&hash_token(&[event, body.as_str()]))
}

impl Message for InboxDelivery {
    const TYPE: &'static str = "dev.sluice.inbox.delivery.v1";

    fn subject(&self) -> Subject {
        Subject::Inbox {
            provider: self.provider.clone(),
            repo: self.repository.clone(),
            delivery: self.delivery.clone(),
        }
    }

    fn example() -> Self {
        Self {
            provider: "github".to_owned(),
            repository: RepoSlug::from_full_name("dev/shop-web"),
            full_name: "dev/shop-web".to_owned(),
            delivery: delivery_id("push", &Digest::of(b"{}")),
            event: "push".to_owned(),
            provider_delivery: "72d3162e-cc78-11e3-81ab-4c9367dc0958".to_owned(),
            payload: Digest::of(b"{}"),
            received_at: Timestamp::from_unix_millis(1_790_000_000_250),
        }
    }
}
