//! JSON bodies, with errors that say where.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::Api;
use crate::error::{Answer, ApiError, Kind};

/// The body of a call. An empty one counts as `{}`. Unknown fields are ignored, as by Argo CD.
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for Input<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, api: &Api) -> Answer<Self> {
        let bytes = Bytes::from_request(request, api).await.map_err(|rejection| {
            let too_large = rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE;
            let kind = if too_large { Kind::TooLarge } else { Kind::Invalid };
            ApiError { kind, message: format!("the body cannot be read: {rejection}") }
        })?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            ApiError::invalid(format!(
                "the body is not what is expected here: {error}; see services/api/API.md"
            ))
        })
    }
}
