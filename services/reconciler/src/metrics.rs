//! The reconciler's metrics: Sluice's own, and those of Argo CD that dashboards read. Labels are bounded by the number of
//! applications.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use sluice_chassis::Metrics;

const COMPARE: &str = "sluice_reconciler_compare_seconds";
const OBJECTS: &str = "sluice_reconciler_live_objects";
const REFUSED: &str = "sluice_reconciler_grants_refused_total";
const SYNC: &str = "argocd_app_sync_total";
const INFO: &str = "argocd_app_info";

/// Handles of all metrics. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ReconcilerMetrics {
    /// Comparing one application.
    pub(crate) compare: HistogramVec,
    /// Live objects held.
    pub(crate) objects: IntGaugeVec,
    /// Writes to gated applications that had no valid grant.
    pub(crate) refused: IntCounterVec,
    /// Syncs that ended.
    pub(crate) sync: IntCounterVec,
    /// One series an application, always 1.
    pub(crate) info: IntGaugeVec,
}

impl ReconcilerMetrics {
    /// Registers them.
    #[must_use]
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let info = [
            "namespace",
            "name",
            "project",
            "autosync_enabled",
            "repo",
            "dest_namespace",
            "sync_status",
            "health_status",
        ];
        Self {
            compare: metrics.seconds(COMPARE, "Time to compare one application with the cluster", &[]),
            objects: metrics.gauge(OBJECTS, "Live objects held in memory", &[]),
            refused: metrics.counter(
                REFUSED,
                "Writes to gated applications refused for want of a grant",
                &["attempt"],
            ),
            sync: metrics.counter(SYNC, "Syncs that ended", &["namespace", "name", "project", "phase"]),
            info: metrics.gauge(INFO, "Applications and their states", &info),
        }
    }
}
