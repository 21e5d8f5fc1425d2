//! Reading the log of facts without consuming it: for projections, waiting steps, live pages and replay.

use std::pin::Pin;
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::{Stream, StreamExt};
use sluice_schemas::{Envelope, Event, Filter, Subject};
use tokio::sync::watch;

use crate::dead_letters::Raw;
use crate::publish::describe;
use crate::topology::StreamName;
use crate::{Bus, headers};

/// Pause before a reader that could not be made is tried again.
const AGAIN: Duration = Duration::from_millis(300);

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With the oldest.
    Start,
    /// With what comes from now on.
    New,
    /// With this sequence.
    Sequence(u64),
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the stream {stream} cannot be read: {reason}")]
pub struct ReadError {
    stream: &'static str,
    reason: String,
}

/// A fact as it lies in the log.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its envelope.
    pub envelope: Envelope,
    /// Its subject.
    pub subject: String,
    /// The fact.
    pub event: Event,
    /// Its place.
    pub sequence: u64,
    /// How many follow at this moment: 0 means that the reader has caught up.
    pub pending: u64,
}

impl Bus {
    /// Facts that match `filter`, in order. Undecodable ones are left out with a warning. The stream does
    /// not end; a lost connection is a delay.
    ///
    /// # Errors
    /// When the reader cannot be made.
    pub async fn facts(
        &self,
        filter: &Filter,
        from: From,
    ) -> Result<impl Stream<Item = Result<Recorded, ReadError>> + Send + Unpin + use<>, ReadError> {
        let (_, messages) = self.ordered(StreamName::Events, filter.as_str(), from).await?;
        let records = messages.filter_map(|message| {
            std::future::ready(match message {
                Ok((raw, pending)) => recorded(&raw, pending).map(Ok),
                Err(error) => Some(Err(error)),
            })
        });
        Ok(Box::pin(records))
    }

    /// All facts there are now that match `filter`, in order.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn aggregate(&self, filter: &Filter) -> Result<Vec<Recorded>, ReadError> {
        let (pending, mut messages) = self.ordered(StreamName::Events, filter.as_str(), From::Start).await?;
        let mut found = Vec::new();
        if pending == 0 {
            return Ok(found);
        }
        while let Some(message) = messages.next().await {
            let (raw, pending) = message?;
            found.extend(recorded(&raw, pending));
            if pending == 0 {
                break;
            }
        }
        Ok(found)
    }

    /// The newest fact of a subject, as the leader has it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn last_fact(&self, subject: &Subject) -> Result<Option<Recorded>, ReadError> {
        let stream = self
            .inner
            .js
            .get_stream_no_info(StreamName::Events.as_str())
            .await
            .map_err(|error| read_error(StreamName::Events, &error))?;
        match stream.get_last_raw_message_by_subject(&subject.to_string()).await {
            Ok(stored) => {
                let raw = Raw {
                    subject: stored.subject.to_string(),
                    headers: stored.headers,
                    payload: stored.payload,
                    stream: StreamName::Events.as_str().to_owned(),
                    sequence: stored.sequence,
                    delivered: 1,
                };
                Ok(recorded(&raw, 0))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(read_error(StreamName::Events, &error)),
        }
    }

    /// The sequence of the newest message of a stream; 0 when it is empty.
    ///
    /// # Errors
    /// When the stream cannot be asked.
    pub async fn last_sequence(&self, stream: StreamName) -> Result<u64, ReadError> {
        let found =
            self.inner.js.get_stream(stream.as_str()).await.map_err(|error| read_error(stream, &error))?;
        Ok(found.cached_info().state.last_sequence)
    }

    /// An ordered reader: how many messages wait for it at the start, and the messages. After a lost connection it
    /// goes on where it was: the server that answers then may not know the reader any more.
    pub(crate) async fn ordered(
        &self,
        stream: StreamName,
        filter: &str,
        from: From,
    ) -> Result<(u64, impl Stream<Item = Result<(Raw, u64), ReadError>> + Send + Unpin + use<>), ReadError>
    {
        let next = match from {
            From::Start => 1,
            From::New => self.last_sequence(stream).await? + 1,
            From::Sequence(sequence) => sequence,
        };
        let connections = self.inner.connections.subscribe();
        let (pending, messages) = self.reader(stream, filter, next).await?;
        let reader = Reader {
            bus: self.clone(),
            stream,
            filter: filter.to_owned(),
            next,
            connections,
            messages: Some(messages),
        };
        let messages = futures::stream::unfold(reader, |mut reader| async move {
            let message = reader.next().await;
            Some((Ok(message), reader))
        });
        Ok((pending, Box::pin(messages)))
    }

    async fn reader(
        &self,
        stream: StreamName,
        filter: &str,
        start_sequence: u64,
    ) -> Result<(u64, Messages), ReadError> {
        let found =
            self.inner.js.get_stream_no_info(stream.as_str()).await.map_err(|e| read_error(stream, &e))?;
        let config = OrderedConfig {
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
            ..OrderedConfig::default()
        };
        let consumer = found.create_consumer(config).await.map_err(|e| read_error(stream, &e))?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(|e| read_error(stream, &e))?;
        let raws = messages.map(|message| {
            let message = message.map_err(|error| describe(&error))?;
            let pending = message.info().map_or(0, |info| info.pending);
            Ok((Raw::from_message(&message)?, pending))
        });
        Ok((pending, Box::pin(raws)))
    }
}

/// Messages, or why the reader is of no use any more.
type Messages = Pin<Box<dyn Stream<Item = Result<(Raw, u64), String>> + Send>>;

/// An ordered reader that survives its connection.
struct Reader {
    bus: Bus,
    stream: StreamName,
    filter: String,
    /// The sequence that the next message has at least.
    next: u64,
    connections: watch::Receiver<u64>,
    messages: Option<Messages>,
}

impl Reader {
    async fn next(&mut self) -> (Raw, u64) {
        loop {
            let Some(messages) = &mut self.messages else {
                self.connections.mark_unchanged();
                match self.bus.reader(self.stream, &self.filter, self.next).await {
                    Ok((_, messages)) => self.messages = Some(messages),
                    Err(error) => {
                        tracing::debug!(%error, "the reader is made again soon");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
                continue;
            };
            tokio::select! {
                message = messages.next() => match message {
                    Some(Ok((raw, pending))) => {
                        self.next = raw.sequence + 1;
                        return (raw, pending);
                    }
                    Some(Err(reason)) => {
                        tracing::debug!(stream = self.stream.as_str(), reason, "the reader is made again");
                        self.messages = None;
                    }
                    None => self.messages = None,
                },
                changed = self.connections.changed() => {
                    self.messages = None;
                    // The sender lives as long as the bus, which this reader holds.
                    if changed.is_err() {
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
    }
}

fn recorded(raw: &Raw, pending: u64) -> Option<Recorded> {
    let decoded = headers::read(Some(&raw.headers)).and_then(|envelope| {
        let event = Event::decode(&envelope.kind, &raw.payload).map_err(|error| describe(&error))?;
        Ok((envelope, event))
    });
    match decoded {
        Ok((envelope, event)) => {
            Some(Recorded { envelope, subject: raw.subject.clone(), event, sequence: raw.sequence, pending })
        }
        Err(reason) => {
            tracing::warn!(subject = raw.subject, sequence = raw.sequence, reason, "a fact cannot be read");
            None
        }
    }
}

fn read_error(stream: StreamName, error: &dyn std::error::Error) -> ReadError {
    ReadError { stream: stream.as_str(), reason: describe(error) }
}
