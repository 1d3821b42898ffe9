//! Reading: a plan of memory slices, or of one file range, for whole batches of one partition.
//!
//! What is in the tail cache is given from there. Everything else is found by the sparse index of its segment and a look at the
//! headers next to the entry it names: a few reads of some kilobytes, at the beginning and at the end of the range; what lies
//! between is not looked at. An entry is believed only if the batch it points to is the one it names.

use super::cursor::{Headers, damaged};
use super::format::indexes::{OffsetEntry, OffsetIndex};
use super::format::manifest::SegmentRecord;
use super::log::{DedicatedLog, State};
use super::names::{PartitionName, SegmentFile};
use super::partition::Dedicated;
use super::run::StoredRun;
use super::segments::{Segment, entry_batch};
use crate::partition::EpochStart;
use crate::{LogEnds, ReadError, ReadLimits, ReadPart, ReadPlan};
use duolog_base::{DiskFile, Offset, OpenMode, PartitionNumber};
use duolog_wire::record::BatchHeader;
use std::io;
use std::sync::Arc;

/// Batches one plan names at most, if they are in memory.
const MAX_PLAN_BATCHES: usize = 1024;

/// Where to look for an offset in files.
pub(super) enum Place {
    Sealed(Lookup),
    /// A segment whose index grows in memory: the answers of that index, taken under the lock.
    Growing(Lookup, Range),
    /// Nothing is written from there on.
    Nowhere,
}

/// A segment to look into.
pub(super) struct Lookup {
    pub name: Arc<PartitionName>,
    pub interval_bytes: u32,
    /// Its length is what may be read.
    pub record: SegmentRecord,
    pub sealed: bool,
    /// If it is open already.
    pub file: Option<Arc<dyn DiskFile>>,
    /// The record ends where its bytes do: all of the segment is written.
    pub whole: bool,
    /// Leaders of the partition.
    pub epochs: Vec<EpochStart>,
    /// Where the next segment begins, if there is one: offsets up to there are passed over.
    pub next_segment: Option<i64>,
}

impl Lookup {
    /// Where to go on after all of the segment was looked at, up to an offset.
    pub fn next_offset(&self, seen: i64) -> i64 {
        match self.next_segment {
            Some(next) => next.max(self.record.end),
            None if self.sealed => self.record.end,
            None => seen,
        }
    }
}

impl Dedicated {
    /// Whether a segment was compacted since it was looked up.
    pub(super) fn has_changed(&self, lookup: &Lookup) -> bool {
        lookup.sealed && !self.sealed.contains(&lookup.record)
    }
}

/// The index entries around a range: the last at or before its first offset, and the last it may reach to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub first: Option<OffsetEntry>,
    pub last: Option<OffsetEntry>,
}

impl DedicatedLog {
    pub fn ends(&self, partition: PartitionNumber) -> Option<LogEnds> {
        let state = self.state.lock();
        Some(state.partitions.get(&partition)?.log.ends(&state.progress))
    }

    /// Plans a read. Looks at memory and indexes, and at the headers of a few batches in files.
    pub fn read(&self, partition: PartitionNumber, from: Offset, limits: ReadLimits) -> Result<ReadPlan, ReadError> {
        let mut from = from;
        loop {
            let place = {
                let state = self.state.lock();
                let known = readable(&state, partition, from)?;
                if let Some(plan) = plan_memory(&state, known, from, limits) {
                    return Ok(plan);
                }
                place_of(known, from.0, limits)
            };
            let (lookup, plan) = match place {
                Place::Nowhere => return Ok(ReadPlan { next: from, ..ReadPlan::default() }),
                Place::Growing(lookup, range) => {
                    let file = self.log_file(&lookup)?;
                    let plan = plan_file(file, None, &lookup, range, from.0, limits);
                    (lookup, plan)
                }
                Place::Sealed(lookup) => {
                    let plan = self.segment(partition, &lookup).and_then(|segment| {
                        let range = Range::of(&segment.offset_index(), from.0, limits);
                        plan_file(segment.log.clone(), Some(segment), &lookup, range, from.0, limits)
                    });
                    (lookup, plan)
                }
            };
            match plan {
                Ok(Some(plan)) => return Ok(plan),
                // Offsets at the end of a segment may be missing: go on with the next one.
                Ok(None) => match lookup.next_segment {
                    Some(next) if next < limits.upto.0 => from = Offset(next),
                    _ => return Ok(ReadPlan { next: from, ..ReadPlan::default() }),
                },
                Err(error) => {
                    // The segment may have been removed meanwhile, because the log start was raised, or compacted.
                    if readable(&self.state.lock(), partition, from)?.has_changed(&lookup) {
                        continue;
                    }
                    return Err(ReadError::Io(Arc::new(error)));
                }
            }
        }
    }

