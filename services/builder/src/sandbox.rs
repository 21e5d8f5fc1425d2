//! Where jobs run: a container on a network of its own, with a directory of its own.
//!
//! [`engine`] talks to Docker, [`container`] is one running sandbox, [`workspace`] its directory on our side, [`pool`] has
//! some running before a job wants them.
//! Invariants: no capability unless configured, no new privileges, limits on memory, processors and processes;
//! everything carries labels, so that what a killed builder left behind is found and removed at the next start.

pub(crate) mod container;
pub(crate) mod engine;
pub(crate) mod pool;
pub(crate) mod workspace;

/// Where things are inside a container.
pub(crate) mod paths {
    pub(crate) const WORKSPACE: &str = "/github/workspace";
    pub(crate) const HOME: &str = "/github/home";
    pub(crate) const TEMP: &str = "/github/runner_temp";
    pub(crate) const COMMANDS: &str = "/github/file_commands";
    pub(crate) const TOOLS: &str = "/opt/hostedtoolcache";
}
