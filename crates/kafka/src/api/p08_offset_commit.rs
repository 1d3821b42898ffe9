//! OffsetCommit (8): keeps how far a group has come.
//!
//! *Behavior*: partitions that do not exist are refused one by one, the others are handed to the group, which checks
//! the member and its generation. Answers when the offsets are stored. A commit is also a sign of life.
//!
//! *Version notes*: 2-10; up to 4 the client says how long to keep the offsets; 6 adds the leader epoch, 7 static
//! members (KIP-345); 9 says of a group that does not exist that it does not; 10 names topics by id (KIP-848).

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex};
use duolog_core::group::{CommitPartition, CommitRequest, CommitTopic, GroupError, TopicOutcome};
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestTopic};
use duolog_wire::kafka::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use std::sync::Arc;

pub(super) const API: Api = Api { key: 8, name: "OffsetCommit", min: 2, max: 10, handle };

/// The first version that names topics by id.
const BY_ID: i16 = 10;
/// The first version whose clients know that a group may not exist.
const KNOWS_NOT_FOUND: i16 = 9;
/// Retention that stands for the broker's.
const DEFAULT_RETENTION: i64 = -1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = OffsetCommitRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let found: Vec<Option<&Arc<TopicImage>>> = request.topics.iter().map(|topic| find(&image, topic, call.version)).collect();
    let topics: Vec<CommitTopic> =
        request.topics.iter().zip(&found).filter_map(|(topic, found)| commits(topic, *found)).collect();
    let outcome = if topics.is_empty() {
        Ok(Vec::new())
    } else {
        let commit = CommitRequest {
            group_id: request.group_id.to_owned(),
            generation: request.generation_id_or_member_epoch,
            member_id: request.member_id.to_owned(),
            instance_id: request.group_instance_id.map(str::to_owned),
            retention_ms: Some(request.retention_time_ms).filter(|retention| *retention != DEFAULT_RETENTION),
            knows_group_not_found: call.version >= KNOWS_NOT_FOUND,
            topics,
        };
        call.services().groups.commit(commit).await
    };
    let mut next = outcomes(outcome);
    let topics = request.topics.iter().zip(found).map(|(topic, found)| answered(topic, found, &mut next, call.version));
    let response = OffsetCommitResponse { topics: topics.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn find<'a>(image: &'a MetadataImage, topic: &OffsetCommitRequestTopic<'_>, version: i16) -> Option<&'a Arc<TopicImage>> {
    if version >= BY_ID { image.topic_by_id(topic.topic_id) } else { image.topic(topic.name) }
}

/// What is handed to the group of a topic: the partitions that exist.
fn commits(topic: &OffsetCommitRequestTopic<'_>, found: Option<&Arc<TopicImage>>) -> Option<CommitTopic> {
    let found = found?;
    let existing = topic.partitions.iter().filter(|commit| found.partition(PartitionIndex(commit.partition_index)).is_some());
    let partitions: Vec<CommitPartition> = existing
        .map(|commit| CommitPartition {
            partition: PartitionIndex(commit.partition_index),
            offset: Offset(commit.committed_offset),
            leader_epoch: LeaderEpoch(commit.committed_leader_epoch),
            metadata: commit.committed_metadata.unwrap_or_default().to_owned(),
        })
        .collect();
    (!partitions.is_empty()).then(|| CommitTopic { name: found.name.clone(), id: found.id, partitions })
}

/// The group's outcomes in the order in which partitions were handed to it.
fn outcomes(outcome: Result<Vec<TopicOutcome>, GroupError>) -> impl FnMut() -> ErrorCode {
    let (codes, of_all) = match outcome {
        Err(failure) => (Vec::new(), error::group(&failure)),
        Ok(topics) => {
            let partitions = topics.iter().flat_map(|topic| &topic.partitions);
            (partitions.map(|partition| error::group_outcome(&partition.outcome)).collect(), ErrorCode::UnknownServerError)
        }
    };
    let mut codes = codes.into_iter();
    move || codes.next().unwrap_or(of_all)
}

fn answered<'a>(
    topic: &OffsetCommitRequestTopic<'a>,
    found: Option<&Arc<TopicImage>>,
    next: &mut impl FnMut() -> ErrorCode,
    version: i16,
) -> OffsetCommitResponseTopic<'a> {
    let partitions = topic.partitions.iter().map(|commit| {
        let index = PartitionIndex(commit.partition_index);
        let code = match found {
            None if version >= BY_ID => ErrorCode::UnknownTopicId,
            Some(found) if found.partition(index).is_some() => next(),
            None | Some(_) => ErrorCode::UnknownTopicOrPartition,
        };
        OffsetCommitResponsePartition { partition_index: commit.partition_index, error_code: code as i16 }
    });
    OffsetCommitResponseTopic { name: topic.name, topic_id: topic.topic_id, partitions: partitions.collect() }
}
