//! DeleteRecords (21): gives up everything before an offset.
//!
//! *Behavior*: -1 stands for the high watermark. The new log start is on disk when the answer leaves. An offset beyond
//! the high watermark is OFFSET_OUT_OF_RANGE, one before the log start changes nothing; a topic whose policy is only
//! to compact answers POLICY_VIOLATION. Internal topics are refused with INVALID_TOPIC_EXCEPTION.
//!
//! *Version notes*: 0-2, which differ in form only.

use super::Api;
use super::leadership::check_leads;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest};
use duolog_wire::kafka::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

pub(super) const API: Api = Api { key: 21, name: "DeleteRecords", min: 0, max: 2, handle };

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// The low watermark of a partition that was refused.
const NO_WATERMARK: i64 = -1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(delete_records(call)))
}

async fn delete_records(call: Call) -> Result<Reply, CallError> {
    let request = DeleteRecordsRequest::decode(&mut call.decoder(), call.version)?;
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let done = timeout_at(deadline, delete(&call, topic.name, partition)).await;
            let (low_watermark, code) = match done.unwrap_or(Err(ErrorCode::RequestTimedOut)) {
                Ok(start) => (start.0, ErrorCode::None),
                Err(code) => (NO_WATERMARK, code),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark,
                error_code: code as i16,
            });
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    let mut encoder = call.response();
    DeleteRecordsResponse { topics, ..Default::default() }.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

async fn delete(call: &Call, topic: &str, asked: &DeleteRecordsPartition) -> Result<Offset, ErrorCode> {
    let broker = &call.services().broker;
    let image = broker.image();
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if topic.internal {
        return Err(ErrorCode::InvalidTopicException);
    }
    let index = PartitionIndex(asked.partition_index);
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leads(broker, partition, LeaderEpoch::NONE)?;
    let before = (asked.offset != HIGH_WATERMARK).then_some(Offset(asked.offset));
    let deleted = broker.delete_records(topic, index, before).await;
    deleted.map_err(|failure| error::delete_records(&failure))
}
