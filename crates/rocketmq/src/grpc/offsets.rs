//! UpdateOffset, GetOffset and QueryOffset: how far a group has come, and where a queue begins and ends.
//!
//! *Behaviour*: setting a group's offset makes the handles of what it was given of that queue stale.

use super::call::{Call, group_name};
use super::convert::milliseconds;
use super::status::{Refused, ok};
use duolog_base::{Offset, PartitionIndex, TimestampMs};
use duolog_core::metadata::TopicImage;
use duolog_rocketmq_proto::{
    Code, GetOffsetRequest, GetOffsetResponse, MessageQueue, QueryOffsetPolicy, QueryOffsetRequest, QueryOffsetResponse,
    UpdateOffsetRequest, UpdateOffsetResponse,
};
use std::sync::Arc;

/// A queue that exists.
pub(super) fn queue(call: &Call, asked: Option<&MessageQueue>) -> Result<(Arc<TopicImage>, PartitionIndex), Refused> {
    let topic = call.topic(asked.and_then(|queue| queue.topic.as_ref()))?;
    let index = PartitionIndex(asked.map_or(0, |queue| queue.id));
    match topic.partition(index) {
        Some(_) => Ok((topic, index)),
        None => Err(Refused::new(Code::BadRequest, format!("topic {} has no queue {index}", topic.name))),
    }
}

pub(super) async fn update(call: Call, request: UpdateOffsetRequest) -> Result<UpdateOffsetResponse, Refused> {
    let (topic, index) = queue(&call, request.message_queue.as_ref())?;
    let group = group_name(request.group.as_ref())?;
    if request.offset < 0 {
        return Err(Refused::new(Code::IllegalOffset, format!("offset {} is negative", request.offset)));
    }
    call.node().deliveries.reset(call.node(), group, &topic, index, Offset(request.offset)).await?;
    Ok(UpdateOffsetResponse { status: Some(ok()) })
}

pub(super) async fn get(call: Call, request: GetOffsetRequest) -> Result<GetOffsetResponse, Refused> {
    let (topic, index) = queue(&call, request.message_queue.as_ref())?;
    let group = group_name(request.group.as_ref())?;
    let offset = call.node().committed(group, &topic.name, index).await?;
    let none = || Refused::new(Code::OffsetNotFound, format!("group {group} has no offset in queue {index} of {}", topic.name));
    Ok(GetOffsetResponse { status: Some(ok()), offset: offset.ok_or_else(none)?.0 })
}

pub(super) async fn query(call: Call, request: QueryOffsetRequest) -> Result<QueryOffsetResponse, Refused> {
    let (topic, index) = queue(&call, request.message_queue.as_ref())?;
    let ends = call.node().queue_ends(&topic, index).await?;
    let offset = match request.query_offset_policy() {
        QueryOffsetPolicy::Beginning => ends.log_start,
        QueryOffsetPolicy::End => ends.high_watermark,
        QueryOffsetPolicy::Timestamp => {
            let missing = || Refused::new(Code::BadRequest, "a search by time needs one");
            let time = TimestampMs(milliseconds(request.timestamp.as_ref().ok_or_else(missing)?));
            call.node().offset_at(&topic, index, time).await?.unwrap_or(ends.high_watermark)
        }
    };
    Ok(QueryOffsetResponse { status: Some(ok()), offset: offset.0 })
}
