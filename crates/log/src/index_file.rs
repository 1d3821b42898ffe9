//! A queue index that is written to its file as its entries come, so that it is never in memory as a whole.
//!
//! Called by housekeeping and recovery. The entries go out in portions behind the room that is left for header and directory, which
//! come last. Until it is finished the file has another name, so that a crash leaves nothing that looks like an index.

use crate::files::Unfinished;
use crate::format::Checksum;
use crate::format::index::{DIRECTORY_RECORD_BYTES, INDEX_HEADER_BYTES, IndexAbout, QueueEntry, Runs};
use duolog_base::Disk;
use std::io::{self, IoSlice};
use std::path::Path;

/// Bytes of entries that are written at once.
const PORTION_BYTES: usize = 256 << 10;

pub struct IndexFile<'a> {
    file: Unfinished<'a>,
    /// Where the entries begin: a matter of the number of partitions.
    front_bytes: usize,
    runs: Runs,
    /// Entries that are not written yet, and where they belong.
    portion: Vec<u8>,
    portion_at: u64,
    entries_crc: Checksum,
    /// The first error; whatever comes after it is of no use.
    written: io::Result<()>,
}

impl<'a> IndexFile<'a> {
    pub fn create(disk: &'a dyn Disk, path: &'a Path, partitions: usize) -> io::Result<IndexFile<'a>> {
        let front_bytes = INDEX_HEADER_BYTES + partitions * DIRECTORY_RECORD_BYTES;
        Ok(IndexFile {
            file: Unfinished::create(disk, path)?,
            front_bytes,
            runs: Runs::default(),
            portion: Vec::new(),
            portion_at: front_bytes as u64,
            entries_crc: Checksum::default(),
            written: Ok(()),
        })
    }

    /// Begins the run of a partition: see [`Runs::begin`].
    pub fn begin(&mut self, partition: u32, end_offset: i64) {
        self.runs.begin(partition, end_offset);
    }

    /// Adds an entry to the run last begun.
    pub fn push(&mut self, entry: &QueueEntry) {
        self.runs.add(entry);
        self.portion.extend_from_slice(&entry.encode());
        if self.portion.len() >= PORTION_BYTES {
            self.write_portion();
        }
    }

    fn write_portion(&mut self) {
        self.entries_crc.add(&self.portion);
        if self.written.is_ok() {
            self.written = self.file.write_at(&[IoSlice::new(&self.portion)], self.portion_at);
        }
        self.portion_at += self.portion.len() as u64;
        self.portion.clear();
    }

    /// Completes the index and gives it its name, durably. Says what went wrong on the way, too.
    pub fn finish(mut self, dir: &Path, about: IndexAbout, state: &[u8]) -> io::Result<()> {
        self.write_portion();
        let front = self.runs.front(about, self.entries_crc.value(), state);
        assert_eq!(front.len(), self.front_bytes, "as many runs are begun as there was room left for");
        let IndexFile { file, portion_at, written, .. } = self;
        let written = written
            .and_then(|()| file.write_at(&[IoSlice::new(state)], portion_at))
            .and_then(|()| file.write_at(&[IoSlice::new(&front)], 0));
        file.finish(dir, written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::read_whole;
    use crate::format::index::{IndexBuilder, IndexKind};
    use duolog_base::OpenMode;
    use duolog_sim::SimDisk;

    /// More than one portion.
    const ENTRIES: u64 = 10_000;

    fn entry(at: u64) -> QueueEntry {
        QueueEntry {
            base_offset: at as i64,
            position: 100 * at,
            max_timestamp: 1000 + at as i64,
            tag_filter: at,
            batch_bytes: 32,
            last_offset_delta: 0,
        }
    }

    #[test]
    fn an_index_that_is_written_in_portions_is_the_same_as_one_that_is_gathered() {
        let disk = SimDisk::new(1);
        let (dir, path) = (Path::new("/data"), Path::new("/data/index"));
        disk.create_dir_all(dir).unwrap();
        let mut gathered = IndexBuilder::default();
        let mut file = IndexFile::create(&disk, path, 3).unwrap();
        for partition in 0..3 {
            gathered.begin(partition, ENTRIES as i64);
            file.begin(partition, ENTRIES as i64);
            for at in (0..ENTRIES).filter(|_| partition != 1) {
                gathered.push(&entry(at));
                file.push(&entry(at));
            }
        }
        let about = IndexAbout { kind: IndexKind::Sealed, generation: 7, base: 0, end: 100 * ENTRIES };
        assert!(disk.open(path, OpenMode::Read).is_err(), "it has its name only when it is whole");
        file.finish(dir, about, b"state").unwrap();
        let written = read_whole(disk.open(path, OpenMode::Read).unwrap().as_ref()).unwrap();
        let gathered = gathered.finish(about.kind, about.generation, about.base, about.end, b"state").concat();
        assert!(written == gathered);
    }
}
