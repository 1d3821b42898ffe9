//! A commit log file that is full, and its queue index: immutable, searched without any lock.

use crate::files::{log_path, queues_path};
use crate::format::index::{DirectoryRecord, IndexKind, IndexProblem, IndexView, QueueEntry};
use crate::map::FileBytes;
use duolog_base::{Disk, DiskFile, OpenMode};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;

pub struct Sealed {
    pub base: u64,
    /// Where the next file begins.
    pub end: u64,
    pub generation: u32,
    pub log: Arc<dyn DiskFile>,
    index: FileBytes,
    /// Whether the entries match their checksum: computed when they are first needed, since they may be many.
    intact: OnceLock<bool>,
}

/// Sealed files, oldest first and without a gap.
pub type SealedFiles = Vec<Arc<Sealed>>;

/// Why a sealed index cannot be used.
#[derive(Debug)]
pub enum SealedProblem {
    Io(io::Error),
    Index(IndexProblem),
}

impl From<io::Error> for SealedProblem {
    fn from(error: io::Error) -> Self {
        SealedProblem::Io(error)
    }
}

impl Sealed {
    /// Opens the index of the file at `base`; `None` if it has none. The file itself is opened unless its handle is given: all who
    /// read a file share one handle, by whose count its last reader is known.
    pub fn open(disk: &dyn Disk, dir: &Path, base: u64, log: Option<Arc<dyn DiskFile>>) -> Result<Option<Sealed>, SealedProblem> {
        let file = match disk.open(&queues_path(dir, base), OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        let index = FileBytes::of_sealed(file.as_ref())?;
        let header = IndexView::check(&index, IndexKind::Sealed).map_err(SealedProblem::Index)?.header;
        if header.base != base || header.end <= base {
            return Err(SealedProblem::Index(IndexProblem::Header));
        }
        let log = match log {
            Some(log) => log,
            None => disk.open(&log_path(dir, base), OpenMode::Read)?,
        };
        Ok(Some(Sealed { base, end: header.end, generation: header.generation, log, index, intact: OnceLock::new() }))
    }

    /// The index with entries that may not have been verified: for its directory and state.
    pub fn index(&self) -> IndexView<'_> {
        IndexView::split(&self.index, IndexKind::Sealed).expect("checked when it was opened, and immutable since")
    }

    /// The index with entries that are known to be intact.
    pub fn intact_index(&self) -> io::Result<IndexView<'_>> {
        let index = self.index();
        if *self.intact.get_or_init(|| index.entries_are_intact()) {
            return Ok(index);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the entries of a queue index are damaged"))
    }

    /// Whether somebody has found the entries damaged.
    pub fn is_damaged(&self) -> bool {
        self.intact.get() == Some(&false)
    }

    /// Where in the file the batch of an entry lies; `None` if the entry points outside.
    pub fn batch_at(&self, entry: &QueueEntry) -> Option<u64> {
        let inside = entry.position >= self.base && entry.end_position() <= self.end;
        inside.then(|| entry.position - self.base + crate::format::frame::FRAME_HEADER_BYTES as u64)
    }

    /// The next offset of a partition when the file was full; 0 if it was not known then.
    fn end_offset(&self, partition: u32) -> i64 {
        self.index().find(partition).map_or(0, |record| record.end_offset)
    }
}

/// The runs of a partition that reach to `offset` or above it, oldest first.
pub fn runs_from(files: &SealedFiles, partition: u32, offset: i64) -> impl Iterator<Item = (&Arc<Sealed>, DirectoryRecord)> {
    // Ends only grow from file to file, so the first file of interest is found by halving.
    let first = files.partition_point(|file| file.end_offset(partition) <= offset);
    files[first..].iter().filter_map(move |file| {
        let record = file.index().find(partition)?;
        (record.entries > 0).then_some((file, record))
    })
}
