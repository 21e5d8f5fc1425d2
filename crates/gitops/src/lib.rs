//! Desired state against live state: the rules of GitOps, without any I/O.
//!
//! Architecture invariant: no async runtime, no file, no network, no clock; every function is total over the JSON that it is
//! given. The renderer parses manifests with it, the reconciler compares, plans and judges health, the API server shows.

pub mod automation;
pub mod compare;
pub mod diff;
pub mod gate;
pub mod health;
pub mod manifest;
pub mod options;
pub mod plan;
pub mod redact;
pub mod resource;
pub mod tracking;

pub use health::Health;
pub use options::{Phase, SyncOptions};
pub use plan::Plan;
pub use resource::{Gvk, ObjectKey};
