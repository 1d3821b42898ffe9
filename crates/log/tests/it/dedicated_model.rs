//! What a dedicated log must hold, kept beside it by a random workload, and the comparison after a restart.
//!
//! As the model of the shared layout: after a crash each partition must hold a prefix of its batches, with the same bytes at the same
//! offsets, that reaches at least to the last one that was reported durable.

use crate::dedicated::{append_all, dir, home, open_log, read_all};
use crate::scenario::{NOBODY, NOW, Producer, batch_at, stored};
use bytes::Bytes;
use duolog_base::{Disk, Offset, PartitionNumber, Position, TimestampMs};
use duolog_log::dedicated::DedicatedLog;
use duolog_log::{AppendError, OpenError, RecoveryReport};
use duolog_sim::{Random, SimDisk};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const PARTITIONS: u32 = 4;
/// Between two turns of the housekeeping.
const HOUSE_MS: i64 = 2000;

#[derive(Clone, Debug)]
struct ModelBatch {
    last_offset: i64,
    base_offset: i64,
    bytes: Bytes,
    /// Durable up to here means: this batch is.
    end: Position,
    /// Producer id and last sequence, if idempotent.
    producer: Option<(i64, i32)>,
}

#[derive(Clone, Debug, Default)]
struct ModelPartition {
    batches: Vec<ModelBatch>,
    /// Log starts in the order they were asked for, with the position that makes each durable.
    starts: Vec<(i64, Position)>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    partitions: BTreeMap<u32, ModelPartition>,
    /// Everything before it was reported durable since the last opening.
    acknowledged: Position,
    sequences: BTreeMap<(u32, i64), i32>,
    elapsed_ms: i64,
}

/// Opens the log on a simulated disk with all partitions.
pub fn start(disk: &SimDisk) -> Result<(Arc<DedicatedLog>, RecoveryReport), OpenError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, report) = open_log(&shared, &dir())?;
    for number in 0..PARTITIONS {
        if let Err(failure) = log.open_partition(PartitionNumber(number), home(number)) {
            return Err(OpenError::Io { path: failure.path, error: std::io::ErrorKind::Other.into() });
        }
    }
    Ok((log, report))
}

impl Model {
    /// Takes `steps` random steps, or fewer if the disk fails; false in that case.
    pub fn work(&mut self, log: &DedicatedLog, random: &mut Random, steps: usize) -> bool {
        for _ in 0..steps {
            let alive = match random.below(18) {
                0..=8 => self.append(log, random),
                9..=11 => log.write_step().is_ok(),
                12..=14 => log.sync_step().is_ok(),
                15..=16 => {
                    self.elapsed_ms += HOUSE_MS;
                    log.house_step(TimestampMs(NOW.0 + self.elapsed_ms)).is_ok()
                }
                _ => self.raise_start(log, random),
            };
            if !alive {
                return false;
            }
            self.acknowledged = self.acknowledged.max(log.durable_position());
        }
        true
    }

    /// Leaves some batches written and not synced.
    pub fn leave_unsynced(&mut self, log: &DedicatedLog, random: &mut Random) {
        for _ in 0..4 {
            self.append(log, random);
            log.write_step().unwrap();
        }
    }

    /// Everything is durable now.
    pub fn closed(&mut self, log: &DedicatedLog) {
        self.acknowledged = self.acknowledged.max(log.durable_position());
    }

    fn append(&mut self, log: &DedicatedLog, random: &mut Random) -> bool {
        let count = 1 + random.below(3);
        let mut request = Vec::new();
        let mut producers = Vec::new();
        for _ in 0..count {
            let number = random.below(PARTITIONS.into()) as u32;
            let records = 1 + random.below(4) as usize;
            let most_bytes = if random.chance(1, 8) { 1500 } else { 150 };
            let bytes = random.below(most_bytes) as usize;
            let id = random.below(3) as i64;
            let producer = (id > 0).then(|| {
                let next = self.sequences.entry((number, id)).or_default();
                let producer = Producer { id, epoch: 0, sequence: *next };
                *next += records as i32;
                producer
            });
            request.push((number, batch_at(random.next_u64(), records, bytes, producer.unwrap_or(NOBODY), NOW.0)));
            producers.push(producer.map(|producer| (producer.id, producer.sequence + records as i32 - 1)));
        }
        let receipt = append_all(log, &request);
        for ((result, (number, batch)), producer) in receipt.results.into_iter().zip(&request).zip(producers) {
            let appended = match result {
                Ok(appended) => appended,
                Err(AppendError::Stopped) => return false,
                Err(error) => panic!("the workload is legal: {error}"),
            };
            let partition = self.partitions.entry(*number).or_default();
            let expected = partition.batches.last().map_or(0, |last| last.last_offset + 1);
            assert_eq!(appended.base_offset.0, expected, "offsets are given without gaps");
            partition.batches.push(ModelBatch {
                base_offset: expected,
                last_offset: appended.last_offset.0,
                bytes: stored(batch, expected, 0),
                end: receipt.end,
                producer,
            });
        }
        true
    }

