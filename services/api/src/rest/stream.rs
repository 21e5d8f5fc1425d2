//! Streams of answers without a task of their own: the producer lives and dies with the response.

use std::future::Future;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::Api;
use crate::access::Caller;

/// Items under way between producer and socket; a slow reader makes the producer wait.
const UNDER_WAY: usize = 64;
/// A role or session that is taken away ends a stream within this.
const LOOK_AGAIN: Duration = Duration::from_secs(4);

/// What `producer` sends, until it ends or the reader goes.
pub(crate) fn produced<T, F, Fut>(producer: F) -> impl Stream<Item = T> + Send
where
    T: Send + 'static,
    F: FnOnce(mpsc::Sender<T>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let driven = futures::stream::once(producer(sender)).filter_map(|()| std::future::ready(None));
    futures::stream::select(ReceiverStream::new(receiver), driven)
}

/// Completes when a stream must end: the process stops, or the caller's session or account is gone.
pub(crate) async fn closed(api: Api, caller: Caller) {
    loop {
        tokio::select! {
            () = api.shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        if !caller.still_valid(&api).await {
            return;
        }
    }
}
