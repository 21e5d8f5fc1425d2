//! Everything that travels between Sluice's services: ids, subjects, events, commands, grants and states.
//!
//! Purpose: one definition of the wire. Invariants: no I/O and no async runtime; a token on a subject is
//! `[a-z0-9_-]+`; the only code that formats or parses a subject is [`subject`]; readers ignore unknown fields, and a
//! breaking change makes a new type beside the old one. Callers: every crate of the workspace.

pub mod catalogue;
pub mod commands;
pub mod digest;
pub mod envelope;
pub mod events;
pub mod grant;
pub mod ids;
pub mod inbox;
pub mod log;
pub mod message;
pub mod rpc;
pub mod state;
pub mod subject;
pub mod timestamp;

pub use digest::{Digest, Sha};
pub use envelope::{Cause, Envelope};
pub use events::Event;
pub use message::{Command, Fact, Message};
pub use subject::{Filter, Subject};
pub use timestamp::Timestamp;
