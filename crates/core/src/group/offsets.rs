//! How far a group has come, by topic and partition.

use duolog_base::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};
use std::collections::BTreeMap;

/// What a consumer committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The record to be consumed next.
    pub offset: Offset,
    /// Epoch of the last record consumed, [`LeaderEpoch::NONE`] if not said.
    pub leader_epoch: LeaderEpoch,
    /// The consumer's own words.
    pub metadata: String,
    pub committed_at: TimestampMs,
    /// Set by old clients that ask for a retention of their own.
    pub expires_at: Option<TimestampMs>,
    /// [`TopicId::NONE`] in records that do not say.
    pub topic_id: TopicId,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    topics: BTreeMap<String, BTreeMap<i32, CommittedOffset>>,
}

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(super) fn get(&self, topic: &str, partition: PartitionIndex) -> Option<&CommittedOffset> {
        self.topics.get(topic)?.get(&partition.0)
    }

    pub(super) fn put(&mut self, topic: &str, partition: PartitionIndex, committed: CommittedOffset) {
        match self.topics.get_mut(topic) {
            Some(partitions) => {
                partitions.insert(partition.0, committed);
            }
            None => {
                self.topics.insert(topic.to_owned(), BTreeMap::from([(partition.0, committed)]));
            }
        }
    }

    pub(super) fn remove(&mut self, topic: &str, partition: PartitionIndex) -> Option<CommittedOffset> {
        let partitions = self.topics.get_mut(topic)?;
        let removed = partitions.remove(&partition.0);
        if partitions.is_empty() {
            self.topics.remove(topic);
        }
        removed
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (PartitionIndex, &CommittedOffset)>)> {
        self.topics.iter().map(|(topic, partitions)| {
            (topic.as_str(), partitions.iter().map(|(index, committed)| (PartitionIndex(*index), committed)))
        })
    }

    /// Topic and partition of those that `is_wanted`.
    pub(super) fn select(&self, is_wanted: impl Fn(&str, &CommittedOffset) -> bool) -> Vec<(String, PartitionIndex)> {
        let mut selected = Vec::new();
        for (topic, partitions) in self.topics() {
            let wanted = partitions.filter(|(_, committed)| is_wanted(topic, committed));
            selected.extend(wanted.map(|(partition, _)| (topic.to_owned(), partition)));
        }
        selected
    }
}
