//! The end-to-end tests: one binary, a module a subject, a world a test.

mod chaos;
mod delivery;
mod eyes;
mod failures;
mod harness;
mod stage;
mod webhooks;
