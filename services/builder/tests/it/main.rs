//! The builder on real parts: Docker, a nats-server of each test's own, the platform's Git server. Publisher and
//! notifier are played by the test, because they are other services.
//!
//! `tests/platform/platform up docker registry images git` brings the parts up.

mod chain;
mod failures;
mod places;
mod support;
mod takeover;
mod warm;
