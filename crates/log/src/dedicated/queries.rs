//! Questions about a partition other than its bytes: by time, by epoch, its producers.

use super::format::indexes::{OffsetEntry, OffsetIndex, TimeIndex};
use super::log::DedicatedLog;
use super::partition::Dedicated;
use super::read::{Lookup, Place, find, place_of, readable};
use crate::format::index::QueueEntry;
use crate::producer::{Admission, ProducerState};
use crate::{AppendError, BatchLocation, EpochEnd, ProducerSnapshot, ReadError, ReadLimits};
use duolog_base::{DiskFile, LeaderEpoch, Offset, PartitionNumber, TimestampMs};
use duolog_wire::record::BatchHeader;
use std::io;
use std::sync::Arc;

/// Entries copied in one go under the lock.
const CHUNK_ENTRIES: usize = 4096;

/// A batch, wherever it was found.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    base_offset: i64,
    last_offset: i64,
    max_timestamp: i64,
}

impl Candidate {
    fn of_header(header: &BatchHeader) -> Candidate {
        let (base_offset, last_offset) = (header.base_offset.0, header.last_offset().0);
        // What compaction has emptied has no record of any time.
        let max_timestamp = if header.record_count > 0 { header.max_timestamp.0 } else { TimestampMs::NONE.0 };
        Candidate { base_offset, last_offset, max_timestamp }
    }

    fn of_entry(entry: &QueueEntry) -> Candidate {
        let (base_offset, last_offset) = (entry.base_offset, entry.last_offset());
        Candidate { base_offset, last_offset, max_timestamp: entry.max_timestamp }
    }
}

/// What a walk over a partition comes across, from old to new.
enum Stretch {
    /// A segment file, from the batch that holds `from` on, and the entries of its two indexes that are of use.
    File { file: Arc<dyn DiskFile>, lookup: Box<Lookup>, hints: Hints },
    /// Batches that are in memory.
    Entries(Vec<Candidate>),
}

/// Index entries taken while the indexes were at hand.
#[derive(Clone, Copy, Default)]
struct Hints {
    /// Where the batch of the first offset is.
    first: Option<OffsetEntry>,
    /// From where on a timestamp is reached, at the earliest.
    time: Option<OffsetEntry>,
    /// The last entry before the upper bound: all before it is summed up by `largest`.
    last: Option<OffsetEntry>,
    /// Last offset of the batch with the largest timestamp up to `last`, and where to look for it.
    largest: Option<(i64, Option<OffsetEntry>)>,
}

impl Hints {
    fn of(offsets: &OffsetIndex<'_>, times: &TimeIndex<'_>, from: i64, timestamp: i64, upto: i64) -> Hints {
        let first = offsets.last_where(|entry| entry.offset <= from);
        let earliest = times.last_where(|entry| entry.timestamp <= timestamp);
        let time = earliest.and_then(|time| offsets.last_where(|entry| entry.offset <= time.offset));
        let last = offsets.last_where(|entry| entry.offset < upto);
        let largest = times.last_where(|entry| last.is_some_and(|last| entry.offset <= last.offset));
        let largest = largest.map(|time| (time.offset, offsets.last_where(|entry| entry.offset <= time.offset)));
        Hints { first, time, last, largest }
    }
}

/// The later of two places to begin at.
fn later(one: Option<OffsetEntry>, other: Option<OffsetEntry>) -> Option<OffsetEntry> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.position >= other.position { one } else { other }),
        (one, other) => one.or(other),
    }
}

impl DedicatedLog {
    /// The first batch at or after `from` and the log start (and before `upto`) whose max timestamp is at least `timestamp`.
    /// Reads headers of batches.
    pub fn find_by_time(
        &self,
        partition: PartitionNumber,
        timestamp: TimestampMs,
        from: Offset,
        upto: Offset,
    ) -> Result<Option<BatchLocation>, ReadError> {
        let start = self.readable_start(partition)?.max(from.0);
        let wanted = |found: &Candidate| found.max_timestamp >= timestamp.0 || found.last_offset >= upto.0;
        let mut cursor = start;
        loop {
            let Some(stretch) = self.stretch(partition, cursor, timestamp.0, upto.0)? else { return Ok(None) };
            let (found, next) = match stretch {
                Stretch::Entries(entries) => {
                    let next = entries.last().map_or(cursor, |last| last.last_offset + 1);
                    (entries.into_iter().find(|entry| wanted(entry)), next)
                }
                Stretch::File { lookup, .. } if lookup.is_older(timestamp, upto) => (None, lookup.next_offset(cursor)),
                Stretch::File { file, lookup, hints } => {
                    let mut seen = cursor;
                    let found = find(file.as_ref(), later(hints.first, hints.time), lookup.record.bytes, |header| {
                        seen = header.next_offset().0;
                        seen > cursor && wanted(&Candidate::of_header(header))
                    });
                    let found = found.map_err(io_error)?.map(|(header, _)| Candidate::of_header(&header));
                    (found, lookup.next_offset(seen))
                }
            };
            if let Some(found) = found {
                return Ok((found.last_offset < upto.0).then(|| self.locate(partition, found)));
            }
            if next <= cursor {
                return Ok(None);
            }
            cursor = next;
        }
    }

