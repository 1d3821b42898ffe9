//! A model of a node's shared log: frames of all partitions in one sequence, a durable position, recovery.
//!
//! Each frame takes one slot. The page cache shows what was written last; power loss keeps of what was not synced any part, holes
//! included, and a slot that was cut off keeps what it held in its former life. Recovery reads up to the first slot that is empty or of a
//! generation before its predecessor's, syncs what it read, and begins a generation. Ends of partitions follow from the durable position.

use super::{Partition, Record};
use duolog_base::{LeaderEpoch, Offset};
use duolog_log::EpochEnd;
use duolog_replica::{LogView, Mutant, planted};
use duolog_sim::Random;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Generation,
    Record { partition: Partition, offset: usize, record: Record },
    Cut { partition: Partition, to: usize },
    Drop { partition: Partition },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    generation: u32,
    body: Body,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// What the disk holds.
    durable: Option<Frame>,
    /// What the page cache shows.
    cached: Option<Frame>,
    /// A sync has failed here: the page counts as clean, and no later sync writes it.
    forgotten: bool,
}

/// What is left when the process is gone.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    /// With the position of each.
    records: Vec<(Record, usize)>,
    /// Epochs and where they begin, ascending.
    epochs: Vec<(LeaderEpoch, usize)>,
    /// Only for a mutant: a durable end that is counted and not derived.
    counted: usize,
}

#[derive(Debug)]
pub struct Log {
    disk: Disk,
    next: usize,
    /// Everything before is durable, as far as this process knows.
    durable: usize,
    /// Everything before is durable, in truth.
    kept: usize,
    generation: u32,
    partitions: BTreeMap<Partition, Contents>,
}

impl Disk {
    /// What was not synced survives or not: all of it, or any part.
    pub fn lose_power(&mut self, random: &mut Random) {
        let times = [0, 4, 8][random.below(3) as usize];
        for slot in &mut self.slots {
            if slot.cached != slot.durable && random.chance(times, 8) {
                slot.durable = slot.cached;
            }
            (slot.cached, slot.forgotten) = (slot.durable, false);
        }
    }
}

impl Log {
    /// Recovery.
    pub fn open(disk: Disk) -> Log {
        let mut log = Log { disk, next: 0, durable: 0, kept: 0, generation: 0, partitions: BTreeMap::new() };
        log.next = log.read_slots();
        log.generation += 1;
        log.write(Body::Generation);
        if !planted(Mutant::NoSyncInRecovery) {
            let end = log.next;
            log.disk.slots[..end].iter_mut().for_each(|slot| slot.durable = slot.cached);
        }
        log.durable = log.next;
        log.partitions.values_mut().for_each(|contents| contents.counted = contents.records.len());
        log.note_kept();
        log
    }

    /// The log ends at the first slot that does not continue it.
    fn read_slots(&mut self) -> usize {
        let mut end = 0;
        for position in 0..self.disk.slots.len() {
            match self.disk.slots[position].cached {
                Some(frame) if frame.generation >= self.generation || planted(Mutant::NoGenerationCheck) => {
                    self.generation = self.generation.max(frame.generation);
                    self.replay(frame.body, position);
                    end = position + 1;
                }
                _ if planted(Mutant::RecoverySkipsHole) => {}
                _ => break,
            }
        }
        end
    }

    fn replay(&mut self, body: Body, position: usize) {
        match body {
            Body::Generation => {}
            Body::Record { partition, offset, record } => {
                let contents = self.partitions.entry(partition).or_default();
                // A record that overlaps is damage, and so is one behind a gap; only mutants write such logs.
                if offset >= contents.records.len() {
                    contents.push(record, position);
                }
            }
            Body::Cut { .. } if planted(Mutant::TruncationsIgnoredInRecovery) => {}
            Body::Cut { partition, to } => self.partitions.entry(partition).or_default().cut(to),
            Body::Drop { partition } => drop(self.partitions.remove(&partition)),
        }
    }

    fn write(&mut self, body: Body) {
        let frame = Frame { generation: self.generation, body };
        match self.disk.slots.get_mut(self.next) {
            Some(slot) => (slot.cached, slot.forgotten) = (Some(frame), false),
            None => self.disk.slots.push(Slot { durable: None, cached: Some(frame), forgotten: false }),
        }
        self.next += 1;
    }

