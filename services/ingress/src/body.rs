//! Reading a request's body: at most [`MAX_BODY`] bytes within [`BODY_DEADLINE`], never decompressed.
//!
//! Invariant: memory for large bodies is bounded: beyond [`SMALL`] bytes a body needs one of a few permits, so a crowd of
//! hostile senders costs each other, not us.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::config::{BODY_DEADLINE, MAX_BODY};

/// Pushes are smaller than this, but for imports.
const SMALL: usize = 1 << 20;
/// Large bodies at once: 4 × 25 MiB.
static LARGE: Semaphore = Semaphore::const_new(4);
/// What is read of a refused body so that the sender gets to read the answer.
const COURTESY: Duration = Duration::from_secs(1);

/// Why a body was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyRefusal {
    #[error("the body is larger than 25 MiB")]
    TooLarge,
    #[error("the body did not arrive within 10 s")]
    TooSlow,
    #[error("the body is compressed; send it as it is")]
    Encoded,
    #[error("the connection broke off within the body")]
    BrokenOff,
}

/// A body in memory, and the right to hold it.
pub(crate) struct HeldBody {
    pub(crate) bytes: Bytes,
    _permit: Option<SemaphorePermit<'static>>,
}

/// Reads the body.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<HeldBody, BodyRefusal> {
    let encoding = headers.get(CONTENT_ENCODING).map(|value| value.as_bytes());
    if encoding.is_some_and(|value| !value.eq_ignore_ascii_case(b"identity")) {
        discard(body).await;
        return Err(BodyRefusal::Encoded);
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX_BODY as u64) {
        discard(body).await;
        return Err(BodyRefusal::TooLarge);
    }
    let mut stream = body.into_data_stream();
    let result = tokio::time::timeout(BODY_DEADLINE, gather(&mut stream)).await;
    match result.unwrap_or(Err(BodyRefusal::TooSlow)) {
        Err(BodyRefusal::TooLarge) => {
            drain(stream).await;
            Err(BodyRefusal::TooLarge)
        }
        result => result,
    }
}

/// Reads a body that nobody wants, for a moment: closing at once would lose the answer on its way.
pub(crate) async fn discard(body: Body) {
    drain(body.into_data_stream()).await;
}

async fn gather(stream: &mut BodyDataStream) -> Result<HeldBody, BodyRefusal> {
    let mut bytes = Vec::new();
    let mut permit = None;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| BodyRefusal::BrokenOff)?;
        if bytes.len() + chunk.len() > MAX_BODY {
            return Err(BodyRefusal::TooLarge);
        }
        if permit.is_none() && bytes.len() + chunk.len() > SMALL {
            // Waiting counts against the deadline. The semaphore is never closed.
            permit = LARGE.acquire().await.ok();
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(HeldBody { bytes: bytes.into(), _permit: permit })
}

async fn drain(mut stream: BodyDataStream) {
    let (until, mut seen) = (Instant::now() + COURTESY, 0);
    while let Ok(Some(Ok(chunk))) = tokio::time::timeout_at(until, stream.next()).await {
        seen += chunk.len();
        if seen > MAX_BODY {
            return;
        }
    }
}
