//! The values that go in and out of the log: options, requests, answers, errors. No behaviour; called by everybody.

use crate::dedicated::StoredRun;
use crate::{KeyOptions, StoredFrame, TagFilter, TidyOptions};
use bytes::Bytes;
use duolog_base::{DiskFile, LeaderEpoch, Offset, PartitionNumber, Position, ProducerEpoch, ProducerId, TimestampMs};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// What a log is opened with.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Size of one commit log file, in bytes. A batch never spans files.
    pub file_bytes: u64,
    /// How far ahead of the writer a file is filled with zeros, in bytes.
    pub zero_ahead_bytes: u64,
    /// Queue entries kept in memory for one unsealed file; the file is rolled when it is reached.
    pub unsealed_entries: usize,
    /// Bytes of recent batches kept in memory for readers at the tail.
    pub tail_cache_bytes: usize,
    /// Bytes of appends that may wait for the writer; past it, appends of clients are refused with [`AppendError::Overloaded`].
    pub queue_bytes: usize,
    /// Free bytes on the file system below which appends of clients are refused.
    pub reserve_bytes: u64,
    /// Durable bytes after which the checkpoint of the active file is written on: about what an opening after a crash reads.
    pub checkpoint_bytes: u64,
    /// Files kept for reuse after all they held is dead.
    pub recycled_files: usize,
    pub tidy: TidyOptions,
    /// Whether and how messages can be found by their keys. Not in the dedicated layout.
    pub keys: Option<KeyOptions>,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            file_bytes: 1 << 30,
            zero_ahead_bytes: 64 << 20,
            unsealed_entries: 2 << 20,
            tail_cache_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            reserve_bytes: 256 << 20,
            checkpoint_bytes: 64 << 20,
            recycled_files: 1,
            tidy: TidyOptions::default(),
            keys: None,
        }
    }
}

/// What a queue of `queue_bytes` takes from [`AppendOrigin::Internal`] beyond it: one part in so many.
const INTERNAL_QUEUE_SHARE: usize = 8;
/// What [`AppendOrigin::Internal`] may use of the reserve: one part in so many.
const INTERNAL_RESERVE_SHARE: u64 = 2;

impl LogOptions {
    /// Bytes that may wait for the writer when this one appends.
    pub(crate) fn queue_limit_bytes(&self, origin: AppendOrigin) -> usize {
        match origin {
            AppendOrigin::Client => self.queue_bytes,
            AppendOrigin::Internal => self.queue_bytes + self.queue_bytes / INTERNAL_QUEUE_SHARE,
        }
    }

    /// Free bytes that this one must leave.
    pub(crate) fn reserve_for(&self, origin: AppendOrigin) -> u64 {
        match origin {
            AppendOrigin::Client => self.reserve_bytes,
            AppendOrigin::Internal => self.reserve_bytes - self.reserve_bytes / INTERNAL_RESERVE_SHARE,
        }
    }
}

/// Who appends. What the node itself writes (the state of its coordinators) is not refused because clients fill the queue
/// or the disk: it has bounded room of its own above both limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    Client,
    Internal,
}

/// One batch of an append: where it lies in the buffer and which partition it goes to.
/// The caller has validated the batch (structure, CRC, size); the log patches base offset and leader epoch.
#[derive(Clone, Debug)]
pub struct AppendBatch {
    pub partition: PartitionNumber,
    pub range: Range<usize>,
    pub leader_epoch: LeaderEpoch,
    /// What is known of the tags in the batch, see [`TagFilter`]; 0 for nothing.
    pub tag_filter: u64,
}

