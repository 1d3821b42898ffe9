//! AckMessage, ChangeInvisibleDuration and ForwardMessageToDeadLetterQueue: what a consumer says of a message it was given.
//!
//! *Behaviour*: a handle counts until the message is delivered again, or its time is changed; then it is answered with
//! INVALID_RECEIPT_HANDLE. Acknowledgements have a result each.

use super::call::{Call, duration, group_name};
use super::handle::Handle;
use super::limits::{ACKNOWLEDGED, MOST_HIDDEN};
use super::status::{Refused, of_all, ok};
use duolog_rocketmq_proto::{
    AckMessageEntry, AckMessageRequest, AckMessageResponse, AckMessageResultEntry, ChangeInvisibleDurationRequest,
    ChangeInvisibleDurationResponse, Code, ForwardMessageToDeadLetterQueueRequest, ForwardMessageToDeadLetterQueueResponse,
};

pub(super) async fn handle(call: Call, request: AckMessageRequest) -> Result<AckMessageResponse, Refused> {
    let topic = call.topic(request.topic.as_ref())?;
    let group = group_name(request.group.as_ref())?;
    if request.entries.is_empty() || request.entries.len() > ACKNOWLEDGED {
        let problem = format!("{} acknowledgements, 1 to {ACKNOWLEDGED} are possible", request.entries.len());
        return Err(Refused::new(Code::BadRequest, problem));
    }
    let acknowledge = |entry: AckMessageEntry| {
        let handle = Handle::parse(&entry.receipt_handle);
        let done = handle.and_then(|handle| call.front.deliveries.acknowledge(call.node(), group, &topic, handle));
        let status = done.map_or_else(Refused::status, |()| ok());
        AckMessageResultEntry { message_id: entry.message_id, receipt_handle: entry.receipt_handle, status: Some(status) }
    };
    let entries: Vec<AckMessageResultEntry> = request.entries.into_iter().map(acknowledge).collect();
    Ok(AckMessageResponse { status: Some(of_all(entries.iter().filter_map(|entry| entry.status.as_ref()))), entries })
}

pub(super) async fn change_invisible_duration(
    call: Call,
    request: ChangeInvisibleDurationRequest,
) -> Result<ChangeInvisibleDurationResponse, Refused> {
    let topic = call.topic(request.topic.as_ref())?;
    let group = group_name(request.group.as_ref())?;
    let illegal = || Refused::new(Code::IllegalInvisibleTime, format!("an invisible duration is at most {MOST_HIDDEN:?}"));
    let hidden = duration(request.invisible_duration.as_ref()).filter(|hidden| *hidden <= MOST_HIDDEN).ok_or_else(illegal)?;
    let handle = Handle::parse(&request.receipt_handle)?;
    let handle = call.front.deliveries.hide(call.node(), group, &topic, handle, hidden)?;
    Ok(ChangeInvisibleDurationResponse { status: Some(ok()), receipt_handle: handle.text() })
}

pub(super) async fn forward(
    call: Call,
    request: ForwardMessageToDeadLetterQueueRequest,
) -> Result<ForwardMessageToDeadLetterQueueResponse, Refused> {
    let topic = call.topic(request.topic.as_ref())?;
    let group = group_name(request.group.as_ref())?;
    let handle = Handle::parse(&request.receipt_handle)?;
    call.front.deliveries.give_up(call.node(), group, &topic, handle, call.store_host()).await?;
    Ok(ForwardMessageToDeadLetterQueueResponse { status: Some(ok()) })
}
