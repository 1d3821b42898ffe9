//! Appending: check every batch, hand all of them to the log at once, wait as `acks` says.
//!
//! The first part is synchronous, so that the order of the calls is the order of the offsets.

use super::Broker;
use super::validate::{self, Checked};
use crate::config::FlushMode;
use crate::metadata::{PartitionImage, TopicImage};
use bytes::BytesMut;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, TimestampMs};
use duolog_log::{AppendBatch, AppendError, AppendOrigin, Appended, LogPosition};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

/// What the producer wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nothing.
    None,
    /// That the leader has written the batch to its page cache.
    Leader,
    /// That the batch is stored as the topic's flush mode says.
    All,
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client: internal topics are closed to it.
    Client,
    /// A coordinator of this node.
    Coordinator,
}

impl Origin {
    /// Coordinators have room of their own in the log's queue and on the disk: being refused costs them their loaded state.
    fn in_log(self) -> AppendOrigin {
        match self {
            Origin::Client => AppendOrigin::Client,
            Origin::Coordinator => AppendOrigin::Internal,
        }
    }
}

/// One record batch for a partition: exactly what lies in `range` of the request's buffer.
#[derive(Clone, Debug)]
pub struct ProduceBatch<'a> {
    pub topic: &'a TopicImage,
    pub partition: PartitionIndex,
    pub range: Range<usize>,
    /// What is known of the messages' tags, see `filter::tag_word`; 0 for nothing.
    pub tag_filter: u64,
}

/// A partition's batches as they were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub base_offset: Offset,
    /// The broker's time, where it replaced the producer's.
    pub log_append_time: Option<TimestampMs>,
    pub log_start: Offset,
}

/// Why a partition's batches were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    #[error("unknown partition")]
    UnknownPartition,
    #[error("topic {topic} is written by the broker only")]
    InternalTopic { topic: String },
    #[error("no record batch")]
    Empty,
    #[error("batch of {bytes} bytes is larger than the topic's limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("batch is damaged: {problem}")]
    Corrupt { problem: &'static str },
    #[error("record format {magic} is older than the one stored")]
    OldFormat { magic: i8 },
    #[error("batch is invalid: {problem}")]
    Invalid { problem: &'static str },
    #[error("timestamp {timestamp} is outside {earliest}..={latest}")]
    Timestamp { timestamp: TimestampMs, earliest: i64, latest: i64 },
    #[error("records without a key in the compacted topic {topic}")]
    KeyMissing { topic: String },
    #[error("transactions are not served")]
    Transactional,
    #[error("compression failed")]
    Compression,
    #[error("sequence {got} is out of order, expected {expected}")]
    OutOfOrderSequence { expected: i32, got: i32 },
    #[error("producer epoch {got} is older than {current}")]
    FencedProducer { current: ProducerEpoch, got: ProducerEpoch },
    #[error("leader epoch {got} is older than {current}")]
    FencedLeader { current: LeaderEpoch, got: LeaderEpoch },
    #[error("{in_sync} replicas are in sync, the topic wants {least}")]
    NotEnoughReplicas { in_sync: usize, least: i32 },
    /// Nothing was appended, or nobody knows what will become of what was.
    #[error("this node does not lead the partition")]
    NotLeader,
    /// It is in the log, but not committed for now.
    #[error("replicas were lost before enough of them had it")]
    NotEnoughReplicasAfterAppend,
    #[error("the disk is full: free space is at the reserve of {reserve_bytes} bytes")]
    DiskFull { reserve_bytes: u64 },
    #[error("{queued_bytes} bytes wait for the disk already")]
    Overloaded { queued_bytes: usize },
    #[error("partition is quarantined: {0}")]
    Quarantined(String),
    #[error("the log has stopped after a disk error")]
    Stopped,
}

/// An append on its way: its offsets are given, its bytes may not be stored yet.
#[must_use = "what an append came to is known only when it is done"]
pub struct PendingAppend {
    results: Vec<Result<Produced, ProduceError>>,
    /// Promises of the logs that the batches went to, none if there is nothing to wait for; they err if their log stops.
    stored: SmallVec<[oneshot::Receiver<()>; 1]>,
}

impl PendingAppend {
    /// One answer for each partition, in the order given. Waits as long as it takes: callers set the limit.
    pub async fn done(mut self) -> Vec<Result<Produced, ProduceError>> {
        poll_fn(|context| self.poll_done(context)).await;
        self.results
    }

    /// Ready when the results are final.
    pub fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(stored) = self.stored.last_mut() {
            let outcome = ready!(Pin::new(stored).poll(context));
            self.stored.pop();
            if outcome.is_err() {
                self.results.iter_mut().filter(|result| result.is_ok()).for_each(|result| *result = Err(ProduceError::Stopped));
            }
        }
        Poll::Ready(())
    }

    /// The answers known by now: a refusal is final, an offset may not be stored yet.
    pub fn results(&self) -> &[Result<Produced, ProduceError>] {
        &self.results
    }
}

/// What an append waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Nothing,
    Written,
    Durable,
}