/// The answer for one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub log_start: Offset,
    /// The batch had been appended before by the same idempotent producer; the offsets are the original ones.
    pub duplicate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("no such partition in this log: {0}")]
    UnknownPartition(PartitionNumber),
    #[error("producer sequence {got} is out of order, expected {expected}")]
    OutOfOrderSequence { expected: i32, got: i32 },
    #[error("producer epoch {got} is older than {current}")]
    FencedProducer { current: ProducerEpoch, got: ProducerEpoch },
    #[error("leader epoch {got} is older than {current}")]
    FencedLeader { current: LeaderEpoch, got: LeaderEpoch },
    #[error("free space is at the reserve of {reserve_bytes} bytes")]
    DiskFull { reserve_bytes: u64 },
    #[error("{queued_bytes} bytes wait for the disk already")]
    Overloaded { queued_bytes: usize },
    #[error("partition is quarantined: {0}")]
    Quarantined(String),
    #[error("the log has stopped after a disk error")]
    Stopped,
}

/// One batch of a leader's log: where it lies in the buffer and which partition it goes to. It has its base offset and its leader epoch.
/// The caller has validated it (structure, CRC, size).
#[derive(Clone, Debug)]
pub struct ReplicaBatch {
    pub partition: PartitionNumber,
    pub range: Range<usize>,
    /// What the leader knows of the tags in the batch; 0 for nothing.
    pub tag_filter: u64,
}

/// Why a leader's batch is not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaAppendError {
    #[error("no such partition in this log: {0}")]
    UnknownPartition(PartitionNumber),
    #[error("the batch begins at {got}, the log ends at {end}")]
    Overlaps { end: Offset, got: Offset },
    #[error("the batch is of leader epoch {got}, the one before it of {last}")]
    OlderEpoch { last: LeaderEpoch, got: LeaderEpoch },
    #[error("free space is at the reserve of {reserve_bytes} bytes")]
    DiskFull { reserve_bytes: u64 },
    #[error("{queued_bytes} bytes wait for the disk already")]
    Overloaded { queued_bytes: usize },
    #[error("partition is quarantined: {0}")]
    Quarantined(String),
    #[error("the log has stopped after a disk error")]
    Stopped,
}

/// What an append of a leader's batches hands back.
#[derive(Debug)]
pub struct ReplicaReceipt {
    /// One answer for each batch, in order.
    pub results: Vec<Result<Appended, ReplicaAppendError>>,
    /// Written (or durable) up to here means: every accepted batch of this append is. Zero if there is none.
    pub end: Position,
}

/// Why a partition is not cut or begun anew.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    #[error("no such partition in this log: {0}")]
    UnknownPartition(PartitionNumber),
    #[error("offset {asked} is below the log start {start}")]
    BelowStart { asked: Offset, start: Offset },
    #[error("partition is quarantined: {0}")]
    Quarantined(String),
    #[error("what is to be kept cannot be read: {0}")]
    Read(ReadError),
    #[error("the log has stopped after a disk error")]
    Stopped,
}

/// What an append hands back: an answer a batch, and the position to wait for.
#[derive(Debug)]
pub struct AppendReceipt {
    /// One answer for each batch, in order.
    pub results: Vec<Result<Appended, AppendError>>,
    /// Written (or durable) up to here means: every accepted batch of this append is. For duplicates it is the
    /// end of the log at the time of the call, so that a repeated batch is not acknowledged before its original is durable.
    pub end: Position,
}

/// Which of the two ends of the log moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    Written,
    Durable,
}

/// Told by the log's writer and syncer; must not block and must not call back into the log's append or steps.
pub trait LogObserver: Send + Sync + 'static {
    /// Batches of these partitions (each named once) are now written, or durable.
    fn advanced(&self, partitions: &[PartitionNumber], what: Advance);
    /// The housekeeping has found that what is stored of a partition is damaged. May be told more than once.
    fn damaged(&self, _partition: PartitionNumber) {}
    /// The log has stopped. The process is expected to exit.
    fn failed(&self, failure: &LogFailure);
}

