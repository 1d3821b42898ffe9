//! OffsetDelete (47): forgets committed offsets.
//!
//! *Behavior*: of a group with members only the offsets of topics that none of them subscribes to can be deleted. Topics
//! that do not exist are refused one by one; what groups had of them is forgotten without being asked for.
//!
//! *Version notes*: 0 only.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::PartitionIndex;
use duolog_core::group::{DeleteOffsetsTopic, GroupError, TopicOutcome};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::offset_delete_request::{OffsetDeleteRequest, OffsetDeleteRequestTopic};
use duolog_wire::kafka::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

pub(super) const API: Api = Api { key: 47, name: "OffsetDelete", min: 0, max: 0, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = OffsetDeleteRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let (known, unknown): (Vec<_>, Vec<_>) = request.topics.iter().partition(|topic| image.topic(topic.name).is_some());
    let topics = known.iter().map(|topic| DeleteOffsetsTopic {
        name: topic.name.to_owned(),
        partitions: topic.partitions.iter().map(|partition| PartitionIndex(partition.partition_index)).collect(),
    });
    let outcome = call.services().groups.delete_offsets(request.group_id, topics.collect()).await;
    let mut encoder = call.response();
    response(&outcome, &unknown).encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn response<'a>(
    outcome: &'a Result<Vec<TopicOutcome>, GroupError>,
    unknown: &[&OffsetDeleteRequestTopic<'a>],
) -> OffsetDeleteResponse<'a> {
    match outcome {
        Err(failure) => OffsetDeleteResponse { error_code: error::group(failure) as i16, ..Default::default() },
        Ok(topics) => {
            let topics = topics.iter().map(topic).chain(unknown.iter().map(|asked| refused(asked)));
            OffsetDeleteResponse { topics: topics.collect(), ..Default::default() }
        }
    }
}

fn refused<'a>(asked: &OffsetDeleteRequestTopic<'a>) -> OffsetDeleteResponseTopic<'a> {
    let partitions = asked.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
        partition_index: partition.partition_index,
        error_code: ErrorCode::UnknownTopicOrPartition as i16,
    });
    OffsetDeleteResponseTopic { name: asked.name, partitions: partitions.collect() }
}

fn topic(outcome: &TopicOutcome) -> OffsetDeleteResponseTopic<'_> {
    let partitions = outcome.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
        partition_index: partition.partition.0,
        error_code: error::group_outcome(&partition.outcome) as i16,
    });
    OffsetDeleteResponseTopic { name: &outcome.topic, partitions: partitions.collect() }
}
