//! Desired state against live state: the rules of GitOps, without any I/O.
//!
//! Architecture invariant: no async runtime, no file, no network, no clock; every function is total over the JSON that it is
//! given. The renderer parses manifests with it, the reconciler compares, plans and judges health, the API server shows.

pub mod health;
pub mod manifest;
pub mod options;
pub mod resource;
pub mod tracking;

pub use health::Health;
pub use options::{Phase, SyncOptions};
pub use resource::{Gvk, ObjectKey};
