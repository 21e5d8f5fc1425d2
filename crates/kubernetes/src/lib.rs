//! sluice-kubernetes.
