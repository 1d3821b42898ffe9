//! An index on its way to its bytes: runs are begun in ascending order of the partition number, entries added to the last one begun.
//!
//! The directory stands in front of the entries but is complete only behind them. Whoever writes entries out as they come knows the
//! number of partitions and leaves room ([`Runs`]); whoever does not, gathers them in memory ([`IndexBuilder`]).

use super::index::{DirectoryRecord, IndexHeader, IndexKind, QueueEntry};
use super::{FORMAT_VERSION, checksum};

/// What an index is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexAbout {
    pub kind: IndexKind,
    pub generation: u32,
    pub base: u64,
    pub end: u64,
}

/// The directory of an index whose entries are kept or written elsewhere.
#[derive(Debug, Default)]
pub struct Runs {
    directory: Vec<u8>,
    partitions: u32,
    entries: u64,
    open: Option<DirectoryRecord>,
}

impl Runs {
    /// Begins the run of a partition whose next offset (at the position the index reflects) is `end_offset`.
    pub fn begin(&mut self, partition: u32, end_offset: i64) {
        self.finish_run();
        self.open = Some(DirectoryRecord {
            partition,
            entries: 0,
            first_entry: self.entries,
            base_offset: end_offset,
            end_offset,
            max_timestamp: -1,
            bytes: 0,
        });
    }

    /// Counts an entry of the run last begun.
    pub fn add(&mut self, entry: &QueueEntry) {
        let record = self.open.as_mut().expect("a run is begun before entries are added");
        if record.entries == 0 {
            record.base_offset = entry.base_offset;
        }
        record.entries += 1;
        record.max_timestamp = record.max_timestamp.max(entry.max_timestamp);
        record.bytes += u64::from(entry.batch_bytes);
        self.entries += 1;
    }

    fn finish_run(&mut self) {
        if let Some(record) = self.open.take() {
            self.directory.extend_from_slice(&record.encode());
            self.partitions += 1;
        }
    }

    /// What stands in front of the entries: the header and the directory.
    pub fn front(mut self, about: IndexAbout, entries_crc: u32, state: &[u8]) -> Vec<u8> {
        self.finish_run();
        let header = IndexHeader {
            version: FORMAT_VERSION,
            generation: about.generation,
            base: about.base,
            end: about.end,
            partitions: self.partitions,
            state_bytes: state.len() as u32,
            entries: self.entries,
            directory_crc: checksum(&self.directory),
            entries_crc,
            state_crc: checksum(state),
        };
        let mut front = header.encode(about.kind).to_vec();
        front.append(&mut self.directory);
        front
    }
}

/// Gathers runs with their entries in memory.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    runs: Runs,
    entries: Vec<u8>,
}

impl IndexBuilder {
    /// See [`Runs::begin`].
    pub fn begin(&mut self, partition: u32, end_offset: i64) {
        self.runs.begin(partition, end_offset);
    }

    /// Adds an entry to the run last begun.
    pub fn push(&mut self, entry: &QueueEntry) {
        self.runs.add(entry);
        self.entries.extend_from_slice(&entry.encode());
    }

    /// Header with directory, entries and state, to be written one after the other.
    pub fn finish(self, kind: IndexKind, generation: u32, base: u64, end: u64, state: &[u8]) -> [Vec<u8>; 3] {
        let front = self.runs.front(IndexAbout { kind, generation, base, end }, checksum(&self.entries), state);
        [front, self.entries, state.to_vec()]
    }
}
