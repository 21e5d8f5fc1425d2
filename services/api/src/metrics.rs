//! Metrics of the API server. Labels are bounded: routes are patterns, outcomes are constants.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use sluice_chassis::Metrics;

const REQUESTS: &str = "sluice_api_request_seconds";
const LOGINS: &str = "sluice_api_logins_total";
const GRANTS: &str = "sluice_api_grants_total";
const STREAMS: &str = "sluice_api_streams";

/// The metrics.
#[derive(Clone)]
pub(crate) struct ApiMetrics {
    requests: HistogramVec,
    logins: IntCounterVec,
    grants: IntCounterVec,
    streams: IntGaugeVec,
}

impl ApiMetrics {
    /// Registers them.
    #[must_use]
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.seconds(REQUESTS, "Time to answer, by route and status.", &["route", "status"]),
            logins: metrics.counter(LOGINS, "Logins by outcome.", &["outcome"]),
            grants: metrics.counter(GRANTS, "Confirmed previews by outcome.", &["outcome"]),
            streams: metrics.gauge(STREAMS, "Open event streams by kind.", &["kind"]),
        }
    }

    /// A request was answered.
    pub(crate) fn request(&self, route: &str, status: u16, seconds: f64) {
        self.requests.with_label_values(&[route, &status.to_string()]).observe(seconds);
    }

    /// Somebody logged in, or not.
    pub(crate) fn login(&self, outcome: &str) {
        self.logins.with_label_values(&[outcome]).inc();
    }

    /// A preview was confirmed, or not.
    pub(crate) fn grant(&self, outcome: &str) {
        self.grants.with_label_values(&[outcome]).inc();
    }

    /// Counts an open stream until dropped.
    #[must_use]
    pub(crate) fn stream(&self, kind: &str) -> OpenStream {
        let gauge = self.streams.with_label_values(&[kind]);
        gauge.inc();
        OpenStream(gauge)
    }
}

/// An open stream.
pub(crate) struct OpenStream(prometheus::IntGauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
