//! sluice-reconciler.
