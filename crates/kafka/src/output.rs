//! Sending replies: memory with one `sendmsg`, file ranges that the page cache holds with `sendfile` or, if they are short, copied
//! next to the memory, and others from blocks that are read around the page cache.
//!
//! The socket never waits for the disk, nor does a thread that serves sockets: what is not in the page cache is read on the
//! blocking pool first. Little at one place goes through the page cache like any look-up; what is read in bulk does not
//! ([`Blocks`]).
//!
//! A batch is held to its frame before its first byte is sent: by the memory it is sent from, or, for `sendfile`, by a read of its
//! beginning. If it is another one, or the file cannot be read, the connection ends.

use crate::call::Message;
use crate::ranges::{FileRange, SendError, copy_by_pool, copy_cached};
use bytes::{Buf, Bytes};
use duolog_base::DiskFile;
use duolog_log::ReadPart;
use duolog_net::{BLOCK_BYTES, Blocks, Place, is_cached};
use duolog_wire::kafka::{EncodeError, frame};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A file range shorter than this is copied into memory: a copy is cheaper than a system call of its own.
const SENDFILE_LEAST_BYTES: usize = 32 << 10;
/// Bytes given to one `sendfile`.
const SENDFILE_MOST_BYTES: usize = 1 << 20;
/// Memory segments given to one `sendmsg`.
const SEGMENTS_PER_SEND: usize = 64;
/// Short ranges with less than this between them are copied with one read, of at most so many bytes.
const NEAR_BYTES: u64 = 4 << 10;
const COPY_MOST_BYTES: u64 = 256 << 10;
/// A block is read as a whole if so much of it is wanted.
pub(crate) const BULK_LEAST_BYTES: usize = 64 << 10;
/// Segments that are looked at to find out what is wanted of a block, and which block is next.
const SEGMENTS_AHEAD: usize = 256;

/// What is to be sent on a connection, in order.
pub(crate) struct Output {
    segments: VecDeque<Segment>,
    blocks: Arc<Blocks>,
    /// Where the connection read what was not in the page cache; `None` if it has not lately.
    cold: Option<ColdEnd>,
    /// Counted among the readers of blocks.
    reads_blocks: bool,
}

enum Segment {
    Memory(Bytes),
    File(FileRange),
}

/// The end of the last cold read of a connection.
struct ColdEnd {
    file: Weak<dyn DiskFile>,
    position: u64,
    /// The block after which reading ahead has begun.
    block: Option<u64>,
}

impl ColdEnd {
    fn is_of(&self, range: &FileRange) -> bool {
        std::ptr::addr_eq(self.file.as_ptr(), Arc::as_ptr(&range.place.file))
    }

    /// Whether the range goes on where this ended, or nearly. Of what was read not all may have been sent.
    fn goes_on(&self, range: &FileRange) -> bool {
        let near = self.position.saturating_sub(BLOCK_BYTES)..self.position.saturating_add(BULK_LEAST_BYTES as u64);
        self.is_of(range) && near.contains(&range.place.position)
    }
}

impl Default for Output {
    fn default() -> Self {
        Output::new(Blocks::shared())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.leave_blocks();
    }
}

impl Output {
    pub(crate) fn new(blocks: Arc<Blocks>) -> Output {
        Output { segments: VecDeque::new(), blocks, cold: None, reads_blocks: false }
    }

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

    pub(crate) fn part(&mut self, part: ReadPart) -> usize {
        let Some(range) = FileRange::of(&part) else {
            let ReadPart::Memory(bytes) = part else { unreachable!("a part of a file is a range") };
            let length = bytes.len();
            self.memory(bytes);
            return length;
        };
        let bytes = range.bytes;
        if bytes > 0 {
            self.segments.push_back(Segment::File(range));
        }
        bytes
    }

