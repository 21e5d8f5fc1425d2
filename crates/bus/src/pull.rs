//! Pulling one message at a time from a durable consumer.
//!
//! Invariants: at most one request is open, so no message waits in this process before somebody can handle it; a
//! request that the server lost (restart, fail-over) is made again. The client library's own stream counts open
//! requests after it sent them: a message that arrives before it has counted leaves it waiting for one that is not
//! open, until its heartbeat is missed. With requests of one message that happens under load. Called by the consume
//! loop.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::{StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Bus;
use crate::publish::describe;
use crate::topology::ConsumerSpec;

/// The server speaks at least this often while a request is open.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Silence this long means that the server does not know of our request.
const SILENCE: Duration = Duration::from_secs(11);
/// A request ends after this, and the next one is made.
const EXPIRES: Duration = Duration::from_secs(30);

/// One reader of a consumer.
pub(crate) struct Puller {
    bus: Bus,
    subject: String,
    inbox: String,
    request: Bytes,
    answers: Subscriber,
    connections: watch::Receiver<u64>,
    is_open: bool,
}

impl Puller {
    pub(crate) async fn new(bus: &Bus, spec: ConsumerSpec) -> Result<Self, String> {
        let (inbox, answers) = listen(bus).await?;
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let request =
            json!({"batch": 1, "expires": nanoseconds(EXPIRES), "idle_heartbeat": nanoseconds(HEARTBEAT)});
        Ok(Self {
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", spec.stream.as_str(), spec.name),
            request: Bytes::from(request.to_string()),
            connections: bus.inner.connections.subscribe(),
            bus: bus.clone(),
            inbox,
            answers,
            is_open: false,
        })
    }

    /// The next message. A call that is dropped loses nothing.
    pub(crate) async fn next(&mut self) -> Result<jetstream::Message, String> {
        loop {
            if !self.is_open {
                self.is_open = true;
                let client = &self.bus.inner.client;
                let asked =
                    client.publish_with_reply(self.subject.clone(), self.inbox.clone(), self.request.clone());
                asked.await.map_err(|error| describe(&error))?;
            }
            let answer = tokio::select! {
                biased;
                answer = timeout(SILENCE, self.answers.next()) => answer,
                changed = self.connections.changed() => {
                    changed.map_err(|_| "the connection was closed".to_owned())?;
                    // A server that restarted knows nothing of our request. One that did not drops it, because
                    // nobody listens for its answer any more.
                    (self.inbox, self.answers) = listen(&self.bus).await?;
                    self.is_open = false;
                    continue;
                }
            };
            let message = answer
                .map_err(|_| "the server does not speak about our request".to_owned())?
                .ok_or("the subscription ended")?;
            match message.status {
                None | Some(StatusCode::OK) => {
                    self.is_open = false;
                    return Ok(jetstream::Message { message, context: self.bus.inner.js.clone() });
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(StatusCode::TIMEOUT) => self.is_open = false,
                Some(status) => {
                    let why = message.description.as_deref().unwrap_or("no reason given");
                    return Err(format!("{status}: {why}"));
                }
            }
        }
    }
}

async fn listen(bus: &Bus) -> Result<(String, Subscriber), String> {
    let inbox = bus.inner.client.new_inbox();
    let answers = bus.inner.client.subscribe(inbox.clone()).await.map_err(|error| describe(&error))?;
    Ok((inbox, answers))
}
