//! A connection that is closed so that its client can read what it was told.
//!
//! Who is refused, such as for a body that is too large, may be sending still. A socket that is
//! closed with bytes unread is answered by the system with a reset, which takes the answer from
//! the client that has not read it yet. So what still comes is read and dropped for a moment.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A client that sends nothing for so long sends nothing more.
const QUIET: Duration = Duration::from_millis(500);

/// However much it sends, it is read for no longer.
const LONGEST: Duration = Duration::from_secs(5);

/// A stream whose end waits for what the other side still sends.
pub(super) struct Lingering<S> {
    /// Since it was shut down: when that was, and the wait for silence.
    closing: Option<(Instant, Pin<Box<Sleep>>)>,
    stream: S,
}

impl<S> Lingering<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { closing: None, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { closing, stream } = self.get_mut();
        if closing.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let (since, quiet) =
            closing.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(QUIET))));
        let mut bytes = [0; 8 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                // What is wrong with it now is wrong with nothing that matters.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if since.elapsed() >= LONGEST => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => quiet.as_mut().reset(Instant::now() + QUIET),
                Poll::Pending => {
                    ready!(quiet.as_mut().poll(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
