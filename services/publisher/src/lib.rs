//! sluice-publisher.

pub mod edit;
pub mod reference;
pub mod registry;
