//! Log chunks on the LOGS stream.

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use sluice_schemas::ids::{JobId, RepoSlug};
use sluice_schemas::log::LogChunk;
use sluice_schemas::{Filter, Subject};

use crate::read::From;
use crate::topology::StreamName;
use crate::{Bus, PublishError, ReadError};

/// A chunk as it lies in the stream.
#[derive(Debug, Clone)]
pub struct RecordedLog {
    /// Index of the step.
    pub step: u32,
    /// The lines.
    pub chunk: LogChunk,
    /// Its place.
    pub sequence: u64,
    /// How many follow at this moment.
    pub pending: u64,
}

impl Bus {
    /// Publishes a chunk. A repeated chunk of the same epoch and number is dropped by the broker.
    ///
    /// # Errors
    /// When the broker does not confirm it.
    pub async fn log(
        &self,
        repo: &RepoSlug,
        job: &JobId,
        step: u32,
        chunk: &LogChunk,
    ) -> Result<(), PublishError> {
        let subject = Subject::Log { repo: repo.clone(), job: job.clone(), step }.to_string();
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{subject}.{}.{}", chunk.epoch, chunk.seq).as_str());
        let payload =
            serde_json::to_vec(chunk).map_err(|source| PublishError::Encode { kind: "log chunk", source })?;
        self.publish_raw(&subject, headers, Bytes::from(payload)).await?;
        Ok(())
    }

    /// Chunks of a job, or of one of its steps: what is there, then the live tail.
    ///
    /// # Errors
    /// When the stream cannot be read.
    pub async fn log_chunks(
        &self,
        repo: &RepoSlug,
        job: &JobId,
        step: Option<u32>,
        from: From,
    ) -> Result<impl Stream<Item = Result<RecordedLog, ReadError>> + Send + Unpin + use<>, ReadError> {
        let filter = Filter::logs(repo, job, step);
        let (_, messages) = self.ordered(StreamName::Logs, filter.as_str(), from).await?;
        let chunks = messages.filter_map(|message| {
            std::future::ready(match message {
                Ok((raw, pending)) => match (raw.subject.parse(), serde_json::from_slice(&raw.payload)) {
                    (Ok(Subject::Log { step, .. }), Ok(chunk)) => {
                        Some(Ok(RecordedLog { step, chunk, sequence: raw.sequence, pending }))
                    }
                    _ => None,
                },
                Err(error) => Some(Err(error)),
            })
        });
        Ok(Box::pin(chunks))
    }
}
