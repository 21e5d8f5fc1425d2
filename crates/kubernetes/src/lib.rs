//! Everything of Sluice that talks to a Kubernetes API server.
//!
//! * [`Application`] and [`AppProject`]: the `argoproj.io/v1alpha1` kinds that users already have, and their [`crd`] files.
//! * [`client`]: one way to connect (kubeconfig file, `KUBECONFIG`, or in-cluster).
//! * [`secrets`]: labelled Secrets as stores for repositories, CI secrets, registries, accounts and keys.
//! * [`applications`]: reading, writing and watching Applications and AppProjects.
//! * [`discovery`], [`apply`], [`cache`]: dynamic server-side apply and bounded watch caches, for the reconciler.
//!
//! Invariant: only this crate and the reconciler name `kube`; every other service uses the functions here.

pub mod annotations;
mod application;
pub mod applications;
pub mod apply;
pub mod cache;
pub mod client;
pub mod crd;
pub mod discovery;
mod lenient;
mod project;
pub mod secrets;
mod source;
mod status;
pub mod tree;

pub use application::{
    AppDestination, Application, ApplicationSpec, Automated, Backoff, Cascade, Info,
    ManagedNamespaceMetadata, ResourceIgnoreDifferences, RetryStrategy, SyncPolicy,
};
pub use client::{Cluster, Config, ConnectError, connect};
pub use project::{
    AppProject, AppProjectSpec, DestinationServiceAccount, GroupKind, OrphanedResources, ProjectRole,
    SyncWindow,
};
pub use source::{
    Directory, EnvEntry, FileParameter, Helm, HelmParameter, Jsonnet, JsonnetVar, Kustomize, KustomizePatch,
    KustomizeReplica, KustomizeTarget, Plugin, Source,
};
pub use status::{
    ApplicationStatus, ComparedTo, Condition, HealthStatus, Initiator, Operation, OperationState,
    ResourceResult, ResourceStatus, RevisionHistory, Summary, SyncOperation, SyncOperationResource,
    SyncOperationResult, SyncStatus,
};
