//! AckMessage, ChangeInvisibleDuration and ForwardMessageToDeadLetterQueue: what a consumer says of a message it was given.
//!
//! *Behaviour*: a handle counts until the message is delivered again, or its time is changed; then it is answered with
//! INVALID_RECEIPT_HANDLE. Acknowledgements have a result each.

use super::call::{Call, duration, group_name};
use super::limits::ACKNOWLEDGED;
use super::status::{Refused, of_all, ok};
use crate::deliveries::{Handle, MOST_HIDDEN};
use duolog_core::metadata::TopicImage;
use duolog_rocketmq_proto::{
    AckMessageEntry, AckMessageRequest, AckMessageResponse, AckMessageResultEntry, ChangeInvisibleDurationRequest,
    ChangeInvisibleDurationResponse, Code, ForwardMessageToDeadLetterQueueRequest, ForwardMessageToDeadLetterQueueResponse,
};
use std::sync::Arc;

pub(super) async fn handle(call: Call, request: AckMessageRequest) -> Result<AckMessageResponse, Refused> {
    let topic = call.topic(request.topic.as_ref())?;
    let group = group_name(request.group.as_ref())?;
    if request.entries.is_empty() || request.entries.len() > ACKNOWLEDGED {
        let problem = format!("{} acknowledgements, 1 to {ACKNOWLEDGED} are possible", request.entries.len());
        return Err(Refused::new(Code::BadRequest, problem));
    }
    let mut entries = Vec::with_capacity(request.entries.len());
    for AckMessageEntry { message_id, receipt_handle, .. } in request.entries {
        let done = acknowledge(&call, group, &topic, &receipt_handle).await;
        let status = Some(done.map_or_else(Refused::status, |()| ok()));
        entries.push(AckMessageResultEntry { message_id, receipt_handle, status });
    }
    Ok(AckMessageResponse { status: Some(of_all(entries.iter().filter_map(|entry| entry.status.as_ref()))), entries })
}

async fn acknowledge(call: &Call, group: &str, topic: &Arc<TopicImage>, handle: &str) -> Result<(), Refused> {
    Ok(call.node().deliveries.acknowledge(call.node(), group, topic, parse(handle)?).await?)
}

fn parse(handle: &str) -> Result<Handle, Refused> {
    let foreign = || Refused::new(Code::InvalidReceiptHandle, "the receipt handle is not one of this server's");
    Handle::parse(handle).ok_or_else(foreign)
}

pub(super) async fn change_invisible_duration(
    call: Call,
    request: ChangeInvisibleDurationRequest,
) -> Result<ChangeInvisibleDurationResponse, Refused> {
    let topic = call.topic(request.topic.as_ref())?;
    let group = group_name(request.group.as_ref())?;
    let illegal = || Refused::new(Code::IllegalInvisibleTime, format!("an invisible duration is at most {MOST_HIDDEN:?}"));
    let hidden = duration(request.invisible_duration.as_ref()).filter(|hidden| *hidden <= MOST_HIDDEN).ok_or_else(illegal)?;
    let handle = parse(&request.receipt_handle)?;
    let handle = call.node().deliveries.hide(call.node(), group, &topic, handle, hidden).await?;
    Ok(ChangeInvisibleDurationResponse { status: Some(ok()), receipt_handle: handle.text() })
}

pub(super) async fn forward(
    call: Call,
    request: ForwardMessageToDeadLetterQueueRequest,
) -> Result<ForwardMessageToDeadLetterQueueResponse, Refused> {
    let topic = call.topic(request.topic.as_ref())?;
    let group = group_name(request.group.as_ref())?;
    let handle = parse(&request.receipt_handle)?;
    call.node().deliveries.give_up(call.node(), group, &topic, handle, call.store_host()).await?;
    Ok(ForwardMessageToDeadLetterQueueResponse { status: Some(ok()) })
}
