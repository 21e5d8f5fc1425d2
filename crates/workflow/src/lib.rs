//! sluice-workflow.
