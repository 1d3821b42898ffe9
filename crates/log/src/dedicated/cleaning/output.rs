//! A new segment while it is written, from the segments whose place it takes.
//!
//! Its files end in `.cleaned` until it is complete and durable.

use super::swap::{CLEANED, suffixed};
use super::{Budget, Problem};
use crate::clean::{Cleaned, Cleaner};
use crate::dedicated::cursor::{Batches, Found};
use crate::dedicated::files::create;
use crate::dedicated::format::manifest::SegmentRecord;
use crate::dedicated::format::transactions::AbortedTransaction;
use crate::dedicated::growing::Growing;
use crate::dedicated::names::SegmentFile;
use crate::files::remove_if_there;
use duolog_base::{Disk, DiskFile, Offset, OpenMode, TimestampMs};
use duolog_wire::record::BatchHeader;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// Bytes written at once, unless a batch is larger.
const PORTION_BYTES: usize = 1 << 20;

pub struct Output {
    pub sources: Vec<SegmentRecord>,
    /// The source that is read.
    at: usize,
    reader: Option<Batches>,
    sink: Sink,
    /// Something goes or is written anew.
    changed: bool,
}

/// Where batches go to.
struct Sink {
    file: Arc<dyn DiskFile>,
    growing: Growing,
    buffer: Vec<u8>,
    written: u64,
    interval_bytes: u32,
}

impl Output {
    pub fn begin(disk: &dyn Disk, dir: &Path, sources: Vec<SegmentRecord>, interval_bytes: u32) -> io::Result<Output> {
        let base = sources[0].base;
        let file = create(disk, &cleaned_path(SegmentFile::Log, dir, base), &[])?;
        let growing = Growing::new(base, TimestampMs::NONE);
        let sink = Sink { file, growing, buffer: Vec::new(), written: 0, interval_bytes };
        Ok(Output { sources, at: 0, reader: None, sink, changed: false })
    }

    pub fn base(&self) -> i64 {
        self.sources[0].base
    }

    /// Next offset after the last source.
    pub fn end(&self) -> i64 {
        self.sources.last().map_or(0, |last| last.end)
    }

    /// Whether it would be the same as the only segment it is made of.
    pub fn is_idle(&self) -> bool {
        !self.changed && self.sources.len() == 1
    }

    /// Goes on as far as the budget reaches; true when all sources are done.
    pub fn copy(&mut self, disk: &dyn Disk, dir: &Path, cleaner: &mut Cleaner<'_>, budget: &mut Budget) -> Result<bool, Problem> {
        while let Some(source) = self.sources.get(self.at) {
            if budget.is_spent() {
                // So that little is left to be synced in the step that ends it.
                self.sink.flush()?;
                self.sink.file.sync_data()?;
                return Ok(false);
            }
            let reader = match &mut self.reader {
                Some(reader) => reader,
                none => none.insert(open_source(disk, dir, source)?),
            };
            match reader.next(Offset(source.base))? {
                Found::Damage => return Err(Problem::Damaged),
                Found::End => {
                    self.reader = None;
                    self.at += 1;
                }
                Found::Batch(header, batch) => {
                    budget.spend(batch.len() as u64);
                    // The checksum of a batch does not cover its offset.
                    if header.base_offset.0 < self.sink.growing.end || header.next_offset().0 > source.end {
                        return Err(Problem::Damaged);
                    }
                    match cleaner.clean(batch).map_err(|_| Problem::Damaged)? {
                        Cleaned::Keep => self.sink.push(&header, batch)?,
                        Cleaned::Drop => self.changed = true,
                        Cleaned::Replace(batch) => {
                            self.changed = true;
                            let header = BatchHeader::parse(&batch).map_err(|_| Problem::Damaged)?;
                            self.sink.push(&header, &batch)?;
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    /// Makes the segment complete and durable, under its unfinished names; what the manifest is to say of it.
    pub fn finish(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        aborted: impl IntoIterator<Item = AbortedTransaction>,
    ) -> io::Result<SegmentRecord> {
        self.sink.flush()?;
        self.sink.file.sync_data()?;
        let growing = &mut self.sink.growing;
        growing.finish();
        aborted.into_iter().for_each(|aborted| growing.take_aborted(aborted));
        let record = growing.record();
        let index = |kind: SegmentFile, bytes: &[u8]| create(disk, &cleaned_path(kind, dir, record.base), bytes)?.sync_data();
        index(SegmentFile::OffsetIndex, &growing.offsets)?;
        index(SegmentFile::TimeIndex, &growing.times)?;
        if !growing.aborted.is_empty() {
            index(SegmentFile::TransactionIndex, &growing.aborted)?;
        }
        disk.sync_dir(dir)?;
        if record.max_timestamp >= 0 {
            return Ok(record);
        }
        // No record is left: it keeps the age of what was in it, by which it is given up one day, and its offsets if it is empty.
        let max_timestamp = self.sources.iter().map(|source| source.max_timestamp).max().unwrap_or(record.max_timestamp);
        let first_timestamp = self.sources[0].first_timestamp;
        let end = if record.bytes == 0 { self.end() } else { record.end };
        Ok(SegmentRecord { end, first_timestamp, max_timestamp, ..record })
    }

    pub fn discard(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        SegmentFile::ALL.iter().try_for_each(|kind| remove_if_there(disk, &cleaned_path(*kind, dir, self.base())))
    }
}

impl Sink {
    fn push(&mut self, header: &BatchHeader, batch: &[u8]) -> io::Result<()> {
        self.growing.take(header, self.interval_bytes);
        self.buffer.extend_from_slice(batch);
        if self.buffer.len() >= PORTION_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_at(&[IoSlice::new(&self.buffer)], self.written)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// The batches of a segment that has the length it was sealed with.
pub fn open_source(disk: &dyn Disk, dir: &Path, source: &SegmentRecord) -> Result<Batches, Problem> {
    let batches = Batches::new(disk.open(&SegmentFile::Log.path(dir, source.base), OpenMode::Read)?)?;
    if batches.length() == source.bytes { Ok(batches) } else { Err(Problem::Damaged) }
}

fn cleaned_path(kind: SegmentFile, dir: &Path, base: i64) -> std::path::PathBuf {
    suffixed(kind.path(dir, base), CLEANED)
}
