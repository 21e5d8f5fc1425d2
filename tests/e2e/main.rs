//! The end-to-end tests: one binary, a module a subject, a world a test.

mod harness;
mod webhooks;
