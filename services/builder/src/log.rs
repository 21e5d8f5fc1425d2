//! What a step prints, from bytes to the bus: lines, masks, batches, archive.
//!
//! Invariant: nothing passes [`writer`] that did not pass [`mask`] before. Called by the executor.

pub(crate) mod lines;
pub(crate) mod mask;
pub(crate) mod writer;