    pub(super) fn segment(&self, partition: PartitionNumber, lookup: &Lookup) -> io::Result<Arc<super::segments::Segment>> {
        let dir = self.directory(&lookup.name);
        self.segments.get(self.disk.as_ref(), &dir, partition, lookup.record, lookup.interval_bytes)
    }

    /// The log file of a segment that is not sealed.
    pub(super) fn log_file(&self, lookup: &Lookup) -> Result<Arc<dyn DiskFile>, ReadError> {
        if let Some(file) = &lookup.file {
            return Ok(file.clone());
        }
        let path = SegmentFile::Log.path(&self.directory(&lookup.name), lookup.record.base);
        self.disk.open(&path, OpenMode::Read).map_err(|error| ReadError::Io(Arc::new(error)))
    }
}

/// The partition, if it can be read from this offset.
pub(super) fn readable(state: &State, partition: PartitionNumber, from: Offset) -> Result<&Dedicated, ReadError> {
    let known = state.partitions.get(&partition).ok_or(ReadError::UnknownPartition(partition))?;
    if let Some(reason) = &known.quarantine {
        return Err(ReadError::Quarantined(reason.clone()));
    }
    let (start, end) = (Offset(known.log.log_start()), Offset(known.log.next_offset()));
    if from < start || from > end {
        return Err(ReadError::OutOfRange { asked: from, start, end });
    }
    Ok(known)
}

/// A plan from the tail cache; `None` if the first batch wanted is not in it.
fn plan_memory(state: &State, known: &Dedicated, from: Offset, limits: ReadLimits) -> Option<ReadPlan> {
    if known.log.first_unsealed().is_none_or(|first| from.0 < first) {
        return None;
    }
    let mut plan = ReadPlan { next: from, ..ReadPlan::default() };
    for entry in known.log.unsealed_from(from.0).take(MAX_PLAN_BATCHES) {
        let Some(batch) = state.tail.find(entry.position) else { break };
        let fits = plan.bytes + batch.len() <= limits.max_bytes || (plan.parts.is_empty() && limits.at_least_one);
        if !fits || entry.last_offset() >= limits.upto.0 {
            return Some(plan);
        }
        plan.parts.push(ReadPart::Memory(batch.clone()));
        plan.bytes += batch.len();
        plan.next = Offset(entry.last_offset() + 1);
    }
    (!plan.parts.is_empty()).then_some(plan)
}

/// Where the files have an offset, or what follows it.
pub(super) fn place_of(known: &Dedicated, from: i64, limits: ReadLimits) -> Place {
    let lookup = |record: SegmentRecord, sealed, file, next_segment, whole| Lookup {
        sealed,
        whole,
        epochs: known.log.epochs().to_vec(),
        name: known.name.clone(),
        interval_bytes: known.policy.index_interval_bytes,
        record,
        file,
        next_segment,
    };
    let first_unsealed = known.unsealed().next().map(|segment| segment.growing.base);
    if from < known.sealed_end {
        let at = known.sealed.partition_point(|segment| segment.end <= from);
        let next = known.sealed.get(at + 1).map(|segment| segment.base).or(first_unsealed);
        if let Some(record) = known.sealed.get(at) {
            return Place::Sealed(lookup(*record, true, None, next, true));
        }
    }
    let mut unsealed = known.unsealed().skip_while(|segment| segment.growing.end <= from);
    let Some(segment) = unsealed.next() else { return Place::Nowhere };
    if segment.written == 0 {
        return Place::Nowhere;
    }
    let growing = &segment.growing;
    let record = SegmentRecord { bytes: segment.written, ..growing.bounds() };
    let range = Range::of(&growing.offset_index(), from, limits);
    let whole = segment.written == growing.bytes;
    let next = unsealed.next().map(|next| next.growing.base);
    Place::Growing(lookup(record, false, segment.file.clone(), next, whole), range)
}

impl Range {
    /// Looks up both ends. The reach of the second is in bytes from the entry before the first batch, which is near enough.
    pub fn of(index: &OffsetIndex<'_>, from: i64, limits: ReadLimits) -> Range {
        let first = index.last_where(|entry| entry.offset <= from);
        let begin = first.map_or(0, |first| u64::from(first.position));
        let within = |entry: &OffsetEntry| {
            u64::from(entry.position) <= begin.saturating_add(limits.max_bytes as u64) && entry.offset < limits.upto.0
        };
        Range { first, last: index.last_where(within) }
    }
}

