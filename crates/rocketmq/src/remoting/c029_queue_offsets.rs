//! SEARCH_OFFSET_BY_TIMESTAMP (29), GET_MAX_OFFSET (30), GET_MIN_OFFSET (31), GET_EARLIEST_MSG_STORETIME (32).
//!
//! *Behaviour*: the largest offset is the one that will be written next, as far as consumers may see. Time is that of the
//! messages' birth, by which the log is indexed. A search beyond the last message finds the end of the queue.

use crate::message::EmptyBody;
use crate::pull::{Pulled, Wanted};
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use duolog_base::{PartitionIndex, TimestampMs};
use duolog_core::broker::{OffsetLookup, PartitionEnds};
use duolog_core::filter::Subscription;
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::header::{
    Boundary, EarliestStoreTimeResponse, MaxOffsetRequest, OffsetResponse, QueueRequest, SearchOffsetRequest,
};
use duolog_wire::remoting::message::StoredMessage;
use std::sync::Arc;

/// What is answered for a queue without messages.
const NO_TIME: i64 = -1;

/// A queue that exists.
struct Queue {
    topic: Arc<TopicImage>,
    index: PartitionIndex,
    ends: PartitionEnds,
}

fn find(call: &Call, topic: &str, queue: i32) -> Result<Queue, Refusal> {
    let image = call.node.broker.image();
    let found = topics::find(&image, topic)?;
    let index = topics::queue(found, queue)?;
    let ends = call.node.broker.ends(found, index).ok_or_else(|| topics::unknown(topic))?;
    Ok(Queue { topic: found.clone(), index, ends })
}

fn offset(offset: i64) -> Result<Answer, Refusal> {
    Ok(Answer::ok().header(OffsetResponse { offset }))
}

pub(super) async fn max(call: Call) -> Result<Answer, Refusal> {
    let header: MaxOffsetRequest<'_> = call.header()?;
    offset(find(&call, header.topic, header.queue_id)?.ends.high_watermark.0)
}

pub(super) async fn min(call: Call) -> Result<Answer, Refusal> {
    let header: QueueRequest<'_> = call.header()?;
    offset(find(&call, header.topic, header.queue_id)?.ends.log_start.0)
}

pub(super) async fn search(call: Call) -> Result<Answer, Refusal> {
    let header: SearchOffsetRequest<'_> = call.header()?;
    let queue = find(&call, header.topic, header.queue_id)?;
    let is_upper = header.boundary_type == Some(Boundary::Upper);
    // The last message of a millisecond lies in front of the first one of the next.
    let from = TimestampMs(header.timestamp.saturating_add(is_upper.into()));
    let found = call.node.broker.find_offset(&queue.topic, queue.index, OffsetLookup::AtTime(from)).await?;
    let found = found.map_or(queue.ends.high_watermark.0, |found| found.offset.0);
    offset(if is_upper { (found - 1).max(queue.ends.log_start.0) } else { found })
}

pub(super) async fn earliest_time(call: Call) -> Result<Answer, Refusal> {
    let header: QueueRequest<'_> = call.header()?;
    let queue = find(&call, header.topic, header.queue_id)?;
    let wanted = Wanted {
        topic: queue.topic,
        queue: queue.index,
        from: queue.ends.log_start,
        max_messages: 1,
        max_bytes: 0,
        subscription: Arc::new(Subscription::all()),
        store_host: call.node.store_host(call.channel.peer()),
        empty_body: EmptyBody::AsItIs,
    };
    let timestamp = match call.node.pull(&wanted).await?.pulled {
        Pulled::Found { messages, .. } => StoredMessage::take(&mut &messages[..]).map_or(NO_TIME, |first| first.store_timestamp),
        Pulled::NoneWanted | Pulled::Nothing | Pulled::Moved => NO_TIME,
    };
    Ok(Answer::ok().header(EarliestStoreTimeResponse { timestamp }))
}
