//! ReceiveMessage: messages that nobody else in the group gets until they are acknowledged or their time is over.
//!
//! *Behaviour*: a queue that is asked for is looked at first and the others after it, except for a push consumer of an ordered
//! group, which gets what was assigned to it, and of topics for messages with a priority ([`crate::priority`]). Where there is nothing
//! the request is held until there is something, or its time is over. Of queues that other nodes lead there is nothing: routes send
//! clients to their leaders. What members of the group have given back from this topic comes along. A receive whose answer does not
//! leave the server has given nothing ([`crate::deliveries`]).
//! With `auto_renew` messages stay hidden for as long as the client's stream is open. The answer is a status, the messages, and the time.

use super::call::{Call, duration, group_name, subscription};
use super::convert::{self, timestamp};
use super::limits::{LEAST_HIDDEN, MOST_POLLING, POLLING, RECEIVED_MESSAGES};
use super::status::{Refused, ok};
use crate::deliveries::{Begin, Given, MOST_HIDDEN, Order, RENEWED, Receive};
use crate::group_config::max_attempts;
use crate::priority::receive_order;
use duolog_base::PartitionIndex;
use duolog_core::config::GroupConfig;
use duolog_core::metadata::TopicImage;
use duolog_rocketmq_proto::receive_message_response::Content;
use duolog_rocketmq_proto::{Code, Message, ReceiveMessageRequest, ReceiveMessageResponse, Resource};
use duolog_wire::remoting::message::StoredMessage;
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn handle(call: Call, request: ReceiveMessageRequest) -> Vec<ReceiveMessageResponse> {
    let received = receive(&call, &request).await;
    let now = call.node().broker.clock().now();
    let (status, messages) = match received {
        Ok(messages) => (ok(), messages),
        Err(refused) => (refused.status(), Vec::new()),
    };
    let head = std::iter::once(Content::Status(status));
    let contents = head.chain(messages.into_iter().map(Content::Message)).chain([Content::DeliveryTimestamp(timestamp(now.0))]);
    contents.map(|content| ReceiveMessageResponse { content: Some(content) }).collect()
}

async fn receive(call: &Call, request: &ReceiveMessageRequest) -> Result<Vec<Message>, Refused> {
    let asked = request.message_queue.as_ref();
    let topic = call.readable_topic(asked.and_then(|queue| queue.topic.as_ref()))?;
    let group = group_name(request.group.as_ref())?;
    let config = call.consuming(group)?;
    let hidden = hidden(request)?;
    let queues = wanted_queues(&topic, asked.map_or(-1, |queue| queue.id), request, &config, call.now_ms())?;
    let want = usize::try_from(request.batch_size).unwrap_or(0).clamp(1, RECEIVED_MESSAGES);
    let polling = duration(request.long_polling_timeout.as_ref()).unwrap_or(POLLING).min(MOST_POLLING);
    let attempt_id = request.attempt_id.as_deref().filter(|id| !id.is_empty());
    let wanted = Receive {
        subscription: Arc::new(subscription(request.filter_expression.as_ref())?),
        store_host: call.store_host(),
        hidden,
        renewed_by: request.auto_renew.then(|| call.client_id.clone()),
        order: if config.consume_orderly { Order::Ordered { attempt_id } } else { Order::Any },
        begin: Begin::Usual,
        max_attempts: u32::try_from(max_attempts(&config)).unwrap_or(u32::MAX),
        number: 0,
        with_returned: !config.consume_orderly,
        topic,
    };
    let given = call.node().deliveries.wait(call.node(), group, wanted, queues, want, call.hold(polling)).await?;
    if given.is_empty() {
        return Err(Refused::new(Code::MessageNotFound, "no new message"));
    }
    call.node().messages_out.add(given.len() as u64);
    let metrics = call.node().broker.metrics();
    metrics.bytes_out.add(given.iter().map(|given| given.encoded.len() as u64).sum());
    let asked = asked.and_then(|queue| queue.topic.as_ref());
    Ok(given.into_iter().filter_map(|given| message(given, asked, hidden)).collect())
}

/// How long the messages are hidden from the rest of the group.
fn hidden(request: &ReceiveMessageRequest) -> Result<Duration, Refused> {
    if request.auto_renew {
        return Ok(RENEWED);
    }
    let hidden = duration(request.invisible_duration.as_ref()).unwrap_or_default();
    match hidden < LEAST_HIDDEN || hidden > MOST_HIDDEN {
        true => {
            let problem = format!("invisible for {hidden:?}; {LEAST_HIDDEN:?} to {MOST_HIDDEN:?} are possible");
            Err(Refused::new(Code::IllegalInvisibleTime, problem))
        }
        false => Ok(hidden),
    }
}

/// The queues to look at, in this order, as far as this node leads them.
fn wanted_queues(
    topic: &TopicImage,
    asked: i32,
    request: &ReceiveMessageRequest,
    config: &GroupConfig,
    turn: u64,
) -> Result<Vec<PartitionIndex>, Refused> {
    let count = topic.partitions.len() as i32;
    if asked >= count {
        return Err(Refused::new(Code::BadRequest, format!("queue {asked}, topic {} has {count}", topic.name)));
    }
    if asked >= 0 && request.auto_renew && config.consume_orderly {
        return Ok(vec![PartitionIndex(asked)]);
    }
    Ok(receive_order(topic, config, asked, turn))
}

fn message(given: Given, asked: Option<&Resource>, hidden: Duration) -> Option<Message> {
    let stored = StoredMessage::take(&mut &given.encoded[..]).ok()?;
    debug_assert_eq!(stored.queue_id, given.queue.0);
    let mut message = convert::message(&given.encoded, &stored);
    if given.handle.is_returned {
        message.topic = asked.cloned();
    }
    let system = message.system_properties.get_or_insert_default();
    system.receipt_handle = Some(given.handle.text());
    system.invisible_duration = prost_types::Duration::try_from(hidden).ok();
    let attempt = i64::from(stored.reconsume_times) + i64::from(given.attempt);
    system.delivery_attempt = Some(i32::try_from(attempt).unwrap_or(i32::MAX));
    Some(message)
}
