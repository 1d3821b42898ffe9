//! A commit log file that is full, and its queue index: immutable, searched without any lock.
//!
//! Its frames lie in the order they arrived in, with the index in a file of its own, or tidied: in order of partition and offset,
//! with the index behind them. Readers need not know which.

use crate::cuts::Cuts;
use crate::files::{log_path, queues_path, tidied_path};
use crate::format::FORMAT_VERSION;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::index::{DirectoryRecord, IndexKind, IndexProblem, IndexView, QueueEntry};
use crate::format::tidied::{TIDIED_END_BYTES, TidiedEnd};
use crate::map::FileBytes;
use duolog_base::{Disk, DiskFile, OpenMode};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;

pub struct Sealed {
    pub base: u64,
    /// Where the next file begins.
    pub end: u64,
    pub generation: u32,
    pub log: Arc<dyn DiskFile>,
    /// Bytes from the beginning of the file to the end of its last frame.
    pub frames_bytes: u64,
    /// `Sealed` or `Tidied`.
    kind: IndexKind,
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
        let (end, generation) = checked(&index, IndexKind::Sealed, base)?;
        let log = match log {
            Some(log) => log,
            None => disk.open(&log_path(dir, base), OpenMode::Read)?,
        };
        let frames_bytes = end - base;
        let intact = OnceLock::new();
        Ok(Some(Sealed { base, end, generation, log, frames_bytes, kind: IndexKind::Sealed, index, intact }))
    }

    /// Opens a tidied file.
    pub fn open_tidied(disk: &dyn Disk, dir: &Path, base: u64) -> Result<Sealed, SealedProblem> {
        let log = disk.open(&tidied_path(dir, base), OpenMode::Read)?;
        let damaged = || SealedProblem::Index(IndexProblem::Length);
        let end_at = log.length()?.checked_sub(TIDIED_END_BYTES as u64).ok_or_else(damaged)?;
        let mut end = [0; TIDIED_END_BYTES];
        log.read_exact_at(&mut end, end_at)?;
        let end = TidiedEnd::decode(&end).ok_or_else(damaged)?;
        if end.version > FORMAT_VERSION {
            return Err(SealedProblem::Index(IndexProblem::NewerVersion(end.version)));
        }
        if end.index_at > end_at {
            return Err(damaged());
        }
        let index = FileBytes::of_part(log.as_ref(), end.index_at..end_at)?;
        let frames_bytes = end.index_at;
        let (end, generation) = checked(&index, IndexKind::Tidied, base)?;
        let intact = OnceLock::new();
        Ok(Sealed { base, end, generation, log, frames_bytes, kind: IndexKind::Tidied, index, intact })
    }

    pub fn is_tidied(&self) -> bool {
        self.kind == IndexKind::Tidied
    }

    /// The file with its frames.
    pub fn path(&self, dir: &Path) -> PathBuf {
        if self.is_tidied() { tidied_path(dir, self.base) } else { log_path(dir, self.base) }
    }

    /// The files it consists of.
    pub fn paths(&self, dir: &Path) -> Vec<PathBuf> {
        match self.is_tidied() {
            true => vec![self.path(dir)],
            false => vec![self.path(dir), queues_path(dir, self.base)],
        }
    }

    /// The index with entries that may not have been verified: for its directory and state.
    pub fn index(&self) -> IndexView<'_> {
        IndexView::split(&self.index, self.kind).expect("checked when it was opened, and immutable since")
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
        let inside = entry.position >= self.base && entry.end_position() - self.base <= self.frames_bytes;
        inside.then(|| entry.position - self.base + FRAME_HEADER_BYTES as u64)
    }

    /// The run of a partition, as far as no truncation behind the file has cut it: ended where that did. Its other fields are those of the
    /// whole run.
    pub fn live_run(&self, partition: u32, cuts: &Cuts) -> Option<DirectoryRecord> {
        let record = self.index().find(partition)?;
        let end_offset = record.end_offset.min(cuts.end_for(self.end));
        Some(DirectoryRecord { end_offset, ..record }).filter(|record| record.entries > 0 && record.base_offset < end_offset)
    }

    /// The entries of a run up to its end, from the first that holds or follows `offset`.
    pub fn run_entries(&self, run: &DirectoryRecord, offset: i64) -> io::Result<impl Iterator<Item = QueueEntry>> {
        Ok(self.intact_index()?.run(run).below(run.end_offset).starting_at(offset))
    }

    /// Whether the run is not all of what the file has of its partition.
    pub fn is_cut(&self, run: &DirectoryRecord) -> bool {
        self.index().find(run.partition).is_none_or(|whole| whole.end_offset > run.end_offset)
    }

    /// The next offset of a partition when the file was full, as far as it was not cut since; 0 if it was not known then.
    fn end_offset(&self, partition: u32, cuts: &Cuts) -> i64 {
        self.index().find(partition).map_or(0, |record| record.end_offset.min(cuts.end_for(self.end)))
    }
}

/// End and generation of an index of which all but the entries was checked.
fn checked(bytes: &[u8], kind: IndexKind, base: u64) -> Result<(u64, u32), SealedProblem> {
    let header = IndexView::check(bytes, kind).map_err(SealedProblem::Index)?.header;
    match header.base == base && header.end > base {
        true => Ok((header.end, header.generation)),
        false => Err(SealedProblem::Index(IndexProblem::Header)),
    }
}

/// The runs of a partition that reach to `offset` or above it, oldest first, each ended where it was cut.
pub fn runs_from<'a>(
    files: &'a SealedFiles,
    partition: u32,
    offset: i64,
    cuts: &'a Cuts,
) -> impl Iterator<Item = (&'a Arc<Sealed>, DirectoryRecord)> {
    // What is left after all truncations only grows from file to file, so the first file of interest is found by halving.
    let first = files.partition_point(|file| file.end_offset(partition, cuts) <= offset);
    files[first..].iter().filter_map(move |file| Some((file, file.live_run(partition, cuts)?)))
}
