//! sluice-ingress.
