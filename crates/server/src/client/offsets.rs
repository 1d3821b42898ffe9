//! Offsets: where partitions begin and end, which offset belongs to a time, and what groups have committed.

use super::api::{LIST_OFFSETS, OFFSET_COMMIT, OFFSET_FETCH};
use super::cluster::{Cluster, PATIENCE, TopicLayout};
use super::error::{ClientError, accept};
use super::retry::Retry;
use duolog_base::TimestampMs;
use duolog_wire::kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use duolog_wire::kafka::messages::list_offsets_response::ListOffsetsResponse;
use duolog_wire::kafka::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use duolog_wire::kafka::messages::offset_commit_response::OffsetCommitResponse;
use duolog_wire::kafka::messages::offset_fetch_request::OffsetFetchRequest;
use duolog_wire::kafka::messages::offset_fetch_response::OffsetFetchResponse;
use std::collections::BTreeMap;

/// Timestamps that ListOffsets gives a meaning to.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// A consumer, as opposed to a follower.
const CONSUMER: i32 = -1;

/// Which offset of a partition is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    Earliest,
    Latest,
    /// The first record at or after this time.
    Time(TimestampMs),
}

/// A group's place in one partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommittedOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// A group's place in one partition, with what was committed beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotedOffset {
    pub place: CommittedOffset,
    /// Kafka's metadata of an offset; empty for none.
    pub note: String,
}

/// Who commits: a member of a generation, or somebody outside the group (no member, generation -1).
pub(super) struct Committer<'a> {
    pub(super) group: &'a str,
    pub(super) member: &'a str,
    pub(super) generation: i32,
}

impl Cluster {
    /// The asked offset of each of these partitions. A time after the last record gives the end.
    pub async fn offsets(
        &mut self,
        topic: &TopicLayout,
        partitions: &[i32],
        query: OffsetQuery,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let timestamp = match query {
            OffsetQuery::Earliest => EARLIEST,
            OffsetQuery::Latest => LATEST,
            OffsetQuery::Time(at) => at.0,
        };
        let mut found = self.list_offsets(topic, partitions, timestamp).await?;
        let missing: Vec<i32> = found.iter().filter(|(_, offset)| **offset < 0).map(|(partition, _)| *partition).collect();
        if !missing.is_empty() {
            found.extend(self.list_offsets(topic, &missing, LATEST).await?);
        }
        Ok(found)
    }

    async fn list_offsets(
        &mut self,
        topic: &TopicLayout,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut topic = topic.clone();
        let mut found = BTreeMap::new();
        let mut retry = Retry::within(PATIENCE);
        loop {
            let missing = partitions.iter().copied().filter(|partition| !found.contains_key(partition)).collect::<Vec<_>>();
            match self.list_offsets_once(&topic, &missing, timestamp, &mut found).await {
                Err(error) if error.is_passing() && retry.again().await => topic = self.topic(&topic.name, false).await?,
                done => return done.map(|()| found),
            }
        }
    }

