//! ReceiveMessage: messages that nobody else in the group gets until they are acknowledged or their time is over.
//!
//! *Behaviour*: a queue that is asked for is looked at first and the others after it, except for a push consumer of an ordered
//! group, which gets what was assigned to it. Where there is nothing the request is held until there is something, or its time is
//! over. Of queues that other nodes lead there is nothing: routes send clients to their leaders. What members of the group have given back from this topic comes along ([`Retries`]). With `auto_renew` messages stay hidden for as long as the client's stream is open. The answer is a status, the messages,
//! and the time.

use super::call::{Call, duration, group_name, subscription};
use super::convert::{self, timestamp};
use super::deliveries::{Consumed, Given, Receive, Retries};
use super::in_flight::Order;
use super::limits::{LEAST_HIDDEN, MOST_HIDDEN, MOST_POLLING, POLLING, RECEIVED_BYTES, RECEIVED_MESSAGES, RENEWED};
use super::settings::max_attempts;
use super::status::{Refused, ok};
use crate::cluster::Place;
use duolog_base::{PartitionIndex, PartitionNumber};
use duolog_core::config::{FlushMode, GroupConfig};
use duolog_core::metadata::TopicImage;
use duolog_rocketmq_proto::receive_message_response::Content;
use duolog_rocketmq_proto::{Code, Message, ReceiveMessageRequest, ReceiveMessageResponse, Resource};
use duolog_wire::remoting::message::StoredMessage;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

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
    let queues = wanted_queues(&topic, asked.map_or(-1, |queue| queue.id), request, &config)?;
    let want = usize::try_from(request.batch_size).unwrap_or(0).clamp(1, RECEIVED_MESSAGES);
    let polling = duration(request.long_polling_timeout.as_ref()).unwrap_or(POLLING).min(MOST_POLLING);
    let is_alive = |client: &str| call.front.clients.is_alive(client, call.now_ms());
    let attempt_id = request.attempt_id.as_deref().filter(|id| !id.is_empty());
    let wanted = Receive {
        subscription: Arc::new(subscription(request.filter_expression.as_ref())?),
        store_host: call.store_host(),
        hidden,
        renewed_by: request.auto_renew.then(|| call.client_id.clone()),
        order: if config.consume_orderly { Order::Queue { attempt_id } } else { Order::Any },
        max_attempts: u32::try_from(max_attempts(&config)).unwrap_or(u32::MAX),
        is_alive: &is_alive,
        topic,
    };
    let given = wait(call, group, wanted, queues, want, call.hold(polling)).await?;
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
) -> Result<Vec<PartitionIndex>, Refused> {
    let count = topic.partitions.len() as i32;
    if asked >= count {
        return Err(Refused::new(Code::BadRequest, format!("queue {asked}, topic {} has {count}", topic.name)));
    }
    if asked >= 0 && request.auto_renew && config.consume_orderly {
        return Ok(vec![PartitionIndex(asked)]);
    }
    Ok((0..count).map(|ahead| PartitionIndex((asked.max(0) + ahead) % count)).collect())
}

