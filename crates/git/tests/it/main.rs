//! The crate against real repositories: local bare ones over `file://`, and the
//! platform's HTTP server, which must be up.

mod support;

mod commits;
mod http;
mod mirrors;
mod reading;
