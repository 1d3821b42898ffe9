//! From a socket's bytes to frames: requests without their size prefix.
//!
//! Every frame comes in an allocation of its own and of its size, so that Produce can patch batches in place and the log
//! can keep them without keeping more alive than it counts. A frame that is wholly in the chunk is copied out of it:
//! up to 64 KiB a copy costs less than sharing the chunk would in memory, which is many times the batch when one small
//! request comes at a time. The rest of a larger one is read from the socket straight into its allocation, which grows
//! with what arrives. While a connection is idle it holds no buffer.

use crate::budget::step;
use bytes::buf::Limit;
use bytes::{Buf, BufMut, BytesMut};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Bytes of the size in front of a frame.
const SIZE_BYTES: usize = 4;
/// Size of the first chunk of a connection, in bytes; it doubles whenever a read fills it.
const LEAST_CHUNK_BYTES: usize = 4 << 10;
const MOST_CHUNK_BYTES: usize = 64 << 10;
/// A chunk with less room than this is made larger, or tidied, before the next read.
const LEAST_READ_BYTES: usize = 1 << 10;
/// Frames up to this size, in bytes, are allocated at once; others double until they are whole.
const FIRST_ALLOCATION_BYTES: usize = 2 << 20;

/// Why the bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("request of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("request size {size} is impossible")]
    Size { size: i32 },
}

/// What the bytes at hand make.
#[derive(Debug)]
pub enum Next {
    Frame(BytesMut),
    /// The frame at the front needs room for so many bytes more: see [`FrameReader::grant`].
    Room(usize),
    /// More bytes must be read first.
    Incomplete,
}

/// The bytes of one connection that are not a frame yet.
#[derive(Debug)]
pub struct FrameReader {
    chunk: BytesMut,
    chunk_bytes: usize,
    large: Option<Large>,
    /// Bytes of the frame at the front that there is room for.
    granted: usize,
    /// The last frame was a large one: read little more than the next one's size, so that little of it is copied.
    expect_large: bool,
    least: usize,
    limit: usize,
}

/// A frame being read into its own allocation.
#[derive(Debug)]
struct Large {
    frame: BytesMut,
    size: usize,
}

impl FrameReader {
    /// Frames of `least` to `limit` bytes.
    pub fn new(limit: usize, least: usize) -> FrameReader {
        let chunk_bytes = LEAST_CHUNK_BYTES;
        FrameReader { chunk: BytesMut::new(), chunk_bytes, large: None, granted: 0, expect_large: false, least, limit }
    }

    /// The next frame, if its bytes are here and granted.
    pub fn next(&mut self) -> Result<Next, FrameError> {
        if self.large.is_none() {
            let Some(prefix) = self.chunk.first_chunk::<SIZE_BYTES>() else { return Ok(Next::Incomplete) };
            let size = self.checked_size(i32::from_be_bytes(*prefix))?;
            if self.chunk.len() >= SIZE_BYTES + size {
                return Ok(self.small(size));
            }
            if self.chunk.capacity() >= SIZE_BYTES + size {
                return Ok(Next::Incomplete);
            }
            self.begin_large(size);
        }
        Ok(self.next_large())
    }

    fn checked_size(&self, size: i32) -> Result<usize, FrameError> {
        match usize::try_from(size) {
            Ok(bytes) if bytes > self.limit => Err(FrameError::TooLarge { bytes, limit: self.limit }),
            Ok(bytes) if bytes >= self.least => Ok(bytes),
            _ => Err(FrameError::Size { size }),
        }
    }

    /// Copies out a frame that is in the chunk as a whole.
    fn small(&mut self, size: usize) -> Next {
        if self.granted < size {
            return Next::Room(size - self.granted);
        }
        self.granted = 0;
        self.expect_large = false;
        let frame = BytesMut::from(&self.chunk[SIZE_BYTES..SIZE_BYTES + size]);
        self.chunk.advance(SIZE_BYTES + size);
        Next::Frame(frame)
    }

    /// Moves what is in the chunk of a frame into an allocation of its own.
    fn begin_large(&mut self, size: usize) {
        let mut frame = BytesMut::with_capacity(size.min(FIRST_ALLOCATION_BYTES));
        self.chunk.advance(SIZE_BYTES);
        frame.extend_from_slice(&self.chunk);
        self.chunk.clear();
        self.expect_large = size >= MOST_CHUNK_BYTES;
        self.large = Some(Large { frame, size });
    }

    fn next_large(&mut self) -> Next {
        let Some(large) = self.large.take() else { return Next::Incomplete };
        let arrived = large.frame.len();
        if arrived == large.size && self.granted == large.size {
            self.granted = 0;
            return Next::Frame(large.frame);
        }
        let wanted = large.size.min(arrived + step(arrived));
        let short = self.granted <= arrived;
        self.large = Some(large);
        if short { Next::Room(wanted - self.granted) } else { Next::Incomplete }
    }

    /// Gives the frame at the front the room that [`Next::Room`] asked for.
    pub fn grant(&mut self, bytes: usize) {
        self.granted += bytes;
    }

    /// Whether a part of a frame is here.
    pub fn under_way(&self) -> bool {
        self.large.is_some() || !self.chunk.is_empty()
    }