    fn raise_start(&mut self, log: &DedicatedLog, random: &mut Random) -> bool {
        let number = random.below(PARTITIONS.into()) as u32;
        // Retention never goes beyond what is durable.
        let durable = log.ends(PartitionNumber(number)).unwrap().durable.0;
        let start = random.below(durable as u64 + 1) as i64;
        let Ok(position) = log.set_log_start(PartitionNumber(number), Offset(start)) else { return false };
        self.partitions.entry(number).or_default().starts.push((start, position));
        true
    }

    /// Compares the reopened log, then takes over what survived as the truth.
    pub fn check(&mut self, log: &DedicatedLog, what: &str) {
        for (number, partition) in &mut self.partitions {
            check_partition(log, *number, partition, self.acknowledged, what);
        }
        self.acknowledged = Position(0);
        self.sequences.clear();
        for number in 0..PARTITIONS {
            for producer in log.producers(PartitionNumber(number)) {
                self.sequences.insert((number, producer.id.0), producer.last_sequence + 1);
            }
        }
        self.check_producers(what);
    }

    /// The sequence each producer goes on with follows from its last batch that survived.
    fn check_producers(&self, what: &str) {
        for (number, partition) in &self.partitions {
            let mut expected: BTreeMap<i64, i32> = BTreeMap::new();
            for (id, last_sequence) in partition.batches.iter().filter_map(|batch| batch.producer) {
                expected.insert(id, last_sequence + 1);
            }
            let found = self.sequences.iter().filter(|((of, _), _)| of == number).map(|((_, id), next)| (*id, *next));
            assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "{what}: producers of partition {number}");
        }
    }
}

fn check_partition(log: &DedicatedLog, number: u32, partition: &mut ModelPartition, acknowledged: Position, what: &str) {
    let what = format!("{what}, partition {number}");
    let ends = log.ends(PartitionNumber(number)).unwrap();
    assert_eq!((ends.durable, ends.written), (ends.end, ends.end), "{what}: all that was recovered is durable");
    let promised = partition.batches.iter().filter(|batch| batch.end <= acknowledged).map(|batch| batch.last_offset + 1);
    let promised = promised.max().unwrap_or(0);
    assert!(ends.end.0 >= promised, "{what}: ends at {} though {promised} was durable", ends.end);
    let least = partition.starts.iter().filter(|(_, position)| *position <= acknowledged).map(|(start, _)| *start).max();
    let most = partition.starts.iter().map(|(start, _)| *start).max();
    let possible = least.unwrap_or(0)..=most.unwrap_or(0);
    assert!(possible.contains(&ends.start.0), "{what}: log start {} is not in {possible:?}", ends.start);

    partition.batches.retain(|batch| batch.last_offset < ends.end.0);
    assert_eq!(partition.batches.last().map_or(0, |last| last.last_offset + 1), ends.end.0, "{what}: ends between batches");
    let expected: Vec<(i64, Bytes)> = partition
        .batches
        .iter()
        .filter(|batch| batch.last_offset >= ends.start.0)
        .map(|batch| (batch.base_offset, batch.bytes.clone()))
        .collect();
    let found = read_all(log, number);
    assert_eq!(found.len(), expected.len(), "{what}: batches from the log start on");
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found == expected, "{what}: other bytes at offset {}", expected.0);
    }
    partition.starts = vec![(ends.start.0, Position(0))];
    // What survived is durable from now on.
    partition.batches.iter_mut().for_each(|batch| batch.end = Position(0));
}
