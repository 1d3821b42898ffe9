//! OffsetForLeaderEpoch (23): where the batches of a leader epoch end.
//!
//! *Behavior*: answers with the newest epoch not above the one asked for, and the offset after its last batch; the
//! present epoch ends where the log does. An epoch that the log never had, or that is still to come, is answered with
//! epoch -1 and offset -1. Consumers use it to see whether what they have read is still there (KIP-320).
//!
//! *Version notes*: 2-4, which differ in form only.

use super::Api;
use super::leadership::check_leads;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::{LeaderEpoch, PartitionIndex};
use duolog_core::metadata::MetadataImage;
use duolog_log::EpochEnd;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::offset_for_leader_epoch_request::{OffsetForLeaderEpochRequest, OffsetForLeaderPartition};
use duolog_wire::kafka::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use std::future::ready;

pub(super) const API: Api = Api { key: 23, name: "OffsetForLeaderEpoch", min: 2, max: 4, handle };

/// Epoch and offset that stand for none.
const UNDEFINED: i32 = -1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(ready(answer(&call))))
}

fn answer(call: &Call) -> Result<Reply, CallError> {
    let request = OffsetForLeaderEpochRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let answer = |asked| partition_answer(asked, find(call, &image, topic.topic, asked));
            OffsetForLeaderTopicResult { topic: topic.topic, partitions: topic.partitions.iter().map(answer).collect() }
        })
        .collect();
    let mut encoder = call.response();
    OffsetForLeaderEpochResponse { topics, ..Default::default() }.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn find(
    call: &Call,
    image: &MetadataImage,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<EpochEnd>, ErrorCode> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let index = PartitionIndex(asked.partition);
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leads(&call.services().broker, partition, LeaderEpoch(asked.current_leader_epoch))?;
    let epoch = LeaderEpoch(asked.leader_epoch);
    if epoch > partition.leader_epoch {
        return Ok(None);
    }
    call.services().broker.epoch_end(topic, index, epoch).map_err(|failure| error::lookup(&failure))
}

fn partition_answer(asked: &OffsetForLeaderPartition, found: Result<Option<EpochEnd>, ErrorCode>) -> EpochEndOffset {
    let (error_code, end) = match found {
        Ok(end) => (ErrorCode::None, end),
        Err(code) => (code, None),
    };
    EpochEndOffset {
        error_code: error_code as i16,
        partition: asked.partition,
        leader_epoch: end.map_or(UNDEFINED, |end| end.epoch.0),
        end_offset: end.map_or(UNDEFINED.into(), |end| end.end.0),
    }
}
