//! sluice-publisher.

pub mod edit;
pub mod land;
pub mod reference;
pub mod registry;
