//! Metrics of the bus. Labels are consumer names and fixed words.

use prometheus::{HistogramVec, IntCounterVec};
use sluice_chassis::Metrics;

/// Messages handled, by consumer and outcome.
const HANDLED: &str = "sluice_bus_messages_handled_total";
/// Time from taking a message to its acknowledgement.
const HANDLING: &str = "sluice_bus_message_handling_seconds";
/// Messages moved to the dead-letter queue, by consumer.
const DEAD: &str = "sluice_bus_dead_letters_total";
/// Facts of types that this build does not know.
const UNKNOWN: &str = "sluice_bus_unknown_facts_total";
/// Errors that the server reported, by kind.
const SERVER_ERRORS: &str = "sluice_bus_server_errors_total";

#[derive(Clone)]
pub(crate) struct BusMetrics {
    pub(crate) handled: IntCounterVec,
    pub(crate) handling: HistogramVec,
    pub(crate) dead: IntCounterVec,
    pub(crate) unknown: IntCounterVec,
    pub(crate) server_errors: IntCounterVec,
}

impl BusMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            handled: metrics.counter(HANDLED, "Messages handled.", &["consumer", "outcome"]),
            handling: metrics.seconds(
                HANDLING,
                "Time from taking a message to its acknowledgement.",
                &["consumer"],
            ),
            dead: metrics.counter(DEAD, "Messages moved to the dead-letter queue.", &["consumer"]),
            unknown: metrics.counter(UNKNOWN, "Facts of unknown type that were skipped.", &["consumer"]),
            server_errors: metrics.counter(SERVER_ERRORS, "Errors reported by the NATS server.", &["kind"]),
        }
    }
}
