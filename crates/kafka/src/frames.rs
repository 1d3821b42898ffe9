//! From a socket's bytes to frames: requests without their size prefix.
//!
//! Small frames are split off a shared chunk without copying. A frame that does not fit into what is left of the chunk
//! gets an allocation of exactly its size, into which the socket is read directly. Every frame owns its bytes, so that
//! Produce can patch batches in place and the log can keep them. While a connection is idle it holds no buffer.

use bytes::{Buf, BufMut, BytesMut};
use std::io;
use tokio::net::TcpStream;

/// Bytes of the size in front of a frame.
const SIZE_BYTES: usize = 4;
/// Smallest request: key, version and correlation id.
const LEAST_FRAME_BYTES: usize = 8;
/// Size of the first chunk of a connection, in bytes; it doubles whenever a read fills it.
const LEAST_CHUNK_BYTES: usize = 4 << 10;
const MOST_CHUNK_BYTES: usize = 128 << 10;
/// A chunk with less room than this is replaced before the next read.
const LEAST_READ_BYTES: usize = 1 << 10;

/// Why the bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("request of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("request size {size} is impossible")]
    Size { size: i32 },
}

/// What the bytes at hand make.
#[derive(Debug)]
pub(crate) enum Next {
    Frame(BytesMut),
    /// A frame of this size needs an allocation of its own: see [`FrameReader::begin_large`].
    Large(usize),
    /// More bytes must be read first.
    Incomplete,
}

/// The bytes of one connection that are not a frame yet.
#[derive(Debug)]
pub(crate) struct FrameReader {
    chunk: BytesMut,
    chunk_bytes: usize,
    /// A frame being read into its own allocation, and its size.
    large: Option<(BytesMut, usize)>,
    /// The last frame was a large one: read little more than the next one's size, so that little of it is copied.
    expect_large: bool,
    limit: usize,
}

impl FrameReader {
    pub(crate) fn new(limit: usize) -> FrameReader {
        FrameReader { chunk: BytesMut::new(), chunk_bytes: LEAST_CHUNK_BYTES, large: None, expect_large: false, limit }
    }

    /// The next frame, if its bytes are here.
    pub(crate) fn next(&mut self) -> Result<Next, FrameError> {
        if let Some((frame, size)) = &self.large {
            if frame.len() < *size {
                return Ok(Next::Incomplete);
            }
            return Ok(self.large.take().map_or(Next::Incomplete, |(frame, _)| Next::Frame(frame)));
        }
        let Some(prefix) = self.chunk.first_chunk::<SIZE_BYTES>() else { return Ok(Next::Incomplete) };
        let size = self.checked_size(i32::from_be_bytes(*prefix))?;
        if self.chunk.len() >= SIZE_BYTES + size {
            self.chunk.advance(SIZE_BYTES);
            self.expect_large = false;
            return Ok(Next::Frame(self.chunk.split_to(size)));
        }
        match self.chunk.capacity() >= SIZE_BYTES + size {
            true => Ok(Next::Incomplete),
            false => Ok(Next::Large(size)),
        }
    }

    fn checked_size(&self, size: i32) -> Result<usize, FrameError> {
        match usize::try_from(size) {
            Ok(bytes) if bytes > self.limit => Err(FrameError::TooLarge { bytes, limit: self.limit }),
            Ok(bytes) if bytes >= LEAST_FRAME_BYTES => Ok(bytes),
            _ => Err(FrameError::Size { size }),
        }
    }

    /// Allocates the frame that [`Next::Large`] announced and moves what is there of it.
    pub(crate) fn begin_large(&mut self, size: usize) {
        let mut frame = BytesMut::with_capacity(size);
        self.chunk.advance(SIZE_BYTES);
        frame.extend_from_slice(&self.chunk);
        self.chunk.clear();
        self.expect_large = size >= MOST_CHUNK_BYTES / 2;
        self.large = Some((frame, size));
    }

    /// Reads once from a readable socket; 0 is the end of the stream.
    pub(crate) fn fill(&mut self, stream: &TcpStream) -> io::Result<usize> {
        if let Some((frame, size)) = &mut self.large {
            let missing = *size - frame.len();
            return stream.try_read_buf(&mut frame.limit(missing));
        }
        if self.chunk.capacity() - self.chunk.len() < LEAST_READ_BYTES {
            self.chunk.reserve(self.chunk_bytes);
        }
        if self.expect_large {
            return stream.try_read_buf(&mut (&mut self.chunk).limit(LEAST_READ_BYTES));
        }
        let room = self.chunk.capacity() - self.chunk.len();
        let read = stream.try_read_buf(&mut self.chunk)?;
        if read == room {
            self.chunk_bytes = (self.chunk_bytes * 2).min(MOST_CHUNK_BYTES);
        }
        Ok(read)
    }

    /// Gives the chunk back if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.chunk.is_empty() && self.large.is_none() {
            self.chunk = BytesMut::new();
        }
    }

    #[cfg(test)]
    fn push(&mut self, bytes: &[u8]) -> usize {
        match &mut self.large {
            Some((frame, size)) => {
                let taken = bytes.len().min(*size - frame.len());
                frame.put_slice(&bytes[..taken]);
                taken
            }
            None => {
                self.chunk.reserve(16);
                let taken = bytes.len().min(self.chunk.capacity() - self.chunk.len());
                self.chunk.put_slice(&bytes[..taken]);
                taken
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        [&(body.len() as i32).to_be_bytes()[..], body].concat()
    }

    /// Feeds the bytes in portions and collects the frames.
    fn frames(bytes: &[u8], portion: usize) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut reader = FrameReader::new(1 << 20);
        let mut frames = Vec::new();
        for mut part in bytes.chunks(portion) {
            while !part.is_empty() {
                part = &part[reader.push(part)..];
                loop {
                    match reader.next()? {
                        Next::Frame(frame) => frames.push(frame.to_vec()),
                        Next::Large(size) => reader.begin_large(size),
                        Next::Incomplete => break,
                    }
                }
            }
        }
        Ok(frames)
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let bodies: Vec<Vec<u8>> = [8, 9, 5000, 10, 70_000, 8].iter().map(|size| vec![*size as u8; *size]).collect();
        let bytes: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        for portion in [1, 3, 4, 7, 4096, bytes.len()] {
            assert_eq!(frames(&bytes, portion).unwrap(), bodies, "in portions of {portion}");
        }
    }

    #[test]
    fn impossible_sizes_are_refused_before_anything_is_allocated() {
        assert_eq!(frames(&(-1i32).to_be_bytes(), 4), Err(FrameError::Size { size: -1 }));
        assert_eq!(frames(&7i32.to_be_bytes(), 4), Err(FrameError::Size { size: 7 }));
        let limit = 1 << 20;
        assert_eq!(frames(&i32::MAX.to_be_bytes(), 4), Err(FrameError::TooLarge { bytes: i32::MAX as usize, limit }));
    }
}
