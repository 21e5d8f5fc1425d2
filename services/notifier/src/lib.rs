//! sluice-notifier.
