//! What the log knows of one partition: offsets, epochs, producers, and the queue entries of files not sealed yet.
//!
//! Plain state without locks or I/O; the log's one mutex guards it, recovery rebuilds it by calling the same methods. The durable and
//! written ends are not stored: they follow from the log's positions and the entries.

use crate::entries::{Entries, GivenUp};
use crate::format::index::QueueEntry;
use crate::producer::Producers;
use crate::progress::Progress;
use crate::{AppendError, EpochEnd, LogEnds, PartitionError};
use duolog_base::{LeaderEpoch, Offset};
use smallvec::SmallVec;

/// Where a leader epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: i32,
    pub start: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Partition {
    next_offset: i64,
    log_start: i64,
    leader_epoch: i32,
    /// Ascending in epoch and in start.
    epochs: SmallVec<[EpochStart; 1]>,
    /// Batches in files that have no sealed index yet, ascending in offset and in position.
    unsealed: Entries,
    /// Bytes of the batches in `unsealed`.
    unsealed_bytes: u64,
    producers: Producers,
    quarantined: bool,
}

impl Partition {
    pub fn restored(next_offset: i64, log_start: i64, leader_epoch: i32) -> Partition {
        Partition { next_offset, log_start, leader_epoch, ..Partition::default() }
    }

    pub fn restore_epoch(&mut self, epoch: EpochStart) {
        self.epochs.push(epoch);
    }

    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    pub fn epochs(&self) -> &[EpochStart] {
        &self.epochs
    }

    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    pub fn producers_mut(&mut self) -> &mut Producers {
        &mut self.producers
    }

    pub fn unsealed(&self) -> &Entries {
        &self.unsealed
    }

    pub fn unsealed_bytes(&self) -> u64 {
        self.unsealed_bytes
    }

