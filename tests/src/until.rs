//! Waiting for what no event tells of (the registry, live objects): looks again until a deadline.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

const PAUSE: Duration = Duration::from_millis(100);

/// Looks until `look` finds something. `Err` from `look` is what it saw last, for the message.
pub async fn until<T, E: std::fmt::Display>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(seen) if Instant::now() >= deadline => {
                bail!("{what}: not within {within:?}; at last: {seen}")
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
