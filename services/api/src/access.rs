//! Who may do what: accounts, passwords, sessions, the caller of a request, and the one `authorize`.
//!
//! Invariants: deny by default; a session's id is stored only as a hash; a cookie alone never changes anything
//! (same origin and either JSON or a form token are needed beside it). Called by every handler.

mod accounts;
mod caller;
mod csrf;
mod links;
mod login;
mod password;
mod policy;
mod sessions;
mod throttle;
pub(crate) mod token;

pub(crate) use accounts::{Account, Accounts};
pub(crate) use caller::{
    Caller, CookieForm, Credential, cookie, is_json, is_unsafe, program_surface, service_only,
};
pub(crate) use csrf::same_origin;
pub(crate) use links::Links;
pub(crate) use login::login;
pub(crate) use password::{hash_password, verify_password};
pub(crate) use policy::{Action, Policy, ROLE_ADMIN, Resource};
pub(crate) use sessions::Sessions;
pub(crate) use throttle::Throttle;
