//! The queue index of a file (`.queues` when sealed, `.checkpoint` for the active file): one run of entries a partition.
//!
//! ```text
//! header, 64 bytes
//!  at  bytes  field
//!   0    8    magic "DUOLOGqi" (sealed), "DUOLOGcp" (checkpoint) or "DUOLOGti" (tidied)
//!   8    4    format version
//!  12    4    generation
//!  16    8    base of the log file
//!  24    8    end: the log position that index and state reflect
//!  32    4    partitions in the directory
//!  36    4    bytes of the state section
//!  40    8    entries
//!  48    4    CRC32C of the directory
//!  52    4    CRC32C of the entries
//!  56    4    CRC32C of the state section
//!  60    4    CRC32C of bytes 0 to 59
//! directory, 48 bytes for every partition known at `end`, in ascending order of the number
//!   0    4    partition number
//!   4    4    entries of its run
//!   8    8    first entry of its run, counted from the first entry of the file
//!  16    8    base offset of the run (the end, if the run is empty)
//!  24    8    end: next offset of the partition at `end`
//!  32    8    largest max timestamp of the run, -1 if it has none
//!  40    8    bytes of the run's batches
//! entries, 40 bytes each
//!   0    8    base offset
//!   8    8    position of the frame
//!  16    8    max timestamp
//!  24    8    tag filter
//!  32    4    bytes of the batch
//!  36    4    last offset delta
//! state section: see `state.rs`
//! ```

pub use super::runs::{IndexAbout, IndexBuilder, Runs};

use super::frame::FrameHeader;
use super::{FORMAT_VERSION, checksum, field, put};

pub const INDEX_HEADER_BYTES: usize = 64;
pub const DIRECTORY_RECORD_BYTES: usize = 48;
pub const ENTRY_BYTES: usize = 40;

/// Which of the files an index is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    Sealed,
    Checkpoint,
    /// Behind the frames of a tidied file.
    Tidied,
}

impl IndexKind {
    fn magic(self) -> [u8; 8] {
        match self {
            IndexKind::Sealed => *b"DUOLOGqi",
            IndexKind::Checkpoint => *b"DUOLOGcp",
            IndexKind::Tidied => *b"DUOLOGti",
        }
    }
}

/// One batch of a partition: where it is and what a search needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    pub base_offset: i64,
    /// Position of the frame; the batch follows the frame's header.
    pub position: u64,
    pub max_timestamp: i64,
    pub tag_filter: u64,
    pub batch_bytes: u32,
    pub last_offset_delta: u32,
}

impl QueueEntry {
    /// The entry of a batch, which has a time that its frame does not say.
    pub fn of_frame(frame: &FrameHeader, max_timestamp: i64) -> QueueEntry {
        QueueEntry {
            base_offset: frame.offset,
            position: frame.position,
            max_timestamp,
            tag_filter: frame.tag_filter,
            batch_bytes: frame.payload_bytes,
            last_offset_delta: frame.last_offset_delta as u32,
        }
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta.into())
    }

    /// Where the next frame begins.
    pub fn end_position(&self) -> u64 {
        self.position + super::frame::frame_bytes(self.batch_bytes as usize)
    }

    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        put(&mut bytes, 0, &self.base_offset.to_le_bytes());
        put(&mut bytes, 8, &self.position.to_le_bytes());
        put(&mut bytes, 16, &self.max_timestamp.to_le_bytes());
        put(&mut bytes, 24, &self.tag_filter.to_le_bytes());
        put(&mut bytes, 32, &self.batch_bytes.to_le_bytes());
        put(&mut bytes, 36, &self.last_offset_delta.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> QueueEntry {
        QueueEntry {
            base_offset: i64::from_le_bytes(field(bytes, 0)),
            position: u64::from_le_bytes(field(bytes, 8)),
            max_timestamp: i64::from_le_bytes(field(bytes, 16)),
            tag_filter: u64::from_le_bytes(field(bytes, 24)),
            batch_bytes: u32::from_le_bytes(field(bytes, 32)),
            last_offset_delta: u32::from_le_bytes(field(bytes, 36)),
        }
    }
}

/// A partition's place in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryRecord {
    pub partition: u32,
    pub entries: u32,
    pub first_entry: u64,
    pub base_offset: i64,
    pub end_offset: i64,
    pub max_timestamp: i64,
    pub bytes: u64,
}

