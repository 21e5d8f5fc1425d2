//! Where updates go, and which: `setWebhook` and what belongs to it.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::methods::Answer;
use crate::params::Params;
use crate::state::{State, Webhook};

/// The real service wants HTTPS; a plain address on loopback is this fake's one liberty.
pub(crate) fn set(state: &mut State, params: &Params) -> Answer {
    let url = params.text("url").unwrap_or_default();
    if url.is_empty() {
        state.webhook = None;
        return Ok((json!(true), Some("Webhook was deleted")));
    }
    let secret = params.text("secret_token").filter(|s| !s.is_empty());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if secret.as_ref().is_some_and(|s| s.len() > 256 || !s.chars().all(plain)) {
        return Err(ApiError::bad("secret token contains unallowed characters"));
    }
    let loopback =
        ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|p| url.starts_with(p));
    if !url.starts_with("https://") && !loopback {
        return Err(ApiError::bad("bad webhook: An HTTPS URL must be provided for webhook"));
    }
    remember_allowed(state, params)?;
    drop_pending(state, params);
    let known = state.webhook.as_ref().is_some_and(|w| w.url == url && w.secret == secret);
    state.webhook = Some(Webhook { url, secret, last_error: None });
    Ok((json!(true), Some(if known { "Webhook is already set" } else { "Webhook was set" })))
}

pub(crate) fn info(state: &State) -> Value {
    let hook = state.webhook.clone().unwrap_or_default();
    let mut info = json!({
        "url": hook.url, "has_custom_certificate": false, "pending_update_count": state.updates.len(), "max_connections": 40,
    });
    if let Some((at, reason)) = hook.last_error {
        info["last_error_date"] = json!(at);
        info["last_error_message"] = json!(reason);
    }
    info
}

/// `allowed_updates` lasts until the next call that names it; an empty list means the default.
pub(crate) fn remember_allowed(state: &mut State, params: &Params) -> Result<(), ApiError> {
    let list: Option<Vec<String>> = params
        .json("allowed_updates")
        .map_err(|_| ApiError::bad("can't parse allowed_updates: Can't parse JSON array"))?;
    if let Some(list) = list {
        state.allowed = list;
    }
    Ok(())
}

pub(crate) fn drop_pending(state: &mut State, params: &Params) {
    if params.flag("drop_pending_updates") {
        state.updates.clear();
    }
}
