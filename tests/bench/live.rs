//! Live objects as the cluster tells of them, with the moment at which it did: `kubectl get --watch`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use sluice_e2e::World;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// A watch on one object.
pub(crate) struct Live {
    seen: watch::Sender<Vec<(u64, String)>>,
    _child: Child,
    _tasks: JoinSet<()>,
}

impl Live {
    /// Follows `what` (`configmap/web`); `path` is the part to read, in kubectl's JSONPath.
    pub(crate) fn watch(world: &World, namespace: &str, what: &str, path: &str) -> anyhow::Result<Self> {
        let mut command = world.kube.command();
        command.args(["-n", namespace, "get", what, "--watch", "-o", &format!("jsonpath={path}{{\"\\n\"}}")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().context("kubectl cannot be started")?;
        let mut lines = BufReader::new(child.stdout.take().context("kubectl's output")?).lines();
        let seen = watch::Sender::new(Vec::new());
        let sender = seen.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|seen| seen.push((crate::clock::now(), line)));
            }
        });
        Ok(Self { seen, _child: child, _tasks: tasks })
    }

    /// When the cluster first told, after `since`, of a state that fits.
    pub(crate) async fn when(
        &self,
        since: u64,
        within: Duration,
        fits: impl Fn(&str) -> bool,
    ) -> anyhow::Result<u64> {
        let deadline = Instant::now() + within;
        let mut changes = self.seen.subscribe();
        loop {
            let found =
                changes.borrow_and_update().iter().find(|(at, line)| *at >= since && fits(line)).cloned();
            if let Some((at, _)) = found {
                return Ok(at);
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                bail!(
                    "the cluster does not get there within {within:?}; at last: {:?}",
                    self.seen.borrow().last()
                );
            }
        }
    }
}
