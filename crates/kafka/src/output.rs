//! Sending replies: memory with one `sendmsg`, long file ranges with `sendfile`, short ones copied next to the memory.
//!
//! The socket never waits for the disk: what is not in the page cache is read on the blocking pool first.

use crate::call::Message;
use bytes::{Buf, Bytes};
use duolog_base::DiskFile;
use duolog_log::ReadPart;
use duolog_wire::kafka::{EncodeError, frame};
use rustix::io::ReadWriteFlags;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// A file range shorter than this is copied into memory: a copy is cheaper than a system call of its own.
const SENDFILE_LEAST_BYTES: usize = 32 << 10;
/// Bytes given to one `sendfile`, and read at once from a cold file.
const SENDFILE_MOST_BYTES: usize = 1 << 20;
/// Memory segments given to one `sendmsg`.
const SEGMENTS_PER_SEND: usize = 64;
/// Reads of cold files at a time, all connections together.
const COLD_READS: usize = 16;

static COLD_READ_PERMITS: Semaphore = Semaphore::const_new(COLD_READS);

/// What is to be sent on a connection, in order.
#[derive(Default)]
pub(crate) struct Output {
    segments: VecDeque<Segment>,
}

enum Segment {
    Memory(Bytes),
    File { file: Arc<dyn DiskFile>, position: u64, bytes: usize },
}

impl Output {
    /// Fills in the reply's size and cuts it into segments.
    pub(crate) fn push(&mut self, message: Message) -> Result<(), EncodeError> {
        let Message { mut encoder, external } = message;
        frame::finish_frame(&mut encoder)?;
        let (mut buffer, cuts) = encoder.into_parts();
        assert_eq!(cuts.len(), external.len(), "every cut has its parts");
        let mut sent = 0;
        for (cut, parts) in cuts.iter().zip(external) {
            self.memory(buffer.split_to(cut.at - sent).freeze());
            sent = cut.at;
            let mut bytes = 0;
            for part in parts {
                bytes += self.part(part);
            }
            assert_eq!(bytes, cut.bytes, "the parts are as long as the response says");
        }
        self.memory(buffer.freeze());
        Ok(())
    }

