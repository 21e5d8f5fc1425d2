//! Why and that a job is to stop before its end. Steps with `always()` or `cancelled()` still run afterwards.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sluice_chassis::CancellationToken;

/// Steps that run in spite of a stop have this long, all together.
pub(crate) const AFTERMATH: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum StopReason {
    /// A person cancelled the run.
    Cancelled,
    /// The job's time is up.
    TimedOut { minutes: f64 },
}

impl StopReason {
    pub(crate) fn words(self) -> String {
        match self {
            Self::Cancelled => "the run was cancelled".to_owned(),
            Self::TimedOut { minutes } => format!("the job took longer than its limit of {minutes} minutes"),
        }
    }
}

/// Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<Inner>);

#[derive(Default)]
struct Inner {
    token: CancellationToken,
    reason: OnceLock<StopReason>,
}

impl Stop {
    /// The first reason stays.
    pub(crate) fn trigger(&self, reason: StopReason) {
        self.0.reason.get_or_init(|| {
            tracing::info!(?reason, "the job is to stop");
            reason
        });
        self.0.token.cancel();
    }

    pub(crate) fn is_triggered(&self) -> bool {
        self.0.token.is_cancelled()
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.0.reason.get().copied()
    }

    /// Completes when the job is to stop.
    pub(crate) async fn triggered(&self) {
        self.0.token.cancelled().await;
    }
}