    /// Sends everything. A peer that takes nothing for as long as `stall` is given up.
    pub(crate) async fn flush(&mut self, stream: &TcpStream, stall: Duration) -> Result<(), SendError> {
        let mut from_blocks = false;
        while !self.segments.is_empty() {
            self.prepare_short_ranges().await?;
            let Some(Segment::File(range)) = self.segments.front() else {
                self.send_memory(stream, stall, None).await?;
                continue;
            };
            let portion = range.portion(SENDFILE_MOST_BYTES);
            let end = range.place.position + portion as u64;
            if !range.cold && is_cached(&*range.place.file, range.start_position()..end) {
                self.check_cached().await?;
                self.send_file(stream, stall, portion).await?;
            } else if range.cold || self.is_bulk(range) {
                from_blocks = true;
                let piece = self.block_portion(portion).await?;
                self.check_by_block().await?;
                self.send_memory(stream, stall, Some(piece)).await?;
            } else {
                self.read_front(portion).await?;
            }
        }
        if !from_blocks {
            self.leave_blocks();
        }
        Ok(())
    }

    /// Turns the short file ranges that would go out next into memory, up to the first long one, except for those that are to be
    /// read by the block.
    async fn prepare_short_ranges(&mut self) -> Result<(), SendError> {
        for at in 0..self.segments.len().min(SEGMENTS_PER_SEND) {
            let Segment::File(range) = &self.segments[at] else { continue };
            if range.bytes >= SENDFILE_LEAST_BYTES {
                break;
            }
            if range.cold {
                continue;
            }
            let near = self.near_ranges(at);
            let Segment::File(last) = &self.segments[at + near - 1] else { unreachable!("near ranges are ranges") };
            let (file, span) = (range.place.file.clone(), range.start_position()..last.end());
            let copy = if is_cached(&*file, span.clone()) {
                copy_cached(&file, span.clone()).await
            } else if self.is_bulk(range) {
                self.mark_cold(at);
                continue;
            } else {
                self.note_cold(at, span.end);
                copy_by_pool(&file, span.clone()).await
            };
            let copy = copy.map_err(SendError::unreadable(&*file, span.start))?;
            self.replace(at..at + near, &copy, span.start)?;
        }
        Ok(())
    }

    /// How many segments from the range at `at` on are short ranges that lie so near each other that they are read at once.
    fn near_ranges(&self, at: usize) -> usize {
        let Segment::File(first) = &self.segments[at] else { return 0 };
        let mut end = first.place.position;
        let near = |segment: &&Segment| {
            let Segment::File(range) = segment else { return false };
            let apart = range.place.position.checked_sub(end);
            let fits = range.end().saturating_sub(first.place.position) <= COPY_MOST_BYTES;
            let short = range.bytes < SENDFILE_LEAST_BYTES && !range.cold;
            end = range.end();
            range.is_of(&first.place.file) && short && fits && apart.is_some_and(|apart| apart < NEAR_BYTES)
        };
        self.segments.range(at..).take(SEGMENTS_PER_SEND).take_while(near).count()
    }

    /// Puts what was read from this position on in the place of the ranges that it was read for.
    fn replace(&mut self, segments: std::ops::Range<usize>, copy: &Bytes, start: u64) -> Result<(), SendError> {
        for segment in self.segments.range_mut(segments) {
            let Segment::File(range) = segment else { unreachable!("near ranges are ranges") };
            range.check_copy(copy, start)?;
            let from = (range.place.position - start) as usize;
            *segment = Segment::Memory(copy.slice(from..from + range.bytes));
        }
        Ok(())
    }

    /// Checks the range at the front by the page cache.
    async fn check_cached(&mut self) -> Result<(), SendError> {
        let Some(Segment::File(range)) = self.segments.front_mut() else { unreachable!("a range is at the front") };
        if range.unchecked.is_none() {
            return Ok(());
        }
        let (place, bytes) = range.start();
        let start = copy_cached(&place.file, place.position..place.position + bytes as u64).await;
        let start = start.map_err(SendError::unreadable(&*place.file, place.position))?;
        range.check(&start)
    }

    /// Checks the range at the front by its block, and the one before if its frame begins there.
    async fn check_by_block(&mut self) -> Result<(), SendError> {
        let Some(Segment::File(range)) = self.segments.front_mut() else { unreachable!("a range is at the front") };
        if range.unchecked.is_none() {
            return Ok(());
        }
        let (place, bytes) = range.start();
        let start = self.blocks.get_whole(&place, bytes).await;
        let start = start.map_err(SendError::unreadable(&*place.file, place.position))?;
        range.check(&start)
    }