    pub fn quarantine(&self) -> Option<&'static str> {
        self.quarantined.then_some("frames of it are damaged on disk")
    }

    /// Frames of it are lost: it must not be served.
    pub fn set_quarantine(&mut self) {
        self.quarantined = true;
    }

    pub fn quarantined(mut self) -> Partition {
        self.set_quarantine();
        self
    }

    /// Refuses leaders older than the newest known.
    pub fn check_leader(&self, got: LeaderEpoch) -> Result<(), AppendError> {
        if got.0 < self.leader_epoch {
            return Err(AppendError::FencedLeader { current: LeaderEpoch(self.leader_epoch), got });
        }
        Ok(())
    }

    /// Takes a batch at the end of the queue (or past it: offsets may have gaps).
    pub fn push(&mut self, entry: QueueEntry, leader_epoch: i32) {
        assert!(entry.base_offset >= self.next_offset, "an append overlaps the queue");
        self.begin_epoch(leader_epoch, entry.base_offset);
        self.next_offset = entry.last_offset() + 1;
        self.unsealed_bytes += u64::from(entry.batch_bytes);
        self.unsealed.push(entry);
    }

    /// Adds an entry whose effects the state has already: from a checkpoint.
    pub fn restore_entry(&mut self, entry: QueueEntry) {
        self.unsealed_bytes += u64::from(entry.batch_bytes);
        self.unsealed.push(entry);
    }

    /// Notes that `epoch` leads from `start` on. Epochs that began there or later never had a batch and give way.
    pub fn begin_epoch(&mut self, epoch: i32, start: i64) {
        if self.epochs.last().is_some_and(|last| last.epoch >= epoch) {
            return;
        }
        self.leader_epoch = self.leader_epoch.max(epoch);
        while self.epochs.last().is_some_and(|last| last.start >= start) {
            self.epochs.pop();
        }
        self.epochs.push(EpochStart { epoch, start });
    }

    /// A new leader, from the next offset on.
    pub fn set_leader_epoch(&mut self, epoch: i32) {
        if epoch > self.leader_epoch || self.epochs.is_empty() {
            self.begin_epoch(epoch, self.next_offset);
        }
    }

    /// Raises the log start; false if it is there already.
    pub fn raise_log_start(&mut self, start: i64) -> bool {
        if start <= self.log_start {
            return false;
        }
        self.log_start = start;
        // A log that starts above all it holds goes on from there.
        self.next_offset = self.next_offset.max(start);
        while self.epochs.len() > 1 && self.epochs[1].start <= start {
            self.epochs.remove(0);
        }
        true
    }

    /// The ends, in a log that has come so far.
    pub(crate) fn ends(&self, progress: &Progress) -> LogEnds {
        LogEnds {
            start: Offset(self.log_start),
            durable: Offset(self.end_at(progress.durable)),
            written: Offset(self.end_at(progress.written)),
            end: Offset(self.next_offset),
            epoch: LeaderEpoch(self.leader_epoch),
        }
    }

    /// Refuses a log start that lies behind the end.
    pub fn check_start(&self, asked: Offset) -> Result<(), PartitionError> {
        let (start, end) = (Offset(self.log_start), Offset(self.next_offset));
        match asked > end {
            true => Err(PartitionError::OutOfRange { asked, start, end }),
            false => Ok(()),
        }
    }

    /// The next offset after the last batch that ends at or before `position`.
    pub fn end_at(&self, position: u64) -> i64 {
        match self.unsealed.last() {
            Some(last) if last.end_position() > position => {}
            _ => return self.next_offset,
        }
        match self.unsealed.last_before(|entry| entry.end_position() <= position) {
            Some(covered) => covered.last_offset() + 1,
            // Everything before the first unsealed batch is sealed, and so durable.
            None => self.first_unsealed().unwrap_or(self.next_offset),
        }
    }

    /// Base offset of the first batch that is not in a sealed file.
    pub fn first_unsealed(&self) -> Option<i64> {
        self.unsealed.first().map(|entry| entry.base_offset)
    }

    /// Entries from the first that holds or follows `offset`.
    pub fn unsealed_from(&self, offset: i64) -> impl Iterator<Item = &QueueEntry> {
        self.unsealed.after(move |entry| entry.last_offset() < offset)
    }

    /// Entries of frames from `position` on.
    pub fn unsealed_at(&self, position: u64) -> impl Iterator<Item = &QueueEntry> {
        self.unsealed.after(move |entry| entry.position < position)
    }

    /// Gives up the entries before `position`: their file has a sealed index now. The caller drops them where it holds no lock.
    pub fn seal_before(&mut self, position: u64) -> GivenUp {
        let given_up = self.unsealed.give_up(|entry| entry.position < position);
        self.unsealed_bytes -= given_up.batch_bytes;
        given_up
    }

    /// The epoch of the batch that holds `offset`, or of the newest leader for the end.
    pub fn epoch_at(&self, offset: i64) -> Option<LeaderEpoch> {
        let at = self.epochs.partition_point(|epoch| epoch.start <= offset);
        at.checked_sub(1).map(|at| LeaderEpoch(self.epochs[at].epoch))
    }

    /// Kafka's answer to OffsetForLeaderEpoch; `None` if the epoch is newer than any known.
    pub fn epoch_end(&self, asked: LeaderEpoch) -> Option<EpochEnd> {
        if asked.0 < 0 {
            return None;
        }
        if asked.0 == self.leader_epoch {
            return Some(EpochEnd { epoch: asked, end: Offset(self.next_offset) });
        }
        let above = self.epochs.partition_point(|epoch| epoch.epoch <= asked.0);
        let end = Offset(self.epochs.get(above)?.start);
        // Older than all that is known: the first known one began where the asked one must have ended.
        let epoch = above.checked_sub(1).map_or(asked, |at| LeaderEpoch(self.epochs[at].epoch));
        Some(EpochEnd { epoch, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(base_offset: i64, records: u32, position: u64) -> QueueEntry {
        QueueEntry { base_offset, position, max_timestamp: 0, tag_filter: 0, batch_bytes: 100, last_offset_delta: records - 1 }
    }

    /// Offsets 0-2, 3 and 10-14 (a gap), each in a frame of 168 bytes.
    fn partition() -> Partition {
        let mut partition = Partition::default();
        partition.push(entry(0, 3, 64), 0);
        partition.push(entry(3, 1, 232), 0);
        partition.push(entry(10, 5, 400), 2);
        partition
    }

    #[test]
    fn an_end_follows_from_a_position_of_the_log() {
        let partition = partition();
        let ends = [0, 64, 231, 232, 399, 400, 567, 568, 10_000].map(|position| partition.end_at(position));
        assert_eq!(ends, [0, 0, 0, 3, 3, 4, 4, 15, 15]);
    }

    #[test]
    fn sealing_gives_up_entries_and_keeps_the_ends() {
        let mut partition = partition();
        drop(partition.seal_before(400));
        assert_eq!(partition.first_unsealed(), Some(10));
        assert_eq!((partition.end_at(400), partition.end_at(568)), (10, 15), "what is sealed is durable");
        drop(partition.seal_before(568));
        assert_eq!((partition.first_unsealed(), partition.unsealed_bytes(), partition.end_at(568)), (None, 0, 15));
    }

    #[test]
    fn offsets_within_and_between_batches_are_found() {
        let partition = partition();
        let first = |offset| partition.unsealed_from(offset).next().map(|entry| entry.base_offset);
        assert_eq!([0, 2, 3, 4, 9, 10, 14].map(first), [0, 0, 3, 10, 10, 10, 10].map(Some));
        assert_eq!(first(15), None);
    }

    #[test]
    fn an_epoch_without_a_batch_gives_way_to_the_next() {
        let mut partition = partition();
        partition.set_leader_epoch(4);
        partition.set_leader_epoch(6);
        let epochs: Vec<_> = partition.epochs().iter().map(|epoch| (epoch.epoch, epoch.start)).collect();
        assert_eq!(epochs, [(0, 0), (2, 10), (6, 15)]);
        assert!(partition.raise_log_start(12));
        assert!(!partition.raise_log_start(11));
        assert_eq!(partition.epochs().len(), 2, "the first epoch has no records any more");
    }

    #[test]
    fn an_idle_partition_costs_little() {
        assert!(size_of::<Partition>() <= 168, "{} bytes", size_of::<Partition>());
    }
}