    fn memory(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.segments.push_back(Segment::Memory(bytes));
        }
    }

    fn part(&mut self, part: ReadPart) -> usize {
        match part {
            ReadPart::Memory(bytes) => {
                let length = bytes.len();
                self.memory(bytes);
                length
            }
            ReadPart::File { file, position, bytes } => {
                if bytes > 0 {
                    self.segments.push_back(Segment::File { file, position, bytes });
                }
                bytes
            }
        }
    }

    /// Sends everything. A peer that takes nothing for as long as `stall` is given up.
    pub(crate) async fn flush(&mut self, stream: &TcpStream, stall: Duration) -> io::Result<()> {
        while !self.segments.is_empty() {
            self.copy_short_files().await?;
            match self.segments.front() {
                Some(Segment::Memory(_)) => self.send_memory(stream, stall).await?,
                Some(Segment::File { .. }) => self.send_file(stream, stall).await?,
                None => {}
            }
        }
        Ok(())
    }

    /// Turns the short file ranges that would go out next into memory, up to the first long one.
    async fn copy_short_files(&mut self) -> io::Result<()> {
        for segment in self.segments.iter_mut().take(SEGMENTS_PER_SEND) {
            let Segment::File { file, position, bytes } = segment else { continue };
            if *bytes >= SENDFILE_LEAST_BYTES {
                break;
            }
            let copy = read(file, *position, *bytes).await?;
            *segment = Segment::Memory(copy);
        }
        Ok(())
    }

    /// Sends from the memory segments at the front until one of them is left half sent or none is left.
    async fn send_memory(&mut self, stream: &TcpStream, stall: Duration) -> io::Result<()> {
        match stream.try_io(Interest::WRITABLE, || self.send_slices(stream)) {
            Ok(sent) => {
                self.consume(sent);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => writable(stream, stall).await,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn send_slices(&self, stream: &TcpStream) -> io::Result<usize> {
        let mut slices: SmallVec<[IoSlice<'_>; SEGMENTS_PER_SEND]> = SmallVec::new();
        let mut more = false;
        for segment in self.segments.iter() {
            match segment {
                Segment::Memory(bytes) if slices.len() < SEGMENTS_PER_SEND => slices.push(IoSlice::new(bytes)),
                // More follows at once: the kernel need not send a small packet now.
                _ => {
                    more = true;
                    break;
                }
            }
        }
        let flags = if more { SendFlags::MORE | SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL };
        Ok(rustix::net::sendmsg(stream, &slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn consume(&mut self, mut sent: usize) {
        while sent > 0 {
            let Some(Segment::Memory(bytes)) = self.segments.front_mut() else {
                unreachable!("only memory at the front was sent")
            };
            if sent < bytes.len() {
                bytes.advance(sent);
                return;
            }
            sent -= bytes.len();
            self.segments.pop_front();
        }
    }

    /// Sends a portion of the file range at the front.
    async fn send_file(&mut self, stream: &TcpStream, stall: Duration) -> io::Result<()> {
        let Some(Segment::File { file, position, bytes }) = self.segments.front_mut() else { return Ok(()) };
        let portion = (*bytes).min(SENDFILE_MOST_BYTES);
        if !is_warm(&**file, *position, portion) {
            let copy = read(file, *position, portion).await?;
            self.advance_file(portion);
            self.segments.push_front(Segment::Memory(copy));
            return Ok(());
        }
        let Some(descriptor) = file.descriptor() else { unreachable!("a file without descriptor is never warm") };
        let mut from = *position;
        let sent = stream.try_io(Interest::WRITABLE, || {
            rustix::fs::sendfile(stream, descriptor, Some(&mut from), portion).map_err(io::Error::from)
        });
        match sent {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(sent) => {
                self.advance_file(sent);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => writable(stream, stall).await,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn advance_file(&mut self, by: usize) {
        let Some(Segment::File { position, bytes, .. }) = self.segments.front_mut() else { return };
        *position += by as u64;
        *bytes -= by;
        if *bytes == 0 {
            self.segments.pop_front();
        }
    }
}

/// Waits until the peer takes more.
async fn writable(stream: &TcpStream, stall: Duration) -> io::Result<()> {
    tokio::time::timeout(stall, stream.writable()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether the ends of the range are in the page cache, so that `sendfile` will hardly wait for the disk.
fn is_warm(file: &dyn DiskFile, position: u64, bytes: usize) -> bool {
    let mut byte = [0];
    [position + bytes as u64 - 1, position].into_iter().all(|at| read_cached(file, &mut byte, at) == Some(1))
}

/// Reads what the page cache holds without waiting; `None` if it cannot be told.
fn read_cached(file: &dyn DiskFile, buffer: &mut [u8], position: u64) -> Option<usize> {
    let descriptor = file.descriptor()?;
    rustix::io::preadv2(descriptor, &mut [IoSliceMut::new(buffer)], position, ReadWriteFlags::NOWAIT).ok()
}

/// Copies a file range into memory; on the blocking pool if it is not in the page cache.
async fn read(file: &Arc<dyn DiskFile>, position: u64, bytes: usize) -> io::Result<Bytes> {
    let mut copy = vec![0; bytes];
    if read_cached(&**file, &mut copy, position) == Some(bytes) {
        return Ok(copy.into());
    }
    let _permit = COLD_READ_PERMITS.acquire().await.map_err(io::Error::other)?;
    let file = file.clone();
    let reading = tokio::task::spawn_blocking(move || file.read_exact_at(&mut copy, position).map(|()| copy));
    Ok(reading.await.map_err(io::Error::other)??.into())
}
