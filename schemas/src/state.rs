//! States: what the facts about an aggregate fold to, kept in KV buckets. Rebuildable, except for leases and nonces.

mod app;
mod head;
mod run;

pub use app::*;
pub use head::*;
pub use run::*;
