//! What every service stands on: configuration, logs, metrics, health, tasks and an orderly end.
//!
//! Purpose: a service is a `Config` and a `run` function; everything else that a process needs is here once.
//! Invariants: no task outlives the registry; no queue is unbounded; a secret cannot be printed. Callers: every
//! service's `main`, and `sluice up`.

pub mod blocking;
pub mod config;
mod failpoints;
pub mod health;
pub mod http;
pub mod metrics;
pub mod process;
pub mod secret;
pub mod tasks;
pub mod telemetry;

pub use blocking::blocking;
pub use health::Health;
pub use metrics::Metrics;
pub use process::{Process, Service, main};
pub use secret::Secret;
pub use tasks::{TaskKind, Tasks};
pub use tokio_util::sync::CancellationToken;
