//! What the log knows of one partition: offsets, epochs, producers, and the queue entries of files not sealed yet.
//!
//! Plain state without locks or I/O; the log's one mutex guards it, recovery rebuilds it by calling the same methods. The durable and
//! written ends are not stored: they follow from the log's positions and the entries.

use crate::cuts::{Cut, Cuts};
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
    /// Next offset before the first of them, which may lie behind a gap.
    before_unsealed: i64,
    /// Bytes of the batches in `unsealed`.
    unsealed_bytes: u64,
    producers: Producers,
    quarantined: bool,
    /// What lies behind may be cut off, and is not compacted, if somebody has said so.
    stable_end: Option<i64>,
    /// Truncations that indexes written before them do not know of.
    cuts: Cuts,
    /// What was cut of files that have no sealed index yet: it belongs into an index that ends before the truncation.
    aside: Option<Box<SetAside>>,
}

/// Entries that were cut, each with the position of the truncation.
#[derive(Clone, Debug, Default)]
struct SetAside {
    entries: Vec<(u64, QueueEntry)>,
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

    pub fn stable_end(&self) -> i64 {
        self.stable_end.unwrap_or(i64::MAX)
    }

    pub fn set_stable_end(&mut self, end: i64) {
        self.stable_end = Some(end);
    }

    pub fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    pub fn restore_cuts(&mut self, cuts: Cuts) {
        self.cuts = cuts;
    }

    /// No file ends before `position` any more.
    pub fn forget_cuts_before(&mut self, position: u64) {
        self.cuts.forget_before(position);
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
        if self.unsealed.first().is_none() {
            self.before_unsealed = self.next_offset;
        }
        self.forget_epochs_from(entry.base_offset);
        self.begin_epoch(leader_epoch, entry.base_offset);
        self.next_offset = entry.last_offset() + 1;
        self.unsealed_bytes += u64::from(entry.batch_bytes);
        self.unsealed.push(entry);
    }

    /// Adds an entry whose effects the state has already: from a checkpoint.
    pub fn restore_entry(&mut self, entry: QueueEntry) {
        if self.unsealed.first().is_none() {
            self.before_unsealed = entry.base_offset;
        }
        self.unsealed_bytes += u64::from(entry.batch_bytes);
        self.unsealed.push(entry);
    }

    /// Notes that `epoch` leads from `start` on. Epochs that began there or later never had a batch and give way.
    pub fn begin_epoch(&mut self, epoch: i32, start: i64) {
        if self.epochs.last().is_some_and(|last| last.epoch >= epoch) {
            return;
        }
        self.leader_epoch = self.leader_epoch.max(epoch);
        self.forget_epochs_from(start);
        self.epochs.push(EpochStart { epoch, start });
    }

    /// Forgets epochs that began at `start` or behind it: they have no batch.
    pub fn forget_epochs_from(&mut self, start: i64) {
        while self.epochs.last().is_some_and(|last| last.start >= start) {
            self.epochs.pop();
        }
    }

    /// Epoch of the last batch, also if its record is given up; `NONE` if there was none.
    pub fn last_epoch(&self) -> LeaderEpoch {
        let with_batches = self.epochs.iter().rev().find(|epoch| epoch.start < self.next_offset);
        with_batches.map_or(LeaderEpoch::NONE, |last| LeaderEpoch(last.epoch))
    }

    /// The state, without entries, once everything at `end` and behind it is gone. The producers are as of there.
    pub fn after_cut(&self, end: i64, producers: Producers) -> Partition {
        let mut after = Partition { producers, ..Partition::restored(end, self.log_start, self.leader_epoch) };
        after.epochs = self.epochs.iter().filter(|epoch| epoch.start < end).copied().collect();
        after
    }

    /// The state, without entries, once everything is gone and offsets go on at `start`.
    pub fn after_restart(&self, start: i64) -> Partition {
        Partition::restored(start, start, self.leader_epoch)
    }

    /// Where the batches end that it has right after a truncation; 0 if it has none, wherever its offsets go on.
    pub fn kept_end(&self) -> i64 {
        if self.log_start == self.next_offset { 0 } else { self.next_offset }
    }

    /// Cuts off what lies behind the end, at a position of the log. `after` is what is to be known from now on, beside entries and
    /// truncations.
    pub fn cut(&mut self, position: u64, after: Partition) {
        let cut = Cut { position, end: after.kept_end() };
        let gone = self.cut_back(after);
        if !gone.is_empty() {
            let aside = self.aside.get_or_insert_default();
            aside.entries.extend(gone.into_iter().map(|entry| (cut.position, entry)));
        }
        self.cuts.push(cut);
    }

    /// Takes over what is to be known from now on, and gives up entries that do not belong to it any more.
    pub fn cut_back(&mut self, after: Partition) -> Vec<QueueEntry> {
        let end = after.kept_end();
        let gone = self.unsealed.cut(|entry| entry.last_offset() < end);
        self.unsealed_bytes -= gone.iter().map(|entry| u64::from(entry.batch_bytes)).sum::<u64>();
        let Partition { next_offset, log_start, leader_epoch, epochs, producers, quarantined, .. } = after;
        (self.next_offset, self.log_start, self.leader_epoch) = (next_offset, log_start, leader_epoch);
        (self.epochs, self.producers, self.quarantined) = (epochs, producers, quarantined);
        gone
    }