    /// The batch with the largest max timestamp before `upto`, the first of several. Reads headers of batches.
    pub fn find_max_timestamp(&self, partition: PartitionNumber, upto: Offset) -> Result<Option<BatchLocation>, ReadError> {
        let start = self.readable_start(partition)?;
        let mut best: Option<Candidate> = None;
        let mut consider = |found: Candidate| {
            let better = best.is_none_or(|best| found.max_timestamp > best.max_timestamp);
            if better && found.last_offset < upto.0 && found.last_offset >= start {
                best = Some(found);
            }
        };
        let mut cursor = start;
        while let Some(stretch) = self.stretch(partition, cursor, i64::MAX, upto.0)? {
            let next = match stretch {
                Stretch::Entries(entries) => {
                    let next = entries.last().map_or(cursor, |last| last.last_offset + 1);
                    entries.into_iter().for_each(&mut consider);
                    next
                }
                Stretch::File { file, lookup, hints } => {
                    let seen = consider_file(file.as_ref(), &lookup, hints, cursor, upto.0, &mut consider);
                    lookup.next_offset(seen.map_err(io_error)?)
                }
            };
            if next <= cursor || next >= upto.0 {
                break;
            }
            cursor = next;
        }
        Ok(best.map(|best| self.locate(partition, best)))
    }

    /// The stretch that holds `from` or what follows it.
    fn stretch(&self, partition: PartitionNumber, from: i64, timestamp: i64, upto: i64) -> Result<Option<Stretch>, ReadError> {
        let limits = ReadLimits { upto: Offset(i64::MAX), max_bytes: 0, at_least_one: true, tags: None };
        let (lookup, hints) = {
            let state = self.state.lock();
            let known = readable(&state, partition, Offset(from))?;
            if known.log.first_unsealed().is_some_and(|first| from >= first) {
                let entries: Vec<Candidate> =
                    known.log.unsealed_from(from).take(CHUNK_ENTRIES).map(Candidate::of_entry).collect();
                return Ok((!entries.is_empty()).then_some(Stretch::Entries(entries)));
            }
            match place_of(known, from, limits) {
                Place::Nowhere => return Ok(None),
                Place::Sealed(lookup) => (lookup, None),
                Place::Growing(lookup, _) => {
                    let hints = growing_hints(known, lookup.record.base, from, timestamp, upto);
                    (lookup, Some(hints))
                }
            }
        };
        let stretch = match hints {
            Some(hints) => Stretch::File { file: self.log_file(&lookup)?, lookup: Box::new(lookup), hints },
            None => {
                let segment = match self.segment(partition, &lookup) {
                    Ok(segment) => segment,
                    Err(_) if readable(&self.state.lock(), partition, Offset(from))?.has_changed(&lookup) => {
                        return self.stretch(partition, from, timestamp, upto);
                    }
                    Err(error) => return Err(io_error(error)),
                };
                let hints = Hints::of(&segment.offset_index(), &segment.time_index(), from, timestamp, upto);
                Stretch::File { file: segment.log.clone(), lookup: Box::new(lookup), hints }
            }
        };
        Ok(Some(stretch))
    }

    fn readable_start(&self, partition: PartitionNumber) -> Result<i64, ReadError> {
        let state = self.state.lock();
        let start = state.partitions.get(&partition).map_or(0, |known| known.log.log_start());
        readable(&state, partition, Offset(start)).map(|_| start)
    }

