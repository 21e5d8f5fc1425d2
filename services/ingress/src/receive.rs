//! `POST /webhooks/github`.
//!
//! The order is the security: form of the signature, size and time of the body, the name that the body claims (which only
//! chooses the secrets), the signature over the raw bytes, and only then anything that is believed. Invariant: whatever is
//! refused leaves no trace on the bus.

use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use sluice_schemas::Timestamp;

use crate::accept::{AcceptError, Acceptance, Acceptor};
use crate::body::{self, BodyRefusal, HeldBody};
use crate::metrics::IngressMetrics;
use crate::payload::{self, BodyError, Said};
use crate::poll::Nudge;
use crate::repositories::{Directory, KnownRepository};
use crate::signature::{self, Malformed, Signature};

/// Checking a larger body takes long enough to be kept off the runtime's threads.
const LARGE: usize = 1 << 20;

/// What the handler needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) directory: Directory,
    pub(crate) acceptor: Acceptor,
    pub(crate) nudge: Nudge,
    pub(crate) metrics: IngressMetrics,
}

/// Why a webhook was refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Signature(#[from] Malformed),
    #[error("the signature was made with none of the secrets of this repository")]
    Wrong,
    #[error("the body names no repository, so there is no secret to check the signature with")]
    Nameless,
    #[error(transparent)]
    Body(#[from] BodyRefusal),
    #[error("the webhook's content type must be application/json")]
    ContentType,
    #[error("X-GitHub-Event is missing")]
    NoEvent,
    #[error(transparent)]
    Unreadable(#[from] BodyError),
    #[error(transparent)]
    Bus(#[from] AcceptError),
    #[error("the repository Secrets have not been read yet")]
    NotReady,
}

/// The routes.
pub(crate) fn router(receiver: Receiver) -> Router {
    Router::new().route("/webhooks/github", post(github)).with_state(receiver)
}

async fn github(State(receiver): State<Receiver>, headers: HeaderMap, body: Body) -> Response {
    let started = Instant::now();
    let (result, response) = match receive(&receiver, &headers, body).await {
        Ok((result, status, answer)) => (result, (status, Json(answer)).into_response()),
        Err(refusal) => {
            let host_delivery = header(&headers, "x-github-delivery");
            tracing::warn!(delivery = host_delivery, reason = %refusal, "webhook refused");
            (refusal.code(), refusal.into_response())
        }
    };
    receiver.metrics.webhooks.with_label_values(&[result]).inc();
    receiver.metrics.answering.with_label_values(&[result]).observe(started.elapsed().as_secs_f64());
    response
}

async fn receive(
    receiver: &Receiver,
    headers: &HeaderMap,
    body: Body,
) -> Result<(&'static str, StatusCode, Value), Refusal> {
    let received_at = Timestamp::now();
    let signature = match Signature::of(headers) {
        Ok(signature) => signature,
        Err(malformed) => {
            body::discard(body).await;
            return Err(malformed.into());
        }
    };
    let held = body::read(headers, body).await?;
    let known = verified(receiver, headers, signature, &held).await?;
    let event = header(headers, "x-github-event");
    match event.as_str() {
        "" => Err(Refusal::NoEvent),
        "ping" => {
            tracing::info!(repository = known.full_name, "webhook set up");
            Ok(("pong", StatusCode::OK, json!({"pong": true, "repository": known.full_name})))
        }
        "push" => push(receiver, headers, &known, held, received_at).await,
        other => Ok(ignored(&format!("Sluice does nothing at the event `{}`", shortened(other)))),
    }
}

/// The repository whose secret made the signature.
async fn verified(
    receiver: &Receiver,
    headers: &HeaderMap,
    signature: Signature,
    held: &HeldBody,
) -> Result<KnownRepository, Refusal> {
    let json =
        headers.get(CONTENT_TYPE).is_none_or(|value| value.as_bytes().starts_with(b"application/json"));
    if !json {
        return Err(Refusal::ContentType);
    }
    let bytes = held.bytes.clone();
    let name = run("reading a webhook's repository", &held.bytes, move || {
        payload::claimed_name(&bytes).map(|name| name.map(std::borrow::Cow::into_owned))
    })
    .await??
    .ok_or(Refusal::Nameless)?;
    let candidates = receiver.directory.called(&name).await;
    if candidates.is_empty() && !receiver.directory.is_ready() {
        return Err(Refusal::NotReady);
    }
    let bytes = held.bytes.clone();
    run("checking a webhook's signature", &held.bytes, move || {
        if candidates.is_empty() {
            signature::pretend(&signature, &bytes);
        }
        candidates.into_iter().find(|known| signature.made_by(&bytes, &known.secrets).is_some())
    })
    .await?
    .ok_or(Refusal::Wrong)
}

async fn push(
    receiver: &Receiver,
    headers: &HeaderMap,
    known: &KnownRepository,
    held: HeldBody,
    received_at: Timestamp,
) -> Result<(&'static str, StatusCode, Value), Refusal> {
    let bytes = held.bytes.clone();
    // Said now, while the sender listens: a body that cannot be understood later would end in the dead letters.
    match run("reading a push", &held.bytes, move || payload::push(&bytes)).await?? {
        Said::Nothing { reason } => return Ok(ignored(&reason)),
        Said::Push(_) => {}
    }
    let host_delivery = shortened(&header(headers, "x-github-delivery"));
    let accepted =
        receiver.acceptor.accept(known, "push", host_delivery, held.bytes.clone(), received_at).await?;
    Ok(match accepted {
        Acceptance::Accepted(delivery) => {
            tracing::info!(repository = known.full_name, %delivery, "webhook accepted");
            ("accepted", StatusCode::ACCEPTED, json!({"accepted": true, "delivery": delivery}))
        }
        Acceptance::Duplicate { delivery, first } => {
            // Nearly always a repetition. When it is not (a branch went back and forth), Git knows better.
            receiver.nudge.look_at(&known.slug);
            tracing::info!(repository = known.full_name, %delivery, "webhook is a duplicate");
            let run = first.run.map(|number| json!({"repository": known.slug, "number": number}));
            let answer = json!({"duplicate": true, "delivery": delivery, "push": first.push, "run": run});
            ("duplicate", StatusCode::OK, answer)
        }
    })
}

/// Small work here, large work on a thread of its own.
async fn run<T: Send + 'static>(
    what: &'static str,
    body: &Bytes,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if body.len() <= LARGE {
        return Ok(work());
    }
    sluice_chassis::blocking(what, work)
        .await
        .map_err(|error| Refusal::Bus(AcceptError::Refused(error.to_string())))
}

fn ignored(reason: &str) -> (&'static str, StatusCode, Value) {
    ("ignored", StatusCode::ACCEPTED, json!({"ignored": true, "reason": reason}))
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

impl Refusal {
    /// A fixed word for metrics and programs.
    fn code(&self) -> &'static str {
        match self {
            Self::Signature(_) | Self::Wrong | Self::Nameless => "signature",
            Self::Body(BodyRefusal::TooLarge) => "too_large",
            Self::Body(BodyRefusal::TooSlow) => "too_slow",
            Self::Body(BodyRefusal::Encoded) | Self::ContentType => "encoding",
            Self::Body(BodyRefusal::BrokenOff) | Self::NoEvent | Self::Unreadable(_) => "unreadable",
            Self::Bus(_) | Self::NotReady => "unavailable",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Signature(_) | Self::Wrong | Self::Nameless => StatusCode::UNAUTHORIZED,
            Self::Body(BodyRefusal::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyRefusal::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyRefusal::Encoded) | Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyRefusal::BrokenOff) | Self::NoEvent | Self::Unreadable(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Bus(_) | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn next(&self) -> &'static str {
        match self {
            Self::Signature(_) | Self::Wrong | Self::Nameless => {
                "give the webhook the secret that is stored for its repository, and redeliver"
            }
            Self::Body(_) | Self::ContentType | Self::Unreadable(_) | Self::NoEvent => {
                "send the event as GitHub does, as application/json; the push itself is found by Sluice's look at the heads"
            }
            Self::Bus(_) | Self::NotReady => "redeliver in a moment; nothing was stored",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let answer = json!({"error": self.to_string(), "code": self.code(), "next": self.next()});
        let status = self.status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return (status, [(RETRY_AFTER, "5")], Json(answer)).into_response();
        }
        (status, Json(answer)).into_response()
    }
}
