//! OffsetCommit, OffsetFetch and OffsetDelete.

use super::noted::{Basis, DELIVERED};
use super::offsets::CommittedOffset;
use super::rebalance::Context;
use super::request::{
    CommitPartition, CommitRequest, CommitTopic, CommittedPartition, CommittedTopic, DeleteOffsetsTopic, FetchRequest,
    FetchTopic, PartitionOutcome, TopicOutcome,
};
use super::shard::GroupShard;
use super::state::{Group, State};
use super::{GroupError, records};
use crate::coordinator::{Now, Output, Ticket};
use duolog_base::TimestampMs;
use duolog_replica::{Mutant, planted};

type OutcomesTicket = Ticket<Result<Vec<TopicOutcome>, GroupError>>;

impl GroupShard {
    /// Keeps offsets. A commit of a member is also a sign of life.
    pub fn commit(&mut self, request: CommitRequest, ticket: OutcomesTicket, now: Now, out: &mut Output) {
        let is_share = self.share.contains_key(request.group_id.as_str());
        if is_share || (!self.groups.contains_key(request.group_id.as_str()) && request.generation >= 0) {
            // Only those who do not use the group's members may be the first to be heard of, and share groups have no offsets.
            let error = match request.knows_group_not_found {
                true => GroupError::GroupNotFound,
                false => GroupError::IllegalGeneration { asked: request.generation, current: -1 },
            };
            return out.answer(ticket, Err(error));
        }
        let (group, mut context) = self.enter_or_create(&request.group_id, now, out);
        let answer = match group.check_commit(&request) {
            Ok(()) => Ok(group.commit(&request, &mut context)),
            Err(error) => Err(error),
        };
        out.answer(ticket, answer);
        self.forget_if_trivial(&request.group_id);
    }

    /// Keeps those offsets whose basis still holds.
    pub fn commit_noted(
        &mut self,
        mut request: CommitRequest,
        bases: &[Vec<Basis>],
        ticket: OutcomesTicket,
        now: Now,
        out: &mut Output,
    ) {
        let group = self.groups.get(request.group_id.as_str());
        for (topic, bases) in request.topics.iter_mut().zip(bases) {
            let committed = |partition| Some(group?.offsets.get(&topic.name, partition)?.offset);
            let mut bases = bases.iter();
            topic.partitions.retain(|one| bases.next().is_some_and(|basis| basis.holds(one.offset, committed(one.partition))));
        }
        request.topics.retain(|topic| !topic.partitions.is_empty());
        match request.topics.is_empty() {
            true => out.answer(ticket, Ok(Vec::new())),
            false => self.commit(request, ticket, now, out),
        }
    }

    /// What the group has committed; nothing at all for a group that does not exist.
    pub fn fetch(&mut self, request: &FetchRequest, ticket: Ticket<Vec<CommittedTopic>>, out: &mut Output) {
        let group = self.groups.get(request.group_id.as_str());
        let answer = match (&request.topics, group) {
            (Some(topics), group) => topics.iter().map(|topic| committed_of(group, topic)).collect(),
            (None, Some(group)) => group.all_committed(),
            (None, None) => Vec::new(),
        };
        out.answer(ticket, answer);
    }

    /// Forgets offsets, of topics that the group does not consume.
    pub fn delete_offsets(
        &mut self,
        group_id: &str,
        topics: &[DeleteOffsetsTopic],
        ticket: OutcomesTicket,
        now: Now,
        out: &mut Output,
    ) {
        let answer = match self.enter(group_id, now, out) {
            _ if group_id.is_empty() => Err(GroupError::InvalidGroupId),
            None => Err(GroupError::GroupNotFound),
            Some((group, _)) if group.state != State::Empty && !group.is_consumer_group() => Err(GroupError::NonEmptyGroup),
            Some((group, mut context)) => Ok(topics.iter().map(|topic| group.delete_offsets(topic, &mut context)).collect()),
        };
        out.answer(ticket, answer);
        self.forget_if_trivial(group_id);
    }
}

