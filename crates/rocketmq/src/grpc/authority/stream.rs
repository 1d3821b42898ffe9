//! A client's byte stream as the HTTP/2 implementation reads it; called by [`crate::grpc`]'s server for each connection.

use super::frames::Frames;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read at a time while frames are looked at.
const READ_BYTES: usize = 16 << 10;

/// Reads through [`Frames`] for as long as the client needs it, then plainly. Writes plainly.
pub struct ClientStream<S> {
    inner: S,
    watch: Option<Box<Watch>>,
}

struct Watch {
    frames: Frames,
    arrived: [u8; READ_BYTES],
    /// What the reader is still to be given, from `given` on.
    ready: Vec<u8>,
    given: usize,
}

impl<S> ClientStream<S> {
    pub fn new(inner: S) -> ClientStream<S> {
        let watch = Watch { frames: Frames::new(), arrived: [0; READ_BYTES], ready: Vec::new(), given: 0 };
        ClientStream { inner, watch: Some(Box::new(watch)) }
    }
}

impl Watch {
    /// Gives what is ready; whether there was anything.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = &self.ready[self.given..];
        let now = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..now]);
        self.given += now;
        now > 0
    }

    /// Takes what has arrived, once all that was ready has been given; nothing is the end.
    fn take(&mut self, arrived: usize) {
        self.ready.clear();
        self.given = 0;
        match arrived {
            0 => self.frames.finish(&mut self.ready),
            _ => self.frames.take(&self.arrived[..arrived], &mut self.ready),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while let Some(watch) = &mut this.watch {
            if buffer.remaining() == 0 || watch.give(buffer) {
                return Poll::Ready(Ok(()));
            }
            if watch.frames.is_through() {
                this.watch = None;
                break;
            }
            let mut arrived = ReadBuf::new(&mut watch.arrived);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut arrived))?;
            let arrived = arrived.filled().len();
            watch.take(arrived);
        }
        Pin::new(&mut this.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
