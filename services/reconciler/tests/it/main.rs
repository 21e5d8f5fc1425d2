//! The reconciler against a real API server and a nats-server of its own; only Git and the renderer are played.
//!
//! One binary; each test has its own namespaces and bus. Tests that use failpoints, which are global, run alone.

mod attacks;
mod crashes;
mod declared;
mod hooks;
mod stage;
mod syncs;
