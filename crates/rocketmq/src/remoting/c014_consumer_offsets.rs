//! QUERY_CONSUMER_OFFSET (14) and UPDATE_CONSUMER_OFFSET (15): how far a group has come in a queue.
//!
//! *Behaviour*: a group without an offset is answered with 22, and the client begins where its configuration says; except that a
//! queue from which nothing was deleted yet, and that is not large, is begun at 0, as the original does for what is still in
//! memory there. Updates come without anybody waiting for an answer as a rule, and are stored at once all the same.

use crate::names::check_group;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use duolog_base::Offset;
use duolog_core::group::Basis;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{OffsetResponse, QueryConsumerOffsetRequest, UpdateConsumerOffsetRequest};

pub(super) async fn query(call: Call) -> Result<Answer, Refusal> {
    let header: QueryConsumerOffsetRequest<'_> = call.header()?;
    let image = call.node.broker.image();
    let topic = topics::find(&image, header.topic)?;
    let queue = topics::queue(topic, header.queue_id)?;
    if let Some(offset) = call.node.committed(header.consumer_group, header.topic, queue).await? {
        return Ok(Answer::ok().header(OffsetResponse { offset: offset.0 }));
    }
    if header.set_zero_if_not_found != Some(false) && call.node.is_young_anywhere(topic, queue).await? {
        return Ok(Answer::ok().header(OffsetResponse { offset: 0 }));
    }
    let remark = "Not found, maybe this group consumer boot first";
    Err(Refusal::new(response::QUERY_NOT_FOUND, remark))
}

pub(super) async fn update(call: Call) -> Result<Answer, Refusal> {
    let header: UpdateConsumerOffsetRequest<'_> = call.header()?;
    let image = call.node.broker.image();
    let topic = topics::find(&image, header.topic)?;
    let queue = topics::queue(topic, header.queue_id)?;
    check_group(header.consumer_group).map_err(|problem| Refusal::new(response::SYSTEM_ERROR, problem.to_string()))?;
    if header.commit_offset < 0 {
        return Err(Refusal::new(response::INVALID_PARAMETER, format!("offset {} is negative", header.commit_offset)));
    }
    if call.node.offsets.resets.holds(header.consumer_group, header.topic, queue) {
        return Ok(Answer::ok().remark("Offset has been previously reset"));
    }
    let offset = Offset(header.commit_offset);
    if call.command.is_one_way() {
        call.node.note_offset(header.consumer_group, header.topic, queue, offset, Basis::Always);
        call.node.offsets.said.notify_one();
    } else {
        call.node.commit(header.consumer_group, topic, queue, offset).await?;
    }
    Ok(Answer::ok())
}
