//! Accepting a verified webhook: its body into the object store, a message into INBOX, both before the answer.
//!
//! Invariants: the answer "accepted" is given after the broker's acknowledgement; the same event and body is accepted once,
//! because INBOX refuses a second message of the same subject for good; a bus that is away costs at most
//! [`BUS_DEADLINE`]. Called by the receiver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sluice_bus::{Bucket, Bus, Store};
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::ids::{DeliveryId, PushId, RepoSlug, RunNumber};
use sluice_schemas::inbox::{InboxDelivery, delivery_id};
use sluice_schemas::state::{DeliveryState, RunsOfPush};
use sluice_schemas::{Cause, Digest, Timestamp};

use crate::config::BUS_DEADLINE;
use crate::repositories::{KnownRepository, chain};

/// The bus did not take it: the host should come again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("the message bus did not answer within 2 s")]
    Away,
    #[error("the message bus did not take the webhook: {0}")]
    Refused(String),
}

/// What was done with a webhook.
pub(crate) enum Acceptance {
    /// It is on the bus.
    Accepted(DeliveryId),
    /// It was on the bus before.
    Duplicate { delivery: DeliveryId, first: First },
}

/// What the first copy of a webhook led to, as far as is known.
#[derive(Default)]
pub(crate) struct First {
    pub(crate) push: Option<PushId>,
    pub(crate) run: Option<RunNumber>,
}

/// Takes verified webhooks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Acceptor {
    bus: Bus,
    /// Copies of one delivery that arrive at once go one after the other: the body is stored once.
    under_way: Arc<Mutex<HashMap<DeliveryId, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Acceptor {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus, under_way: Arc::default() }
    }

    pub(crate) async fn accept(
        &self,
        repository: &KnownRepository,
        event: &str,
        provider_delivery: String,
        body: Bytes,
        received_at: Timestamp,
    ) -> Result<Acceptance, AcceptError> {
        let payload = Digest::of(&body);
        let message = InboxDelivery {
            provider: "github".to_owned(),
            repository: repository.slug.clone(),
            full_name: repository.full_name.clone(),
            delivery: delivery_id(event, &payload),
            event: event.to_owned(),
            provider_delivery,
            payload,
            received_at,
        };
        let turn = self.turn(&message.delivery);
        let result = {
            let _turn = turn.lock().await;
            tokio::time::timeout(BUS_DEADLINE, self.store(&message, body)).await
        };
        self.done(&message.delivery, turn);
        result.unwrap_or(Err(AcceptError::Away))
    }

    async fn store(&self, message: &InboxDelivery, body: Bytes) -> Result<Acceptance, AcceptError> {
        if !self.bus.is_connected() {
            return Err(AcceptError::Away);
        }
        self.bus.objects(Store::Payloads).put(body).await.map_err(|error| refused(&error))?;
        fail::fail_point!("ingress-stored-before-publish");
        let cause = Cause::root(correlation_of(message.delivery.as_str()), message.delivery.as_str());
        let published = self.bus.publish_once(message, &cause).await.map_err(|error| refused(&error))?;
        fail::fail_point!("ingress-published-before-answer");
        if !published.duplicate {
            return Ok(Acceptance::Accepted(message.delivery.clone()));
        }
        let first = self.first(&message.repository, &message.delivery).await;
        Ok(Acceptance::Duplicate { delivery: message.delivery.clone(), first })
    }

    /// Only a courtesy to the sender: what cannot be read now is left out.
    async fn first(&self, repository: &RepoSlug, delivery: &DeliveryId) -> First {
        let known =
            self.bus.kv::<DeliveryState>(Bucket::Heads).get(&delivery_key(repository, delivery)).await;
        let Some(push) = known.ok().flatten().and_then(|entry| entry.value.push) else {
            return First::default();
        };
        let runs = self.bus.kv::<RunsOfPush>(Bucket::Runs).get(&format!("push.{push}")).await;
        let run = runs.ok().flatten().and_then(|entry| entry.value.runs.values().min().copied());
        First { push: Some(push), run }
    }

    fn turn(&self, delivery: &DeliveryId) -> Arc<tokio::sync::Mutex<()>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(under_way.entry(delivery.clone()).or_default())
    }

    fn done(&self, delivery: &DeliveryId, turn: Arc<tokio::sync::Mutex<()>>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        drop(turn);
        // The map's own is the last one: nobody waits for this delivery any more.
        if under_way.get(delivery).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            under_way.remove(delivery);
        }
    }
}

/// The key of a [`DeliveryState`], in the bucket `heads`.
pub(crate) fn delivery_key(repository: &RepoSlug, delivery: &DeliveryId) -> String {
    format!("delivery.{repository}.{delivery}")
}

fn refused(error: &dyn std::error::Error) -> AcceptError {
    AcceptError::Refused(chain(error))
}
