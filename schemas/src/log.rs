//! Log chunks: what a step prints, masked before it leaves the builder, on `log.<repo>.<job>.<step>`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Largest text of one chunk, in bytes.
pub const MAX_CHUNK: usize = 64 * 1024;

/// A batch of lines. Chunks of a step and epoch are numbered from 0 without a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogChunk {
    /// Fencing token of the executor.
    pub epoch: u64,
    /// Number within the step and epoch.
    pub seq: u64,
    /// Line number of the first line, from 1.
    pub first_line: u64,
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Whether the step has ended: nothing follows.
    pub last: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When it was printed.
    pub at: Timestamp,
    /// Masked, without the line end.
    pub text: String,
}
