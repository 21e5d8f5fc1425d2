//! The API server against a real nats-server of each test's own, and the platform's cluster (an own namespace a test).

mod deliveries;
mod gate;
mod login;
mod pages;
mod support;
