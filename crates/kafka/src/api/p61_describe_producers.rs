//! DescribeProducers (61): the idempotent producers that partitions remember.
//!
//! *Behavior*: what the log keeps to recognise repeated batches. Coordinator epoch and transaction start are -1, which
//! stands for none: there are no transactions.
//!
//! *Version notes*: 0.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use duolog_base::PartitionIndex;
use duolog_core::metadata::MetadataImage;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::describe_producers_request::DescribeProducersRequest;
use duolog_wire::kafka::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use std::future::ready;

pub(super) const API: Api = Api { key: 61, name: "DescribeProducers", min: 0, max: 0, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(ready(answer(&call))))
}

fn answer(call: &Call) -> Result<Reply, CallError> {
    let request = DescribeProducersRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let topics = request
        .topics
        .iter()
        .map(|topic| TopicResponse {
            name: topic.name,
            partitions: topic.partition_indexes.iter().map(|index| partition(call, &image, topic.name, *index)).collect(),
        })
        .collect();
    let mut encoder = call.response();
    DescribeProducersResponse { topics, ..Default::default() }.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn partition(call: &Call, image: &MetadataImage, topic: &str, partition_index: i32) -> PartitionResponse<'static> {
    let index = PartitionIndex(partition_index);
    let producers = image.topic(topic).and_then(|topic| call.services().broker.producers(topic, index));
    let Some(producers) = producers else {
        let error_code = ErrorCode::UnknownTopicOrPartition as i16;
        return PartitionResponse { partition_index, error_code, ..Default::default() };
    };
    let active_producers = producers
        .into_iter()
        .map(|producer| ProducerState {
            producer_id: producer.id.0,
            producer_epoch: i32::from(producer.epoch.0),
            last_sequence: producer.last_sequence,
            last_timestamp: producer.last_timestamp.0,
            coordinator_epoch: -1,
            current_txn_start_offset: -1,
        })
        .collect();
    PartitionResponse { partition_index, active_producers, ..Default::default() }
}
