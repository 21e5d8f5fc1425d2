//! The publisher on a real bus, real Git repositories and a real registry, and on a
//! registry of ours where a real one would not fail on demand.

mod bumps;
mod fake_registry;
mod images;
mod promotions;
mod support;
