//! Comparisons by digest, the last few in memory: they never change, and pages ask for the same one again and again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use sluice_bus::{Bus, ObjectError, Store};
use sluice_schemas::Digest;
use sluice_schemas::state::Comparison;

use crate::error::{Answer, ApiError};

/// An application of a thousand objects has a comparison of some megabytes.
const KEPT: usize = 12;

/// The cache.
pub(crate) struct Comparisons {
    bus: Bus,
    kept: Mutex<VecDeque<(Digest, Arc<Comparison>)>>,
}

impl Comparisons {
    /// Those of `bus`.
    #[must_use]
    pub(crate) fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone(), kept: Mutex::default() }
    }

    /// The comparison with this digest.
    ///
    /// # Errors
    /// When it is not there any more, or the bus is away.
    pub(crate) async fn get(&self, digest: &Digest) -> Answer<Arc<Comparison>> {
        if let Some(found) = self.known(digest) {
            return Ok(found);
        }
        let bytes = self.bus.objects(Store::Manifests).get(digest).await.map_err(|error| match error {
            ObjectError::NotFound { .. } => ApiError::missing(
                "this comparison is not kept any more; refresh the application to have it compared again",
            ),
            error => ApiError::away("the object store", &error),
        })?;
        let comparison: Comparison = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::internal("reading a comparison", &error))?;
        let comparison = Arc::new(comparison);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((digest.clone(), comparison.clone()));
        Ok(comparison)
    }

    fn known(&self, digest: &Digest) -> Option<Arc<Comparison>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == digest)?;
        let found = kept.remove(at)?;
        let comparison = found.1.clone();
        kept.push_back(found);
        Some(comparison)
    }
}
