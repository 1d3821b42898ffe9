//! The production log on a simulated disk, its steps taken by hand: what is appended is written at once, and synced when the run says
//! so. Recovery, frames, truncations, sealing and checkpoints are those of the server.
//!
//! Beside it the records are kept as the log gave them back when it was opened, and changed as it is told to; so the oracle's many looks
//! are cheap. Whoever reads for a follower or for a coordinator reads from the log.

use super::{Partition, Record};
use bytes::BytesMut;
use duolog_base::{LeaderEpoch, Offset, PartitionNumber, TimestampMs};
use duolog_log::{
    Advance, AppendBatch, AppendOrigin, EpochEnd, LogFailure, LogObserver, LogOptions, ReadLimits, ReplicaBatch, TidyOptions,
};
use duolog_replica::LogView;
use duolog_sim::{Failure, Operation, Random, SimDisk};
use duolog_wire::record::{
    BatchBuilder, BatchHeader, Compression, DecompressLimits, NewRecord, batches, decode_batch, patch_base_offset,
    patch_leader_epoch,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
/// After so many syncs the log does its housekeeping.
const SYNCS_A_HOUSE_STEP: u64 = 16;
/// Read at once when the log is opened.
const PORTION_BYTES: usize = 1 << 20;

pub struct Disk(SimDisk);

pub struct Log {
    disk: SimDisk,
    log: Arc<duolog_log::Log>,
    records: BTreeMap<Partition, Vec<Record>>,
    /// Where the log ends.
    end: u64,
    syncs: u64,
    damage: Option<String>,
}

struct Nobody;

impl LogObserver for Nobody {
    fn advanced(&self, _: &[PartitionNumber], _: Advance) {}

    fn failed(&self, _: &LogFailure) {}
}

/// Files so small that a run has several of them, and several checkpoints in each.
fn options() -> LogOptions {
    LogOptions {
        file_bytes: 96 << 10,
        zero_ahead_bytes: 16 << 10,
        unsealed_entries: 10_000,
        tail_cache_bytes: 8 << 10,
        queue_bytes: 1 << 20,
        reserve_bytes: 1 << 20,
        checkpoint_bytes: 20 << 10,
        recycled_files: 1,
        tidy: TidyOptions { step_bytes: 0, ..TidyOptions::default() },
        keys: None,
    }
}

impl Disk {
    pub fn new(seed: u64) -> Disk {
        Disk(SimDisk::new(seed))
    }

    pub fn lose_power(&mut self, random: &mut Random) {
        self.0.reboot(random.next_u64());
    }
}

impl Log {
    /// Recovery. One that refuses to start has found damage, and the node has an empty log.
    pub fn open(disk: Disk) -> Log {
        let Disk(disk) = disk;
        let open = |disk: &SimDisk| {
            duolog_log::Log::open(Arc::new(disk.clone()), PathBuf::from("/data/shared"), options(), Arc::new(Nobody), NOW)
        };
        let (log, damage) = match open(&disk) {
            Ok((log, report)) if report.quarantined.is_empty() => (log, None),
            Ok((log, report)) => (log, Some(format!("quarantined: {:?}", report.quarantined))),
            Err(error) => {
                let (log, _) = open(&SimDisk::new(0)).expect("an empty disk");
                (log, Some(error.to_string()))
            }
        };
        let end = log.durable_position().0;
        let mut opened = Log { disk, log, records: BTreeMap::new(), end, syncs: 0, damage };
        for partition in opened.log.partitions() {
            let records = opened.read(partition.0, 0, usize::MAX);
            if records.len() as i64 != opened.view(partition.0).end.0 {
                opened.complain(format!("{} records can be read of {:?}", records.len(), opened.view(partition.0)));
            }
            opened.records.insert(partition.0, records);
        }
        opened
    }

    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    fn complain(&mut self, what: String) {
        self.damage.get_or_insert(what);
    }

    pub fn kill(self) -> Disk {
        self.disk.kill();
        Disk(self.disk)
    }

    pub fn close(&mut self) {
        self.log.close().expect("a sound disk");
    }

    /// The machine goes down with it.
    pub fn fail_sync(self, random: &mut Random) -> Disk {
        if self.unsynced().is_some() {
            self.disk.fail_next(Operation::Sync, 0, Failure::Io);
            assert!(self.log.sync_step().is_err(), "the log stops when a sync fails");
        }
        let mut disk = self.kill();
        disk.lose_power(random);
        disk
    }

    pub fn unsynced(&self) -> Option<usize> {
        (self.log.durable_position().0 < self.end).then_some(self.end as usize)
    }

    pub fn synced(&mut self) {
        self.log.sync_step().expect("a sound disk");
        self.syncs += 1;
        if self.syncs.is_multiple_of(SYNCS_A_HOUSE_STEP) {
            self.log.house_step(NOW).expect("a sound disk");
        }
    }

    /// A partition that the node had before, and gave up, begins anew: indexes and checkpoints may still list what it held then.
    fn make_known(&mut self, partition: Partition) {
        let number = PartitionNumber(partition);
        if self.log.ends(number).is_none() {
            let end = self.log.open_partition_anew(number);
            self.write(end.0);
        }
    }

    fn write(&mut self, end: u64) {
        self.end = self.end.max(end);
        self.log.write_step().expect("a sound disk");
    }

    pub fn append(&mut self, partition: Partition, record: Record) -> usize {
        self.make_known(partition);
        let batch = batch(record.value);
        let list = [AppendBatch {
            partition: PartitionNumber(partition),
            range: 0..batch.len(),
            leader_epoch: record.epoch,
            tag_filter: 0,
        }];
        let receipt = self.log.append(batch, &list, AppendOrigin::Internal, NOW);
        if let [Err(error)] = receipt.results.as_slice() {
            self.complain(format!("a leader's append is refused: {error}"));
        }
        self.write(receipt.end.0);
        self.push(partition, record)
    }

    pub fn replicate(&mut self, partition: Partition, record: Record) {
        self.make_known(partition);
        let offset = self.view(partition).end;
        let mut batch = batch(record.value);
        patch_base_offset(&mut batch, offset);
        patch_leader_epoch(&mut batch, record.epoch);
        let list = [ReplicaBatch { partition: PartitionNumber(partition), range: 0..batch.len(), tag_filter: 0 }];
        let receipt = self.log.append_replica(batch.freeze(), &list, NOW);
        if let [Err(error)] = receipt.results.as_slice() {
            self.complain(format!("a follower's append is refused: {error}"));
        }
        self.write(receipt.end.0);
        self.push(partition, record);
    }

    /// What was appended is the last record; answers its offset.
    fn push(&mut self, partition: Partition, record: Record) -> usize {
        let records = self.records.entry(partition).or_default();
        records.push(record);
        let offset = records.len() - 1;
        self.compare(partition);
        offset
    }

    fn compare(&mut self, partition: Partition) {
        let (is, ought) = (self.view(partition).end.0, self.records.get(&partition).map_or(0, Vec::len));
        if is != ought as i64 {
            self.complain(format!("partition {partition} ends at {is}, and not at {ought}"));
        }
    }

    pub fn cut(&mut self, partition: Partition, to: usize) {
        self.make_known(partition);
        match self.log.truncate(PartitionNumber(partition), Offset(to as i64)) {
            Ok(end) => self.write(end.0),
            Err(error) => self.complain(format!("a cut is refused: {error}")),
        }
        self.records.entry(partition).or_default().truncate(to);
        self.compare(partition);
    }

    pub fn drop_partition(&mut self, partition: Partition) {
        if self.records.remove(&partition).is_some() {
            let end = self.log.drop_partition(PartitionNumber(partition)).expect("a known partition");
            self.write(end.0);
        }
    }

    pub fn begin_epoch(&mut self, partition: Partition, epoch: LeaderEpoch) {
        self.make_known(partition);
        self.log.set_leader_epoch(PartitionNumber(partition), epoch);
        self.records.entry(partition).or_default();
    }

    pub fn view(&self, partition: Partition) -> LogView {
        match self.log.ends(PartitionNumber(partition)) {
            Some(ends) => LogView { start: ends.start, durable: ends.durable, end: ends.end, last_epoch: ends.last_epoch },
            None => LogView { start: Offset(0), durable: Offset(0), end: Offset(0), last_epoch: LeaderEpoch::NONE },
        }
    }

    pub fn epoch_end(&self, partition: Partition, asked: LeaderEpoch) -> Option<EpochEnd> {
        self.log.epoch_end(PartitionNumber(partition), asked).ok().flatten()
    }

    pub fn read(&self, partition: Partition, from: usize, most: usize) -> Vec<Record> {
        let limits = ReadLimits { upto: Offset(i64::MAX), max_bytes: PORTION_BYTES, at_least_one: true, tags: None };
        let (mut records, mut next) = (Vec::new(), Offset(from as i64));
        while records.len() < most {
            let Ok(plan) = self.log.read(PartitionNumber(partition), next, limits) else { break };
            if plan.next == next {
                break;
            }
            next = plan.next;
            let Ok(bytes) = plan.materialize() else { break };
            records.extend(batches(&bytes).map(|batch| record(&bytes[batch.expect("a sound batch").1])));
        }
        records.truncate(most);
        records
    }

    pub fn record(&self, partition: Partition, offset: usize) -> Option<Record> {
        self.records.get(&partition)?.get(offset).copied()
    }

    pub fn keeps(&self, partition: Partition, offset: usize, value: u64) -> bool {
        let holds = self.record(partition, offset).is_some_and(|record| record.value == value);
        holds && (offset as i64) < self.view(partition).durable.0
    }
}

/// A batch of one record of this value.
fn batch(value: u64) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = value.to_be_bytes();
    builder.push(NewRecord { timestamp: NOW, value: Some(&value), ..NewRecord::default() }).expect("a small record");
    let mut batch = BytesMut::new();
    builder.build(&mut batch).expect("a small batch");
    batch
}

fn record(batch: &[u8]) -> Record {
    let epoch = BatchHeader::parse(batch).expect("a sound header").leader_epoch;
    let decoded = decode_batch(batch, DecompressLimits::default()).expect("a sound batch");
    let value = decoded.records().next().and_then(|record| record.ok()?.value?.try_into().ok());
    Record { epoch, value: u64::from_be_bytes(value.expect("a number")) }
}
