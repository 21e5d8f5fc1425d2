//! The end-to-end tests: one binary, a module a subject, a world a test.

mod browser;
mod chaos;
mod delivery;
mod eyes;
mod failures;
mod gate;
mod harness;
mod once;
mod pages;
mod people;
mod poison;
mod replay;
mod secrets;
mod stage;
mod webhooks;
