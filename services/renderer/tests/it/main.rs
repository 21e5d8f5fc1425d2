//! The renderer on a real bus and real repositories: what it renders, and what happens when it is interrupted.

mod delivery;
mod directory;
mod support;
