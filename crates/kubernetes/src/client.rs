//! Connecting to the cluster: an explicit kubeconfig, `KUBECONFIG` or `~/.kube/config`, or the pod's service account.
//!
//! Called once by each service that needs Kubernetes; the result is cheap to clone.

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::{Deserialize, Serialize};

/// The `kubernetes:` part of a service's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A kubeconfig file. Absent: `KUBECONFIG`, then `~/.kube/config`, then the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// The context inside the kubeconfig; absent means its current one.
    pub context: Option<String>,
    /// Namespace of the labelled Secrets that configure Sluice.
    pub namespace: String,
    /// Namespace of Applications and AppProjects.
    pub applications_namespace: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespace: "sluice".to_owned(),
            applications_namespace: "argocd".to_owned(),
        }
    }
}

/// A connected cluster and the two namespaces that matter to Sluice.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    namespace: String,
    applications_namespace: String,
}

/// Why no client could be made. The API server itself is first contacted by the first request.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("failed to read the kubeconfig {path}: check `kubernetes.kubeconfig`")]
    Kubeconfig { path: String, source: Box<kube::config::KubeconfigError> },
    #[error(
        "found no cluster: set `kubernetes.kubeconfig` or KUBECONFIG, or run inside a pod with a service account"
    )]
    Infer(#[source] Box<kube::config::InferConfigError>),
    #[error("failed to make a Kubernetes client from the configuration")]
    Client(#[source] Box<kube::Error>),
}

/// Makes a client. Does no request yet.
///
/// # Errors
/// When there is no usable configuration.
pub async fn connect(config: &Config) -> Result<Cluster, ConnectError> {
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    let mut client_config = match &config.kubeconfig {
        Some(path) => {
            let failed = |source| ConnectError::Kubeconfig {
                path: path.display().to_string(),
                source: Box::new(source),
            };
            let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)?
        }
        None if config.context.is_some() => {
            kube::Config::from_kubeconfig(&options).await.map_err(|source| ConnectError::Kubeconfig {
                path: "(default)".to_owned(),
                source: Box::new(source),
            })?
        }
        None => kube::Config::infer().await.map_err(|source| ConnectError::Infer(Box::new(source)))?,
    };
    // Our objects are small and the API server is near: compressing costs more time than it saves.
    client_config.disable_compression = true;
    let client =
        kube::Client::try_from(client_config).map_err(|source| ConnectError::Client(Box::new(source)))?;
    Ok(Cluster {
        client,
        namespace: config.namespace.clone(),
        applications_namespace: config.applications_namespace.clone(),
    })
}

impl Cluster {
    /// The raw client: for this crate and the reconciler.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Namespace of the labelled Secrets.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Namespace of Applications and AppProjects.
    pub fn applications_namespace(&self) -> &str {
        &self.applications_namespace
    }

    /// The API server's version, for example `v1.35.4`: a cheap question whether it is there at all.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn version(&self) -> Result<String, kube::Error> {
        Ok(self.client.apiserver_version().await?.git_version)
    }
}
