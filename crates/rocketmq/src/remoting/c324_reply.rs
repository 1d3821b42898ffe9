//! SEND_REPLY_MESSAGE (324) and SEND_REPLY_MESSAGE_V2 (325): a consumer answers a message that was sent as a question.
//!
//! *Behaviour*: the reply is handed to the producer that asked, which the message names by its client id, with
//! PUSH_REPLY_MESSAGE_TO_CLIENT (326); and it is stored in its topic, as messages are. If the producer is gone or does not say that
//! it has the reply, the sender gets code 1, and the reply is stored all the same. A reply that is handed over counts as sent
//! even if it could not be stored.

use crate::append::Target;
use crate::locator::Locator;
use crate::message::{MessageLimits, Outgoing};
use crate::remoting::call::{Answer, Call, Refusal};
use crate::remoting::send::{check_body, check_open, header, queue};
use crate::topics::Wish;
use duolog_base::{Offset, TimestampMs};
use duolog_core::broker::Acks;
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{Header, PushReplyMessageRequest, SendMessageRequest, SendMessageResponse};
use duolog_wire::remoting::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, Properties, name};
use duolog_wire::remoting::{Command, HeaderForm};
use std::time::Duration;

/// How long the producer may take to say that it has the reply, as in the original.
const PUSH_LIMIT: Duration = Duration::from_secs(10);
/// Id of a reply that is not stored: clients cannot do without one.
const NO_ID: &str = "0";

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header = header(&call.command)?;
    let node = &call.node;
    check_open(header.topic)?;
    let limits = MessageLimits { max_body_bytes: node.broker.config().rocketmq_max_message_bytes };
    check_body(&call.command, limits)?;
    let wish = Wish { default_topic: header.default_topic, queues: header.default_topic_queue_nums };
    let topic = node.topic_to_send(header.topic, wish).await?;
    let queue = queue(node, &topic, header.queue_id)?;
    let number = topic.partitions[queue.0 as usize].number;
    let target = Target { topic, queue, acks: Acks::All };
    let now = node.broker.clock().now();
    let message = message(&call, &header, now);
    let (pushed, stored) = tokio::join!(push(&call, &header, now), node.store(&target, &message, limits));
    if let Err(error) = &stored {
        tracing::warn!(topic = header.topic, error = error.remark, "a reply is not stored");
    }
    let store_host = node.store_host(call.channel.peer());
    let id = |offset: &Offset| Locator::pack(number, *offset).message_id(store_host).to_string();
    let id = stored.as_ref().map_or_else(|_| NO_ID.to_owned(), id);
    let sent = SendMessageResponse {
        msg_id: &id,
        queue_id: queue.0,
        queue_offset: stored.as_ref().map_or(0, |offset| offset.0),
        ..SendMessageResponse::default()
    };
    Ok(match pushed {
        Ok(()) => Answer::ok().header(sent),
        Err(remark) => Answer::of(response::SYSTEM_ERROR).header(sent).remark(remark),
    })
}

fn message<'a>(call: &'a Call, header: &SendMessageRequest<'a>, now: TimestampMs) -> Outgoing<'a> {
    Outgoing {
        body: &call.command.body,
        properties: Properties::new(header.properties.unwrap_or_default()),
        changes: &[(name::WAIT, None)],
        flag: header.flag,
        sys_flag: header.sys_flag,
        born_timestamp: TimestampMs(header.born_timestamp),
        born_host: call.channel.peer().remote,
        store_timestamp: now,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
        delivered_at: None,
    }
}

/// Hands the reply to the one who asked, and waits until it is there; otherwise what went wrong.
async fn push(call: &Call, header: &SendMessageRequest<'_>, now: TimestampMs) -> Result<(), String> {
    let properties = Properties::new(header.properties.unwrap_or_default());
    let Some(asker) = properties.get(name::REPLY_TO_CLIENT) else {
        return Err(format!("reply message properties[{}] is null", name::REPLY_TO_CLIENT));
    };
    let failed = |what: String| format!("push reply message to {asker} fail: {what}");
    let request = push_request(call, header, &with_push_time(properties, now), now);
    match call.node.ask_producer(asker, request, PUSH_LIMIT).await {
        None => Err(format!("push reply message fail, channel of <{asker}> not found.")),
        Some(Ok(answer)) if answer.code == response::SUCCESS => Ok(()),
        Some(Ok(answer)) => Err(failed(answer.remark.unwrap_or_else(|| format!("code {}", answer.code)))),
        Some(Err(error)) => Err(failed(error.to_string())),
    }
}

fn push_request(call: &Call, header: &SendMessageRequest<'_>, properties: &str, now: TimestampMs) -> Command {
    let peer = call.channel.peer();
    let mut request = Command::request(request::PUSH_REPLY_MESSAGE_TO_CLIENT, 0, HeaderForm::Json);
    let push = PushReplyMessageRequest {
        producer_group: header.producer_group,
        topic: header.topic,
        default_topic: header.default_topic,
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id: header.queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        properties: Some(properties),
        reconsume_times: header.reconsume_times,
        unit_mode: header.unit_mode,
        born_host: &peer.remote.to_string(),
        store_host: &call.node.store_host(peer).to_string(),
        store_timestamp: now.0,
    };
    push.put(&mut request.fields);
    request.with_body(call.command.body.clone())
}

/// The properties, and when the reply was handed on.
fn with_push_time(properties: Properties<'_>, now: TimestampMs) -> String {
    let mut text = properties.text().to_owned();
    if !text.is_empty() && !text.ends_with(char::from(PROPERTY_SEPARATOR)) {
        text.push(char::from(PROPERTY_SEPARATOR));
    }
    text.push_str(name::PUSH_REPLY_TIME);
    text.push(char::from(NAME_VALUE_SEPARATOR));
    text.push_str(&now.0.to_string());
    text.push(char::from(PROPERTY_SEPARATOR));
    text
}