    /// The process is gone; what it wrote stays in the page cache.
    pub fn kill(self) -> Disk {
        self.disk
    }

    /// What is to be synced now, if anything.
    pub fn unsynced(&self) -> Option<usize> {
        (self.durable < self.next).then_some(self.next)
    }

    /// A sync of everything before `end` has succeeded.
    pub fn synced(&mut self, end: usize) {
        let dirty = self.disk.slots[self.kept.min(end)..end].iter_mut().filter(|slot| !slot.forgotten);
        dirty.for_each(|slot| slot.durable = slot.cached);
        self.take_for_durable(end);
        self.note_kept();
    }

    /// A sync has failed, and a mutant takes it for good.
    pub fn ignore_failed_sync(&mut self, end: usize) {
        self.disk.slots[self.kept.min(end)..end].iter_mut().for_each(|slot| slot.forgotten = slot.cached != slot.durable);
        self.take_for_durable(end);
    }

    fn take_for_durable(&mut self, end: usize) {
        self.durable = self.durable.max(end);
        let durable = self.durable;
        for contents in self.partitions.values_mut() {
            contents.counted = contents.counted.max(contents.end_at(durable));
        }
    }

    fn note_kept(&mut self) {
        while self.kept < self.next && self.disk.slots[self.kept].durable == self.disk.slots[self.kept].cached {
            self.kept += 1;
        }
    }

    pub fn append(&mut self, partition: Partition, record: Record) -> usize {
        let offset = self.end(partition);
        self.write(Body::Record { partition, offset, record });
        let position = self.next - 1;
        self.partitions.entry(partition).or_default().push(record, position);
        offset
    }

    pub fn cut(&mut self, partition: Partition, to: usize) {
        self.write(Body::Cut { partition, to });
        self.partitions.entry(partition).or_default().cut(to);
    }

    pub fn drop_partition(&mut self, partition: Partition) {
        if self.partitions.remove(&partition).is_some() {
            self.write(Body::Drop { partition });
        }
    }

    /// The node leads from here on, in this epoch.
    pub fn begin_epoch(&mut self, partition: Partition, epoch: LeaderEpoch) {
        let contents = self.partitions.entry(partition).or_default();
        contents.begin_epoch(epoch, contents.records.len());
    }

    fn end(&self, partition: Partition) -> usize {
        self.partitions.get(&partition).map_or(0, |contents| contents.records.len())
    }

    pub fn view(&self, partition: Partition) -> LogView {
        let none = Contents::default();
        let contents = self.partitions.get(&partition).unwrap_or(&none);
        let derived = contents.end_at(self.durable);
        let durable = if planted(Mutant::StaleDurableEnd) { contents.counted } else { derived };
        LogView {
            start: Offset(0),
            durable: Offset(durable as i64),
            end: Offset(contents.records.len() as i64),
            last_epoch: contents.records.last().map_or(LeaderEpoch::NONE, |(record, _)| record.epoch),
        }
    }

    pub fn epoch_end(&self, partition: Partition, asked: LeaderEpoch) -> Option<EpochEnd> {
        let contents = self.partitions.get(&partition).filter(|contents| !contents.epochs.is_empty())?;
        let above = contents.epochs.partition_point(|(epoch, _)| *epoch <= asked);
        let end = contents.epochs.get(above).map_or(contents.records.len(), |(_, start)| *start);
        let epoch = above.checked_sub(1).map_or(asked, |at| contents.epochs[at].0);
        Some(EpochEnd { epoch, end: Offset(end as i64) })
    }

    pub fn read(&self, partition: Partition, from: usize, most: usize) -> Vec<Record> {
        let records = self.partitions.get(&partition).and_then(|contents| contents.records.get(from..)).unwrap_or(&[]);
        records.iter().take(most).map(|(record, _)| *record).collect()
    }

    pub fn record(&self, partition: Partition, offset: usize) -> Option<Record> {
        self.partitions.get(&partition)?.records.get(offset).map(|(record, _)| *record)
    }

    /// Whether power loss would leave the record: in truth, not as the process believes.
    pub fn keeps(&self, partition: Partition, offset: usize, value: u64) -> bool {
        let found = self.partitions.get(&partition).and_then(|contents| contents.records.get(offset));
        found.is_some_and(|(record, position)| record.value == value && *position < self.kept)
    }
}

