//! Conformance with outside input, which is read where it lies and never copied into the repository.
//!
//! `$SLUICE_SHARED` (by default the folder `shared` beside the repository) holds it. A part that is missing
//! fails: what was not run did not conform.

mod deploy;
mod input;
mod workflows;
