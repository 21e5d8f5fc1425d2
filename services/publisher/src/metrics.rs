//! The publisher's metrics.

use prometheus::{HistogramVec, IntCounterVec};
use sluice_chassis::Metrics;

const IMAGES: &str = "sluice_images_published_total";
const IMAGE_SECONDS: &str = "sluice_image_publish_seconds";
const BYTES: &str = "sluice_image_bytes_total";
const BUMPS: &str = "sluice_bumps_total";
const BUMP_SECONDS: &str = "sluice_bump_seconds";
const RACES: &str = "sluice_bump_races_lost_total";

#[derive(Clone)]
pub struct PublisherMetrics {
    /// By result: `published`, `failed`.
    pub images: IntCounterVec,
    pub image_seconds: HistogramVec,
    /// By way: `sent`, `mounted`, `present`.
    pub bytes: IntCounterVec,
    /// By kind (`bump`, `promotion`) and result (`committed`, `unchanged`, `failed`).
    pub bumps: IntCounterVec,
    pub bump_seconds: HistogramVec,
    pub races: IntCounterVec,
}

impl PublisherMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            images: metrics.counter(IMAGES, "Images by result", &["result"]),
            image_seconds: metrics.seconds(IMAGE_SECONDS, "Duration of image uploads", &[]),
            bytes: metrics.counter(BYTES, "Bytes of images by the way they took", &["way"]),
            bumps: metrics.counter(BUMPS, "Writes into deploy repositories", &["kind", "result"]),
            bump_seconds: metrics.seconds(
                BUMP_SECONDS,
                "Duration of writes into deploy repositories",
                &["kind"],
            ),
            races: metrics.counter(RACES, "Pushes to deploy repositories that lost a race", &[]),
        }
    }
}
