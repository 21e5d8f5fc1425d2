//! The crate against real repositories: local bare ones over `file://`, and the
//! platform's HTTP server when it is up (`SLUICE_GIT_URL`).

mod support;

mod commits;
mod http;
mod mirrors;
mod reading;