/// A disk error that stopped the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} of {path} failed: {error}")]
pub struct LogFailure {
    pub operation: &'static str,
    pub path: PathBuf,
    pub error: Arc<std::io::Error>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{path}: written by a newer version (format {found}, this binary reads up to {supported})")]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },
    #[error("{path} at {position}: {problem}")]
    Corrupt { path: PathBuf, position: Position, problem: &'static str },
}

impl From<LogFailure> for OpenError {
    fn from(failure: LogFailure) -> OpenError {
        let error = match failure.error.raw_os_error() {
            Some(number) => std::io::Error::from_raw_os_error(number),
            None => failure.error.kind().into(),
        };
        OpenError::Io { path: failure.path, error }
    }
}

/// What recovery found; logged at start and shown by tests.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    pub files: usize,
    pub scanned_bytes: u64,
    pub scanned_frames: u64,
    /// Bytes cut from the tail because they could not have been acknowledged as durable.
    pub torn_bytes: u64,
    pub quarantined: Vec<PartitionNumber>,
    /// A checkpoint has spared all reading: the log was closed, or nothing was written after a checkpoint.
    pub clean_shutdown: bool,
}

/// The ends of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnds {
    /// First offset that can be read.
    pub start: Offset,
    /// Next offset after the last batch on disk for good; derived from the log's durable position.
    pub durable: Offset,
    /// Next offset after the last batch handed to the operating system.
    pub written: Offset,
    /// Next offset to be given.
    pub end: Offset,
    /// Leader epoch of the newest batch, or of the last [`Log::set_leader_epoch`].
    pub epoch: LeaderEpoch,
    /// Leader epoch of the last batch, also if its records are given up; [`LeaderEpoch::NONE`] if there was none.
    pub last_epoch: LeaderEpoch,
}

#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Batches from this offset on (exclusive bound: the high watermark or last stable offset) are not shown.
    pub upto: Offset,
    pub max_bytes: usize,
    /// Give the first batch even if it is larger than `max_bytes`.
    pub at_least_one: bool,
    /// Leave out batches without these tags, as far as the layout knows which they are; `None` gives every batch.
    pub tags: Option<TagFilter>,
}

/// Where the bytes of a read lie, in order.
#[derive(Clone)]
pub enum ReadPart {
    Memory(Bytes),
    File {
        file: Arc<dyn DiskFile>,
        position: u64,
        bytes: usize,
        /// How much of the file, from its beginning, will not change any more as long as the file is held. May be beyond its end.
        settled: u64,
        /// The frame the range is the batch of, and must be held to; `None` where batches have no frames.
        frame: Option<StoredFrame>,
    },
}

/// Whole batches of one partition, the first of which holds (or follows) the offset asked for.
#[derive(Clone, Default)]
pub struct ReadPlan {
    pub parts: Vec<ReadPart>,
    pub bytes: usize,
    /// Of each batch of which something is known of its tags: which one of the plan it is, and what is known.
    pub tags: Vec<(u32, u64)>,
    /// Offset to read next: behind the last batch given or left out; the offset asked for if there was none.
    pub next: Offset,
    /// What the batches must be held to, if they are a range of a file without frames.
    pub run: Option<Arc<StoredRun>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("no such partition in this log: {0}")]
    UnknownPartition(PartitionNumber),
    #[error("offset {asked} is outside {start}..={end}")]
    OutOfRange { asked: Offset, start: Offset, end: Offset },
    #[error("partition is quarantined: {0}")]
    Quarantined(String),
    #[error("reading failed: {0}")]
    Io(Arc<std::io::Error>),
}

#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    #[error("no such partition in this log: {0}")]
    UnknownPartition(PartitionNumber),
    #[error("offset {asked} is outside {start}..={end}")]
    OutOfRange { asked: Offset, start: Offset, end: Offset },
    #[error("the log has stopped after a disk error")]
    Stopped,
}

/// A batch found by time. The caller decodes it to find the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLocation {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub max_timestamp: TimestampMs,
    pub leader_epoch: LeaderEpoch,
}

/// Where an epoch ends: the newest one not above the one asked, and the end of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: LeaderEpoch,
    pub end: Offset,
}

/// An idempotent producer as DescribeProducers shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerSnapshot {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub last_sequence: i32,
    pub last_timestamp: TimestampMs,
}

/// When the oldest batches of a partition are given up. `None` keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    pub max_age_ms: Option<i64>,
    pub max_bytes: Option<u64>,
}

/// What a step of the writer or the syncer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncOutcome {
    Idle,
    Progressed,
}
