//! A faithful fake of the Telegram Bot API, for tests and for the demo.
//!
//! It answers `/bot<token>/<method>` with the shapes, the errors and the habits of the real
//! service (long poll, one poller at a time, webhooks with a secret token, entities, keyboards),
//! and has two doors that the real one lacks: `/control/…`, by which a test plays the people and
//! orders faults, and `/`, a page on which a person reads the chat and presses its buttons.
//!
//! Invariants: nothing leaves the process but webhook calls to the address that the bot named;
//! everything it knows is in one [`State`] behind one lock, and each change bumps a version that
//! waiters watch, so nobody polls. Used by `tests/` (in process) and by its own binary.

mod control;
mod delivery;
mod entities;
mod error;
mod html;
mod markdown;
mod methods;
mod page;
mod params;
mod server;
mod state;
mod types;
mod webhook;

pub use control::Sent;
pub use server::{Fake, Options};
pub use state::{Call, Fault, State};
pub use types::{Chat, Message, User};
