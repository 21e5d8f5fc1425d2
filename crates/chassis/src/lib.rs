//! sluice-chassis.
