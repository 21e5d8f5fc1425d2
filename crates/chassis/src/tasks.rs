//! The closed registry of background tasks. Every spawned future has a kind, and the kind says what its end means.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// An HTTP listener.
    Server,
    /// A loop over a durable consumer.
    Consumer,
    /// A watch of Kubernetes, a KV bucket, a chat.
    Watcher,
    /// Something that happens every so often.
    Timer,
    /// A bounded piece of work for one message or request.
    Worker,
    /// Renews a lease.
    Lease,
}

impl TaskKind {
    /// Whether the process must end when a task of this kind ends by itself: what is meant to run for ever is
    /// missed when it is gone, and a restart is the only honest answer.
    const fn is_vital(self) -> bool {
        matches!(self, Self::Server | Self::Consumer | Self::Watcher | Self::Timer)
    }
}

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Tasks {
    /// An empty registry that stops at `shutdown`.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), shutdown }
    }

    /// Starts a task. It must watch the shutdown token by itself. A panic in it, or the end of a vital task, is
    /// logged and ends the process in an orderly way.
    pub fn spawn<F>(&self, kind: TaskKind, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let span = tracing::Span::current();
        self.tracker.spawn(async move {
            // A task of its own, so that its panic arrives here as a value.
            let result = tokio::task::spawn(tracing::Instrument::instrument(future, span)).await;
            match result {
                Err(error) if error.is_panic() => {
                    tracing::error!(task = name, ?kind, "a task panicked; the process ends");
                    shutdown.cancel();
                }
                _ if kind.is_vital() && !shutdown.is_cancelled() => {
                    tracing::error!(
                        task = name,
                        ?kind,
                        "a task that must not end has ended; the process ends"
                    );
                    shutdown.cancel();
                }
                _ => tracing::debug!(task = name, ?kind, "task ended"),
            }
        });
    }

    /// The token that ends everything.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Waits for all tasks, at most `grace`. Returns whether all ended.
    pub async fn wait(&self, grace: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}
