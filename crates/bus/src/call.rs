//! Questions that need an answer now: request and reply on core NATS.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use sluice_chassis::{Service, TaskKind};
use sluice_schemas::rpc::Call;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Bus;
use crate::publish::describe;

/// Answers worked on at once; more questions wait in the subscription.
const ANSWERS_AT_ONCE: usize = 8;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answers, or not in time.
    #[error("no answer on {subject}: {reason}")]
    NoAnswer { subject: String, reason: String },
    /// The answer or question is not of its type.
    #[error("{subject}: {source}")]
    Decode {
        subject: String,
        #[source]
        source: serde_json::Error,
    },
}

impl Bus {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When nobody answers within `patience`.
    pub async fn call<C: Call>(&self, question: &C, patience: Duration) -> Result<C::Answer, CallError> {
        let subject = C::subject().to_string();
        let decode = |source| CallError::Decode { subject: subject.clone(), source };
        let no_answer = |reason: String| CallError::NoAnswer { subject: subject.clone(), reason };
        let payload = serde_json::to_vec(question).map_err(decode)?;
        let request = self.inner.client.request(subject.clone(), Bytes::from(payload));
        let answer = tokio::time::timeout(patience, request)
            .await
            .map_err(|_| no_answer(format!("nothing came within {patience:?}")))?
            .map_err(|error| no_answer(describe(&error)))?;
        serde_json::from_slice(&answer.payload).map_err(decode)
    }

    /// Answers questions of one type, shared with all replicas of the service. Unreadable questions get no answer.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn answer<C, H, F>(&self, service: &Service, handler: H) -> Result<(), CallError>
    where
        C: Call,
        H: Fn(C) -> F + Send + Sync + 'static,
        F: Future<Output = C::Answer> + Send + 'static,
    {
        let subject = C::subject().to_string();
        let subscribed = self.inner.client.queue_subscribe(subject.clone(), service.name().to_owned()).await;
        let mut questions = subscribed
            .map_err(|error| CallError::NoAnswer { subject: subject.clone(), reason: describe(&error) })?;
        let (client, shutdown) = (self.inner.client.clone(), service.shutdown().clone());
        let permits = Arc::new(Semaphore::new(ANSWERS_AT_ONCE));
        service.tasks().spawn(TaskKind::Consumer, "calls", async move {
            let mut running = JoinSet::new();
            loop {
                while running.try_join_next().is_some() {}
                let question = tokio::select! {
                    question = questions.next() => question,
                    () = shutdown.cancelled() => break,
                };
                let Some(message) = question else { break };
                let (Some(reply), Ok(question)) =
                    (message.reply, serde_json::from_slice::<C>(&message.payload))
                else {
                    tracing::warn!(subject, "an unreadable question gets no answer");
                    continue;
                };
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
                let (client, answering) = (client.clone(), handler(question));
                running.spawn(async move {
                    let answer = serde_json::to_vec(&answering.await).unwrap_or_default();
                    if let Err(error) = client.publish(reply, Bytes::from(answer)).await {
                        tracing::warn!(%error, "an answer did not leave");
                    }
                    drop(permit);
                });
            }
        });
        Ok(())
    }
}
