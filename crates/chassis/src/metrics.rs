//! One Prometheus registry a process. Metric names are constants in each crate's `metrics.rs`; labels are bounded.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

/// Where metrics are registered. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics(Registry);

impl Metrics {
    /// A counter; the name ends in `_total`.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A histogram of seconds; the name ends in `_seconds`.
    #[must_use]
    pub fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let buckets =
            vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
    }

    /// Everything in the text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut buffer = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.0.gather(), &mut buffer) {
            tracing::error!(%error, "metrics could not be written");
        }
        String::from_utf8_lossy(&buffer).into_owned()
    }

    /// Names are constants, so a bad one fails every test of its crate; two services of one process share a
    /// library's metric, so the second registration is no error.
    fn register<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        let collector = match collector {
            Ok(collector) => collector,
            Err(error) => unreachable!("a metric's constant name or labels are not valid: {error}"),
        };
        if let Err(error) = self.0.register(Box::new(collector.clone())) {
            tracing::debug!(%error, "metric registered before");
        }
        collector
    }
}
