//! The listener: a bounded number of connections, each with a deadline for its next request.
//!
//! Invariants: a connection that trickles its request's head or body is closed at the deadline, however regularly its
//! bytes come; a permit is taken before a connection is accepted, so hostile ones wait in the kernel and cost no memory.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Accepts connections while there are permits.
pub(crate) struct BoundedListener {
    inner: TcpListener,
    permits: Arc<Semaphore>,
    deadline: Duration,
}

impl BoundedListener {
    pub(crate) fn new(inner: TcpListener, connections: usize, deadline: Duration) -> Self {
        Self { inner, permits: Arc::new(Semaphore::new(connections.max(1))), deadline }
    }
}

impl axum::serve::Listener for BoundedListener {
    type Io = TimedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TimedStream, SocketAddr) {
        // The semaphore is never closed; without a permit the connection is served all the same.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        loop {
            match self.inner.accept().await {
                Ok((stream, address)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY");
                    }
                    return (TimedStream::new(stream, self.deadline, permit), address);
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others must end first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection whose reads fail once the deadline has passed; every write sets it anew.
pub(crate) struct TimedStream {
    stream: TcpStream,
    timer: Pin<Box<Sleep>>,
    deadline: Duration,
    _permit: Option<OwnedSemaphorePermit>,
}

impl TimedStream {
    fn new(stream: TcpStream, deadline: Duration, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { stream, timer: Box::pin(tokio::time::sleep(deadline)), deadline, _permit: permit }
    }

    fn rewind(&mut self) {
        self.timer.as_mut().reset(Instant::now() + self.deadline);
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request took too long")));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if matches!(written, Poll::Ready(Ok(_))) {
            self.rewind();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
