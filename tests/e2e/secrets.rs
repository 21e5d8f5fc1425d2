//! Being written by the engineer of failures.rs.
