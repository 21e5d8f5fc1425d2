//! The gate: previews, grants, promotions, and doing each of them once.
//!
//! Invariants: only what a person looked at can be confirmed by that person; a grant names one revision and one set of
//! manifests; every refusal is a fact. Called by REST and UI, and through REST by command and chat.

mod comparisons;
mod grant;
mod looks;
mod once;
mod preview;
mod promote;
mod signing;

pub(crate) use comparisons::Comparisons;
pub(crate) use grant::{Confirmed, Wish, confirm, refuse, sync_of};
pub(crate) use once::{Once, Seed};
pub(crate) use preview::{Preview, preview};
pub(crate) use promote::{PromoteWish, Promoted, promote};
pub(crate) use signing::load_or_create;
