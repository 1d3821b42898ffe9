//! AlterShareGroupOffsets (91): sets where a share group begins to read. (KIP-932)
//!
//! *Behavior*: of a group without members, which is made if there is none; with members it is NON_EMPTY_GROUP. What was acknowledged
//! beyond the new start is forgotten: records from there on are delivered (again).
//!
//! *Version notes*: 0 only.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use crate::share_sessions::Place;
use duolog_base::{Offset, PartitionIndex, TopicId};
use duolog_core::group::GroupError;
use duolog_core::group::share::{AlteredShareOffset, StateOutcome};
use duolog_core::metadata::MetadataImage;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestTopic,
};
use duolog_wire::kafka::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponse, AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use std::collections::BTreeMap;

pub(super) const API: Api = Api { key: 91, name: "AlterShareGroupOffsets", min: 0, max: 0, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = AlterShareGroupOffsetsRequest::decode(&mut call.decoder(), call.version)?;
    let services = call.services();
    let image = services.broker.image();
    let wanted: Vec<AlteredShareOffset> = request.topics.iter().flat_map(|topic| wanted(&image, topic)).collect();
    let names = wanted.iter().filter_map(|one| Some((one.topic, image.topic_by_id(one.topic)?.name.clone()))).collect();
    let outcome = services.groups.share_alter_offsets(request.group_id, &wanted, names, &services.share).await;
    let mut encoder = call.response();
    response(&image, &request, &outcome).encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

/// What is asked of partitions that exist.
fn wanted(image: &MetadataImage, asked: &AlterShareGroupOffsetsRequestTopic<'_>) -> Vec<AlteredShareOffset> {
    let Some(topic) = image.topic(asked.topic_name) else { return Vec::new() };
    let partitions = asked.partitions.iter().map(|one| AlteredShareOffset {
        topic: topic.id,
        partition: PartitionIndex(one.partition_index),
        start: Offset(one.start_offset.max(0)),
    });
    partitions.filter(|one| topic.partition(one.partition).is_some()).collect()
}

fn response<'a>(
    image: &MetadataImage,
    request: &AlterShareGroupOffsetsRequest<'a>,
    outcome: &Result<Vec<StateOutcome>, GroupError>,
) -> AlterShareGroupOffsetsResponse<'a> {
    let outcomes = match outcome {
        Ok(outcomes) => outcomes,
        Err(failure) => return AlterShareGroupOffsetsResponse { error_code: error::group(failure) as i16, ..Default::default() },
    };
    let outcomes: BTreeMap<Place, ErrorCode> =
        outcomes.iter().map(|(place, outcome)| (*place, outcome.as_ref().err().map_or(ErrorCode::None, error::share))).collect();
    let topics = request.topics.iter().map(|topic| {
        let topic_id = image.topic(topic.topic_name).map_or(TopicId::NONE, |topic| topic.id);
        let partitions = topic.partitions.iter().map(|partition| {
            let place = (topic_id, PartitionIndex(partition.partition_index));
            let code = outcomes.get(&place).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition);
            AlterShareGroupOffsetsResponsePartition {
                partition_index: partition.partition_index,
                error_code: code as i16,
                ..Default::default()
            }
        });
        AlterShareGroupOffsetsResponseTopic { topic_name: topic.topic_name, topic_id, partitions: partitions.collect() }
    });
    AlterShareGroupOffsetsResponse { responses: topics.collect(), ..Default::default() }
}
