//! Being written by the owner of the harness.
