//! The one consume loop: permit, pull, decode, handle with progress reports, outcome to acknowledgement.
//!
//! Invariants: a permit is held before a message is pulled, so none waits in this process while its timer runs; while
//! a handler runs the broker hears of progress, and when that fails the handler is cut off, because another process
//! may have the message by then; the acknowledgement is confirmed; what cannot be decoded or is given up goes to the
//! DLQ. A handler that is dropped leaves its message to be delivered again.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{self, AckKind, consumer::PullConsumer};
use rand::Rng;
use sluice_chassis::{CancellationToken, Service, TaskKind};
use sluice_schemas::{Event, Message};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::dead_letters::Raw;
use crate::pull::Puller;
use crate::topology::{self, ConsumerSpec, REDELIVERIES, StreamName};
use crate::{Bus, Delivery, Outcome, headers};

/// Pause before a broken consumer is bound again.
const REBIND_DELAY: Duration = Duration::from_millis(300);

/// Why a consumer could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// It is not there.
    #[error("consumer {consumer} of stream {stream} cannot be used: {reason}; run `sluice bus provision`")]
    Bind { consumer: &'static str, stream: &'static str, reason: String },
}

/// Decodes a raw message and handles it.
type Dispatch = Arc<dyn Fn(Raw) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// The handlers of this process by consumer, for messages that `dlq retry` sends to one of them again.
pub(crate) type Redeliveries = Mutex<HashMap<&'static str, Dispatch>>;

