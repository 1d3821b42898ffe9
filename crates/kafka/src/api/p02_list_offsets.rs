//! ListOffsets (2): the offset at an end of a partition, or at a time.
//!
//! *Behavior*: a non-negative timestamp asks for the first record at or after it; -1 is the high watermark, -2 the log
//! start, -3 the record with the largest timestamp, -4 the first offset on local disk (the log start, since nothing is
//! tiered), -5 the last tiered and -6 the first offset waiting to be tiered (none). No answer is offset -1, not an
//! error. The last stable offset equals the high watermark, so both isolation levels see the same. A leader that does not know yet how
//! much of what it took over is committed answers OFFSET_NOT_AVAILABLE where that matters (KIP-207).
//!
//! *Version notes*: 1-11. -3 needs version 7, -4 version 8, -5 version 9, -6 version 11; earlier ones are answered with
//! UNSUPPORTED_VERSION. From 4 on leader epochs. Before 5 LEADER_NOT_AVAILABLE takes the place of OFFSET_NOT_AVAILABLE. The timeout of version 10 concerns remote storage and has no use here.

use super::Api;
use super::leadership::check_leads;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, TimestampMs};
use duolog_core::broker::{FoundOffset, LookupError, OffsetLookup};
use duolog_core::metadata::MetadataImage;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use duolog_wire::kafka::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};

pub(super) const API: Api = Api { key: 2, name: "ListOffsets", min: 1, max: 11, handle };

/// From this version on an answer names the leader epoch.
const LEADER_EPOCH_FROM: i16 = 4;
/// From this version on clients know OFFSET_NOT_AVAILABLE.
const NOT_AVAILABLE_FROM: i16 = 5;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(list_offsets(call)))
}

async fn list_offsets(call: Call) -> Result<Reply, CallError> {
    let request = ListOffsetsRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            partitions.push(match find(&call, &image, topic, partition).await {
                Ok(found) => answer(partition.partition_index, found, call.version),
                Err(code) => ListOffsetsPartitionResponse {
                    error_code: code as i16,
                    ..answer(partition.partition_index, NOTHING, call.version)
                },
            });
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    let mut encoder = call.response();
    ListOffsetsResponse { topics, ..Default::default() }.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

/// No record answers the description.
const NOTHING: FoundOffset = FoundOffset { offset: Offset(-1), timestamp: TimestampMs::NONE, leader_epoch: LeaderEpoch::NONE };

async fn find(
    call: &Call,
    image: &MetadataImage,
    topic: &ListOffsetsTopic<'_>,
    asked: &ListOffsetsPartition,
) -> Result<FoundOffset, ErrorCode> {
    let topic = image.topic(topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let index = PartitionIndex(asked.partition_index);
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let broker = &call.services().broker;
    check_leads(broker, partition, LeaderEpoch(asked.current_leader_epoch))?;
    let lookup = match (asked.timestamp, call.version) {
        (-1, _) => OffsetLookup::Latest,
        (-2, _) => OffsetLookup::Earliest,
        (-3, 7..) => OffsetLookup::MaxTimestamp,
        (-4, 8..) => OffsetLookup::Earliest,
        (-5, 9..) | (-6, 11..) => return Ok(NOTHING),
        (timestamp @ 0.., _) => OffsetLookup::AtTime(TimestampMs(timestamp)),
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    match broker.find_offset(topic, index, lookup).await {
        Ok(found) => Ok(found.unwrap_or(NOTHING)),
        Err(LookupError::Unsettled) if call.version < NOT_AVAILABLE_FROM => Err(ErrorCode::LeaderNotAvailable),
        Err(passing @ (LookupError::Unsettled | LookupError::NotLeader)) => Err(error::lookup(&passing)),
        Err(failure) => {
            tracing::warn!(topic = topic.name, partition = index.0, %failure, "looking up an offset failed");
            Err(error::lookup(&failure))
        }
    }
}

fn answer(partition_index: i32, found: FoundOffset, version: i16) -> ListOffsetsPartitionResponse {
    let leader_epoch = if version >= LEADER_EPOCH_FROM { found.leader_epoch } else { LeaderEpoch::NONE };
    ListOffsetsPartitionResponse {
        partition_index,
        timestamp: found.timestamp.0,
        offset: found.offset.0,
        leader_epoch: leader_epoch.0,
        ..Default::default()
    }
}
