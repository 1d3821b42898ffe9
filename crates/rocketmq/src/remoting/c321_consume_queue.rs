//! QUERY_CONSUME_QUEUE (321): what the index of a queue says of its messages, for tools that look into it.
//!
//! *Behaviour*: there are no such entries here, so they are made from the messages: place, size as sent to clients, hash of the tag.
//! With a group, each says whether the group's subscription wants the message.

use crate::message::EmptyBody;
use crate::pull::{Pulled, Wanted};
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use bytes::Bytes;
use duolog_base::Offset;
use duolog_core::filter::{self, Subscription, java_hash};
use duolog_wire::remoting::body::{ConsumeQueueData, ConsumeQueueResponse};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::ConsumeQueueRequest;
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::properties::{Properties, name};
use std::sync::Arc;

/// Entries of one answer.
const MAX_ENTRIES: i32 = 1024;
/// Bytes of messages read at a time, and how often.
const READ_BYTES: usize = 1 << 20;
const READS: usize = 64;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: ConsumeQueueRequest<'_> = call.header()?;
    let image = call.node.broker.image();
    let topic = topics::find(&image, header.topic.unwrap_or_default())?;
    let queue = topics::queue(topic, header.queue_id.unwrap_or(0))?;
    let ends = call.node.broker.ends(topic, queue).ok_or_else(|| topics::unknown(&topic.name))?;
    let mut answer = ConsumeQueueResponse {
        max_queue_index: ends.high_watermark.0,
        min_queue_index: ends.log_start.0,
        ..ConsumeQueueResponse::default()
    };
    let subscription = header.consumer_group.map(|group| subscription(&call, group, &topic.name, &mut answer)).transpose()?;
    let from = Offset(header.index.unwrap_or(0));
    if !(ends.log_start..ends.high_watermark).contains(&from) {
        let remark = format!("Index {from} of {queue}@{} is not exist!", topic.name);
        return Ok(Answer::ok().remark(remark).json(&answer));
    }
    let wanted = Wanted {
        topic: topic.clone(),
        queue,
        from,
        max_messages: 0,
        max_bytes: READ_BYTES,
        subscription: Arc::new(Subscription::all()),
        store_host: call.node.store_host(call.channel.peer()),
        empty_body: EmptyBody::AsItIs,
    };
    answer.queue_data = entries(&call, wanted, header.count.unwrap_or(0), subscription.flatten().as_deref()).await?;
    Ok(Answer::ok().json(&answer))
}

/// What the group wants of the topic, noted in the answer.
fn subscription(
    call: &Call,
    group: &str,
    topic: &str,
    answer: &mut ConsumeQueueResponse,
) -> Result<Option<Arc<Subscription>>, Refusal> {
    let known = call.node.clients.with_consumers(group, |group| group.subscriptions.get(topic).cloned()).flatten();
    match known {
        Some(known) => {
            answer.subscription_data = Some(known.data);
            Ok(Some(known.filter?))
        }
        None => {
            answer.filter_data = Some(format!("{group}@{topic} is not online!"));
            Ok(None)
        }
    }
}

/// The entries of up to `count` offsets from where `wanted` begins.
async fn entries(
    call: &Call,
    mut wanted: Wanted,
    count: i32,
    subscription: Option<&Subscription>,
) -> Result<Vec<ConsumeQueueData>, Refusal> {
    let end = wanted.from.plus(count.clamp(0, MAX_ENTRIES).into());
    let mut entries = Vec::new();
    for _ in 0..READS {
        wanted.max_messages = (end.0 - wanted.from.0).max(0) as usize;
        if wanted.max_messages == 0 {
            break;
        }
        let outcome = call.node.pull(&wanted).await?;
        match outcome.pulled {
            Pulled::Found { messages, .. } => put_entries(&messages, end, subscription, &mut entries)?,
            Pulled::NoneWanted => {}
            Pulled::Nothing | Pulled::Moved => break,
        }
        wanted.from = outcome.next;
    }
    Ok(entries)
}

fn put_entries(
    messages: &Bytes,
    end: Offset,
    subscription: Option<&Subscription>,
    entries: &mut Vec<ConsumeQueueData>,
) -> Result<(), Refusal> {
    let mut rest = &messages[..];
    while !rest.is_empty() {
        let before = rest.len();
        let message = StoredMessage::take(&mut rest).map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
        // Offsets may be missing in between, and then the last messages lie behind the end.
        if message.queue_offset >= end.0 {
            break;
        }
        let tag = message.properties.get(name::TAGS);
        entries.push(ConsumeQueueData {
            physic_offset: message.commit_log_offset,
            physic_size: (before - rest.len()) as i32,
            tags_code: tag.map_or(0, |tag| java_hash(tag).into()),
            eval: subscription.is_some_and(|subscription| subscription.matches(tag, &Shown(message.properties))),
            ..ConsumeQueueData::default()
        });
    }
    Ok(())
}

/// The properties as a client sees them.
struct Shown<'a>(Properties<'a>);

impl filter::Properties for Shown<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }
}