impl Contents {
    /// An epoch in which this node led without writing gives way to what another leader wrote, though it be older.
    fn push(&mut self, record: Record, position: usize) {
        let offset = self.records.len();
        while self.epochs.last().is_some_and(|(_, start)| *start >= offset) {
            self.epochs.pop();
        }
        self.begin_epoch(record.epoch, offset);
        self.records.push((record, position));
    }

    fn begin_epoch(&mut self, epoch: LeaderEpoch, start: usize) {
        if self.epochs.last().is_some_and(|(last, _)| *last >= epoch) {
            return;
        }
        while self.epochs.last().is_some_and(|(_, begun)| *begun >= start) {
            self.epochs.pop();
        }
        self.epochs.push((epoch, start));
    }

    fn cut(&mut self, to: usize) {
        self.records.truncate(to);
        self.epochs.retain(|(_, start)| *start < to);
    }

    /// Records ascend in position.
    fn end_at(&self, position: usize) -> usize {
        self.records.partition_point(|(_, at)| *at < position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: u64) -> Record {
        Record { epoch: LeaderEpoch(1), value }
    }

    fn append(log: &mut Log, values: std::ops::Range<u64>) {
        for value in values {
            log.append(0, record(value));
        }
    }

    fn values(log: &Log) -> Vec<u64> {
        log.read(0, 0, 100).iter().map(|record| record.value).collect()
    }

    #[test]
    fn power_loss_keeps_what_was_synced_and_no_hole() {
        for seed in 0..50 {
            let mut log = Log::open(Disk::default());
            append(&mut log, 0..5);
            log.synced(log.unsynced().unwrap());
            append(&mut log, 5..10);
            assert_eq!((log.view(0).durable, log.view(0).end), (Offset(5), Offset(10)));
            let mut disk = log.kill();
            disk.lose_power(&mut Random::new(seed));
            let found = values(&Log::open(disk));
            assert!(found.len() >= 5 && found == (0..found.len() as u64).collect::<Vec<_>>(), "seed {seed}: {found:?}");
        }
    }

    #[test]
    fn a_cut_lowers_the_durable_end_and_is_found_again() {
        let mut log = Log::open(Disk::default());
        append(&mut log, 0..5);
        log.synced(log.unsynced().unwrap());
        log.cut(0, 2);
        assert_eq!((log.view(0).durable, log.view(0).end), (Offset(2), Offset(2)));
        log.append(0, record(9));
        let log = Log::open(log.kill());
        assert_eq!((values(&log), log.view(0).durable), (vec![0, 1, 9], Offset(3)), "recovery syncs what it reads");
    }

    #[test]
    fn frames_of_a_former_life_behind_a_torn_one_are_not_read() {
        let mut log = Log::open(Disk::default());
        append(&mut log, 0..5);
        let mut disk = log.kill();
        // All but the second record survive.
        disk.slots.iter_mut().for_each(|slot| slot.durable = slot.cached);
        disk.slots[2] = Slot::default();
        let mut log = Log::open(disk);
        assert_eq!(values(&log), [0]);
        log.append(0, record(7));
        assert_eq!(values(&Log::open(log.kill())), [0, 7]);
    }

    #[test]
    fn epochs_end_where_the_next_one_begins() {
        let mut log = Log::open(Disk::default());
        for epoch in [2, 2, 5] {
            log.append(0, Record { epoch: LeaderEpoch(epoch), value: 0 });
        }
        log.begin_epoch(0, LeaderEpoch(7));
        let end = |asked| log.epoch_end(0, LeaderEpoch(asked)).map(|end| (end.epoch.0, end.end.0));
        assert_eq!([1, 2, 4, 5, 6, 7, 9].map(end), [(1, 0), (2, 2), (2, 2), (5, 3), (5, 3), (7, 3), (7, 3)].map(Some));
        log.append(0, Record { epoch: LeaderEpoch(5), value: 0 });
        let end = |asked| log.epoch_end(0, LeaderEpoch(asked)).map(|end| (end.epoch.0, end.end.0));
        assert_eq!([5, 7].map(end), [(5, 4), (5, 4)].map(Some), "another one led in epoch 5 all the time");
        assert_eq!(log.epoch_end(1, LeaderEpoch(3)), None);
        assert_eq!(log.view(0).last_epoch, LeaderEpoch(5), "an epoch without a record is not in the log");
    }
}
