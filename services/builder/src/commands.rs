//! How a step talks back: files that it writes ([`files`]) and lines that it prints ([`lines`]). Pure.

pub(crate) mod files;
pub(crate) mod lines;
