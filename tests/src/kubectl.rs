//! The real `kubectl`, as an independent look at the cluster.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::process::Command;

use crate::platform::Platform;
use crate::shell::{self, Output};
use crate::until::until;

#[derive(Debug, Clone)]
pub struct Kubectl {
    platform: Platform,
}

impl Kubectl {
    pub fn new(platform: &Platform) -> Self {
        Self { platform: platform.clone() }
    }

    pub fn command(&self) -> Command {
        let mut command = self.platform.program("kubectl");
        command.env("KUBECONFIG", &self.platform.kubeconfig);
        command
    }

    pub async fn run(&self, arguments: &[&str], input: &str) -> anyhow::Result<Output> {
        let mut command = self.command();
        command.args(arguments);
        shell::run(command, input).await
    }

    pub async fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run(arguments, "").await?.ok(&format!("kubectl {}", arguments.join(" ")))
    }

    /// Server-side apply of one or more YAML documents, which go over standard input.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.run(&arguments, yaml).await?.ok("kubectl apply")?;
        Ok(())
    }

    /// An object, or none when there is no such object or kind.
    pub async fn get(&self, namespace: &str, what: &str) -> anyhow::Result<Option<Value>> {
        let arguments = ["-n", namespace, "get", what, "-o", "json", "--ignore-not-found"];
        let text = self.run(&arguments, "").await?.ok(&format!("kubectl get {what}"))?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).context("kubectl's JSON")
    }

    /// All objects of the kinds in `what` (`deployments,services`).
    pub async fn list(&self, namespace: &str, what: &str) -> anyhow::Result<Vec<Value>> {
        let list = self.get(namespace, what).await?.unwrap_or_default();
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until `look` is content with the object.
    pub async fn wait<T>(
        &self,
        namespace: &str,
        what: &str,
        within: Duration,
        look: impl Fn(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        until(&format!("{what} in {namespace}"), within, async || {
            let object = self.get(namespace, what).await.map_err(|e| format!("{e:#}"))?;
            let object = object.ok_or("it does not exist")?;
            look(&object).ok_or_else(|| format!("{:#}", object["status"]))
        })
        .await
    }

    /// Waits until a Deployment runs `image` (or any, when empty) in all of its replicas.
    pub async fn rolled_out(
        &self,
        namespace: &str,
        name: &str,
        image: &str,
        within: Duration,
    ) -> anyhow::Result<()> {
        let what = format!("deployment/{name}");
        self.wait(namespace, &what, within, |object| {
            let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
            let status = &object["status"];
            let now =
                object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
            let done = status["observedGeneration"] == object["metadata"]["generation"]
                && ["updatedReplicas", "readyReplicas", "replicas"]
                    .iter()
                    .all(|k| status[*k].as_i64() == Some(wanted));
            (done && (image.is_empty() || now == image)).then_some(())
        })
        .await
    }

    pub async fn delete_namespaces(&self, names: &[&str]) -> anyhow::Result<()> {
        let mut arguments = vec!["delete", "namespace", "--ignore-not-found", "--wait=false"];
        arguments.extend(names);
        self.ok(&arguments).await?;
        Ok(())
    }
}