    /// A new leader, from the next offset on.
    pub fn set_leader_epoch(&mut self, epoch: i32) {
        if epoch >= self.leader_epoch {
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
            last_epoch: self.last_epoch(),
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
            None => self.before_unsealed,
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

    /// The entries of frames from one position to another as they were at the second one, in order.
    pub fn unsealed_as_of(&self, from: u64, upto: u64) -> impl Iterator<Item = QueueEntry> {
        let cut = self.aside.iter().flat_map(|aside| &aside.entries);
        let cut = cut.filter(|(position, entry)| *position >= upto && (from..upto).contains(&entry.position));
        let mut cut: Vec<QueueEntry> = cut.map(|(_, entry)| *entry).collect();
        cut.sort_unstable_by_key(|entry| entry.position);
        self.unsealed_at(from).take_while(move |entry| entry.position < upto).copied().chain(cut)
    }

    /// Gives up the entries before `position`: their file has a sealed index now. The caller drops them where it holds no lock.
    pub fn seal_before(&mut self, position: u64) -> GivenUp {
        if let Some(last) = self.unsealed.last_before(|entry| entry.position < position) {
            self.before_unsealed = last.last_offset() + 1;
        }
        let given_up = self.unsealed.give_up(|entry| entry.position < position);
        self.unsealed_bytes -= given_up.batch_bytes;
        if let Some(aside) = &mut self.aside {
            aside.entries.retain(|(_, entry)| entry.position >= position);
        }
        self.aside.take_if(|aside| aside.entries.is_empty());
        given_up
    }

    /// The epoch of the batch that holds `offset`, or of the newest leader for the end.
    pub fn epoch_at(&self, offset: i64) -> Option<LeaderEpoch> {
        let at = self.epochs.partition_point(|epoch| epoch.start <= offset);
        at.checked_sub(1).map(|at| LeaderEpoch(self.epochs[at].epoch))
    }

    /// The newest epoch not above the one asked, and where it ends: at the end of the log if it is the newest. If all are above, the
    /// one asked itself, ended where the first begins. `None` if none is known.
    pub fn epoch_end(&self, asked: LeaderEpoch) -> Option<EpochEnd> {
        if asked.0 < 0 || self.epochs.is_empty() {
            return None;
        }
        let above = self.epochs.partition_point(|epoch| epoch.epoch <= asked.0);
        let end = self.epochs.get(above).map_or(self.next_offset, |next| next.start);
        let epoch = above.checked_sub(1).map_or(asked, |at| LeaderEpoch(self.epochs[at].epoch));
        Some(EpochEnd { epoch, end: Offset(end) })
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
        assert_eq!((partition.end_at(400), partition.end_at(568)), (4, 15), "what is sealed is durable");
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
    fn an_index_of_before_a_cut_has_what_was_cut() {
        let mut partition = partition();
        let positions = |partition: &Partition, from, upto| -> Vec<u64> {
            partition.unsealed_as_of(from, upto).map(|entry| entry.position).collect()
        };
        partition.cut(568, partition.after_cut(3, Producers::default()));
        partition.push(entry(3, 2, 632), 5);
        partition.cut(800, partition.after_cut(0, Producers::default()));
        partition.push(entry(0, 1, 900), 6);
        assert_eq!(positions(&partition, 0, 568), [64, 232, 400]);
        assert_eq!(positions(&partition, 232, 568), [232, 400]);
        assert_eq!(positions(&partition, 0, 800), [64, 632]);
        assert_eq!(positions(&partition, 0, 2000), [900]);
        assert_eq!((partition.cuts().end_for(568), partition.unsealed_bytes(), partition.next_offset()), (0, 100, 1));
        drop(partition.seal_before(800));
        assert_eq!(positions(&partition, 0, 2000), [900]);
        assert!(partition.aside.is_none());
    }

    #[test]
    fn epochs_end_where_the_next_one_begins_and_go_with_their_batches() {
        let mut partition = partition();
        partition.set_leader_epoch(4);
        let ends = |partition: &Partition| {
            [0, 1, 2, 3, 4, 9].map(|epoch| partition.epoch_end(LeaderEpoch(epoch)).map(|end| (end.epoch.0, end.end.0)))
        };
        assert_eq!(ends(&partition), [(0, 10), (0, 10), (2, 15), (2, 15), (4, 15), (4, 15)].map(Some));
        assert_eq!(partition.last_epoch(), LeaderEpoch(2));
        partition.push(entry(15, 1, 568), 3);
        assert_eq!(partition.epoch_end(LeaderEpoch(4)).map(|end| (end.epoch.0, end.end.0)), Some((3, 16)), "4 had no batch");
        partition.cut(700, partition.after_cut(10, Producers::default()));
        assert_eq!((partition.last_epoch(), partition.leader_epoch()), (LeaderEpoch(0), 4));
        assert_eq!(partition.epoch_end(LeaderEpoch(9)).map(|end| (end.epoch.0, end.end.0)), Some((0, 10)));
        partition.cut(800, partition.after_restart(50));
        assert_eq!((partition.epoch_end(LeaderEpoch(9)), partition.last_epoch()), (None, LeaderEpoch::NONE));
    }

    #[test]
    fn an_idle_partition_costs_little() {
        assert!(size_of::<Partition>() <= 208, "{} bytes", size_of::<Partition>());
    }
}