impl Broker {
    /// Checks the batches, gives them their offsets and queues them for one write. Does not wait.
    pub fn append(&self, mut buffer: BytesMut, batches: &[ProduceBatch], acks: Acks, origin: Origin) -> PendingAppend {
        let now = self.clock.now();
        let mut results = Vec::with_capacity(batches.len());
        let mut accepted = Vec::with_capacity(batches.len());
        let mut wait = Wait::Nothing;
        let (mut bytes, mut records) = (0, 0);
        for batch in batches {
            match prepare(&mut buffer, batch, acks, origin, now) {
                Ok((partition, checked)) => {
                    wait = wait.max(wait_for(acks, batch.topic.config.flush));
                    bytes += checked.range.len() as u64;
                    records += checked.records as u64;
                    let Checked { range, log_append_time, .. } = checked;
                    let (partition, leader_epoch) = (partition.number, partition.leader_epoch);
                    accepted.push(AppendBatch { partition, range, leader_epoch, tag_filter: batch.tag_filter });
                    results.push(Ok(Produced { base_offset: Offset(-1), log_append_time, log_start: Offset(-1) }));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        self.metrics.appends.add(1);
        if origin == Origin::Client {
            self.metrics.bytes_in.add(bytes);
            self.metrics.records_in.add(records);
            self.metrics.batches_in.add(accepted.len() as u64);
        }
        let stored = match accepted.is_empty() {
            true => SmallVec::new(),
            false => {
                let receipt = self.log.append(buffer, &accepted, origin.in_log(), now);
                fill_in(&mut results, receipt.results);
                self.wait(wait, &receipt.ends)
            }
        };
        let failed = results.iter().filter(|result| result.is_err()).count();
        self.metrics.appends_failed.add(failed as u64);
        PendingAppend { results, stored }
    }

    fn wait(&self, wait: Wait, ends: &[LogPosition]) -> SmallVec<[oneshot::Receiver<()>; 1]> {
        match wait {
            Wait::Nothing => SmallVec::new(),
            Wait::Written => ends.iter().map(|end| self.log.wait_written(*end)).collect(),
            Wait::Durable => ends.iter().map(|end| self.log.wait_durable(*end)).collect(),
        }
    }
}

/// Checks one batch, and finds its partition.
fn prepare<'a>(
    buffer: &mut BytesMut,
    batch: &ProduceBatch<'a>,
    acks: Acks,
    origin: Origin,
    now: TimestampMs,
) -> Result<(&'a PartitionImage, Checked), ProduceError> {
    let partition = batch.topic.partition(batch.partition).ok_or(ProduceError::UnknownPartition)?;
    if batch.topic.internal && origin == Origin::Client {
        return Err(ProduceError::InternalTopic { topic: batch.topic.name.clone() });
    }
    let (in_sync, least) = (partition.in_sync.len(), batch.topic.config.min_insync_replicas);
    if acks == Acks::All && (in_sync as i64) < i64::from(least) {
        return Err(ProduceError::NotEnoughReplicas { in_sync, least });
    }
    let checked = validate::check(buffer, batch.range.clone(), batch.topic, origin, now)?;
    Ok((partition, checked))
}

fn wait_for(acks: Acks, flush: FlushMode) -> Wait {
    match (acks, flush) {
        (Acks::None, _) => Wait::Nothing,
        (Acks::Leader, _) | (Acks::All, FlushMode::Async) => Wait::Written,
        (Acks::All, FlushMode::Sync) => Wait::Durable,
    }
}

/// Puts the log's answers in the places of the batches that were handed to it.
fn fill_in(results: &mut [Result<Produced, ProduceError>], answers: Vec<Result<Appended, AppendError>>) {
    let mut answers = answers.into_iter();
    for result in results.iter_mut().filter(|result| result.is_ok()) {
        let answer = answers.next().expect("the log answers every batch");
        *result = match (answer, result.as_ref()) {
            (Ok(appended), Ok(produced)) => {
                Ok(Produced { base_offset: appended.base_offset, log_start: appended.log_start, ..*produced })
            }
            (Err(error), _) => Err(error.into()),
            (Ok(_), Err(_)) => unreachable!("only accepted batches are visited"),
        };
    }
    assert!(answers.next().is_none(), "the log answers nothing else");
}

impl From<AppendError> for ProduceError {
    fn from(error: AppendError) -> ProduceError {
        match error {
            AppendError::UnknownPartition(_) => ProduceError::UnknownPartition,
            AppendError::OutOfOrderSequence { expected, got } => ProduceError::OutOfOrderSequence { expected, got },
            AppendError::FencedProducer { current, got } => ProduceError::FencedProducer { current, got },
            AppendError::FencedLeader { current, got } => ProduceError::FencedLeader { current, got },
            AppendError::DiskFull { reserve_bytes } => ProduceError::DiskFull { reserve_bytes },
            AppendError::Overloaded { queued_bytes } => ProduceError::Overloaded { queued_bytes },
            AppendError::Quarantined(reason) => ProduceError::Quarantined(reason),
            AppendError::Stopped => ProduceError::Stopped,
        }
    }
}
