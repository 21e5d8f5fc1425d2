//! sluice-builder.
