//! sluice-bus.
