//! How far groups have come. The offsets lie with those of Kafka's groups, in the coordinator.
//!
//! Pulls carry an offset with them, and clients repeat all of theirs every 5 s without waiting for an answer. Such offsets are
//! noted; a question finds them at once. What clients say for its own sake is stored as soon as what is being stored is, what pulls
//! carry together a moment later. What a client waits for is stored before it is answered, and drops what was noted before.
//! A crash costs what was not stored yet, which the clients send again.

use crate::cluster::Place as CurrentPlace;
use crate::names::RETRY_PREFIX;
use crate::node::Node;
use crate::remoting::Refusal;
use crate::resets::{Resets, TooManyResets};
use duolog_base::{LeaderEpoch, Offset, PartitionIndex};
use duolog_core::group::{
    Basis, CommitPartition, CommitRequest, CommitTopic, DELIVERED, FetchRequest, FetchTopic, GroupError, Place,
};
use duolog_core::metadata::TopicImage;
use std::time::Duration;
use tokio::sync::Notify;

/// How often what was noted is stored.
pub(crate) const STORE_PERIOD: Duration = Duration::from_millis(500);

/// A new group begins at the beginning of a queue of fewer bytes.
const YOUNG_QUEUE_BYTES: u64 = 1 << 30;

/// What members say of their offsets, and what was set in spite of them.
#[derive(Default)]
pub struct Offsets {
    /// What was set while members go by what they remember.
    pub(crate) resets: Resets,
    /// Somebody has said an offset that is to be stored without waiting for the next time.
    pub(crate) said: Notify,
}

/// How far a group has come in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Progress {
    pub(crate) offset: Offset,
    /// It is what was delivered one by one and is done with ([`crate::deliveries`]), and not what somebody has set.
    pub(crate) is_delivered: bool,
}

impl Progress {
    /// As it was noted.
    fn said(offset: Offset, basis: Basis) -> Progress {
        Progress { offset, is_delivered: basis.is_of_deliveries() }
    }
}

impl Node {
    /// Notes an offset; it is stored a moment later. One that the member says of the time before it learns of a new one is not.
    pub fn note_offset(&self, group: &str, topic: &str, queue: PartitionIndex, offset: Offset, basis: Basis) -> bool {
        let at = Place { group, topic, partition: queue };
        if self.home_now(group) != CurrentPlace::Here {
            return !self.offsets.resets.holds(group, topic, queue) && self.note_elsewhere(at, offset, basis);
        }
        let is_held = || self.offsets.resets.holds(group, topic, queue);
        self.groups.note(at, offset, basis, is_held)
    }

    /// The offset a group has come to; `None` if it has none there.
    pub async fn committed(&self, group: &str, topic: &str, queue: PartitionIndex) -> Result<Option<Offset>, Refusal> {
        Ok(self.progress_of(group, topic, queue).await?.map(|progress| progress.offset))
    }

    /// The same, and whose word it is.
    pub(crate) async fn progress_of(&self, group: &str, topic: &str, queue: PartitionIndex) -> Result<Option<Progress>, Refusal> {
        match self.noted_elsewhere(Place { group, topic, partition: queue }) {
            Some((offset, Basis::Ahead)) => {
                Ok(Some(Progress::said(offset, Basis::Ahead)).max(self.committed_at_home(group, topic, queue).await?))
            }
            Some((offset, basis)) => Ok(Some(Progress::said(offset, basis))),
            None => self.committed_at_home(group, topic, queue).await,
        }
    }

    /// The same at the group's home.
    pub(crate) async fn committed_here(
        &self,
        group: &str,
        topic: &str,
        queue: PartitionIndex,
    ) -> Result<Option<Progress>, GroupError> {
        let ahead = match self.groups.noted(Place { group, topic, partition: queue }) {
            Some((offset, Basis::Ahead)) => Some(Progress::said(offset, Basis::Ahead)),
            Some((offset, basis)) => return Ok(Some(Progress::said(offset, basis))),
            None => None,
        };
        let topics = Some(vec![FetchTopic { name: topic.to_owned(), partitions: vec![queue] }]);
        let found = self.groups.fetch(FetchRequest { group_id: group.to_owned(), topics }).await?;
        let mut partitions = found.iter().flat_map(|topic| &topic.partitions);
        let committed = partitions.find_map(|partition| partition.committed.as_ref());
        let committed = committed.map(|committed| {
            let is_delivered = committed.metadata == DELIVERED;
            Progress { offset: committed.offset, is_delivered }
        });
        Ok(committed.max(ahead))
    }

