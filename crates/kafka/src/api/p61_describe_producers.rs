//! DescribeProducers (61): the idempotent producers that partitions remember.
//!
//! *Behavior*: what the log keeps to recognise repeated batches. Coordinator epoch and transaction start are -1, which
//! stands for none: there are no transactions. Any replica answers; other nodes NOT_LEADER_OR_FOLLOWER.
//!
//! *Version notes*: 0.

use super::Api;
use super::leadership::check_place;
use crate::call::{Call, CallError, Handled, Reply};
use duolog_base::{LeaderEpoch, PartitionIndex};
use duolog_core::metadata::MetadataImage;
use duolog_log::ProducerSnapshot;
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
    let producers = match producers(call, image, topic, PartitionIndex(partition_index)) {
        Ok(producers) => producers,
        Err(code) => return PartitionResponse { partition_index, error_code: code as i16, ..Default::default() },
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

fn producers(call: &Call, image: &MetadataImage, topic: &str, index: PartitionIndex) -> Result<Vec<ProducerSnapshot>, ErrorCode> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let broker = &call.services().broker;
    check_place(broker, partition, LeaderEpoch::NONE)?;
    broker.producers(topic, index).ok_or(ErrorCode::NotLeaderOrFollower)
}