/// Plans a range of one segment file; `None` if it has nothing at or above `from`.
fn plan_file(
    file: Arc<dyn DiskFile>,
    segment: Option<Arc<Segment>>,
    lookup: &Lookup,
    range: Range,
    from: i64,
    limits: ReadLimits,
) -> io::Result<Option<ReadPlan>> {
    let end = lookup.record.bytes;
    let mut run = StoredRun {
        segment,
        first: lookup.record.base,
        end_position: end,
        end: lookup.whole.then_some(lookup.record.end),
        epochs: lookup.epochs.clone(),
    };
    let Some((first, begin)) = first_batch(file.as_ref(), &mut run, range.first, from)? else {
        // A sealed segment has all it was sealed with (compaction may leave nothing); of another one the end may not be written yet.
        return if lookup.sealed && end > 0 { Err(damaged()) } else { Ok(None) };
    };
    // The checksum of a batch does not cover its offset.
    if lookup.sealed && first.next_offset().0 > lookup.record.end {
        return Err(damaged());
    }
    let mut plan = ReadPlan { next: Offset(from), ..ReadPlan::default() };
    let first_bytes = first.total_bytes();
    let fits = first_bytes <= limits.max_bytes || limits.at_least_one;
    if !fits || first.last_offset().0 >= limits.upto.0 {
        return Ok(Some(plan));
    }
    plan.next = first.next_offset();
    let mut reach = begin + first_bytes as u64;
    // Straight to the last entry within the limits, then on from there. What is damaged ends the plan.
    if let Some(last) = range.last
        && u64::from(last.position) >= reach
        && u64::from(last.position) - begin <= limits.max_bytes as u64
        && let Some(header) = unless_damaged(entry_batch(file.as_ref(), last, end).map(Some))?
    {
        (reach, plan.next) = (last.position.into(), header.base_offset);
    }
    let mut headers = Headers::new(file.as_ref(), reach, end);
    while let Some((header, position)) = unless_damaged(headers.next())? {
        let next = position + header.total_bytes() as u64;
        if next - begin > limits.max_bytes as u64 || header.last_offset().0 >= limits.upto.0 {
            break;
        }
        (reach, plan.next) = (next, header.next_offset());
    }
    plan.bytes = (reach - begin) as usize;
    let settled = if lookup.sealed { u64::MAX } else { end };
    plan.run = Some(Arc::new(run));
    plan.parts.push(ReadPart::File { file, position: begin, bytes: plan.bytes, settled, frame: None });
    Ok(Some(plan))
}

/// The first batch that reaches to `from`, and where it begins; `run` learns where it should.
fn first_batch(
    file: &dyn DiskFile,
    run: &mut StoredRun,
    entry: Option<OffsetEntry>,
    from: i64,
) -> io::Result<Option<(BatchHeader, u64)>> {
    let mut headers = Headers::new(file, entry.map_or(0, |entry| entry.position.into()), run.end_position);
    let mut entry = entry.map(|entry| entry.offset);
    while let Some((header, position)) = headers.next()? {
        let named = match entry.take() {
            Some(last) => Some(last == header.last_offset().0),
            None => run.is_named(&header, position, run.first),
        };
        if named == Some(false) || header.base_offset.0 < run.first {
            return Err(damaged());
        }
        if header.last_offset().0 >= from {
            if named.is_some() {
                run.first = header.base_offset.0;
            }
            return Ok(Some((header, position)));
        }
        run.first = header.next_offset().0;
    }
    Ok(None)
}

/// Nothing where something else is than a batch.
fn unless_damaged<T>(found: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        found => found,
    }
}

/// The first batch from an index entry on (or from the beginning) of which `wanted` holds, and where it begins.
pub(super) fn find(
    file: &dyn DiskFile,
    from: Option<OffsetEntry>,
    end: u64,
    mut wanted: impl FnMut(&BatchHeader) -> bool,
) -> io::Result<Option<(BatchHeader, u64)>> {
    let mut headers = Headers::new(file, from.map_or(0, |entry| entry.position.into()), end);
    let mut named = from.map(|entry| entry.offset);
    while let Some((header, position)) = headers.next()? {
        if named.take().is_some_and(|named| named != header.last_offset().0) {
            return Err(damaged());
        }
        if wanted(&header) {
            return Ok(Some((header, position)));
        }
    }
    Ok(None)
}