    fn locate(&self, partition: PartitionNumber, found: Candidate) -> BatchLocation {
        BatchLocation {
            base_offset: Offset(found.base_offset),
            last_offset: Offset(found.last_offset),
            max_timestamp: TimestampMs(found.max_timestamp),
            leader_epoch: self.epoch_at(partition, Offset(found.base_offset)).unwrap_or(LeaderEpoch::NONE),
        }
    }

    /// Where an epoch ends; see [`crate::Log::epoch_end`].
    pub fn epoch_end(&self, partition: PartitionNumber, epoch: LeaderEpoch) -> Result<Option<EpochEnd>, ReadError> {
        let state = self.state.lock();
        let known = state.partitions.get(&partition).ok_or(ReadError::UnknownPartition(partition))?;
        Ok(known.log.epoch_end(epoch))
    }

    /// Epoch of the batch that holds `offset` (or of the newest leader, for the end offset).
    pub fn epoch_at(&self, partition: PartitionNumber, offset: Offset) -> Option<LeaderEpoch> {
        self.state.lock().partitions.get(&partition)?.log.epoch_at(offset.0)
    }

    /// The idempotent producers of a partition, in ascending order of their ids.
    pub fn producers(&self, partition: PartitionNumber) -> Vec<ProducerSnapshot> {
        let state = self.state.lock();
        let Some(known) = state.partitions.get(&partition) else { return Vec::new() };
        let snapshot = |(id, producer): (_, &ProducerState)| ProducerSnapshot {
            id,
            epoch: producer.epoch,
            last_sequence: producer.last_sequence(),
            last_timestamp: producer.last_append,
        };
        known.log.producers().sorted().into_iter().map(snapshot).collect()
    }

    /// See [`crate::Log::find_repeated`].
    pub fn find_repeated(&self, partition: PartitionNumber, header: &BatchHeader) -> Result<Option<Offset>, AppendError> {
        let state = self.state.lock();
        let known = state.partitions.get(&partition).ok_or(AppendError::UnknownPartition(partition))?;
        known.log.producers().check(header).map(Admission::repeated)
    }

    /// Forgets idempotent producers that have not written for `max_idle_ms`.
    pub fn expire_producers(&self, now: TimestampMs, max_idle_ms: i64) {
        let before = TimestampMs(now.0.saturating_sub(max_idle_ms));
        for partition in self.state.lock().partitions.values_mut() {
            partition.log.producers_mut().expire(before);
        }
    }
}

fn growing_hints(known: &Dedicated, base: i64, from: i64, timestamp: i64, upto: i64) -> Hints {
    let segment = known.unsealed().find(|segment| segment.growing.base == base);
    segment.map_or_else(Hints::default, |segment| {
        let growing = &segment.growing;
        // Entries of batches that are not written point behind what may be read.
        let written = growing.offset_index().last_where(|entry| u64::from(entry.position) < segment.written);
        let upto = written.map_or(i64::MIN, |written| upto.min(written.offset.saturating_add(1)));
        Hints::of(&growing.offset_index(), &growing.time_index(), from, timestamp, upto)
    })
}

impl Lookup {
    /// Whether nothing in a sealed segment is as young, and nothing at `upto` or above.
    fn is_older(&self, timestamp: TimestampMs, upto: Offset) -> bool {
        self.sealed && self.record.max_timestamp < timestamp.0 && self.record.end <= upto.0
    }
}

/// Looks at the batches of a file between two offsets; those before the last index entry are summed up by the time index.
/// Answers the offset after the last one seen.
fn consider_file(
    file: &dyn DiskFile,
    lookup: &Lookup,
    hints: Hints,
    from: i64,
    upto: i64,
    consider: &mut impl FnMut(Candidate),
) -> io::Result<i64> {
    let end = lookup.record.bytes;
    let mut begin = hints.first;
    if let (Some((offset, before)), Some(last)) = (hints.largest, hints.last)
        && offset >= from
        && begin.is_none_or(|begin| begin.position < last.position)
    {
        if let Some((header, _)) = find(file, before, end, |header| header.last_offset().0 >= offset)? {
            consider(Candidate::of_header(&header));
        }
        begin = Some(last);
    }
    let mut seen = from;
    find(file, begin, end, |header| {
        let found = Candidate::of_header(header);
        seen = seen.max(found.last_offset + 1);
        if found.last_offset >= from && found.last_offset < upto {
            consider(found);
        }
        found.last_offset >= upto
    })?;
    Ok(seen)
}

fn io_error(error: io::Error) -> ReadError {
    ReadError::Io(Arc::new(error))
}
