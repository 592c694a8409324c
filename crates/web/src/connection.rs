//! A connection that a client cannot hold up: whoever does not read is cut off.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// How long a client may leave what we wrote unread once the kernel's buffer is full.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(10);

/// A stream whose writes fail when they make no progress for [`STALL_MAX`].
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: S,
    /// Runs out when a write has waited long enough.
    deadline: Pin<Box<Sleep>>,
    is_stalled: bool,
}

impl<S> Guarded<S> {
    /// Guards a stream.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            deadline: Box::pin(sleep(STALL_MAX)),
            is_stalled: false,
        }
    }

    /// Passes on what came of a write, or fails it when the patience is at its end.
    fn guard<T>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.is_stalled = false;
            return progress;
        }
        if !self.is_stalled {
            self.is_stalled = true;
            self.deadline.as_mut().reset(Instant::now() + STALL_MAX);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.guard(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.guard(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(cx);
        self.guard(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.guard(cx, progress)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_is_cut_off_and_whoever_reads_late_is_not() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut guarded = Guarded::new(near);
        let reader = tokio::spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(STALL_MAX / 2).await;
                let mut buffer = [0; 8];
                tokio::io::AsyncReadExt::read(&mut far, &mut buffer)
                    .await
                    .unwrap();
            }
            far
        });
        guarded.write_all(&[0; 32]).await.unwrap();
        let _far = reader.await.unwrap();
        let error = guarded.write_all(&[0; 32]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
