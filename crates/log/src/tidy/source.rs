//! Reading single batches of sealed files, believing nothing: what is written anew gets new checksums, so damage must not get in.

use crate::format::checksum;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::format::index::QueueEntry;
use crate::sealed::Sealed;
use duolog_base::DiskFile;
use std::io;
use std::sync::Arc;

/// Read at once when frames are asked for one after the other.
const AHEAD_BYTES: usize = 256 << 10;

/// Why a batch cannot be had.
#[derive(Debug)]
pub enum SourceProblem {
    Io(io::Error),
    /// The file does not hold what its index says.
    Damaged,
}

impl From<io::Error> for SourceProblem {
    fn from(error: io::Error) -> Self {
        SourceProblem::Io(error)
    }
}

/// A reader that notices when frames follow each other.
#[derive(Default)]
pub struct SourceReader {
    file: Option<Arc<dyn DiskFile>>,
    buffer: Vec<u8>,
    buffer_at: u64,
    /// Where the frame read last ended.
    last_end: u64,
    pub read_bytes: u64,
}

impl SourceReader {
    /// The frame of an entry: its header and the batch.
    pub fn frame(&mut self, source: &Sealed, partition: u32, entry: &QueueEntry) -> Result<(FrameHeader, &[u8]), SourceProblem> {
        let batch_at = source.batch_at(entry).ok_or(SourceProblem::Damaged)?;
        let at = batch_at - FRAME_HEADER_BYTES as u64;
        let bytes = self.bytes(source, at, FRAME_HEADER_BYTES + entry.batch_bytes as usize)?;
        let (header, batch) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>().ok_or(SourceProblem::Damaged)?;
        let header = FrameHeader::decode(header).map_err(|_| SourceProblem::Damaged)?;
        let expected = header.kind == FrameKind::Batch
            && header.position == entry.position
            && header.partition == partition
            && header.offset == entry.base_offset
            && header.payload_bytes == entry.batch_bytes
            && header.body_crc == checksum(batch);
        if expected { Ok((header, batch)) } else { Err(SourceProblem::Damaged) }
    }

    fn bytes(&mut self, source: &Sealed, at: u64, count: usize) -> io::Result<&[u8]> {
        let same = self.file.as_ref().is_some_and(|file| Arc::ptr_eq(file, &source.log));
        let held = self.buffer_at..self.buffer_at + self.buffer.len() as u64;
        if !(same && held.start <= at && at + count as u64 <= held.end) {
            // Padding may lie between two frames.
            let follows = same && at.saturating_sub(self.last_end) < 8;
            let wanted = if follows { count.max(AHEAD_BYTES) } else { count };
            let wanted = wanted.min(source.frames_bytes.saturating_sub(at) as usize).max(count);
            self.buffer.resize(wanted, 0);
            self.buffer_at = at;
            self.file = None;
            source.log.read_exact_at(&mut self.buffer, at)?;
            self.file = Some(source.log.clone());
            self.read_bytes += wanted as u64;
        }
        self.last_end = at + count as u64;
        let start = (at - self.buffer_at) as usize;
        Ok(&self.buffer[start..start + count])
    }
}
