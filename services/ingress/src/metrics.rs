//! Metrics of the front door. Labels are fixed words.

use prometheus::{HistogramVec, IntCounterVec};
use sluice_chassis::Metrics;

/// Webhooks by answer: `accepted`, `duplicate`, `ignored`, `pong`, or the reason of a refusal.
const WEBHOOKS: &str = "sluice_ingress_webhooks_total";
/// From the request's head to the answer.
const ANSWERING: &str = "sluice_ingress_webhook_seconds";
/// Pushes recorded, by how they were found.
const PUSHES: &str = "sluice_ingress_pushes_total";
/// Looks at the heads of a repository, by result.
const POLLS: &str = "sluice_ingress_polls_total";

#[derive(Clone)]
pub(crate) struct IngressMetrics {
    pub(crate) webhooks: IntCounterVec,
    pub(crate) answering: HistogramVec,
    pub(crate) pushes: IntCounterVec,
    pub(crate) polls: IntCounterVec,
}

impl IngressMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            webhooks: metrics.counter(WEBHOOKS, "Webhooks by answer.", &["result"]),
            answering: metrics.seconds(ANSWERING, "Time to answer a webhook.", &["result"]),
            pushes: metrics.counter(PUSHES, "Pushes recorded.", &["source"]),
            polls: metrics.counter(POLLS, "Looks at the heads of a repository.", &["result"]),
        }
    }
}