fn committed_of(group: Option<&Group>, topic: &FetchTopic) -> CommittedTopic {
    let partitions = topic.partitions.iter().map(|partition| CommittedPartition {
        partition: *partition,
        committed: group.and_then(|group| group.offsets.get(&topic.name, *partition)).cloned(),
    });
    CommittedTopic { name: topic.name.clone(), partitions: partitions.collect() }
}

impl Group {
    fn check_commit(&self, request: &CommitRequest) -> Result<(), GroupError> {
        let is_anonymous = request.generation < 0 && request.member_id.is_empty() && request.instance_id.is_none();
        if request.generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if is_anonymous {
            // Offsets of a group with members are theirs.
            return Err(GroupError::UnknownMember);
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if !planted(Mutant::StaleGenerationCommits) {
            self.check_generation(request.generation)?;
        }
        match self.state {
            // The member knows the new generation but not yet its share of it.
            State::CompletingRebalance => Err(GroupError::RebalanceInProgress),
            State::Empty | State::PreparingRebalance | State::Stable => Ok(()),
        }
    }

    fn commit(&mut self, request: &CommitRequest, context: &mut Context<'_>) -> Vec<TopicOutcome> {
        self.heard_of(&request.member_id, context);
        let expires_at = request.retention_ms.map(|retention| TimestampMs(context.now.wall.0.saturating_add(retention)));
        let mut outcomes = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let partitions = topic.partitions.iter().map(|partition| PartitionOutcome {
                partition: partition.partition,
                outcome: self.commit_partition(topic, partition, expires_at, context),
            });
            outcomes.push(TopicOutcome { topic: topic.name.clone(), partitions: partitions.collect() });
        }
        outcomes
    }

    fn commit_partition(
        &mut self,
        topic: &CommitTopic,
        commit: &CommitPartition,
        expires_at: Option<TimestampMs>,
        context: &mut Context<'_>,
    ) -> Result<(), GroupError> {
        let (length, max) = (commit.metadata.encode_utf16().count(), context.settings.offset_metadata_max);
        if length > max && commit.metadata != DELIVERED {
            return Err(GroupError::MetadataTooLarge { bytes: length, max });
        }
        let committed = CommittedOffset {
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata.clone(),
            committed_at: context.now.wall,
            expires_at,
            topic_id: topic.id,
        };
        context.out.append(records::offset(&self.id, &topic.name, commit.partition, &committed));
        self.offsets.put(&topic.name, commit.partition, committed);
        context.metrics.committed_offsets.add(1);
        Ok(())
    }

    fn all_committed(&self) -> Vec<CommittedTopic> {
        let topic = |(name, partitions): (&str, _)| CommittedTopic { name: name.to_owned(), partitions };
        self.offsets
            .topics()
            .map(|(name, partitions)| {
                let partitions = partitions
                    .map(|(partition, committed)| CommittedPartition { partition, committed: Some(committed.clone()) })
                    .collect();
                topic((name, partitions))
            })
            .collect()
    }

    fn delete_offsets(&mut self, topic: &DeleteOffsetsTopic, context: &mut Context<'_>) -> TopicOutcome {
        let is_subscribed = self.is_subscribed(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let outcome = match is_subscribed {
                true => Err(GroupError::SubscribedToTopic),
                false => Ok(()),
            };
            if !is_subscribed && self.offsets.remove(&topic.name, *partition).is_some() {
                context.out.append(records::offset_tombstone(&self.id, &topic.name, *partition));
            }
            partitions.push(PartitionOutcome { partition: *partition, outcome });
        }
        TopicOutcome { topic: topic.name.clone(), partitions }
    }

    /// Forgets offsets by place.
    pub(super) fn drop_offsets(&mut self, places: Vec<(String, duolog_base::PartitionIndex)>, out: &mut Output) {
        for (topic, partition) in places {
            if self.offsets.remove(&topic, partition).is_some() {
                out.append(records::offset_tombstone(&self.id, &topic, partition));
            }
        }
    }
}
