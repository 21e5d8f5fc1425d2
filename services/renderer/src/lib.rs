//! sluice-renderer.

pub mod glob;
pub mod source;
