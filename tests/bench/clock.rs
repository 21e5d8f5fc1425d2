//! The machine's one clock, in nanoseconds since 1970: what the broker, the containers and we stamp with.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Now.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A time in a message.
pub(crate) fn parse(value: &Value) -> anyhow::Result<u64> {
    let text = value.as_str().context("a time")?;
    let time = OffsetDateTime::parse(text, &Rfc3339).with_context(|| format!("the time {text}"))?;
    Ok(u64::try_from(time.unix_timestamp_nanos())?)
}

/// Milliseconds from one time to another; negative when it is earlier.
pub(crate) fn millis(from: u64, to: u64) -> f64 {
    let whole = |nanos: u64| nanos as f64 / 1e6;
    if to >= from { whole(to - from) } else { -whole(from - to) }
}
