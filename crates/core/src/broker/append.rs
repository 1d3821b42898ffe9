//! Appending: check every batch, hand all of them to the log at once, wait as `acks` says.
//!
//! The first part is synchronous, so that the order of the calls is the order of the offsets.

use super::Broker;
use super::validate::{self, Checked};
use crate::config::FlushMode;
use crate::metadata::{PartitionImage, TopicImage};
use crate::replication::{AppendRefusal, Promise, Receipt, Replication, Wanted};
use bytes::BytesMut;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, TimestampMs};
use duolog_log::{AppendBatch, AppendError, AppendOrigin, Appended, LogPosition};
use duolog_replica::{AckOutcome, NotEnoughReplicas};
use duolog_wire::record::BatchHeader;
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
    /// The service of delayed records, for a client: what is left of its batch, with gaps.
    Remainder,
    /// A coordinator of this node.
    Coordinator,
}

impl Origin {
    /// Coordinators have room of their own in the log's queue and on the disk: being refused costs them their loaded state.
    fn in_log(self) -> AppendOrigin {
        match self {
            Origin::Client | Origin::Remainder => AppendOrigin::Client,
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

impl Produced {
    /// Of batches of which nothing is known.
    pub const UNKNOWN: Produced = Produced { base_offset: Offset(-1), log_append_time: None, log_start: Offset(-1) };
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
    /// Of records that are delivered later.
    #[error("records are not taken for later now: {0}")]
    Timers(String),
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
    /// Promises of the partitions with several replicas that batches are committed, each for the batches at these places.
    committed: Vec<Promise>,
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
        while let Some((places, outcome)) = self.committed.last_mut() {
            let failed = match ready!(Pin::new(outcome).poll(context)) {
                Ok(AckOutcome::Committed) => None,
                Ok(AckOutcome::TooFewInSync) => Some(ProduceError::NotEnoughReplicasAfterAppend),
                Ok(AckOutcome::NotLeader) => Some(ProduceError::NotLeader),
                Err(_) => Some(ProduceError::Stopped),
            };
            if let Some(error) = failed {
                places.iter().for_each(|place| self.results[*place] = Err(error.clone()));
            }
            self.committed.pop();
        }
        Poll::Ready(())
    }

    /// The answers known by now: a refusal is final, an offset may not be stored yet.
    pub fn results(&self) -> &[Result<Produced, ProduceError>] {
        &self.results
    }
}

/// A batch that may be appended, as far as it is known without the partition.
struct Accepted {
    batch: AppendBatch,
    wait: Wait,
    /// Whether this node leads the partition by the metadata's word alone.
    leads: bool,
    /// Where its answer goes.
    place: usize,
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
        let (mut bytes, mut records) = (0, 0);
        for batch in batches {
            match prepare(&mut buffer, batch, acks, origin, now) {
                Ok((partition, checked)) => {
                    bytes += checked.range.len() as u64;
                    records += checked.records as u64;
                    let Checked { range, log_append_time, .. } = checked;
                    let (number, leader_epoch) = (partition.number, partition.leader_epoch);
                    let batch_in_log = AppendBatch { partition: number, range, leader_epoch, tag_filter: batch.tag_filter };
                    let wait = wait_for(acks, batch.topic.config.flush);
                    accepted.push(Accepted {
                        batch: batch_in_log,
                        wait,
                        leads: self.leads_alone(partition),
                        place: results.len(),
                    });
                    results.push(Ok(Produced { log_append_time, ..Produced::UNKNOWN }));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        self.metrics.appends.add(1);
        if origin != Origin::Coordinator {
            self.metrics.bytes_in.add(bytes);
            self.metrics.records_in.add(records);
            self.metrics.batches_in.add(accepted.len() as u64);
        }
        let mut pending = PendingAppend { results, stored: SmallVec::new(), committed: Vec::new() };
        match self.replication() {
            _ if accepted.is_empty() => {}
            None => {
                let wait = accepted.iter().map(|accepted| accepted.wait).max().unwrap_or(Wait::Nothing);
                let accepted: Vec<AppendBatch> = accepted.into_iter().map(|accepted| accepted.batch).collect();
                let receipt = self.log.append(buffer, &accepted, origin.in_log(), now);
                fill_in(&mut pending.results, receipt.results);
                pending.stored = self.wait(wait, &receipt.ends);
            }
            Some(replication) => self.append_in_cluster(replication, buffer, accepted, acks, origin, &mut pending),
        }
        let failed = pending.results.iter().filter(|result| result.is_err()).count();
        self.metrics.appends_failed.add(failed as u64);
        pending
    }

    /// Whether a batch that would be appended is there already. An error if it would be refused, as far as that is known without doing it.
    pub(crate) fn is_repeated(&self, batch: &ProduceBatch, bytes: &[u8], acks: Acks) -> Result<bool, ProduceError> {
        let now = self.clock.now();
        let (partition, _) = prepare(&mut BytesMut::from(bytes), batch, acks, Origin::Remainder, now)?;
        let header = BatchHeader::parse(bytes).map_err(|_| ProduceError::Corrupt { problem: "header" })?;
        if self.leads(partition).is_none() {
            return Err(ProduceError::NotLeader);
        }
        let (in_sync, least) = (partition.in_sync.len(), batch.topic.min_in_sync(partition));
        if acks == Acks::All && in_sync < least {
            return Err(ProduceError::NotEnoughReplicas { in_sync, least: least as i32 });
        }
        if let Some(refusal) = self.log.refusal(partition.number, AppendOrigin::Client) {
            return Err(refusal.into());
        }
        Ok(self.log.find_repeated(partition.number, &header)?.is_some())
    }

    fn append_in_cluster(
        &self,
        replication: &Replication,
        buffer: BytesMut,
        accepted: Vec<Accepted>,
        acks: Acks,
        origin: Origin,
        pending: &mut PendingAppend,
    ) {
        let now = self.clock.now();
        let places: SmallVec<[usize; 4]> = accepted.iter().map(|accepted| accepted.place).collect();
        let waits: SmallVec<[Wait; 4]> = accepted.iter().map(|accepted| accepted.wait).collect();
        let (committed, in_its_epoch) = (acks == Acks::All, origin == Origin::Coordinator);
        let wanted: Vec<Wanted> = accepted
            .into_iter()
            .map(|Accepted { batch, leads, .. }| Wanted { batch, committed, in_its_epoch, alone: leads })
            .collect();
        let receipt = replication.append(&wanted, |batches| self.log.append(buffer, batches, origin.in_log(), now));
        let Receipt { results, ends, mut promises, replicated } = receipt;
        let (mut wait, mut promised) = (Wait::Nothing, Wait::Nothing);
        for ((result, place), (own, replicated)) in results.into_iter().zip(&places).zip(waits.into_iter().zip(replicated)) {
            match replicated && acks == Acks::All {
                true => promised = promised.max(own),
                false if result.is_ok() => wait = wait.max(own),
                false => {}
            }
            match result {
                Ok(appended) => fill_in_one(&mut pending.results[*place], appended),
                Err(refusal) => pending.results[*place] = Err(refusal.into()),
            }
        }
        // Replication learns of it through the observer.
        self.hasten(promised, &ends);
        pending.stored = self.wait(wait, &ends);
        for (batches, _) in &mut promises {
            batches.iter_mut().for_each(|batch| *batch = places[*batch]);
        }
        pending.committed = promises;
    }

    /// Has the logs write, or sync, what somebody waits for.
    fn hasten(&self, wait: Wait, ends: &[LogPosition]) {
        match wait {
            Wait::Nothing => {}
            Wait::Written => ends.iter().for_each(|end| drop(self.log.wait_written(*end))),
            Wait::Durable => ends.iter().for_each(|end| self.log.want_durable(*end)),
        }
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
    if batch.topic.internal && origin != Origin::Coordinator {
        return Err(ProduceError::InternalTopic { topic: batch.topic.name.clone() });
    }
    let (in_sync, least) = (partition.in_sync.len(), batch.topic.config.min_insync_replicas);
    // Of several replicas the leader knows better.
    if acks == Acks::All && partition.replicas.len() < 2 && (in_sync as i64) < i64::from(least) {
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
        match answer {
            Ok(appended) => fill_in_one(result, appended),
            Err(error) => *result = Err(error.into()),
        }
    }
    assert!(answers.next().is_none(), "the log answers nothing else");
}

fn fill_in_one(result: &mut Result<Produced, ProduceError>, appended: Appended) {
    if let Ok(produced) = result {
        (produced.base_offset, produced.log_start) = (appended.base_offset, appended.log_start);
    }
}

impl From<AppendRefusal> for ProduceError {
    fn from(refusal: AppendRefusal) -> ProduceError {
        match refusal {
            AppendRefusal::NotLeader => ProduceError::NotLeader,
            AppendRefusal::NotEnoughReplicas(NotEnoughReplicas { in_sync, least }) => {
                ProduceError::NotEnoughReplicas { in_sync, least: least as i32 }
            }
            AppendRefusal::Log(error) => error.into(),
        }
    }
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
