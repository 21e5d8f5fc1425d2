//! The inbox handler: an accepted webhook becomes a push.
//!
//! Invariants: one at a time over all replicas (the consumer's `max_ack_pending` is 1), so the pushes of a ref are chained
//! in the order in which they were accepted; acknowledged last. Called by the bus's consume loop.

use std::time::Duration;

use sluice_bus::{Bucket, Bus, Delivery, KvError, ObjectError, Outcome, Store};
use sluice_schemas::events::{PushSource, Repository};
use sluice_schemas::ids::PushId;
use sluice_schemas::inbox::InboxDelivery;
use sluice_schemas::state::DeliveryState;

use crate::accept::delivery_key;
use crate::metrics::IngressMetrics;
use crate::payload::{self, PushSaid, Said};
use crate::poll::Nudge;
use crate::record::{News, Recorded, record};
use crate::repositories::{Directory, KnownRepository};

/// As long as INBOX keeps the delivery itself.
const DELIVERY_KEPT: Duration = Duration::from_secs(14 * 86_400);

/// What the handler needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Understanding {
    pub(crate) bus: Bus,
    pub(crate) directory: Directory,
    pub(crate) nudge: Nudge,
    pub(crate) metrics: IngressMetrics,
}

impl Understanding {
    pub(crate) async fn handle(&self, delivery: Delivery<InboxDelivery>) -> Outcome {
        let message = &delivery.message;
        let body = match self.bus.objects(Store::Payloads).get(&message.payload).await {
            Ok(body) => body,
            Err(error @ (ObjectError::NotFound { .. } | ObjectError::Corrupt { .. })) => {
                return Outcome::Reject { reason: error.to_string() };
            }
            Err(error) => return Outcome::retry(&delivery, error),
        };
        if message.event != "push" {
            return Outcome::Reject { reason: format!("nothing understands the event `{}`", message.event) };
        }
        let said = match payload::push(&body) {
            Ok(said) => said,
            Err(error) => return Outcome::Reject { reason: error.to_string() },
        };
        let state = match said {
            Said::Nothing { reason } => DeliveryState { push: None, ignored: Some(reason) },
            Said::Push(push) => match self.push(&delivery, *push).await {
                Ok(push) => DeliveryState { push: Some(push), ignored: None },
                Err(outcome) => return outcome,
            },
        };
        let key = delivery_key(&message.repository, &message.delivery);
        let kept = self.bus.kv(Bucket::Heads).create_with_ttl(&key, &state, DELIVERY_KEPT).await;
        match kept {
            // Known from an earlier attempt.
            Ok(_) | Err(KvError::Conflict { .. }) => Outcome::Done,
            Err(error) => Outcome::retry(&delivery, error),
        }
    }

    async fn push(&self, delivery: &Delivery<InboxDelivery>, push: PushSaid) -> Result<PushId, Outcome> {
        let slug = &delivery.message.repository;
        let Some(known) = self.directory.with_slug(slug).await else {
            if !self.directory.is_ready() {
                return Err(Outcome::retry(delivery, "the repository Secrets cannot be read"));
            }
            let reason = format!(
                "repository {} is not known any more; store its Secret again, then `sluice dlq retry`",
                delivery.message.full_name
            );
            return Err(Outcome::Reject { reason });
        };
        let news = news(&delivery.message, known, push);
        let recorded = record(&self.bus, &news, Some(&delivery.cause())).await;
        let recorded = recorded.map_err(|error| Outcome::retry(delivery, error))?;
        if let Recorded::New(push) = &recorded {
            self.metrics.pushes.with_label_values(&["webhook"]).inc();
            tracing::debug!(%push, "from a webhook");
        } else {
            // The news may be older than the head: Git knows where the ref stands.
            self.nudge.look_at(slug);
        }
        Ok(recorded.push().clone())
    }
}

fn news(message: &InboxDelivery, known: KnownRepository, push: PushSaid) -> News {
    // An annotated tag's object is of no use to anybody here; the commit is what is built.
    let commit = push.head_commit.as_ref().map(|commit| commit.sha.clone());
    let is_tag = push.git_ref.starts_with("refs/tags/");
    let after = commit.filter(|_| is_tag && !push.deleted).unwrap_or(push.after);
    News {
        repository: Repository {
            slug: known.slug,
            full_name: known.full_name,
            clone_url: known.url,
            html_url: push.html_url,
            default_branch: push.default_branch,
        },
        git_ref: push.git_ref,
        before: push.before,
        after,
        created: push.created,
        deleted: push.deleted,
        forced: push.forced,
        head_commit: push.head_commit,
        correlation: push.correlation,
        pusher: push.pusher,
        changed_files: push.changed_files,
        changed_files_complete: push.changed_files_complete,
        delivery: Some(message.delivery.clone()),
        source: PushSource::Webhook,
        received_at: message.received_at,
    }
}