    /// Whether the block of this range is worth to be read, or is here already.
    fn is_bulk(&self, range: &FileRange) -> bool {
        if self.cold.as_ref().is_some_and(|cold| cold.goes_on(range)) {
            return true;
        }
        let wanted = |segment: &Segment| match segment {
            Segment::File(other) if other.is_of(&range.place.file) && other.block() == range.block() => other.bytes,
            _ => 0,
        };
        let mut bytes = 0;
        let mut ahead = self.segments.iter().take(SEGMENTS_AHEAD);
        ahead.any(|segment| {
            bytes += wanted(segment);
            bytes >= BULK_LEAST_BYTES
        }) || self.blocks.ready(&range.place, range.portion(range.bytes)).is_some()
    }

    /// The short ranges of the same block need not be looked at again.
    fn mark_cold(&mut self, at: usize) {
        let Segment::File(first) = &self.segments[at] else { return };
        let (file, block) = (first.place.file.clone(), first.block());
        for segment in self.segments.iter_mut().take(SEGMENTS_AHEAD) {
            if let Segment::File(range) = segment
                && range.is_of(&file)
                && range.block() == block
                && range.bytes < SENDFILE_LEAST_BYTES
            {
                range.cold = true;
            }
        }
    }

    fn note_cold(&mut self, at: usize, position: u64) {
        let Segment::File(range) = &self.segments[at] else { return };
        let block = self.cold.take().filter(|cold| cold.is_of(range)).and_then(|cold| cold.block);
        self.cold = Some(ColdEnd { file: Arc::downgrade(&range.place.file), position, block });
    }

    /// The portion at the front from its block, while the disk goes on with the block that will be needed next.
    async fn block_portion(&mut self, portion: usize) -> Result<Bytes, SendError> {
        if !self.reads_blocks {
            self.blocks.enter();
            self.reads_blocks = true;
        }
        let Some(Segment::File(range)) = self.segments.front() else { unreachable!("a range is at the front") };
        let (place, block) = (range.place.clone(), range.block());
        let begun = self.cold.as_ref().is_some_and(|cold| cold.is_of(range) && cold.block == Some(block));
        let next = if begun { None } else { self.next_block() };
        self.cold =
            Some(ColdEnd { file: Arc::downgrade(&place.file), position: place.position + portion as u64, block: Some(block) });
        self.blocks.ahead(place.clone());
        if let Some(next) = next
            && !is_cached(&*next.file, next.position..next.position + 1)
        {
            self.blocks.ahead(next);
        }
        self.blocks.get(&place, portion).await.map_err(SendError::unreadable(&*place.file, place.position))
    }

    /// The next block that is wanted of those in the queue, or the one behind the front's.
    fn next_block(&self) -> Option<Place> {
        let Some(Segment::File(first)) = self.segments.front() else { return None };
        let behind = Place { position: (first.block() + 1) * BLOCK_BYTES, ..first.place.clone() };
        if first.end() > behind.position {
            return Some(behind);
        }
        let other = |segment: &Segment| match segment {
            Segment::File(range) if !range.is_of(&first.place.file) || range.block() != first.block() => {
                Some(range.place.clone())
            }
            _ => None,
        };
        self.segments.iter().take(SEGMENTS_AHEAD).find_map(other).or(Some(behind))
    }

    fn leave_blocks(&mut self) {
        if std::mem::take(&mut self.reads_blocks) {
            self.blocks.leave();
        }
    }

    /// Reads the portion at the front through the page cache.
    async fn read_front(&mut self, portion: usize) -> Result<(), SendError> {
        let Some(Segment::File(range)) = self.segments.front() else { unreachable!("a range is at the front") };
        let (file, start, position) = (range.place.file.clone(), range.start_position(), range.place.position);
        let end = position + portion as u64;
        // A block may end behind a few bytes of a batch.
        let checked = start + range.start().1 as u64;
        self.note_cold(0, end);
        let copy = copy_by_pool(&file, start..end.max(checked)).await.map_err(SendError::unreadable(&*file, start))?;
        let Some(Segment::File(range)) = self.segments.front_mut() else { unreachable!("a range is at the front") };
        range.check_copy(&copy, start)?;
        self.consume(portion);
        self.segments.push_front(Segment::Memory(copy.slice((position - start) as usize..(end - start) as usize)));
        Ok(())
    }

