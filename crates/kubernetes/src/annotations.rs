//! The labels, annotations and finalizers that Sluice reads or writes, in one place.
//!
//! Those of Argo CD keep their names and their meaning; our own live under `sluice.dev/`.

/// Set by a person (`normal` or `hard`) to have an application compared again; removed when that is done.
pub const REFRESH: &str = "argocd.argoproj.io/refresh";
/// `"true"` takes an application out of reconciliation.
pub const SKIP_RECONCILE: &str = "argocd.argoproj.io/skip-reconcile";
/// Says which application an object belongs to: `<app>:<group>/<kind>:<namespace>/<name>`.
pub const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
/// Argo CD's label of Secrets that configure it.
pub const ARGO_SECRET_TYPE: &str = "argocd.argoproj.io/secret-type";
/// Deleting the Application deletes what it manages, in the foreground.
pub const RESOURCES_FINALIZER: &str = "resources-finalizer.argocd.argoproj.io";
/// The same, in the background.
pub const RESOURCES_FINALIZER_BACKGROUND: &str = "resources-finalizer.argocd.argoproj.io/background";

/// `"true"` on an Application or AppProject: it changes only under a person's grant.
pub const GATED: &str = "sluice.dev/gated";
/// The sync operation that last wrote an object.
pub const OPERATION: &str = "sluice.dev/operation";
/// Our label of Secrets that configure Sluice.
pub const SECRET_TYPE: &str = "sluice.dev/secret-type";
/// Label of a CI secret: the repository slug that it belongs to.
pub const REPOSITORY: &str = "sluice.dev/repository";
/// Annotation of a repository Secret: its clone URL.
pub const URL: &str = "sluice.dev/url";
/// Annotation of a repository Secret: `Owner/Name` as the forge spells it.
pub const FULL_NAME: &str = "sluice.dev/full-name";
/// Annotation of a registry Secret: the registry's host and port.
pub const REGISTRY: &str = "sluice.dev/registry";
/// Annotation of every Secret that we write: the name as the person gave it (object names are derived).
pub const NAME: &str = "sluice.dev/name";

/// The field manager of everything that Sluice applies.
pub const FIELD_MANAGER: &str = "sluice";
