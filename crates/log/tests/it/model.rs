//! What a log must hold, kept beside it by a random workload, and the comparison after a restart.
//!
//! The model knows everything that was ever done to each partition and which position makes it durable. After a crash each must be as
//! after a part of it, in order, that reaches at least to the last durable step, with the same bytes at the same offsets.

use crate::contents::{Event, History, ModelBatch};
use crate::scenario::*;
use bytes::BytesMut;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, Position};
use duolog_log::{AppendBatch, AppendError, AppendOrigin, Log, LogOptions, RecoveryReport, ReplicaAppendError, TruncateError};
use duolog_sim::{Random, SimDisk};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub const PARTITIONS: u32 = 4;
/// Truncations are mostly near the end.
const NEAR_OFFSETS: i64 = 8;

#[derive(Clone, Debug, Default)]
pub struct Model {
    partitions: BTreeMap<u32, History>,
    /// Everything before it was reported durable.
    acknowledged: Position,
    sequences: BTreeMap<(u32, i64), i32>,
    /// The newest leader of each partition.
    epochs: BTreeMap<u32, i32>,
}

pub fn dir() -> PathBuf {
    PathBuf::from("/data/shared")
}

/// Opens the log on a simulated disk with all partitions.
pub fn start(disk: &SimDisk, options: &LogOptions) -> Result<(Arc<Log>, RecoveryReport), duolog_log::OpenError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, report) = open(&shared, &dir(), options.clone())?;
    (0..PARTITIONS).for_each(|number| log.open_partition(PartitionNumber(number)));
    Ok((log, report))
}

impl Model {
    /// Takes `steps` random steps, or fewer if the disk fails; false in that case.
    pub fn work(&mut self, log: &Log, random: &mut Random, steps: usize) -> bool {
        for _ in 0..steps {
            let alive = match random.below(20) {
                0..=7 => self.append(log, random),
                8..=10 => log.write_step().is_ok(),
                11..=13 => log.sync_step().is_ok(),
                14 => log.house_step(NOW).is_ok(),
                15 => self.raise_start(log, random),
                16..=17 => self.replicate(log, random),
                18 if random.chance(1, 4) => self.restart(log, random),
                _ => self.truncate(log, random),
            };
            if !alive {
                return false;
            }
            self.acknowledged = self.acknowledged.max(log.durable_position());
        }
        true
    }

    /// Leaves some batches written and not synced.
    pub fn leave_unsynced(&mut self, log: &Log, random: &mut Random) {
        for _ in 0..4 {
            self.append(log, random);
            log.write_step().unwrap();
        }
    }

    /// Everything is durable now.
    pub fn closed(&mut self, log: &Log) {
        self.acknowledged = self.acknowledged.max(log.durable_position());
    }

    /// Whether something of a partition was thrown away since the last comparison.
    pub fn was_cut(&self, number: u32) -> bool {
        self.partitions.get(&number).is_some_and(|history| history.was_cut)
    }

    fn producer(&mut self, number: u32, records: usize, random: &mut Random) -> Option<Producer> {
        let id = random.below(3) as i64;
        (id > 0).then(|| {
            let next = self.sequences.entry((number, id)).or_default();
            let producer = Producer { id, epoch: 0, sequence: *next };
            *next += records as i32;
            producer
        })
    }

    fn append(&mut self, log: &Log, random: &mut Random) -> bool {
        let mut buffer = BytesMut::from(&b"what comes before the batches"[..]);
        let mut list = Vec::new();
        let mut batches = Vec::new();
        for _ in 0..1 + random.below(3) {
            let number = random.below(PARTITIONS.into()) as u32;
            let records = 1 + random.below(4) as usize;
            let most_bytes = if random.chance(1, 8) { 1500 } else { 150 };
            let bytes = random.below(most_bytes) as usize;
            let producer = self.producer(number, records, random);
            let batch = batch_at(random.next_u64(), records, bytes, producer.unwrap_or(NOBODY), NOW.0);
            let start = buffer.len();
            buffer.extend_from_slice(&batch);
            let leader_epoch = LeaderEpoch(self.epochs.get(&number).copied().unwrap_or(0));
            list.push(AppendBatch {
                partition: PartitionNumber(number),
                range: start..buffer.len(),
                leader_epoch,
                tag_filter: 0,
            });
            batches.push((number, batch, producer.map(|producer| (producer.id, producer.sequence + records as i32 - 1))));
        }
        let receipt = log.append(buffer, &list, AppendOrigin::Client, NOW);
        for ((result, batch), (number, bytes, producer)) in receipt.results.into_iter().zip(&list).zip(batches) {
            let appended = match result {
                Ok(appended) => appended,
                Err(AppendError::Stopped) => return false,
                Err(error) => panic!("the workload is legal: {error}"),
            };
            let history = self.partitions.entry(number).or_default();
            assert_eq!(appended.base_offset.0, history.current().end, "offsets are given without gaps");
            let (base_offset, epoch) = (appended.base_offset.0, batch.leader_epoch.0);
            let bytes = stored(&bytes, base_offset, epoch);
            let last_offset = appended.last_offset.0;
            history.push(Event::Append(ModelBatch { base_offset, last_offset, epoch, bytes, producer }), receipt.end);
        }
        true
    }

