//! What is on its way to a client: frames that are ready together leave with one call.

use bytes::{Buf, Bytes, BytesMut};
use duolog_wire::remoting::Command;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::net::TcpStream;

/// A body of more bytes is sent from where it lies; a smaller one is copied behind its header.
const COPIED_BODY_BYTES: usize = 8 << 10;
/// Pieces handed to the socket with one call.
const PIECES: usize = 32;
/// Capacity of the buffer of small pieces that is kept while nothing is to be sent, in bytes.
const KEPT_BYTES: usize = 16 << 10;

pub(super) struct Output {
    pieces: VecDeque<Bytes>,
    /// Behind the pieces.
    tail: BytesMut,
    bytes: usize,
    /// When the client last took something, or was last owed nothing.
    progress: Instant,
}

impl Output {
    pub(super) fn new() -> Output {
        Output { pieces: VecDeque::new(), tail: BytesMut::new(), bytes: 0, progress: Instant::now() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn progress(&self) -> Instant {
        self.progress
    }

    pub(super) fn push(&mut self, frame: &Command) {
        if self.is_empty() {
            self.progress = Instant::now();
        }
        let before = self.tail.len();
        if frame.body.len() <= COPIED_BODY_BYTES {
            frame.encode(&mut self.tail);
            self.bytes += self.tail.len() - before;
            return;
        }
        frame.encode_head(frame.body.len(), &mut self.tail);
        self.bytes += self.tail.len() - before + frame.body.len();
        self.pieces.push_back(self.tail.split().freeze());
        self.pieces.push_back(frame.body.clone());
    }

    /// Writes until all is sent, or the socket takes no more.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>, stream: &TcpStream) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            match self.write(stream) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_write_ready(context))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write(&self, stream: &TcpStream) -> io::Result<usize> {
        if self.pieces.is_empty() {
            return stream.try_write(&self.tail);
        }
        let mut slices = [IoSlice::new(&[]); PIECES];
        let mut count = 0;
        for piece in self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]).take(PIECES) {
            slices[count] = IoSlice::new(piece);
            count += 1;
        }
        stream.try_write_vectored(&slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        self.progress = Instant::now();
        self.bytes -= written;
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
        self.tail.advance(written);
        if self.tail.is_empty() {
            match self.tail.capacity() > KEPT_BYTES {
                true => self.tail = BytesMut::new(),
                false => self.tail.clear(),
            }
        }
    }
}
