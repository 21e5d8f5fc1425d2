//! What a caller is told when something is not done: Argo CD's JSON form with gRPC codes, or a page.
//!
//! Invariant: every message says what happened, why, and what to do next; details of our own faults go to the log
//! under a reference that the caller is given. Called by every handler.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::access::token;

/// Why, in gRPC's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request makes no sense.
    Invalid,
    /// There is no such thing.
    Missing,
    /// It clashes with what is there, or has moved on.
    Conflict,
    /// Known, but not allowed.
    Denied,
    /// Too often.
    TooMany,
    /// Not in this state.
    Precondition,
    /// Not built yet.
    Unimplemented,
    /// Our fault.
    Internal,
    /// A part that we need is away.
    Unavailable,
    /// Not logged in.
    Unauthenticated,
    /// Wrong `Content-Type`.
    MediaType,
    /// Body too large.
    TooLarge,
}

impl Kind {
    /// gRPC's number.
    #[must_use]
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Invalid | Self::MediaType | Self::TooLarge => 3,
            Self::Missing => 5,
            Self::Denied => 7,
            Self::TooMany => 8,
            Self::Precondition => 9,
            Self::Conflict => 10,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::Unauthenticated => 16,
        }
    }

    /// HTTP's number, as grpc-gateway maps it.
    #[must_use]
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Invalid | Self::Precondition => StatusCode::BAD_REQUEST,
            Self::Missing => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

/// An answer that says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    /// Why.
    pub(crate) kind: Kind,
    /// In words.
    pub(crate) message: String,
}

/// The result of every handler.
pub(crate) type Answer<T> = Result<T, ApiError>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        impl ApiError {$(
            $(#[$doc])*
            #[must_use]
            pub(crate) fn $name(message: impl Into<String>) -> Self {
                Self { kind: Kind::$kind, message: message.into() }
            }
        )*}
    };
}
constructors! {
    /// See [`Kind::Invalid`].
    invalid => Invalid;
    /// See [`Kind::Missing`].
    missing => Missing;
    /// See [`Kind::Conflict`].
    conflict => Conflict;
    /// See [`Kind::Denied`].
    denied => Denied;
    /// See [`Kind::TooMany`].
    too_many => TooMany;
    /// See [`Kind::Precondition`].
    precondition => Precondition;
    /// See [`Kind::Unimplemented`].
    unimplemented => Unimplemented;
    /// See [`Kind::Unauthenticated`].
    unauthenticated => Unauthenticated;
    /// See [`Kind::MediaType`].
    media_type => MediaType;
}

impl ApiError {
    /// Our own fault: the log gets the details, the caller a reference to them.
    #[must_use]
    pub(crate) fn internal(what: &str, error: &dyn std::fmt::Display) -> Self {
        let reference = token::short();
        tracing::error!(reference, what, error = %error, "a request failed");
        Self {
            kind: Kind::Internal,
            message: format!(
                "{what} failed inside the API server; try again, and look for {reference} in its log"
            ),
        }
    }

    /// A part that we need did not answer.
    #[must_use]
    pub(crate) fn away(part: &str, error: &dyn std::fmt::Display) -> Self {
        let reference = token::short();
        tracing::warn!(reference, part, error = %error, "a request could not be served");
        Self {
            kind: Kind::Unavailable,
            message: format!(
                "{part} does not answer, so this cannot be done now; nothing was changed. Try again in a few seconds; details are in the API server's log under {reference}"
            ),
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    code: u32,
    message: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body { error: &self.message, code: self.kind.code(), message: &self.message };
        let mut response = (self.kind.status(), Json(body)).into_response();
        if self.kind == Kind::Unauthenticated {
            response
                .headers_mut()
                .insert(axum::http::header::WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
        }
        response
    }
}
