//! Blocking work (libgit2, password hashing, archives) off the runtime's threads, a bounded number at a time.

use tokio::sync::Semaphore;

/// Two per core of a small machine: blocking work here is disk and hashing, more at once only makes each slower.
const AT_ONCE: usize = 8;

static PERMITS: Semaphore = Semaphore::const_new(AT_ONCE);

/// The blocking work panicked, or the runtime ends.
#[derive(Debug, thiserror::Error)]
#[error("{what} was cut short: {source}")]
pub struct CutShort {
    what: &'static str,
    #[source]
    source: tokio::task::JoinError,
}

/// Runs `work` on a thread for blocking work. `what` names it in logs and errors.
///
/// # Errors
/// When `work` panicked or the runtime is shutting down.
pub async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CutShort> {
    // The semaphore is never closed, so acquiring cannot fail; without a permit the work still must be done.
    let permit = PERMITS.acquire().await.ok();
    let span = tracing::Span::current();
    let result = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    drop(permit);
    result.map_err(|source| CutShort { what, source })
}