    /// Whether a group without an offset begins at 0: nothing was deleted from the queue yet, and it is not large.
    pub fn is_young(&self, topic: &TopicImage, queue: PartitionIndex) -> bool {
        let starts_at_zero = self.broker.ends(topic, queue).is_some_and(|ends| ends.log_start == Offset(0));
        starts_at_zero && self.broker.partition_bytes(topic, queue).is_some_and(|bytes| bytes <= YOUNG_QUEUE_BYTES)
    }

    /// Where a group without an offset begins; `None` if there is no such queue.
    pub fn first_offset(&self, topic: &TopicImage, queue: PartitionIndex) -> Option<Offset> {
        let ends = self.broker.ends(topic, queue)?;
        // What members have given back was theirs already.
        let is_retry = topic.name.starts_with(RETRY_PREFIX);
        Some(if is_retry || self.is_young(topic, queue) { ends.log_start } else { ends.high_watermark })
    }

    /// Stores an offset.
    pub async fn commit(&self, group: &str, topic: &TopicImage, queue: PartitionIndex, offset: Offset) -> Result<(), Refusal> {
        self.commit_all(group, topic, &[(queue, offset)]).await
    }

    /// Stores an offset to which a group has come whose messages are delivered one by one.
    pub(crate) async fn commit_delivered(
        &self,
        group: &str,
        topic: &TopicImage,
        queue: PartitionIndex,
        offset: Offset,
    ) -> Result<(), Refusal> {
        self.forget_noted(group, &topic.name, [queue].into_iter());
        self.commit_at_home(group, topic, &[(queue, offset)], true).await
    }

    /// Sets offsets of a group, whatever its members remember: they are sent there when they pull the next time.
    pub async fn reset(&self, group: &str, topic: &TopicImage, offsets: &[(PartitionIndex, Offset)]) -> Result<(), ResetError> {
        let is_alive = |group: &str| self.clients.with_consumers(group, |_| ()).is_some();
        let resets = &self.offsets.resets;
        resets.add(group, &topic.name, offsets, is_alive)?;
        let outcome = self.commit_all(group, topic, offsets).await;
        if outcome.is_err() || !is_alive(group) {
            resets.forget(group, &topic.name, offsets);
        } else {
            self.spread_reset(group, &topic.name, offsets).await;
        }
        Ok(outcome?)
    }

    /// Stores what was noted.
    pub async fn store_offsets(&self) {
        self.empty_outbox().await;
        self.groups.store_noted(&self.broker.image()).await;
    }

    async fn commit_all(&self, group: &str, topic: &TopicImage, offsets: &[(PartitionIndex, Offset)]) -> Result<(), Refusal> {
        self.forget_noted(group, &topic.name, offsets.iter().map(|(queue, _)| *queue));
        self.commit_at_home(group, topic, offsets, false).await
    }

    /// Commits as one who uses the group as a store of offsets only.
    pub(crate) async fn commit_here(
        &self,
        group: &str,
        topic: &TopicImage,
        offsets: &[(PartitionIndex, Offset)],
        is_delivered: bool,
    ) -> Result<(), GroupError> {
        let existing = offsets.iter().filter(|(queue, _)| topic.partition(*queue).is_some());
        let commit = |(queue, offset): &(PartitionIndex, Offset)| CommitPartition {
            partition: *queue,
            offset: *offset,
            leader_epoch: LeaderEpoch::NONE,
            metadata: if is_delivered { DELIVERED.to_owned() } else { String::new() },
        };
        let topics = vec![CommitTopic { name: topic.name.clone(), id: topic.id, partitions: existing.map(commit).collect() }];
        let outcomes = self.groups.commit(CommitRequest::anonymous(group, topics)).await?;
        outcomes.into_iter().flat_map(|topic| topic.partitions).try_for_each(|partition| partition.outcome)
    }
}

impl From<Refusal> for ResetError {
    fn from(refusal: Refusal) -> ResetError {
        ResetError::Refused(refusal)
    }
}

/// Why the offsets of a group are not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    #[error(transparent)]
    TooMany(#[from] TooManyResets),
    #[error("{}", .0.remark)]
    Refused(Refusal),
}