/// Receives; if there is nothing, waits for something until the deadline.
async fn wait(
    call: &Call,
    group: &str,
    mut wanted: Receive<'_>,
    wished: Vec<PartitionIndex>,
    want: usize,
    deadline: Instant,
) -> Result<Vec<Given>, Refused> {
    let (broker, deliveries) = (&call.node().broker, &call.front.deliveries);
    let consumed = deliveries.consumed(group, &wanted.topic, call.now_ms())?;
    let from: Arc<str> = wanted.topic.name.as_str().into();
    let nobody = Notify::new();
    let mut queues = led(call, &wanted.topic, &wished);
    let mut stopping = broker.stopping();
    let mut images = broker.metadata().changes();
    let mut is_over = false;
    loop {
        // Everything is registered before it is looked, so that nothing that arrives is missed.
        let retries = Retries::of(deliveries, call.node(), group, &from, &wanted)?;
        let watched = numbers(&wanted, &queues).chain(retries.iter().flat_map(|of| numbers(&of.wanted, &of.queues)));
        let arrived = broker.watch(watched.collect::<Vec<_>>());
        let mut changed = std::pin::pin!(consumed.changed.notified());
        changed.as_mut().enable();
        let mut returned = std::pin::pin!(retries.as_ref().map_or(&nobody, |of| &of.consumed.changed).notified());
        returned.as_mut().enable();
        let given = look(call, &consumed, &wanted, &queues, retries.as_ref(), want).await?;
        if is_over || !given.is_empty() {
            return Ok(given);
        }
        let now_ms = call.now_ms();
        let due = consumed.next_due_ms(&queues, wanted.order);
        let due = due.into_iter().chain(retries.as_ref().and_then(Retries::next_due_ms)).min();
        let due = due.map(|due_ms| Duration::from_millis(due_ms.saturating_sub(now_ms).max(1)));
        let due = due.map_or(deadline, |due| (Instant::now() + due).min(deadline));
        tokio::select! {
            biased;
            () = arrived.changed() => {}
            () = changed => {}
            () = returned => {}
            _ = images.changed() => {
                let image = broker.image();
                let name = &wanted.topic.name;
                let topic = image.topic(name).filter(|topic| topic.id == wanted.topic.id);
                wanted.topic = topic.cloned().ok_or_else(|| Refused::unknown_topic(name))?;
                queues = led(call, &wanted.topic, &wished);
            }
            _ = stopping.wait_for(|stopping| *stopping) => is_over = true,
            () = tokio::time::sleep_until(due) => is_over = Instant::now() >= deadline,
        }
    }
}

/// Those of the queues that this node leads.
fn led(call: &Call, topic: &TopicImage, queues: &[PartitionIndex]) -> Vec<PartitionIndex> {
    let image = call.image();
    let is_led = |queue: &&PartitionIndex| {
        topic.partition(**queue).is_some_and(|partition| call.node().place_of(&image, partition) == Place::Here)
    };
    queues.iter().filter(is_led).copied().collect()
}

/// The partitions behind queues, to be watched.
fn numbers(wanted: &Receive<'_>, queues: &[PartitionIndex]) -> impl Iterator<Item = (PartitionNumber, FlushMode)> {
    let partitions = queues.iter().filter_map(|queue| wanted.topic.partition(*queue));
    partitions.map(|partition| (partition.number, wanted.topic.config.flush))
}

/// Takes what there is now, from all queues.
async fn look(
    call: &Call,
    consumed: &Consumed,
    wanted: &Receive<'_>,
    queues: &[PartitionIndex],
    retries: Option<&Retries<'_>>,
    want: usize,
) -> Result<Vec<Given>, Refused> {
    let own = Some((consumed, wanted, queues));
    let returned = retries.map(|of| (&*of.consumed, &of.wanted, &of.queues[..]));
    let sources = if consumed.is_turn_of_retries() { [returned, own] } else { [own, returned] };
    let mut given: Vec<Given> = Vec::new();
    for (consumed, wanted, queues) in sources.into_iter().flatten() {
        for queue in queues {
            let more = call.front.deliveries.receive(call.node(), consumed, *queue, want - given.len(), wanted).await;
            match more {
                Ok(more) => given.extend(more),
                // Another node leads it now: clients go there with the next route.
                Err(refused) if refused.code == Code::HaNotAvailable => {}
                // What was taken already is not lost for a queue that cannot be read.
                Err(_) if !given.is_empty() => return Ok(given),
                Err(refused) => return Err(refused),
            }
            let bytes: usize = given.iter().map(|given| given.encoded.len()).sum();
            if given.len() == want || bytes >= RECEIVED_BYTES {
                return Ok(given);
            }
        }
    }
    Ok(given)
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