impl DirectoryRecord {
    pub fn encode(&self) -> [u8; DIRECTORY_RECORD_BYTES] {
        let mut bytes = [0; DIRECTORY_RECORD_BYTES];
        put(&mut bytes, 0, &self.partition.to_le_bytes());
        put(&mut bytes, 4, &self.entries.to_le_bytes());
        put(&mut bytes, 8, &self.first_entry.to_le_bytes());
        put(&mut bytes, 16, &self.base_offset.to_le_bytes());
        put(&mut bytes, 24, &self.end_offset.to_le_bytes());
        put(&mut bytes, 32, &self.max_timestamp.to_le_bytes());
        put(&mut bytes, 40, &self.bytes.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; DIRECTORY_RECORD_BYTES]) -> DirectoryRecord {
        DirectoryRecord {
            partition: u32::from_le_bytes(field(bytes, 0)),
            entries: u32::from_le_bytes(field(bytes, 4)),
            first_entry: u64::from_le_bytes(field(bytes, 8)),
            base_offset: i64::from_le_bytes(field(bytes, 16)),
            end_offset: i64::from_le_bytes(field(bytes, 24)),
            max_timestamp: i64::from_le_bytes(field(bytes, 32)),
            bytes: u64::from_le_bytes(field(bytes, 40)),
        }
    }
}

/// The header of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexHeader {
    pub version: u32,
    pub generation: u32,
    pub base: u64,
    pub end: u64,
    pub partitions: u32,
    pub state_bytes: u32,
    pub entries: u64,
    pub directory_crc: u32,
    pub entries_crc: u32,
    pub state_crc: u32,
}

impl IndexHeader {
    pub fn encode(&self, kind: IndexKind) -> [u8; INDEX_HEADER_BYTES] {
        let mut bytes = [0; INDEX_HEADER_BYTES];
        put(&mut bytes, 0, &kind.magic());
        put(&mut bytes, 8, &self.version.to_le_bytes());
        put(&mut bytes, 12, &self.generation.to_le_bytes());
        put(&mut bytes, 16, &self.base.to_le_bytes());
        put(&mut bytes, 24, &self.end.to_le_bytes());
        put(&mut bytes, 32, &self.partitions.to_le_bytes());
        put(&mut bytes, 36, &self.state_bytes.to_le_bytes());
        put(&mut bytes, 40, &self.entries.to_le_bytes());
        put(&mut bytes, 48, &self.directory_crc.to_le_bytes());
        put(&mut bytes, 52, &self.entries_crc.to_le_bytes());
        put(&mut bytes, 56, &self.state_crc.to_le_bytes());
        let crc = checksum(&bytes[..60]);
        put(&mut bytes, 60, &crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8], kind: IndexKind) -> Option<IndexHeader> {
        let bytes: &[u8; INDEX_HEADER_BYTES] = bytes.first_chunk()?;
        if !bytes.starts_with(&kind.magic()) || checksum(&bytes[..60]) != u32::from_le_bytes(field(bytes, 60)) {
            return None;
        }
        Some(IndexHeader {
            version: u32::from_le_bytes(field(bytes, 8)),
            generation: u32::from_le_bytes(field(bytes, 12)),
            base: u64::from_le_bytes(field(bytes, 16)),
            end: u64::from_le_bytes(field(bytes, 24)),
            partitions: u32::from_le_bytes(field(bytes, 32)),
            state_bytes: u32::from_le_bytes(field(bytes, 36)),
            entries: u64::from_le_bytes(field(bytes, 40)),
            directory_crc: u32::from_le_bytes(field(bytes, 48)),
            entries_crc: u32::from_le_bytes(field(bytes, 52)),
            state_crc: u32::from_le_bytes(field(bytes, 56)),
        })
    }

    fn directory_end(&self) -> Option<usize> {
        (self.partitions as usize).checked_mul(DIRECTORY_RECORD_BYTES)?.checked_add(INDEX_HEADER_BYTES)
    }

    fn entries_end(&self) -> Option<usize> {
        usize::try_from(self.entries).ok()?.checked_mul(ENTRY_BYTES)?.checked_add(self.directory_end()?)
    }
}

/// An index as it lies in memory or in a mapping: checked at the edges once, then read in place.
///
/// [`IndexView::check`] verifies header, directory and state; the entries have a check of their own because
/// they are by far the largest part.
#[derive(Clone, Copy, Debug)]
pub struct IndexView<'a> {
    pub header: IndexHeader,
    directory: &'a [u8],
    entries: &'a [u8],
    state: &'a [u8],
}

/// Why a file is not an index that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexProblem {
    Header,
    NewerVersion(u32),
    Length,
    Directory,
    Entries,
    State,
}