    /// Sends what lies in memory, or in blocks that are here, until something of it is left half sent or none is left.
    /// `first` is the beginning of the file range at the front.
    async fn send_memory(&mut self, stream: &TcpStream, stall: Duration, first: Option<Bytes>) -> io::Result<()> {
        let pieces = self.pieces(first);
        match stream.try_io(Interest::WRITABLE, || self.send_slices(stream, &pieces)) {
            Ok(sent) => {
                self.consume(sent);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // A slow client holds no blocks.
                drop(pieces);
                writable(stream, stall).await
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What blocks that are here hold of the file ranges, without a gap from the first range on, up to one that cannot be checked yet or
    /// is damaged.
    fn pieces(&mut self, first: Option<Bytes>) -> SmallVec<[Bytes; 4]> {
        let mut pieces = SmallVec::new();
        if !self.reads_blocks {
            return pieces;
        }
        let mut first = first;
        for segment in self.segments.iter_mut().take(SEGMENTS_PER_SEND) {
            let Segment::File(range) = segment else { continue };
            if range.unchecked.is_some() {
                let (place, bytes) = range.start();
                let start = self.blocks.ready_whole(&place, bytes);
                if !start.is_some_and(|start| range.is_sound(&start)) {
                    return pieces;
                }
            }
            let mut place = range.place.clone();
            while place.position < range.end() {
                let rest = (range.end() - place.position) as usize;
                let Some(piece) = first.take().or_else(|| self.blocks.ready(&place, rest)) else { return pieces };
                place.position += piece.len() as u64;
                pieces.push(piece);
            }
        }
        pieces
    }

    fn send_slices(&self, stream: &TcpStream, pieces: &[Bytes]) -> io::Result<usize> {
        let mut slices: SmallVec<[IoSlice<'_>; SEGMENTS_PER_SEND]> = SmallVec::new();
        let mut pieces = pieces.iter();
        let mut more = false;
        'gather: for segment in self.segments.iter() {
            let mut left = match segment {
                _ if slices.len() == SEGMENTS_PER_SEND => {
                    more = true;
                    break;
                }
                Segment::Memory(bytes) => {
                    slices.push(IoSlice::new(bytes));
                    continue;
                }
                Segment::File(range) => range.bytes,
            };
            while left > 0 {
                // If there is none, more follows at once: the kernel need not send a small packet now.
                let Some(piece) = pieces.next().filter(|_| slices.len() < SEGMENTS_PER_SEND) else {
                    more = true;
                    break 'gather;
                };
                slices.push(IoSlice::new(piece));
                left -= piece.len();
            }
        }
        let flags = if more { SendFlags::MORE | SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL };
        Ok(rustix::net::sendmsg(stream, &slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    /// So many bytes from the front are sent.
    fn consume(&mut self, mut sent: usize) {
        while sent > 0 {
            let length = match self.segments.front_mut() {
                Some(Segment::Memory(bytes)) if sent < bytes.len() => return bytes.advance(sent),
                Some(Segment::File(range)) if sent < range.bytes => return range.advance(sent),
                Some(Segment::Memory(bytes)) => bytes.len(),
                Some(Segment::File(range)) => range.bytes,
                None => unreachable!("no more is sent than there was"),
            };
            sent -= length;
            self.segments.pop_front();
        }
    }

    /// Sends a portion of the file range at the front.
    async fn send_file(&mut self, stream: &TcpStream, stall: Duration, portion: usize) -> Result<(), SendError> {
        let Some(Segment::File(range)) = self.segments.front() else { unreachable!("a range is at the front") };
        let place = range.place.clone();
        let Some(descriptor) = place.file.descriptor() else { unreachable!("a file without descriptor is never cached") };
        let unreadable = SendError::unreadable(&*place.file, place.position);
        let mut from = place.position;
        let sent = stream.try_io(Interest::WRITABLE, || {
            rustix::fs::sendfile(stream, descriptor, Some(&mut from), portion).map_err(io::Error::from)
        });
        match sent {
            Ok(0) => Err(unreadable(io::ErrorKind::UnexpectedEof.into())),
            Ok(sent) => {
                self.consume(sent);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(writable(stream, stall).await?),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            // No socket fails with it.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Err(unreadable(error)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Waits until the peer takes more.
async fn writable(stream: &TcpStream, stall: Duration) -> io::Result<()> {
    tokio::time::timeout(stall, stream.writable()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
