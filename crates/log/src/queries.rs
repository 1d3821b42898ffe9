//! Questions about a partition other than its bytes: by time, by epoch, its producers.

use crate::format::index::{DirectoryRecord, QueueEntry};
use crate::log::Log;
use crate::producer::Admission;
use crate::read::readable;
use crate::sealed::{Sealed, SealedFiles, runs_from};
use crate::{AppendError, BatchLocation, EpochEnd, ProducerSnapshot, ReadError};
use duolog_base::{LeaderEpoch, Offset, PartitionNumber, TimestampMs};
use duolog_wire::record::BatchHeader;
use std::sync::Arc;

/// Unsealed entries looked at in one go under the lock.
const CHUNK_ENTRIES: usize = 4096;

/// A walk over all batches of a partition in order of their offsets, a run or a chunk at a time.
pub(crate) struct Walk<'a> {
    log: &'a Log,
    partition: PartitionNumber,
    /// Next offset to look at.
    pub cursor: i64,
    searched: Option<Arc<SealedFiles>>,
}

/// What the walk comes across.
pub(crate) enum Stretch {
    /// Runs of sealed files, oldest first.
    Sealed(Vec<(Arc<Sealed>, DirectoryRecord)>),
    /// Entries that are not sealed yet, never empty.
    Unsealed(Vec<QueueEntry>),
    End,
}

impl<'a> Walk<'a> {
    pub fn new(log: &'a Log, partition: PartitionNumber, from: i64) -> Walk<'a> {
        Walk { log, partition, cursor: from, searched: None }
    }

    /// The next stretch; moves the cursor behind it.
    pub fn next(&mut self) -> Result<Stretch, ReadError> {
        let (sealed, cuts) = {
            let state = self.log.state.lock();
            let Some(known) = state.partitions.get(&self.partition) else {
                return Err(ReadError::UnknownPartition(self.partition));
            };
            let sealed = self.log.sealed.load_full();
            let in_sealed = self.cursor < known.first_unsealed().unwrap_or(known.next_offset());
            if !in_sealed || self.searched.as_ref().is_some_and(|before| Arc::ptr_eq(before, &sealed)) {
                let chunk: Vec<QueueEntry> = known.unsealed_from(self.cursor).take(CHUNK_ENTRIES).copied().collect();
                let Some(last) = chunk.last() else { return Ok(Stretch::End) };
                self.cursor = last.last_offset() + 1;
                return Ok(Stretch::Unsealed(chunk));
            }
            (sealed, known.cuts().clone())
        };
        let runs: Vec<_> =
            runs_from(&sealed, self.partition.0, self.cursor, &cuts).map(|(file, record)| (file.clone(), record)).collect();
        if let Some((_, last)) = runs.last() {
            self.cursor = last.end_offset;
        }
        self.searched = Some(sealed);
        Ok(Stretch::Sealed(runs))
    }
}

impl Log {
    /// The first batch at or after `from` and the log start (and before `upto`) whose max timestamp is at least `timestamp`.
    pub fn find_by_time(
        &self,
        partition: PartitionNumber,
        timestamp: TimestampMs,
        from: Offset,
        upto: Offset,
    ) -> Result<Option<BatchLocation>, ReadError> {
        let start = self.readable_start(partition)?.max(from.0);
        let wanted = |entry: &QueueEntry| entry.max_timestamp >= timestamp.0 || entry.last_offset() >= upto.0;
        let mut walk = Walk::new(self, partition, start);
        let found = loop {
            match walk.next()? {
                Stretch::Sealed(runs) => {
                    let mut found = None;
                    for (file, record) in &runs {
                        if record.max_timestamp < timestamp.0 && record.end_offset <= upto.0 {
                            continue;
                        }
                        let mut entries = file.run_entries(record, start).map_err(|error| self.read_failed(error))?;
                        found = entries.find(wanted);
                        if found.is_some() {
                            break;
                        }
                    }
                    if found.is_some() {
                        break found;
                    }
                }
                Stretch::Unsealed(entries) => {
                    if let Some(entry) = entries.into_iter().find(wanted) {
                        break Some(entry);
                    }
                }
                Stretch::End => break None,
            }
        };
        Ok(found.filter(|entry| entry.last_offset() < upto.0).map(|entry| self.locate(partition, &entry)))
    }

