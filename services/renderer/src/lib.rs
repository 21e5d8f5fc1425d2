//! sluice-renderer.
