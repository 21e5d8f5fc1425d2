//! sluice-publisher.