impl IndexProblem {
    pub fn describe(self) -> &'static str {
        match self {
            IndexProblem::Header => "header is damaged",
            IndexProblem::NewerVersion(_) => "written by a newer version",
            IndexProblem::Length => "file has the wrong length",
            IndexProblem::Directory => "directory is damaged",
            IndexProblem::Entries => "entries are damaged",
            IndexProblem::State => "state section is damaged",
        }
    }
}

impl<'a> IndexView<'a> {
    /// Splits `bytes` into sections. Checks nothing but the header and the lengths.
    pub fn split(bytes: &'a [u8], kind: IndexKind) -> Result<IndexView<'a>, IndexProblem> {
        let header = IndexHeader::decode(bytes, kind).ok_or(IndexProblem::Header)?;
        if header.version > FORMAT_VERSION {
            return Err(IndexProblem::NewerVersion(header.version));
        }
        let directory_end = header.directory_end().ok_or(IndexProblem::Length)?;
        let entries_end = header.entries_end().ok_or(IndexProblem::Length)?;
        if entries_end.checked_add(header.state_bytes as usize) != Some(bytes.len()) {
            return Err(IndexProblem::Length);
        }
        Ok(IndexView {
            header,
            directory: &bytes[INDEX_HEADER_BYTES..directory_end],
            entries: &bytes[directory_end..entries_end],
            state: &bytes[entries_end..],
        })
    }

    /// Splits `bytes` and verifies all but the entries.
    pub fn check(bytes: &'a [u8], kind: IndexKind) -> Result<IndexView<'a>, IndexProblem> {
        let view = Self::split(bytes, kind)?;
        if !view.directory_is_intact() {
            return Err(IndexProblem::Directory);
        }
        if !view.state_is_intact() {
            return Err(IndexProblem::State);
        }
        Ok(view)
    }

    pub fn directory_is_intact(&self) -> bool {
        checksum(self.directory) == self.header.directory_crc && self.directory_is_sound()
    }

    pub fn state_is_intact(&self) -> bool {
        checksum(self.state) == self.header.state_crc
    }

    /// Runs lie one after the other, partitions ascend: what searches rely on.
    fn directory_is_sound(&self) -> bool {
        let mut next_entry = 0;
        let mut last_partition = None;
        for record in self.records() {
            if record.first_entry != next_entry || last_partition >= Some(record.partition) {
                return false;
            }
            next_entry += u64::from(record.entries);
            last_partition = Some(record.partition);
        }
        next_entry == self.header.entries
    }

    pub fn entries_are_intact(&self) -> bool {
        checksum(self.entries) == self.header.entries_crc
    }

    pub fn state(&self) -> &'a [u8] {
        self.state
    }

    pub fn records(&self) -> impl Iterator<Item = DirectoryRecord> + 'a {
        self.directory.as_chunks::<DIRECTORY_RECORD_BYTES>().0.iter().map(DirectoryRecord::decode)
    }

    /// The record of a partition, if it was known when the index was written.
    pub fn find(&self, partition: u32) -> Option<DirectoryRecord> {
        let records = self.directory.as_chunks::<DIRECTORY_RECORD_BYTES>().0;
        let at = records.binary_search_by_key(&partition, |record| u32::from_le_bytes(field(record, 0))).ok()?;
        Some(DirectoryRecord::decode(&records[at]))
    }

    /// The entries of a run.
    pub fn run(&self, record: &DirectoryRecord) -> Run<'a> {
        let entries = self.entries.as_chunks::<ENTRY_BYTES>().0;
        let first = (record.first_entry as usize).min(entries.len());
        let end = (first + record.entries as usize).min(entries.len());
        Run { entries: &entries[first..end] }
    }
}

/// The entries of one partition in one index, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    entries: &'a [[u8; ENTRY_BYTES]],
}

impl<'a> Run<'a> {
    /// Only the entries that do not reach to an offset.
    pub fn below(self, end: i64) -> Run<'a> {
        let count = self.entries.partition_point(|entry| QueueEntry::decode(entry).last_offset() < end);
        Run { entries: &self.entries[..count] }
    }

    pub fn iter(&self) -> impl Iterator<Item = QueueEntry> + use<'a> {
        self.entries.iter().map(QueueEntry::decode)
    }

    /// Entries from the first that holds or follows `offset`.
    pub fn starting_at(&self, offset: i64) -> impl Iterator<Item = QueueEntry> + use<'a> {
        let at = self.entries.partition_point(|entry| QueueEntry::decode(entry).last_offset() < offset);
        self.entries[at..].iter().map(QueueEntry::decode)
    }
}
