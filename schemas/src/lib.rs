//! sluice-schemas.
