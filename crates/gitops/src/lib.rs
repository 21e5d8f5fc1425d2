//! sluice-gitops.
