//! The renderer's metrics.

use prometheus::{HistogramVec, IntCounterVec};
use sluice_chassis::Metrics;

const RENDERS: &str = "sluice_renders_total";
const SECONDS: &str = "sluice_render_seconds";
const FETCHES: &str = "sluice_renderer_fetches_total";

#[derive(Clone)]
pub struct RendererMetrics {
    /// By result: `cached`, `rendered`, `failed`.
    pub renders: IntCounterVec,
    /// By phase: `fetch`, `render`.
    pub seconds: HistogramVec,
    /// Trips to Git hosts for objects.
    pub fetches: IntCounterVec,
}

impl RendererMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            renders: metrics.counter(RENDERS, "Renderings by result", &["result"]),
            seconds: metrics.seconds(SECONDS, "Duration of renderings by phase", &["phase"]),
            fetches: metrics.counter(FETCHES, "Fetches from Git hosts for renderings", &[]),
        }
    }
}
