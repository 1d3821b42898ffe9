//! All partitions as they were at one position of the log, copied while appends go on.
//!
//! The copy goes through the partitions in ascending order, a few at a time under the lock. A partition that changes before its
//! turn is put aside first, as it was: each at most once a snapshot, so an append pays for the partitions it touches only.

use crate::format::state::encode_partition;
use crate::log::{Log, State};
use crate::partition::Partition;
use duolog_base::PartitionNumber;
use hashbrown::HashMap;

/// Partitions copied in one go under the lock.
const CHUNK_PARTITIONS: usize = 256;

/// A copy on its way.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Partitions up to this one are copied.
    copied: Option<PartitionNumber>,
    /// Those that have changed before their turn, as they were.
    aside: HashMap<PartitionNumber, Vec<u8>>,
}

/// A copy that is complete: what a state section says.
#[derive(Debug)]
pub(crate) struct StateCopy {
    /// The position it reflects.
    pub position: u64,
    /// The file in which this position lies, and the generation.
    pub file_base: u64,
    pub generation: u32,
    pub section: Vec<u8>,
}

impl State {
    /// To be called before a partition changes in a way that a state section shows.
    pub fn preserve(&mut self, number: PartitionNumber) {
        let Some(snapshot) = &mut self.snapshot else { return };
        if snapshot.copied >= Some(number) {
            return;
        }
        if let Some(partition) = self.partitions.get(&number) {
            snapshot.aside.entry(number).or_insert_with(|| encoded(number, partition));
        }
    }

    /// Begins the copy; answers what is known at once, and the partitions that are to be copied in ascending order.
    fn begin_copy(&mut self) -> (StateCopy, Vec<PartitionNumber>) {
        assert!(self.snapshot.is_none(), "snapshots are taken one at a time");
        self.snapshot = Some(Snapshot { copied: None, aside: HashMap::new() });
        let State { next: position, file_base, generation, .. } = *self;
        let copy = StateCopy { position, file_base, generation, section: Vec::new() };
        (copy, self.partitions.keys().copied().collect())
    }

    fn copy_chunk(&mut self, numbers: &[PartitionNumber], section: &mut Vec<u8>) {
        let snapshot = self.snapshot.as_mut().expect("it ends when all is copied");
        for number in numbers {
            match (snapshot.aside.remove(number), self.partitions.get(number)) {
                (Some(bytes), _) => section.extend_from_slice(&bytes),
                (None, Some(partition)) => encode_partition(section, number.0, partition),
                (None, None) => {}
            }
        }
        snapshot.copied = numbers.last().copied().max(snapshot.copied);
    }
}

fn encoded(number: PartitionNumber, partition: &Partition) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_partition(&mut bytes, number.0, partition);
    bytes
}

impl Log {
    /// Copies the state of all partitions as of now. One at a time: the caller owns the housekeeping.
    pub(crate) fn copy_state(&self) -> StateCopy {
        let (mut copy, mut numbers) = self.state.lock().begin_copy();
        numbers.sort_unstable();
        for chunk in numbers.chunks(CHUNK_PARTITIONS) {
            self.state.lock().copy_chunk(chunk, &mut copy.section);
        }
        self.state.lock().snapshot = None;
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppendBatch, AppendOrigin, Log, LogFailure, LogObserver, LogOptions};
    use bytes::BytesMut;
    use duolog_base::{Disk, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};
    use duolog_sim::SimDisk;
    use duolog_wire::record::{BatchBuilder, Compression, NewRecord};
    use std::sync::Arc;

    struct Nobody;

    impl LogObserver for Nobody {
        fn advanced(&self, _partitions: &[PartitionNumber], _what: crate::Advance) {}
        fn failed(&self, _failure: &LogFailure) {}
    }

    fn append(log: &Log, number: u32, sequence: i32) {
        let mut builder = BatchBuilder::new(Compression::None).producer(ProducerId(number.into()), ProducerEpoch(0), sequence);
        builder.push(NewRecord { value: Some(b"value"), ..NewRecord::default() }).unwrap();
        let mut buffer = BytesMut::new();
        builder.build(&mut buffer).unwrap();
        let batch = AppendBatch {
            partition: PartitionNumber(number),
            range: 0..buffer.len(),
            leader_epoch: LeaderEpoch(0),
            tag_filter: 0,
        };
        log.append(buffer, &[batch], AppendOrigin::Client, TimestampMs(1)).results.remove(0).unwrap();
    }

    #[test]
    fn what_changes_before_its_turn_is_copied_as_it_was() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        let (log, _) = Log::open(disk, "/data".into(), LogOptions::default(), Arc::new(Nobody), TimestampMs(1)).unwrap();
        (1..7).for_each(|number| log.open_partition(PartitionNumber(number)));
        (1..7).for_each(|number| append(&log, number, 0));
        let (expected, end) = {
            let state = log.state.lock();
            (state.encode_partitions(), state.next)
        };

        let (mut copy, mut numbers) = log.state.lock().begin_copy();
        numbers.sort_unstable();
        let mut copy_two = |at: usize| log.state.lock().copy_chunk(&numbers[at..at + 2], &mut copy.section);
        append(&log, 1, 1);
        log.set_log_start(PartitionNumber(4), Offset(1)).unwrap();
        copy_two(0);
        (1..6).for_each(|number| append(&log, number, if number == 1 { 2 } else { 1 }));
        log.set_leader_epoch(PartitionNumber(6), LeaderEpoch(7));
        copy_two(2);
        log.drop_partition(PartitionNumber(5)).unwrap();
        log.drop_partition(PartitionNumber(2)).unwrap();
        log.open_partition(PartitionNumber(9));
        append(&log, 9, 0);
        copy_two(4);
        assert!(copy.section == expected);
        assert_eq!(copy.position, end);
    }
}
