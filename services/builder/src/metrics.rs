//! Metrics of the builder. Labels are fixed words.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use sluice_chassis::Metrics;

/// Runs by what became of the push: queued, refused, not triggered.
const RUNS: &str = "sluice_builder_runs_total";
/// Jobs by conclusion.
const JOBS: &str = "sluice_builder_jobs_total";
/// Jobs under way in this process.
const RUNNING: &str = "sluice_builder_jobs_running";
/// Time by phase: plan, queue, first_step, job.
const PHASES: &str = "sluice_builder_phase_seconds";

#[derive(Clone)]
pub(crate) struct BuilderMetrics {
    pub(crate) runs: IntCounterVec,
    pub(crate) jobs: IntCounterVec,
    pub(crate) running: IntGaugeVec,
    pub(crate) phases: HistogramVec,
}

impl BuilderMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            runs: metrics.counter(RUNS, "Workflows looked at, by what became of them.", &["outcome"]),
            jobs: metrics.counter(JOBS, "Jobs ended, by conclusion.", &["conclusion"]),
            running: metrics.gauge(RUNNING, "Jobs under way in this process.", &["kind"]),
            phases: metrics.seconds(
                PHASES,
                "Time from a push to its first step and on, by phase.",
                &["phase"],
            ),
        }
    }
}
