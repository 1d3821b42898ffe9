//! QUERY_MESSAGE (12): messages with a key, or with the unique id that their producer gave them, of a span of time.
//!
//! *Behaviour*: time is that of storing, both ends included. The newest messages are given, oldest of them first. A search for a key
//! finds unique ids, too, as the original's does; its clients take what they meant. What a Kafka client has sent is not indexed.

use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use bytes::{Bytes, BytesMut};
use duolog_base::{Offset, PartitionIndex};
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{QueryMessageRequest, QueryMessageResponse};
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::properties::name;
use std::sync::Arc;

/// Messages of one answer, as in the original: of a key, and of a unique id, whatever the client asks for.
const MAX_MESSAGES: usize = 64;
const MAX_OF_UNIQUE_ID: usize = 32;
/// Bytes of one answer, unless one message is larger.
const MAX_BYTES: usize = 8 << 20;

/// Kinds of keys as clients since 5.4 name them.
const UNIQUE_ID_INDEX: &str = "U";
const TAG_INDEX: &str = "T";

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: QueryMessageRequest<'_> = call.header()?;
    if header.index_type == Some(TAG_INDEX) {
        return Err(Refusal::new(response::INVALID_PARAMETER, "messages are not found by their tags"));
    }
    let image = call.node.broker.image();
    let topic = topics::find(&image, header.topic).map_err(|_| nothing(true))?;
    let (messages, is_complete) = find(&call, topic, &header).await?;
    if messages.is_empty() {
        return Err(nothing(is_complete));
    }
    let mut body = BytesMut::with_capacity(messages.iter().map(Bytes::len).sum());
    messages.iter().rev().for_each(|message| body.extend_from_slice(message));
    let indexed =
        QueryMessageResponse { index_last_update_timestamp: call.node.broker.clock().now().0, index_last_update_phyoffset: 0 };
    Ok(Answer::ok().header(indexed).bytes(body.freeze()))
}

fn nothing(is_complete: bool) -> Refusal {
    let remark = match is_complete {
        true => "can not find message, maybe time range not correct",
        false => "can not find message, but part of the index is still being built",
    };
    Refusal::new(response::QUERY_NOT_FOUND, remark)
}

/// The messages, newest first, and whether all of the log was searched.
async fn find(call: &Call, topic: &Arc<TopicImage>, header: &QueryMessageRequest<'_>) -> Result<(Vec<Bytes>, bool), Refusal> {
    let is_unique = header.unique_key_query || header.index_type == Some(UNIQUE_ID_INDEX);
    let most = if is_unique { MAX_OF_UNIQUE_ID } else { (header.max_num.max(0) as usize).min(MAX_MESSAGES) };
    let mut messages = Vec::new();
    let mut is_complete = true;
    for found in call.node.find_key(topic, header.key.as_bytes()).await? {
        is_complete &= found.complete;
        messages.extend(read(call, topic, header, is_unique, most, found.places).await?);
    }
    // Of several nodes, each has told its newest.
    messages.sort_by_key(|(stored, _)| std::cmp::Reverse(*stored));
    messages.truncate(most);
    Ok((messages.into_iter().map(|(_, message)| message).collect(), is_complete))
}

/// The messages at these places that are wanted, and when they were stored.
async fn read(
    call: &Call,
    topic: &TopicImage,
    header: &QueryMessageRequest<'_>,
    is_unique: bool,
    most: usize,
    places: Vec<(PartitionIndex, Offset)>,
) -> Result<Vec<(i64, Bytes)>, Refusal> {
    let store_host = call.node.store_host(call.channel.peer());
    let mut messages = Vec::new();
    let mut bytes = 0;
    for (queue, offset) in places {
        if messages.len() == most {
            break;
        }
        let Some(message) = call.node.message_anywhere(topic, queue, offset, store_host).await? else { continue };
        let Some(stored) = stored_if_wanted(&message, header, is_unique)? else { continue };
        bytes += message.len();
        if bytes > MAX_BYTES && !messages.is_empty() {
            break;
        }
        messages.push((stored, message));
    }
    Ok(messages)
}

/// When the message was stored, if it is one that is looked for: the index only says where it may be.
fn stored_if_wanted(message: &Bytes, header: &QueryMessageRequest<'_>, is_unique: bool) -> Result<Option<i64>, Refusal> {
    let message =
        StoredMessage::take(&mut &message[..]).map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
    let has_key = || message.properties.get(name::KEYS).is_some_and(|keys| keys.split(' ').any(|key| key == header.key));
    let has_id = message.properties.get(name::UNIQUE_KEY) == Some(header.key);
    let is_of_time = (header.begin_timestamp..=header.end_timestamp).contains(&message.store_timestamp);
    Ok((is_of_time && (has_id || !is_unique && has_key())).then_some(message.store_timestamp))
}
