//! sluice-api.
