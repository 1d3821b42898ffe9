//! OffsetDelete (47): forgets committed offsets.
//!
//! *Behavior*: of a group with members only the offsets of topics that none of them subscribes to can be deleted.
//!
//! *Version notes*: 0 only.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::PartitionIndex;
use duolog_core::group::{DeleteOffsetsTopic, GroupError, TopicOutcome};
use duolog_wire::kafka::messages::offset_delete_request::OffsetDeleteRequest;
use duolog_wire::kafka::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

pub(super) const API: Api = Api { key: 47, name: "OffsetDelete", min: 0, max: 0, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = OffsetDeleteRequest::decode(&mut call.decoder(), call.version)?;
    let topics = request.topics.iter().map(|topic| DeleteOffsetsTopic {
        name: topic.name.to_owned(),
        partitions: topic.partitions.iter().map(|partition| PartitionIndex(partition.partition_index)).collect(),
    });
    let outcome = call.services.groups.delete_offsets(request.group_id, topics.collect()).await;
    let mut encoder = call.response();
    response(&outcome).encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn response(outcome: &Result<Vec<TopicOutcome>, GroupError>) -> OffsetDeleteResponse<'_> {
    match outcome {
        Err(failure) => OffsetDeleteResponse { error_code: error::group(failure) as i16, ..Default::default() },
        Ok(topics) => OffsetDeleteResponse { topics: topics.iter().map(topic).collect(), ..Default::default() },
    }
}

fn topic(outcome: &TopicOutcome) -> OffsetDeleteResponseTopic<'_> {
    let partitions = outcome.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
        partition_index: partition.partition.0,
        error_code: error::group_outcome(&partition.outcome) as i16,
    });
    OffsetDeleteResponseTopic { name: &outcome.topic, partitions: partitions.collect() }
}
