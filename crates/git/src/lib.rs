//! Git for every service: bare mirrors, one fetch at a time, reading from Git
//! objects without a checkout, commits without a work tree, and pushes.
//!
//! Invariants:
//! - This is the only crate that names `git2`. The network is reached only by the
//!   `git` program as a child ([`command`]), never by libgit2, so that every
//!   transfer has a deadline and can be killed.
//! - libgit2 work runs only on the blocking pool.
//! - What comes from outside (URLs, ref names, paths) is a checked type before it
//!   gets near a command line or a file system.
//!
//! Called by `ingress` (heads), `builder` (workflows, checkout), `renderer`
//! (manifests), `publisher` (bumps).

mod address;
mod changes;
mod checkout;
mod command;
mod commit;
mod fault;
mod fetch;
mod flight;
mod history;
mod mirror;
mod object;
mod path;
mod push;
mod refs;
mod resolve;
mod tree;

pub use address::{AddressError, Credentials, Remote, RemoteUrl};
pub use changes::Changes;
pub use checkout::{CheckoutError, CheckoutReport};
pub use command::CommandError;
pub use commit::{CommitError, Edit, NewCommit, Signature};
pub use fetch::{FetchError, Want};
pub use history::CommitInfo;
pub use mirror::{Mirror, MirrorSettings, Mirrors, OpenError};
pub use object::ObjectId;
pub use path::{PathError, RepoPath};
pub use push::PushError;
pub use refs::{RefName, RefNameError, RemoteHeads, RemoteRef};
pub use resolve::ResolveError;
pub use tree::{Entry, EntryKind, Linked, ReadError, ReadLimits, Snapshot};
