//! CHANGE_MESSAGE_INVISIBLETIME (200053): a popped message comes again after so long from now on, and not before.
//!
//! *Behaviour*: the answer has what the client makes the message's new checkpoint from; the old one is over. If that was so before, the
//! answer is NO_MESSAGE, with a header that says nothing, since clients read it whatever the code. `suspend`, which only lite topics
//! know, is refused.

use super::c200050_pop::{hidden, illegal_time};
use super::c200051_acknowledge::number;
use crate::deliveries::Handle;
use crate::remoting::admin::invalid;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use duolog_base::Offset;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{ChangeInvisibleTimeRequest, ChangeInvisibleTimeResponse};

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    match change(&call).await {
        Ok(header) => Ok(Answer::ok().header(header)),
        Err(refusal) if refusal.code == response::NO_MESSAGE => {
            Ok(Answer::of(refusal.code).header(ChangeInvisibleTimeResponse::default()).remark(refusal.remark))
        }
        Err(refusal) => Err(refusal),
    }
}

async fn change(call: &Call) -> Result<ChangeInvisibleTimeResponse, Refusal> {
    let header: ChangeInvisibleTimeRequest<'_> = call.header()?;
    if header.suspend {
        return Err(invalid("suspend is for lite topics, which are not served"));
    }
    let topic = topics::find(&call.node.broker.image(), header.topic)?.clone();
    let queue = topics::queue(&topic, header.queue_id)?;
    let hidden = hidden(header.invisible_time).ok_or_else(|| illegal_time(header.invisible_time))?;
    let number = number(header.extra_info)?;
    let handle = Handle { queue, offset: Offset(header.offset), number, is_returned: false };
    let handle = call.node.deliveries.hide(&call.node, header.consumer_group, &topic, handle, hidden).await?;
    let (pop_time, revive_qid) = handle.popped();
    Ok(ChangeInvisibleTimeResponse { pop_time, invisible_time: header.invisible_time, revive_qid })
}
