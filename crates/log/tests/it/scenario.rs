//! Shared pieces of the scenarios: options in kilobytes, batches with known content, an observer that remembers.

use bytes::{Bytes, BytesMut};
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, ProducerEpoch, ProducerId, TimestampMs};
use duolog_log::{
    Advance, AppendBatch, AppendError, AppendOrigin, AppendReceipt, Appended, Log, LogFailure, LogObserver, LogOptions,
    OpenError, ReadError, ReadLimits, ReadPlan, RecoveryReport, ReplicaBatch, ReplicaReceipt, SyncOutcome, TidyOptions,
};
use duolog_wire::record::{BatchBuilder, BatchHeader, Compression, NewRecord, batches, verify_crc};
use std::path::Path;
use std::sync::{Arc, Mutex};

pub const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

pub fn options() -> LogOptions {
    LogOptions {
        file_bytes: 8 << 10,
        zero_ahead_bytes: 4 << 10,
        unsealed_entries: 1000,
        tail_cache_bytes: 2 << 10,
        queue_bytes: 1 << 20,
        reserve_bytes: 1 << 20,
        checkpoint_bytes: 2 << 10,
        recycled_files: 2,
        // Most scenarios look at files as they are sealed.
        tidy: TidyOptions { step_bytes: 0, ..TidyOptions::default() },
        keys: None,
    }
}

/// Tidies whatever can be tidied, a few kilobytes a step.
pub fn eager_tidying() -> TidyOptions {
    TidyOptions { step_bytes: 3 << 10, check_every_ms: 0, dead_percent: 10, sort_after_ms: Some(-1), key_memory_bytes: 1 << 20 }
}

/// Remembers what it was told.
#[derive(Default)]
pub struct Remembering {
    pub advances: Mutex<Vec<(Advance, Vec<PartitionNumber>)>>,
    pub failures: Mutex<Vec<LogFailure>>,
}

impl LogObserver for Remembering {
    fn advanced(&self, partitions: &[PartitionNumber], what: Advance) {
        self.advances.lock().unwrap().push((what, partitions.to_vec()));
    }

    fn failed(&self, failure: &LogFailure) {
        self.failures.lock().unwrap().push(failure.clone());
    }
}

/// Opens a log whose steps the test takes by hand.
pub fn open(disk: &Arc<dyn Disk>, dir: &Path, options: LogOptions) -> Result<(Arc<Log>, RecoveryReport), OpenError> {
    Log::open(disk.clone(), dir.to_owned(), options, Arc::new(Remembering::default()), NOW)
}

/// Who sends a batch.
#[derive(Clone, Copy, Debug)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

pub const NOBODY: Producer = Producer { id: -1, epoch: -1, sequence: -1 };

/// A batch of `records` records of about `bytes` each, filled from `seed`, at time `timestamp`.
pub fn batch_at(seed: u64, records: usize, bytes: usize, producer: Producer, timestamp: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    if producer.id >= 0 {
        builder = builder.producer(ProducerId(producer.id), ProducerEpoch(producer.epoch), producer.sequence);
    }
    for record in 0..records {
        let value: Vec<u8> = (0..bytes).map(|at| seed.wrapping_mul(31).wrapping_add((record * 7 + at) as u64) as u8).collect();
        builder.push(NewRecord { timestamp: TimestampMs(timestamp), value: Some(&value), ..NewRecord::default() }).unwrap();
    }
    let mut out = BytesMut::new();
    builder.build(&mut out).unwrap();
    out.to_vec()
}

pub fn batch(seed: u64, records: usize, bytes: usize) -> Vec<u8> {
    batch_at(seed, records, bytes, NOBODY, NOW.0)
}

/// Appends batches of clients to partitions as one request under leader epoch 0.
pub fn append_all(log: &Log, request: &[(u32, Vec<u8>)]) -> AppendReceipt {
    append_as(log, AppendOrigin::Client, request)
}

pub fn append_as(log: &Log, origin: AppendOrigin, request: &[(u32, Vec<u8>)]) -> AppendReceipt {
    let mut buffer = BytesMut::from(&b"what comes before the batches"[..]);
    let mut list = Vec::new();
    for (partition, batch) in request {
        let start = buffer.len();
        buffer.extend_from_slice(batch);
        list.push(AppendBatch {
            partition: PartitionNumber(*partition),
            range: start..buffer.len(),
            leader_epoch: LeaderEpoch(0),
            tag_filter: 0,
        });
    }
    log.append(buffer, &list, origin, NOW)
}

pub fn append(log: &Log, partition: u32, batch: Vec<u8>) -> Result<Appended, AppendError> {
    append_all(log, &[(partition, batch)]).results.remove(0)
}

/// Puts a leader's batches behind each other, as a request brings them.
pub fn replica_request(request: &[(u32, Bytes)]) -> (Bytes, Vec<ReplicaBatch>) {
    let mut buffer = BytesMut::from(&b"what comes before the batches"[..]);
    let mut list = Vec::new();
    for (partition, batch) in request {
        let start = buffer.len();
        buffer.extend_from_slice(batch);
        list.push(ReplicaBatch { partition: PartitionNumber(*partition), range: start..buffer.len(), tag_filter: 0 });
    }
    (buffer.freeze(), list)
}

/// Appends a leader's batches as they are.
pub fn replicate(log: &Log, request: &[(u32, Bytes)]) -> ReplicaReceipt {
    let (buffer, list) = replica_request(request);
    log.append_replica(buffer, &list, NOW)
}

/// Writes and syncs until nothing is left.
pub fn settle(log: &Log) {
    while log.write_step().unwrap() == SyncOutcome::Progressed {}
    while log.sync_step().unwrap() == SyncOutcome::Progressed {}
}

pub fn plan(log: &Log, partition: u32, from: i64, max_bytes: usize) -> Result<ReadPlan, ReadError> {
    let limits = ReadLimits { upto: Offset(i64::MAX), max_bytes, at_least_one: true, tags: None };
    log.read(PartitionNumber(partition), Offset(from), limits)
}

/// Everything of a partition from its log start, read in several plans.
pub fn read_all(log: &Log, partition: u32) -> Vec<(i64, Bytes)> {
    let mut next = log.ends(PartitionNumber(partition)).expect("the partition is known").start.0;
    let mut all = Vec::new();
    loop {
        let plan = plan(log, partition, next, 3000).expect("the partition is readable");
        let bytes = plan.materialize().expect("the bytes are there");
        assert_eq!(bytes.len(), plan.bytes);
        if bytes.is_empty() {
            return all;
        }
        for found in batches(&bytes) {
            let (header, range) = found.expect("a plan holds whole batches");
            verify_crc(&bytes[range.clone()]).expect("batches are intact");
            all.push((header.base_offset.0, bytes.slice(range)));
        }
        assert!(plan.next.0 > next);
        next = plan.next.0;
    }
}

/// The batch with the offset and epoch the log gave it, as it must be read back.
pub fn stored(batch: &[u8], base_offset: i64, epoch: i32) -> Bytes {
    let mut batch = batch.to_vec();
    duolog_wire::record::patch_base_offset(&mut batch, Offset(base_offset));
    duolog_wire::record::patch_leader_epoch(&mut batch, LeaderEpoch(epoch));
    assert!(BatchHeader::parse(&batch).is_ok());
    batch.into()
}
