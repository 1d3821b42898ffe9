//! Reading frames from a commit log file, believing nothing.
//!
//! Used by recovery and by the inspection tools. Reads the file in large portions; a frame that is handed out has passed every check.

use crate::format::ALIGNMENT;
use crate::format::checksum;
use crate::format::file_header::{FILE_HEADER_BYTES, FileHeader};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameHeaderError, begins_frame};
use duolog_base::DiskFile;
use duolog_base::mutant::{Mutant, planted};
use std::io;
use std::sync::Arc;

/// Bytes read at once.
const PORTION_BYTES: usize = 1 << 20;

/// What is found where a frame should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Frame(FrameHeader),
    /// The header is intact and belongs here, the body does not match it.
    DamagedBody(FrameHeader),
    /// Nothing that was written here: the end, or damage.
    Nothing,
    /// An intact frame of a kind that this binary does not know.
    Unknown {
        kind: u8,
    },
}

/// One file, by positions in the log.
pub struct FrameFile {
    file: Arc<dyn DiskFile>,
    base: u64,
    length: u64,
    /// Positions at or above this belong to the next file.
    limit: u64,
    portion: Vec<u8>,
    /// Where in the file the portion begins.
    portion_at: u64,
    pub read_bytes: u64,
}

impl FrameFile {
    pub fn new(file: Arc<dyn DiskFile>, base: u64, next_base: Option<u64>) -> io::Result<FrameFile> {
        let length = file.length()?;
        let limit = next_base.unwrap_or(u64::MAX).min(base.saturating_add(length));
        Ok(FrameFile { file, base, length, limit, portion: Vec::new(), portion_at: 0, read_bytes: 0 })
    }

    /// Positions at or above this are not in the file.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn header(&mut self) -> io::Result<Option<FileHeader>> {
        let bytes = self.bytes(self.base, FILE_HEADER_BYTES)?;
        Ok(bytes.and_then(|bytes| bytes.first_chunk()).and_then(FileHeader::decode))
    }

    /// The bytes at a position; `None` if the file ends before.
    pub fn bytes(&mut self, position: u64, count: usize) -> io::Result<Option<&[u8]>> {
        let at = position - self.base;
        if at.checked_add(count as u64).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        let held = self.portion_at..self.portion_at + self.portion.len() as u64;
        if !(held.start <= at && at + count as u64 <= held.end) {
            let wanted = count.max(PORTION_BYTES).min((self.length - at) as usize);
            self.portion.resize(wanted, 0);
            self.portion_at = at;
            self.file.read_exact_at(&mut self.portion, at)?;
            self.read_bytes += wanted as u64;
        }
        let start = (at - self.portion_at) as usize;
        Ok(Some(&self.portion[start..start + count]))
    }

    /// Looks at a position for a frame of at least this generation.
    pub fn frame_at(&mut self, position: u64, generation: u32) -> io::Result<Found> {
        let header = match self.header_at(position, generation)? {
            Found::Frame(header) => header,
            other => return Ok(other),
        };
        let body = self.bytes(position + FRAME_HEADER_BYTES as u64, header.payload_bytes as usize)?;
        match body {
            Some(body) if checksum(body) == header.body_crc || planted(Mutant::TornTailTrusted) => Ok(Found::Frame(header)),
            _ => Ok(Found::DamagedBody(header)),
        }
    }

    /// Like [`FrameFile::frame_at`], without a look at the body.
    fn header_at(&mut self, position: u64, generation: u32) -> io::Result<Found> {
        let limit = self.limit;
        let bytes = self.bytes(position, FRAME_HEADER_BYTES)?;
        let Some(bytes) = bytes.and_then(|bytes| bytes.first_chunk()) else { return Ok(Found::Nothing) };
        match FrameHeader::decode(bytes) {
            Ok(header)
                if header.position == position
                    && header.generation >= generation
                    && header.end() <= limit.next_multiple_of(8) =>
            {
                Ok(Found::Frame(header))
            }
            Err(FrameHeaderError::Unknown { kind, .. }) => Ok(Found::Unknown { kind }),
            _ => Ok(Found::Nothing),
        }
    }

    /// The first frame header at or after `from` and before `upto` that belongs where it is.
    pub fn search(&mut self, from: u64, upto: u64, generation: u32) -> io::Result<Option<FrameHeader>> {
        let upto = upto.min(self.limit);
        let mut position = from.next_multiple_of(ALIGNMENT);
        while position + FRAME_HEADER_BYTES as u64 <= upto {
            let count = PORTION_BYTES.min((upto - position) as usize);
            let Some(bytes) = self.bytes(position, count)? else { return Ok(None) };
            match bytes.chunks_exact(ALIGNMENT as usize).position(begins_frame) {
                None => position += (count as u64).max(ALIGNMENT) & !(ALIGNMENT - 1),
                Some(found) => {
                    position += found as u64 * ALIGNMENT;
                    if let Found::Frame(header) = self.header_at(position, generation)? {
                        return Ok(Some(header));
                    }
                    position += ALIGNMENT;
                }
            }
        }
        Ok(None)
    }

    /// The payload of a frame that was found intact.
    pub fn payload(&mut self, header: &FrameHeader) -> io::Result<&[u8]> {
        let payload = self.bytes(header.position + FRAME_HEADER_BYTES as u64, header.payload_bytes as usize)?;
        payload.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
