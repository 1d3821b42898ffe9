//! AckMessage, ChangeInvisibleDuration and ForwardMessageToDeadLetterQueue: what a consumer says of a message it was given.
//!
//! *Behaviour*: a handle counts until the message is delivered again, or its time is changed; then it is answered with
//! INVALID_RECEIPT_HANDLE. Acknowledgements have a result each, and are stored when they are answered.

use super::call::{Call, duration, group_name};
use super::limits::ACKNOWLEDGED;
use super::status::{Refused, of_all, ok};
use crate::deliveries::{Deliveries, DeliveryError, Handle, MOST_HIDDEN};
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
    let parsed: Vec<Result<Handle, Refused>> = request.entries.iter().map(|entry| parse(&entry.receipt_handle)).collect();
    let handles = parsed.iter().filter_map(|handle| handle.as_ref().ok().copied()).collect();
    let mut outcomes = Deliveries::acknowledge_all(call.node(), group, &topic, handles).await.into_iter();
    let result = |(entry, parsed): (AckMessageEntry, Result<Handle, Refused>)| {
        // There is an outcome for each handle.
        let done = parsed.and_then(|_| Ok(outcomes.next().unwrap_or(Err(DeliveryError::StaleHandle))?));
        let status = Some(done.map_or_else(Refused::status, |()| ok()));
        AckMessageResultEntry { message_id: entry.message_id, receipt_handle: entry.receipt_handle, status }
    };
    let entries: Vec<AckMessageResultEntry> = request.entries.into_iter().zip(parsed).map(result).collect();
    Ok(AckMessageResponse { status: Some(of_all(entries.iter().filter_map(|entry| entry.status.as_ref()))), entries })
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
