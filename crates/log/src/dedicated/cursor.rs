//! Reading the batches of a segment file one after the other: their headers only, or all of them with their checksums.

use duolog_base::{DiskFile, Offset};
use duolog_wire::record::{BatchHeader, HEADER_BYTES, verify_crc};
use std::io;
use std::sync::Arc;

/// Bytes read at once by [`Headers`]: more than lies between two index entries, if batches are small.
const CHUNK_BYTES: usize = 8 << 10;
/// Bytes read at once by [`Batches`], unless a batch is larger.
const PORTION_BYTES: usize = 1 << 20;
/// Larger batches are never stored, whatever the limits of topics: a length above it is damage.
pub const MAX_BATCH_BYTES: usize = 1 << 28;

/// Walks over the headers from a position where a batch begins.
pub struct Headers<'a> {
    file: &'a dyn DiskFile,
    position: u64,
    end: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
    /// What the last batch ended with.
    last_offset: i64,
}

impl<'a> Headers<'a> {
    /// The batches from `position` up to `end`, where a batch ends.
    pub fn new(file: &'a dyn DiskFile, position: u64, end: u64) -> Headers<'a> {
        Headers { file, position, end, chunk: Vec::new(), chunk_at: 0, last_offset: -1 }
    }

    /// The next header and where its batch begins; an error of kind `InvalidData` if there is something else.
    pub fn next(&mut self) -> io::Result<Option<(BatchHeader, u64)>> {
        if self.position >= self.end {
            return Ok(None);
        }
        let position = self.position;
        let header = BatchHeader::parse_prefix(self.bytes(position)?).map_err(|_| damaged())?;
        let next = position + header.total_bytes() as u64;
        if next > self.end || header.base_offset.0 <= self.last_offset {
            return Err(damaged());
        }
        self.position = next;
        self.last_offset = header.last_offset().0;
        Ok(Some((header, position)))
    }

    /// The bytes of a header.
    fn bytes(&mut self, position: u64) -> io::Result<&[u8]> {
        let within = |at: u64, length: usize| position >= at && position + HEADER_BYTES as u64 <= at + length as u64;
        if !within(self.chunk_at, self.chunk.len()) {
            self.chunk.resize(CHUNK_BYTES.min((self.end - position) as usize), 0);
            let read = self.file.read_at(&mut self.chunk, position)?;
            self.chunk.truncate(read);
            self.chunk_at = position;
        }
        let at = (position - self.chunk_at) as usize;
        Ok(&self.chunk[at..(at + HEADER_BYTES).min(self.chunk.len())])
    }
}

/// Walks over whole batches, checking each.
pub struct Batches {
    file: Arc<dyn DiskFile>,
    length: u64,
    pub position: u64,
    portion: Vec<u8>,
    portion_at: u64,
}

/// What a walk over batches comes across.
pub enum Found<'a> {
    Batch(BatchHeader, &'a [u8]),
    /// The end of the file.
    End,
    /// Something that is not an intact batch.
    Damage,
}

impl Batches {
    pub fn new(file: Arc<dyn DiskFile>) -> io::Result<Batches> {
        Ok(Batches { length: file.length()?, file, position: 0, portion: Vec::new(), portion_at: 0 })
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// The batch at the present position, which must not begin below `least`; goes on behind it.
    pub fn next(&mut self, least: Offset) -> io::Result<Found<'_>> {
        if self.position == self.length {
            return Ok(Found::End);
        }
        let position = self.position;
        self.fill(position, HEADER_BYTES)?;
        let Ok(header) = BatchHeader::parse_prefix(self.from(position)) else { return Ok(Found::Damage) };
        let bytes = header.total_bytes();
        if bytes > MAX_BATCH_BYTES || bytes as u64 > self.length - position || header.base_offset < least {
            return Ok(Found::Damage);
        }
        self.fill(position, bytes)?;
        let at = (position - self.portion_at) as usize;
        if self.portion.len() < at + bytes || verify_crc(&self.portion[at..at + bytes]).is_err() {
            return Ok(Found::Damage);
        }
        self.position += bytes as u64;
        Ok(Found::Batch(header, &self.portion[at..at + bytes]))
    }

    fn from(&self, position: u64) -> &[u8] {
        &self.portion[(position - self.portion_at) as usize..]
    }

    /// Makes sure that `bytes` from `position` on are there, as far as the file has them.
    fn fill(&mut self, position: u64, bytes: usize) -> io::Result<()> {
        let have = self.portion_at + self.portion.len() as u64;
        if position >= self.portion_at && position + bytes as u64 <= have.max(self.portion_at) {
            return Ok(());
        }
        let wanted = bytes.max(PORTION_BYTES).min((self.length - position) as usize);
        self.portion.resize(wanted, 0);
        let read = self.file.read_at(&mut self.portion, position)?;
        self.portion.truncate(read);
        self.portion_at = position;
        Ok(())
    }
}

pub fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a segment holds something that is not a batch")
}
