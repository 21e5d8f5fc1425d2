//! The world in which Sluice is tested and shown: real parts, one small world a test.
//!
//! Purpose: bring up an isolated world (repositories, name spaces, a bus and a Telegram of its own) on the
//! shared platform, run Sluice's real programs in it, do what people do, and wait for facts on the bus.
//! Invariants: nothing here links a service, so what is tested is what is shipped; worlds do not touch one
//! another; waiting means waiting for a fact, with a deadline and a story when it passes.
//! Called by the end-to-end tests (`tests/e2e`), the demo, the conformance run and the benches.

pub mod api;
pub mod browser;
pub mod cli;
pub mod config;
pub mod git;
pub mod kubectl;
pub mod nats;
pub mod platform;
pub mod process;
pub mod registry;
pub mod seed;
pub mod shell;
pub mod story;
pub mod supervised;
pub mod until;
pub mod webhook;
pub mod witness;
pub mod world;

pub use platform::Platform;
pub use until::until;
pub use witness::{Event, Witness};
pub use world::World;

/// Makes ring the one TLS implementation; the HTTP client wants one even for plain HTTP.
pub fn install_crypto() {
    // Another test of the same process may have been first.
    rustls::crypto::ring::default_provider().install_default().ok();
}
