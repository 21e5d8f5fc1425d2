//! JetStream as Sluice uses it: provisioning, publishing, the one consume loop, KV, leases, claim checks, dead letters.
//!
//! Purpose: no service knows a stream's configuration or acknowledges a message by hand. Invariants: only this crate
//! names async-nats; a message is acknowledged after its handler's results are on disk; a message that cannot be
//! handled ends in the DLQ with its reason; what the broker echoes is what was asked for. Callers: every service.

mod call;
mod config;
mod connect;
mod consume;
mod dead_letters;
mod delivery;
mod headers;
mod kv;
mod lease;
mod logs;
mod metrics;
mod objects;
mod provision;
mod publish;
mod pull;
mod read;
pub mod topology;

pub use call::CallError;
pub use config::BusConfig;
pub use connect::{Bus, ConnectError, MINIMUM_VERSION};
pub use consume::ConsumeError;
pub use dead_letters::{DeadLetter, DeadLetterError};
pub use delivery::{Delivery, Outcome};
pub use kv::{Entry, Kv, KvChange, KvError};
pub use lease::{Lease, LeaseError, Leases};
pub use logs::RecordedLog;
pub use objects::{ObjectError, Objects};
pub use provision::ProvisionError;
pub use publish::{AppendError, Expected, PublishError, Published};
pub use read::{From, ReadError, Recorded};
pub use topology::{Bucket, ConsumerSpec, Store, StreamName};