    /// The batch with the largest max timestamp before `upto`, the first of several.
    pub fn find_max_timestamp(&self, partition: PartitionNumber, upto: Offset) -> Result<Option<BatchLocation>, ReadError> {
        let start = self.readable_start(partition)?;
        let mut best: Option<QueueEntry> = None;
        let mut consider = |entry: QueueEntry| {
            let better = best.is_none_or(|best| entry.max_timestamp > best.max_timestamp);
            if better && entry.last_offset() < upto.0 {
                best = Some(entry);
            }
            best.map_or(i64::MIN, |best| best.max_timestamp)
        };
        let mut walk = Walk::new(self, partition, start);
        let mut largest = i64::MIN;
        loop {
            match walk.next()? {
                Stretch::Sealed(runs) => {
                    for (file, record) in runs.iter().filter(|(_, record)| record.base_offset < upto.0) {
                        if record.max_timestamp > largest {
                            for entry in file.run_entries(record, start).map_err(|error| self.read_failed(error))? {
                                largest = consider(entry);
                            }
                        }
                    }
                }
                Stretch::Unsealed(entries) => entries.into_iter().for_each(|entry| largest = consider(entry)),
                Stretch::End => return Ok(best.map(|entry| self.locate(partition, &entry))),
            }
        }
    }

    fn readable_start(&self, partition: PartitionNumber) -> Result<i64, ReadError> {
        let state = self.state.lock();
        let start = state.partitions.get(&partition).map_or(0, |known| known.log_start());
        readable(&state, partition, Offset(start)).map(|_| start)
    }

    fn locate(&self, partition: PartitionNumber, entry: &QueueEntry) -> BatchLocation {
        BatchLocation {
            base_offset: Offset(entry.base_offset),
            last_offset: Offset(entry.last_offset()),
            max_timestamp: TimestampMs(entry.max_timestamp),
            leader_epoch: self.epoch_at(partition, Offset(entry.base_offset)).unwrap_or(LeaderEpoch::NONE),
        }
    }

    /// The newest epoch not above the one asked, and where it ends: at the end of the log if it is the newest. If all are above, the
    /// one asked itself, ended where the first begins. `None` if none is known.
    pub fn epoch_end(&self, partition: PartitionNumber, epoch: LeaderEpoch) -> Result<Option<EpochEnd>, ReadError> {
        let state = self.state.lock();
        let known = state.partitions.get(&partition).ok_or(ReadError::UnknownPartition(partition))?;
        Ok(known.epoch_end(epoch))
    }

    /// Epoch of the batch that holds `offset` (or of the newest leader, for the end offset).
    pub fn epoch_at(&self, partition: PartitionNumber, offset: Offset) -> Option<LeaderEpoch> {
        self.state.lock().partitions.get(&partition)?.epoch_at(offset.0)
    }

    /// Partitions the log holds frames of or was told of; core drops those that the metadata no longer knows.
    pub fn partitions(&self) -> Vec<PartitionNumber> {
        let mut numbers: Vec<_> = self.state.lock().partitions.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// The idempotent producers of a partition, in ascending order of their ids.
    pub fn producers(&self, partition: PartitionNumber) -> Vec<ProducerSnapshot> {
        let state = self.state.lock();
        let Some(known) = state.partitions.get(&partition) else { return Vec::new() };
        let snapshot = |(id, producer): (_, &crate::producer::ProducerState)| ProducerSnapshot {
            id,
            epoch: producer.epoch,
            last_sequence: producer.last_sequence(),
            last_timestamp: producer.last_append,
        };
        known.producers().sorted().into_iter().map(snapshot).collect()
    }

    /// Where a repeated batch lies; `None` for one that is new. An error if it would be refused for its place in the sequence of its producer.
    pub fn find_repeated(&self, partition: PartitionNumber, header: &BatchHeader) -> Result<Option<Offset>, AppendError> {
        let state = self.state.lock();
        let known = state.partitions.get(&partition).ok_or(AppendError::UnknownPartition(partition))?;
        known.producers().check(header).map(Admission::repeated)
    }

    /// Forgets idempotent producers that have not written for `max_idle_ms`.
    pub fn expire_producers(&self, now: TimestampMs, max_idle_ms: i64) {
        let before = TimestampMs(now.0.saturating_sub(max_idle_ms));
        for partition in self.state.lock().partitions.values_mut() {
            partition.producers_mut().expire(before);
        }
    }
}
