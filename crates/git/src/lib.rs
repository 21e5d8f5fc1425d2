//! sluice-git.