impl Bus {
    /// Starts handling the messages of one type of a consumer, at most `concurrency` at once. Facts of other types
    /// on the same filter are skipped; commands of other types go to the DLQ.
    ///
    /// # Errors
    /// When the consumer does not exist.
    pub async fn consume<M, H, F>(
        &self,
        service: &Service,
        spec: ConsumerSpec,
        concurrency: usize,
        handler: H,
    ) -> Result<(), ConsumeError>
    where
        M: Message,
        H: Fn(Delivery<M>) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let metrics = self.inner.metrics.clone();
        let dispatch = move |raw: Raw| -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
            let envelope = match headers::read(Some(&raw.headers)) {
                Ok(envelope) => envelope,
                Err(reason) => return reject(reason),
            };
            if envelope.kind != M::TYPE {
                if spec.stream == StreamName::Events {
                    metrics.unknown.with_label_values(&[spec.name]).inc();
                    return Box::pin(std::future::ready(Outcome::Done));
                }
                return reject(format!("`{}` is not a {}", envelope.kind, M::TYPE));
            }
            match serde_json::from_slice::<M>(&raw.payload) {
                Ok(message) => Box::pin(handler(raw.delivery(envelope, message))),
                Err(error) => reject(format!("the payload is not a {}: {error}", M::TYPE)),
            }
        };
        self.start(service, spec, concurrency, Arc::new(dispatch)).await
    }

    /// Starts handling all facts of a consumer.
    ///
    /// # Errors
    /// When the consumer does not exist.
    pub async fn consume_events<H, F>(
        &self,
        service: &Service,
        spec: ConsumerSpec,
        concurrency: usize,
        handler: H,
    ) -> Result<(), ConsumeError>
    where
        H: Fn(Delivery<Event>) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let metrics = self.inner.metrics.clone();
        let dispatch = move |raw: Raw| -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
            let envelope = match headers::read(Some(&raw.headers)) {
                Ok(envelope) => envelope,
                Err(reason) => return reject(reason),
            };
            match Event::decode(&envelope.kind, &raw.payload) {
                Ok(Event::Unknown(kind)) => {
                    tracing::debug!(kind, "a fact of unknown type is skipped");
                    metrics.unknown.with_label_values(&[spec.name]).inc();
                    Box::pin(std::future::ready(Outcome::Done))
                }
                Ok(event) => Box::pin(handler(raw.delivery(envelope, event))),
                Err(error) => reject(crate::publish::describe(&error)),
            }
        };
        self.start(service, spec, concurrency, Arc::new(dispatch)).await
    }

    async fn start(
        &self,
        service: &Service,
        spec: ConsumerSpec,
        concurrency: usize,
        dispatch: Dispatch,
    ) -> Result<(), ConsumeError> {
        let mut handlers = self.inner.redeliveries.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.insert(spec.name, Arc::clone(&dispatch));
        drop(handlers);
        self.run_consumer(service, spec, concurrency, dispatch).await?;
        let (bus, owner) = (self.clone(), service.clone());
        self.inner
            .mover
            .get_or_try_init(|| async move {
                bus.move_dead_letters(&owner).await?;
                bus.accept_redeliveries(&owner).await
            })
            .await?;
        Ok(())
    }

    /// Binds to a consumer and starts its loop.
    pub(crate) async fn run_consumer(
        &self,
        service: &Service,
        spec: ConsumerSpec,
        concurrency: usize,
        dispatch: Dispatch,
    ) -> Result<(), ConsumeError> {
        self.bind(spec).await?;
        let (bus, shutdown) = (self.clone(), service.shutdown().clone());
        let concurrency = concurrency.max(1);
        service.tasks().spawn(TaskKind::Consumer, spec.name, async move {
            bus.consume_until(spec, concurrency, dispatch, shutdown).await;
        });
        Ok(())
    }

    /// Checks that the consumer is there.
    async fn bind(&self, spec: ConsumerSpec) -> Result<(), ConsumeError> {
        let found: Result<PullConsumer, _> =
            self.inner.js.get_consumer_from_stream(spec.name, spec.stream.as_str()).await;
        found.map(drop).map_err(|error| ConsumeError::Bind {
            consumer: spec.name,
            stream: spec.stream.as_str(),
            reason: crate::publish::describe(&error),
        })
    }

    async fn accept_redeliveries(&self, service: &Service) -> Result<(), ConsumeError> {
        let Some((_, spec)) = REDELIVERIES.iter().find(|(name, _)| *name == service.name()) else {
            return Ok(());
        };
        let bus = self.clone();
        let dispatch = move |raw: Raw| -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
            let Some((original, consumer)) = raw.original() else {
                return reject("a redelivery without its original subject and consumer".to_owned());
            };
            let handlers = bus.inner.redeliveries.lock().unwrap_or_else(PoisonError::into_inner);
            match handlers.get(consumer.as_str()).cloned() {
                Some(dispatch) => dispatch(Raw { subject: original, ..raw }),
                None => reject(format!("no handler of consumer {consumer} runs in this process")),
            }
        };
        self.run_consumer(service, *spec, 2, Arc::new(dispatch)).await
    }

    async fn consume_until(
        &self,
        spec: ConsumerSpec,
        concurrency: usize,
        dispatch: Dispatch,
        shutdown: CancellationToken,
    ) {
        let permits = Arc::new(Semaphore::new(concurrency));
        let mut running = JoinSet::new();
        while !shutdown.is_cancelled() {
            if let Err(reason) = self.pull(spec, &permits, &mut running, &dispatch, &shutdown).await {
                tracing::warn!(consumer = spec.name, reason, "the consumer is bound again");
            }
            if shutdown.is_cancelled() {
                break;
            }
            tokio::select! { () = tokio::time::sleep(REBIND_DELAY) => {}, () = shutdown.cancelled() => break }
            if let Err(error) = self.bind(spec).await {
                tracing::warn!(consumer = spec.name, %error, "the consumer is away");
            }
        }
        // Running handlers finish within the process's grace period; what is cut off comes again after ack_wait.
        while running.join_next().await.is_some() {}
    }

    async fn pull(
        &self,
        spec: ConsumerSpec,
        permits: &Arc<Semaphore>,
        running: &mut JoinSet<()>,
        dispatch: &Dispatch,
        shutdown: &CancellationToken,
    ) -> Result<(), String> {
        let mut messages = Puller::new(self, spec).await?;
        loop {
            while running.try_join_next().is_some() {}
            let permit = tokio::select! {
                permit = Arc::clone(permits).acquire_owned() => permit.map_err(|error| error.to_string())?,
                () = shutdown.cancelled() => return Ok(()),
            };
            let message = tokio::select! {
                message = messages.next() => message,
                () = shutdown.cancelled() => return Ok(()),
            };
            let message = message?;
            let (bus, dispatch) = (self.clone(), Arc::clone(dispatch));
            running.spawn(async move {
                bus.handle(spec, message, dispatch).await;
                drop(permit);
            });
        }
    }

    async fn handle(&self, spec: ConsumerSpec, message: jetstream::Message, dispatch: Dispatch) {
        let started = std::time::Instant::now();
        let raw = match Raw::from_message(&message) {
            Ok(raw) => raw,
            Err(reason) => {
                tracing::error!(consumer = spec.name, reason, "a message without delivery information");
                return;
            }
        };
        let span =
            tracing::info_span!("message", consumer = spec.name, subject = raw.subject, seq = raw.sequence);
        async {
            let mut handling = tokio::task::spawn(dispatch(raw.clone()).in_current_span());
            let outcome = tokio::select! {
                result = &mut handling => match result {
                    Ok(outcome) => outcome,
                    Err(error) if error.is_panic() => {
                        Outcome::Retry { after: Duration::from_secs(1), reason: "the handler panicked; see the log".to_owned() }
                    }
                    Err(_) => return,
                },
                () = report_progress(&message, spec.ack_wait) => {
                    handling.abort();
                    tracing::warn!("progress could not be reported; the handler is cut off");
                    return;
                }
            };
            let outcome = give_up_if_last(outcome, &raw, spec.max_deliver);
            self.inner.metrics.handled.with_label_values(&[spec.name, outcome.word()]).inc();
            self.settle(spec, &message, raw, outcome).await;
            self.inner.metrics.handling.with_label_values(&[spec.name]).observe(started.elapsed().as_secs_f64());
        }
        .instrument(span)
        .await;
    }

    async fn settle(&self, spec: ConsumerSpec, message: &jetstream::Message, raw: Raw, outcome: Outcome) {
        let result = match outcome {
            Outcome::Done => message.double_ack().await,
            Outcome::Retry { after, reason } => {
                tracing::info!(reason, ?after, delivered = raw.delivered, "to be delivered again");
                message.ack_with(AckKind::Nak(Some(jittered(after)))).await
            }
            Outcome::Reject { reason } => {
                tracing::warn!(reason, "to the dead-letter queue");
                match self.bury(spec.name, &raw, &reason).await {
                    Ok(()) => message.double_ack_with(AckKind::Term).await,
                    // Not yet dead: it comes again, and so does the attempt to bury it.
                    Err(error) => {
                        tracing::error!(%error, "the dead-letter queue is away");
                        message.ack_with(AckKind::Nak(Some(Duration::from_secs(5)))).await
                    }
                }
            }
        };
        if let Err(error) = result {
            tracing::warn!(%error, "the acknowledgement was not confirmed; the message comes again");
        }
    }
}

fn reject(reason: String) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    Box::pin(std::future::ready(Outcome::Reject { reason }))
}

fn give_up_if_last(outcome: Outcome, raw: &Raw, max_deliver: i64) -> Outcome {
    match outcome {
        Outcome::Retry { reason, .. } if raw.delivered >= max_deliver => {
            Outcome::Reject { reason: format!("given up after {} deliveries: {reason}", raw.delivered) }
        }
        other => other,
    }
}

/// Tells the broker that work goes on, every third of `ack_wait`. Completes when it could not twice in a row.
async fn report_progress(message: &jetstream::Message, ack_wait: Duration) {
    let mut failures = 0;
    while failures < 2 {
        tokio::time::sleep(ack_wait / 3).await;
        match message.ack_with(AckKind::Progress).await {
            Ok(()) => failures = 0,
            Err(_) => failures += 1,
        }
    }
}

/// ±20 %, so that messages which failed together do not come back together.
fn jittered(after: Duration) -> Duration {
    after.mul_f64(rand::rng().random_range(0.8..1.2))
}

/// The service that a consumer's redeliveries go to.
pub(crate) fn redelivery_subject(consumer: &str, id: &str) -> String {
    format!("cmd.{}.redeliver.{id}", topology::service_of(consumer))
}