    /// What a leader has appended, perhaps of a newer epoch, and behind a gap.
    fn replicate(&mut self, log: &Log, random: &mut Random) -> bool {
        let number = random.below(PARTITIONS.into()) as u32;
        let epoch = self.epochs.entry(number).or_default();
        *epoch += i32::from(random.chance(1, 4));
        let epoch = *epoch;
        let mut end = self.partitions.entry(number).or_default().current().end;
        let mut request = Vec::new();
        let mut batches = Vec::new();
        for _ in 0..1 + random.below(3) {
            let records = 1 + random.below(4) as usize;
            let producer = self.producer(number, records, random);
            let batch = batch_at(random.next_u64(), records, random.below(150) as usize, producer.unwrap_or(NOBODY), NOW.0);
            let base_offset = end + if random.chance(1, 4) { random.below(5) as i64 } else { 0 };
            let last_offset = base_offset + records as i64 - 1;
            let bytes = stored(&batch, base_offset, epoch);
            end = last_offset + 1;
            request.push((number, bytes.clone()));
            let producer = producer.map(|producer| (producer.id, producer.sequence + records as i32 - 1));
            batches.push(ModelBatch { base_offset, last_offset, epoch, bytes, producer });
        }
        let receipt = replicate(log, &request);
        for (result, batch) in receipt.results.into_iter().zip(batches) {
            match result {
                Ok(appended) => assert_eq!(appended.base_offset.0, batch.base_offset),
                Err(ReplicaAppendError::Stopped) => return false,
                Err(error) => panic!("the workload is legal: {error}"),
            }
            self.partitions.entry(number).or_default().push(Event::Append(batch), receipt.end);
        }
        true
    }

    fn truncate(&mut self, log: &Log, random: &mut Random) -> bool {
        let number = random.below(PARTITIONS.into()) as u32;
        let history = self.partitions.entry(number).or_default();
        let contents = history.current();
        let reach = contents.end - contents.start;
        let reach = if random.chance(1, 4) { reach } else { reach.min(NEAR_OFFSETS) };
        let to = contents.end - random.below(reach as u64 + 1) as i64;
        match log.truncate(PartitionNumber(number), Offset(to)) {
            Ok(position) if to < contents.end => history.push(Event::Cut(to), position),
            Ok(_) => {}
            Err(TruncateError::Stopped | TruncateError::Read(_)) => return false,
            Err(error) => panic!("the workload is legal: {error}"),
        }
        self.compare(log, number);
        true
    }

    fn restart(&mut self, log: &Log, random: &mut Random) -> bool {
        let number = random.below(PARTITIONS.into()) as u32;
        let history = self.partitions.entry(number).or_default();
        let at = random.below(2 * history.current().end as u64 + 10) as i64;
        let Ok(position) = log.restart_at(PartitionNumber(number), Offset(at)) else { return false };
        history.push(Event::Restart(at), position);
        self.compare(log, number);
        true
    }

    /// Compares what can be compared at once.
    fn compare(&mut self, log: &Log, number: u32) {
        let contents = self.partitions[&number].current();
        contents.check_ends(log.ends(PartitionNumber(number)).unwrap(), "at once");
        self.take_over_producers(log, number);
        contents.check_producers(&self.sequences_of(number), "at once");
    }

    fn take_over_producers(&mut self, log: &Log, number: u32) {
        self.sequences.retain(|(of, _), _| *of != number);
        for producer in log.producers(PartitionNumber(number)) {
            self.sequences.insert((number, producer.id.0), producer.last_sequence + 1);
        }
    }

    fn sequences_of(&self, number: u32) -> BTreeMap<i64, i32> {
        self.sequences.iter().filter(|((of, _), _)| *of == number).map(|((_, id), next)| (*id, *next)).collect()
    }

    fn raise_start(&mut self, log: &Log, random: &mut Random) -> bool {
        let number = random.below(PARTITIONS.into()) as u32;
        // Retention never goes beyond what is durable.
        let durable = log.ends(PartitionNumber(number)).unwrap().durable.0;
        let start = random.below(durable as u64 + 1) as i64;
        let Ok(position) = log.set_log_start(PartitionNumber(number), Offset(start)) else { return false };
        self.partitions.entry(number).or_default().push(Event::Start(start), position);
        true
    }

    /// Compares the reopened log, then takes over what survived as the truth.
    pub fn check(&mut self, log: &Log, what: &str) {
        let numbers: Vec<u32> = self.partitions.keys().copied().collect();
        for number in numbers {
            let what = format!("{what}, partition {number}");
            let ends = log.ends(PartitionNumber(number)).unwrap();
            assert_eq!((ends.durable, ends.written), (ends.end, ends.end), "{what}: all that was recovered is durable");
            let visible = read_all(log, number);
            let history = self.partitions.get_mut(&number).unwrap();
            let contents = history.found(ends, &visible, self.acknowledged, &what).clone();
            self.take_over_producers(log, number);
            contents.check_producers(&self.sequences_of(number), &what);
            let epoch = contents.batches.last().map_or(0, |last| last.epoch).max(ends.epoch.0);
            self.epochs.insert(number, epoch);
        }
    }
}