    /// Reads once when the socket is readable; 0 is the end of the stream.
    pub fn poll_fill(&mut self, context: &mut Context<'_>, stream: &mut TcpStream) -> Poll<io::Result<usize>> {
        ready!(stream.poll_read_ready(context))?;
        let mut space = self.space();
        let room = space.remaining_mut();
        // A read that fills less than the space tells tokio that the socket is empty, which saves the next one.
        let read = pin!(stream.read_buf(&mut space)).poll(context);
        match read {
            Poll::Ready(Ok(read)) if read == room && self.large.is_none() && !self.expect_large => {
                self.chunk_bytes = (self.chunk_bytes * 2).min(MOST_CHUNK_BYTES);
            }
            Poll::Pending => self.release(),
            Poll::Ready(_) => {}
        }
        read
    }

    /// Where the next bytes go.
    fn space(&mut self) -> Limit<&mut BytesMut> {
        if let Some(large) = &mut self.large {
            large.grow(self.granted);
            let missing = self.granted.saturating_sub(large.frame.len());
            return (&mut large.frame).limit(missing);
        }
        if self.chunk.capacity() - self.chunk.len() < LEAST_READ_BYTES {
            self.chunk.reserve(self.chunk_bytes);
        }
        let room = self.chunk.capacity() - self.chunk.len();
        let most = if self.expect_large { LEAST_READ_BYTES } else { room };
        (&mut self.chunk).limit(most)
    }

    /// Gives the chunk back if nothing is in it.
    pub fn release(&mut self) {
        if self.chunk.is_empty() {
            self.chunk = BytesMut::new();
        }
    }

    #[cfg(test)]
    fn push(&mut self, bytes: &[u8]) -> usize {
        let mut space = self.space();
        let taken = bytes.len().min(space.remaining_mut());
        space.put_slice(&bytes[..taken]);
        taken
    }
}

impl Large {
    /// Makes the allocation large enough for so many bytes, and never larger than the frame.
    fn grow(&mut self, bytes: usize) {
        if self.frame.capacity() < bytes {
            let mut grown = BytesMut::with_capacity((self.frame.capacity() * 2).max(bytes).min(self.size));
            grown.extend_from_slice(&self.frame);
            self.frame = grown;
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
    fn frames(bytes: &[u8], portion: usize) -> Result<Vec<BytesMut>, FrameError> {
        let mut reader = FrameReader::new(4 << 20, 8);
        let mut frames = Vec::new();
        for mut part in bytes.chunks(portion) {
            while !part.is_empty() {
                part = &part[reader.push(part)..];
                loop {
                    match reader.next()? {
                        Next::Frame(frame) => frames.push(frame),
                        Next::Room(bytes) => reader.grant(bytes),
                        Next::Incomplete => break,
                    }
                }
            }
        }
        assert!(!reader.under_way());
        Ok(frames)
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let bodies = |largest: usize| [8, 9, 5000, 10, 70_000, 8, largest, 9].map(|size| vec![size as u8; size]).to_vec();
        for (portion, largest) in [(1, 100), (3, 100), (4, 100), (7, 100), (4096, 3 << 20), (10 << 20, 3 << 20)] {
            let bodies = bodies(largest);
            let bytes: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
            let frames = frames(&bytes, portion).unwrap();
            assert!(frames == bodies, "in portions of {portion}");
            assert!(frames.iter().all(|frame| frame.capacity() == frame.len()), "a frame keeps nothing else alive");
        }
    }

    #[test]
    fn impossible_sizes_are_refused_before_anything_is_allocated() {
        assert_eq!(frames(&(-1i32).to_be_bytes(), 4), Err(FrameError::Size { size: -1 }));
        assert_eq!(frames(&7i32.to_be_bytes(), 4), Err(FrameError::Size { size: 7 }));
        let limit = 4 << 20;
        assert_eq!(frames(&i32::MAX.to_be_bytes(), 4), Err(FrameError::TooLarge { bytes: i32::MAX as usize, limit }));
    }

    #[test]
    fn a_frame_under_way_is_neither_granted_nor_allocated_much_more_than_arrived() {
        let mut reader = FrameReader::new(100 << 20, 8);
        reader.push(&(100i32 << 20).to_be_bytes());
        let mut arrived = 0;
        let portion = vec![0; 1 << 20];
        while arrived < 20 << 20 {
            while let Next::Room(bytes) = reader.next().unwrap() {
                reader.grant(bytes);
            }
            assert!(reader.granted <= arrived + step(arrived));
            let allocated = reader.large.as_ref().unwrap().frame.capacity();
            assert!(allocated <= FIRST_ALLOCATION_BYTES.max(2 * (arrived + step(arrived))), "{allocated} for {arrived}");
            arrived += reader.push(&portion);
        }
    }

    #[test]
    fn a_small_frame_waits_for_room_and_then_comes_once() {
        let mut reader = FrameReader::new(1 << 20, 8);
        reader.push(&framed(&[7; 20]));
        for _ in 0..2 {
            assert!(matches!(reader.next().unwrap(), Next::Room(20)));
        }
        reader.grant(20);
        assert!(matches!(reader.next().unwrap(), Next::Frame(frame) if frame.len() == 20));
        assert!(matches!(reader.next().unwrap(), Next::Incomplete));
    }
}