    /// Asks all leaders; what was found counts even if one of them fails.
    async fn list_offsets_once(
        &mut self,
        topic: &TopicLayout,
        partitions: &[i32],
        timestamp: i64,
        found: &mut BTreeMap<i32, i64>,
    ) -> Result<(), ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            by_leader.entry(topic.leader(*partition)?).or_default().push(*partition);
        }
        for (leader, partitions) in by_leader {
            found.extend(self.list_offsets_of(leader, &topic.name, &partitions, timestamp).await?);
        }
        Ok(())
    }

    async fn list_offsets_of(
        &mut self,
        leader: i32,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let wanted =
            partitions.iter().map(|&partition_index| ListOffsetsPartition { partition_index, timestamp, ..Default::default() });
        let topics = vec![ListOffsetsTopic { name: topic, partitions: wanted.collect() }];
        let request = ListOffsetsRequest { replica_id: CONSUMER, topics, ..Default::default() };
        let reply = self.ask(leader, LIST_OFFSETS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(ListOffsetsResponse::decode)?;
        let mut found = BTreeMap::new();
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            accept(partition.error_code, None, || format!("{topic}-{}", partition.partition_index))?;
            found.insert(partition.partition_index, partition.offset);
        }
        Ok(found)
    }

    /// Everything the group has committed.
    pub async fn committed(&mut self, group: &str) -> Result<Vec<CommittedOffset>, ClientError> {
        Ok(self.committed_with_notes(group).await?.into_iter().map(|noted| noted.place).collect())
    }

    /// Everything the group has committed, with what was committed beside it.
    pub async fn committed_with_notes(&mut self, group: &str) -> Result<Vec<NotedOffset>, ClientError> {
        let mut retry = Retry::within(PATIENCE);
        loop {
            match self.committed_once(group).await {
                Err(error) if error.is_passing() && retry.again().await => {}
                done => return done,
            }
        }
    }

    async fn committed_once(&mut self, group: &str) -> Result<Vec<NotedOffset>, ClientError> {
        let coordinator = self.group_coordinator(group).await?;
        let request = OffsetFetchRequest { group_id: group, topics: None, ..Default::default() };
        let reply = self.ask(coordinator, OFFSET_FETCH, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(OffsetFetchResponse::decode)?;
        accept(response.error_code, None, || format!("group {group}"))?;
        let mut committed = Vec::new();
        for topic in &response.topics {
            for partition in topic.partitions.iter().filter(|partition| partition.committed_offset >= 0) {
                let place = CommittedOffset {
                    topic: topic.name.to_owned(),
                    partition: partition.partition_index,
                    offset: partition.committed_offset,
                };
                committed.push(NotedOffset { place, note: partition.metadata.unwrap_or_default().to_owned() });
            }
        }
        committed.sort();
        Ok(committed)
    }

    /// Commits for a group that has no members.
    pub async fn commit_for_empty_group(&mut self, group: &str, offsets: &[CommittedOffset]) -> Result<(), ClientError> {
        self.commit(&Committer { group, member: "", generation: -1 }, offsets).await
    }

    /// Commits for a group that has no members, with a note.
    pub async fn commit_note_for_empty_group(&mut self, group: &str, offset: NotedOffset) -> Result<(), ClientError> {
        self.commit_notes(&Committer { group, member: "", generation: -1 }, &[offset]).await
    }

    pub(super) async fn commit(&mut self, who: &Committer<'_>, offsets: &[CommittedOffset]) -> Result<(), ClientError> {
        let without_note = |place: &CommittedOffset| NotedOffset { place: place.clone(), note: String::new() };
        self.commit_notes(who, &offsets.iter().map(without_note).collect::<Vec<_>>()).await
    }

    async fn commit_notes(&mut self, who: &Committer<'_>, offsets: &[NotedOffset]) -> Result<(), ClientError> {
        let mut retry = Retry::within(PATIENCE);
        loop {
            match self.commit_once(who, offsets).await {
                Err(error) if error.is_passing() && retry.again().await => {}
                done => return done,
            }
        }
    }

    async fn commit_once(&mut self, who: &Committer<'_>, offsets: &[NotedOffset]) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition<'_>>> = BTreeMap::new();
        for NotedOffset { place, note } in offsets {
            topics.entry(&place.topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: place.partition,
                committed_offset: place.offset,
                committed_metadata: Some(note),
                ..Default::default()
            });
        }
        let topic = |(name, partitions)| OffsetCommitRequestTopic { name, partitions, ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: who.group,
            member_id: who.member,
            generation_id_or_member_epoch: who.generation,
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        let coordinator = self.group_coordinator(who.group).await?;
        let reply = self.ask(coordinator, OFFSET_COMMIT, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(OffsetCommitResponse::decode)?;
        for topic in &response.topics {
            for partition in &topic.partitions {
                accept(partition.error_code, None, || format!("{}-{}", topic.name, partition.partition_index))?;
            }
        }
        Ok(())
    }
}
