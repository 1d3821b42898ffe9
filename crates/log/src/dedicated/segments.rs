//! Sealed segments as readers see them: an open log file and its two indexes, checked, kept open within a limit.
//!
//! An index whose checksum is not the one in the manifest is built again from the log file. A log file that does not have the length
//! it was sealed with is not read at all.

use super::cursor::{Headers, damaged};
use super::files::replace;
use super::format::checksum;
use super::format::indexes::{OffsetEntry, OffsetIndex, TimeIndex};
use super::format::manifest::SegmentRecord;
use super::growing::Growing;
use super::names::SegmentFile;
use crate::files::remove_if_there;
use crate::map::FileBytes;
use duolog_base::{Disk, DiskFile, OpenMode, PartitionNumber, TimestampMs};
use duolog_wire::record::BatchHeader;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Sealed segments that are kept open at once.
pub const MAX_OPEN_SEGMENTS: usize = 256;

/// An open segment.
pub struct Segment {
    pub record: SegmentRecord,
    pub log: Arc<dyn DiskFile>,
    offsets: FileBytes,
    times: FileBytes,
}

impl Segment {
    pub fn open(disk: &dyn Disk, dir: &Path, record: SegmentRecord, interval_bytes: u32) -> io::Result<Segment> {
        let log = disk.open(&SegmentFile::Log.path(dir, record.base), OpenMode::Read)?;
        if log.length()? != record.bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a segment does not have the length it was sealed with"));
        }
        let index = |kind: SegmentFile, crc: u32| {
            let file = disk.open(&kind.path(dir, record.base), OpenMode::Read).ok()?;
            FileBytes::of_sealed(file.as_ref()).ok().filter(|bytes| checksum(bytes) == crc)
        };
        let offsets = index(SegmentFile::OffsetIndex, record.offset_crc);
        let times = index(SegmentFile::TimeIndex, record.time_crc);
        if let (Some(offsets), Some(times)) = (offsets, times) {
            return Ok(Segment { record, log, offsets, times });
        }
        tracing::warn!(dir = %dir.display(), base = record.base, "the indexes of a segment are damaged and built again");
        let built = rebuild(log.as_ref(), &record, interval_bytes)?;
        for (kind, bytes) in [(SegmentFile::OffsetIndex, &built.offsets), (SegmentFile::TimeIndex, &built.times)] {
            // What is in memory serves as well; the file is tried again when the segment is opened next.
            if let Err(error) = replace(disk, &kind.path(dir, record.base), bytes) {
                tracing::warn!(%error, "an index that was built again is not written");
            }
        }
        let Growing { offsets, times, .. } = built;
        Ok(Segment { record, log, offsets: FileBytes::Copied(offsets), times: FileBytes::Copied(times) })
    }

    pub fn offset_index(&self) -> OffsetIndex<'_> {
        OffsetIndex::new(self.record.base, &self.offsets)
    }

    pub fn time_index(&self) -> TimeIndex<'_> {
        TimeIndex::new(self.record.base, &self.times)
    }
}

/// The indexes of a segment, from the headers of its batches.
fn rebuild(log: &dyn DiskFile, record: &SegmentRecord, interval_bytes: u32) -> io::Result<Growing> {
    let mut growing = Growing::new(record.base, TimestampMs::NONE);
    let mut headers = Headers::new(log, 0, record.bytes);
    while let Some((header, _)) = headers.next()? {
        growing.take(&header, interval_bytes);
    }
    growing.finish();
    Ok(growing)
}

/// The batch an index entry points to; an error if it is another one.
pub fn entry_batch(log: &dyn DiskFile, entry: OffsetEntry, end: u64) -> io::Result<BatchHeader> {
    match Headers::new(log, entry.position.into(), end).next()? {
        Some((header, _)) if header.last_offset().0 == entry.offset => Ok(header),
        _ => Err(damaged()),
    }
}

/// Open segments, the least recently used of which give way.
#[derive(Default)]
pub struct OpenSegments {
    inner: Mutex<Inner>,
    /// Held while the files of segments change their names, so that nobody opens files of two segments as one.
    names: RwLock<()>,
}

#[derive(Default)]
struct Inner {
    segments: HashMap<(PartitionNumber, i64), (Arc<Segment>, u64)>,
    uses: u64,
}

impl OpenSegments {
    pub fn get(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        partition: PartitionNumber,
        record: SegmentRecord,
        interval_bytes: u32,
    ) -> io::Result<Arc<Segment>> {
        let key = (partition, record.base);
        // One that was compacted since has another record.
        if let Some(found) = self.inner.lock().touch(key).filter(|found| found.record == record) {
            return Ok(found);
        }
        let _names = self.names.read();
        // Opened without the lock; two that open the same segment at once do no harm.
        let segment = Arc::new(Segment::open(disk, dir, record, interval_bytes)?);
        let evicted = {
            let mut inner = self.inner.lock();
            let evicted = inner.make_room();
            let uses = inner.uses;
            inner.segments.insert(key, (segment.clone(), uses));
            evicted
        };
        drop(evicted);
        Ok(segment)
    }

    /// Waits until nobody opens a segment, and lets nobody.
    pub fn renaming(&self) -> RwLockWriteGuard<'_, ()> {
        self.names.write()
    }

    /// Forgets the segments of a partition below an offset.
    pub fn forget(&self, partition: PartitionNumber, below: i64) {
        self.inner.lock().segments.retain(|(number, base), _| *number != partition || *base >= below);
    }

    pub fn count(&self) -> usize {
        self.inner.lock().segments.len()
    }
}

impl Inner {
    fn touch(&mut self, key: (PartitionNumber, i64)) -> Option<Arc<Segment>> {
        self.uses += 1;
        let uses = self.uses;
        self.segments.get_mut(&key).map(|(segment, used)| {
            *used = uses;
            segment.clone()
        })
    }

    fn make_room(&mut self) -> Option<(Arc<Segment>, u64)> {
        if self.segments.len() < MAX_OPEN_SEGMENTS {
            return None;
        }
        let oldest = self.segments.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)?;
        self.segments.remove(&oldest)
    }
}

/// Removes the files of a segment. The log goes last: without it the others mean nothing, with it they are built again.
pub fn remove_segment(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<()> {
    SegmentFile::ALL.iter().rev().try_for_each(|kind| remove_if_there(disk, &kind.path(dir, base)))
}
