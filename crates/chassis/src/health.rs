//! Liveness and readiness. `/healthz` says that the process runs; `/readyz` names what is not ready and why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The conditions of one process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Option<String>>>>);

impl Health {
    /// `component` works.
    pub fn ready(&self, component: &str) {
        self.set(component, None);
    }

    /// `component` does not work, because of `reason`.
    pub fn not_ready(&self, component: &str, reason: impl Into<String>) {
        self.set(component, Some(reason.into()));
    }

    /// What is not ready: component and reason.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().filter_map(|(name, reason)| Some((name.clone(), reason.clone()?))).collect()
    }

    fn set(&self, component: &str, reason: Option<String>) {
        let mut conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = conditions.insert(component.to_owned(), reason.clone());
        if before != Some(reason.clone()) {
            match reason {
                Some(reason) => tracing::warn!(component, reason, "not ready"),
                None => tracing::info!(component, "ready"),
            }
        }
    }
}
