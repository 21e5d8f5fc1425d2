//! The notifier's metrics. Labels are bounded: never a chat, a run or a person.

use prometheus::{HistogramVec, IntCounterVec};
use sluice_chassis::Metrics;

/// Counters and histograms. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NotifierMetrics {
    messages: IntCounterVec,
    limited: IntCounterVec,
    commands: IntCounterVec,
    delay: HistogramVec,
}

impl NotifierMetrics {
    /// Registered in the process's registry.
    #[must_use]
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            messages: metrics.counter(
                "sluice_notifier_messages_total",
                "Messages by what became of them: sent, edited, disabled, failed.",
                &["result"],
            ),
            limited: metrics.counter(
                "sluice_notifier_rate_limited_total",
                "Calls that Telegram answered with 429.",
                &[],
            ),
            commands: metrics.counter(
                "sluice_notifier_commands_total",
                "Commands and buttons by name and outcome.",
                &["command", "result"],
            ),
            delay: metrics.seconds(
                "sluice_notifier_delay_seconds",
                "From a change of a story to the chat that shows it.",
                &[],
            ),
        }
    }

    pub(crate) fn sent(&self, result: &str) {
        self.messages.with_label_values(&[result]).inc();
    }

    pub(crate) fn rate_limited(&self) {
        self.limited.with_label_values::<&str>(&[]).inc();
    }

    pub(crate) fn command(&self, command: &str, result: &str) {
        self.commands.with_label_values(&[command, result]).inc();
    }

    pub(crate) fn shown_after(&self, millis: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a delay in a histogram")]
        self.delay.with_label_values::<&str>(&[]).observe(millis as f64 / 1000.0);
    }
}
