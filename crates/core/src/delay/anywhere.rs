//! Appending a batch to a partition wherever it is led: here, or by a call to the node that leads it.
//!
//! Called for timers on their way into `__delayed_messages`, and for what is delivered from there.

use super::Shared;
use super::door::{APPEND, CALLS};
use super::records::Target;
use crate::broker::{Acks, Origin, ProduceBatch, ProduceError};
use crate::metadata::{MetadataImage, PartitionImage, TopicImage};
use bytes::{Bytes, BytesMut};
use duolog_base::{NodeId, Offset, PartitionIndex, PartitionNumber};
use duolog_peer::{CallError, CallRefusal, head};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long a call may take: the disks of all replicas have to answer.
const APPEND_LIMIT: Duration = Duration::from_secs(10);
/// How long a call waits for metadata that the caller has seen already.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Why a batch is not known to be appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum AppendFailure {
    /// It was not, and may be brought again.
    #[error("the partition has no leader for now")]
    NotHere,
    /// It may have been.
    #[error("the node that was to append it did not answer")]
    Lost,
    #[error("the partition is gone")]
    Gone,
    #[error("the producer's sequence is not the one expected")]
    Sequence,
    /// It may be brought again.
    #[error("{0}")]
    Later(String),
    #[error("{0}")]
    Never(String),
}

impl From<&ProduceError> for AppendFailure {
    fn from(error: &ProduceError) -> AppendFailure {
        match error {
            ProduceError::NotLeader | ProduceError::FencedLeader { .. } | ProduceError::UnknownPartition => {
                AppendFailure::NotHere
            }
            ProduceError::OutOfOrderSequence { .. } | ProduceError::FencedProducer { .. } => AppendFailure::Sequence,
            ProduceError::NotEnoughReplicas { .. }
            | ProduceError::NotEnoughReplicasAfterAppend
            | ProduceError::DiskFull { .. }
            | ProduceError::Overloaded { .. }
            | ProduceError::Timers(_)
            | ProduceError::Quarantined(_)
            | ProduceError::Stopped => AppendFailure::Later(error.to_string()),
            ProduceError::InternalTopic { .. }
            | ProduceError::Empty
            | ProduceError::TooLarge { .. }
            | ProduceError::Corrupt { .. }
            | ProduceError::OldFormat { .. }
            | ProduceError::Invalid { .. }
            | ProduceError::Timestamp { .. }
            | ProduceError::KeyMissing { .. }
            | ProduceError::Transactional
            | ProduceError::Compression => AppendFailure::Never(error.to_string()),
        }
    }
}

/// What a batch is for; the batch lies behind it.
#[derive(Serialize, Deserialize)]
pub(super) struct AppendHead {
    applied: u64,
    number: u32,
    topic: String,
    partition: i32,
    tags: u64,
}

/// The partition, if the topic of that name is still the same.
pub(super) fn find<'a>(image: &'a MetadataImage, target: &Target) -> Option<(&'a Arc<TopicImage>, &'a PartitionImage)> {
    let topic = image.topic(&target.topic)?;
    let partition = topic.partition(target.partition).filter(|partition| partition.number == target.number)?;
    Some((topic, partition))
}

impl Shared {
    /// Appends the batch as the topic's durability asks for, and waits until it is safe.
    pub(super) async fn append_anywhere(&self, target: &Target, batch: Bytes, tags: u64) -> Result<Offset, AppendFailure> {
        let image = self.broker.image();
        let (topic, partition) = find(&image, target).ok_or(AppendFailure::Gone)?;
        if self.broker.road().is_none() || self.broker.leads(partition).is_some() {
            return self.append_here(topic, target.partition, &batch, tags).await;
        }
        match image.live_leader(partition) {
            Some(node) if node != self.broker.node() => self.append_at(node, &image, target, &batch, tags).await,
            // This node is about to lead, or does no longer.
            _ => Err(AppendFailure::NotHere),
        }
    }

    async fn append_here(
        &self,
        topic: &TopicImage,
        partition: PartitionIndex,
        batch: &[u8],
        tags: u64,
    ) -> Result<Offset, AppendFailure> {
        let origin = if topic.name == self.log.topic().name() { Origin::Coordinator } else { Origin::Client };
        let batches = [ProduceBatch { topic, partition, range: 0..batch.len(), tag_filter: tags }];
        let pending = self.broker.append(BytesMut::from(batch), &batches, Acks::All, origin);
        let outcome = pending.done().await.pop().expect("an append of one batch has one answer");
        outcome.map(|produced| produced.base_offset).map_err(|error| AppendFailure::from(&error))
    }

    async fn append_at(
        &self,
        node: NodeId,
        image: &MetadataImage,
        target: &Target,
        batch: &[u8],
        tags: u64,
    ) -> Result<Offset, AppendFailure> {
        let road = self.broker.road().ok_or(AppendFailure::NotHere)?;
        let head = AppendHead {
            applied: image.applied,
            number: target.number.0,
            topic: target.topic.clone(),
            partition: target.partition.0,
            tags,
        };
        let body = head::pack(&head, batch);
        match road.peers.call(node, CALLS, APPEND, body, APPEND_LIMIT).await {
            Ok(answer) => {
                let answer: Result<i64, AppendFailure> = super::door::unpack(&answer).map_err(|_| AppendFailure::Lost)?.0;
                answer.map(Offset)
            }
            Err(CallError::Unreachable { .. } | CallError::Refused { .. }) => Err(AppendFailure::NotHere),
            Err(CallError::Lost { .. } | CallError::TimedOut { .. }) => Err(AppendFailure::Lost),
            Err(error @ CallError::TooLong { .. }) => Err(AppendFailure::Never(error.to_string())),
        }
    }

    /// A batch that another node brings.
    pub(super) async fn appended(&self, body: &[u8]) -> Result<Vec<Bytes>, CallRefusal> {
        let (head, batch): (AppendHead, &[u8]) = super::door::unpack(body)?;
        self.catch_up_with(head.applied).await;
        let image = self.broker.image();
        let target =
            Target { number: PartitionNumber(head.number), topic: head.topic, partition: PartitionIndex(head.partition) };
        let outcome = match find(&image, &target) {
            // The topic may have been made a moment ago.
            None if image.applied < head.applied => Err(AppendFailure::NotHere),
            None => Err(AppendFailure::Gone),
            Some((_, partition)) if self.broker.leads(partition).is_none() => Err(AppendFailure::NotHere),
            Some((topic, _)) => self.append_here(topic, target.partition, batch, head.tags).await,
        };
        Ok(vec![head::pack_alone(&outcome.map(|offset| offset.0))])
    }

    pub(super) async fn catch_up_with(&self, applied: u64) {
        let mut changes = self.broker.metadata().changes();
        let reached = changes.wait_for(|here| *here >= applied);
        // What is missing then is not found, and the caller tries again.
        let _ = tokio::time::timeout(CATCH_UP, reached).await;
    }
}
