//! CONSUMER_SEND_MSG_BACK (36): a consumer could not process a message and wants it again.
//!
//! *Behaviour*: the message goes to the group's retry topic, with the topic it came from, its first id, and how often it was
//! given back; after the last attempt, or if the client says so (a delay level below 0), to the group's dead letters. The delay
//! level is not honoured: the message is there again at once.

use crate::append::{StoreError, Target, store};
use crate::locator::Locator;
use crate::message::{MessageLimits, Outgoing};
use crate::names::check_group;
use crate::node::Node;
use crate::remoting::call::{Answer, Call, Refusal};
use bytes::Bytes;
use duolog_base::{PartitionIndex, TimestampMs};
use duolog_core::broker::Acks;
use duolog_core::config::GroupConfig;
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::ConsumerSendMessageBackRequest;
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::message_id::OffsetMessageId;
use duolog_wire::remoting::properties::name;
use std::net::SocketAddr;
use std::sync::Arc;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: ConsumerSendMessageBackRequest<'_> = call.header()?;
    let failed = |what: String| Refusal::new(response::SYSTEM_ERROR, what);
    check_group(header.group).map_err(|problem| failed(problem.to_string()))?;
    let node = &call.node;
    let config = config_of(&node.broker.image(), header.group)?;
    if config.retry_queues <= 0 {
        return Ok(Answer::ok());
    }
    let store_host = node.store_host(call.channel.peer());
    let encoded = find_message(node, header.offset, header.origin_topic, store_host).await?;
    let encoded = encoded.ok_or_else(|| failed(format!("look message by offset failed, {}", header.offset)))?;
    let message = StoredMessage::take(&mut &encoded[..]).map_err(|error| failed(error.to_string()))?;
    let max_times = header.max_reconsume_times.unwrap_or(config.retry_max_times);
    let is_dead = header.delay_level < 0 || (max_times >= 0 && message.reconsume_times >= max_times);
    let topic = match is_dead {
        true => node.ensure_dead_letter_topic(header.group).await?,
        false => node.ensure_retry_topic(header.group, config.retry_queues).await?,
    };
    let queue = PartitionIndex((node.monotonic_ms() % topic.partitions.len().max(1) as u64) as i32);
    put_back(node, &Target { topic, queue, acks: Acks::All }, &message, is_dead).await?;
    Ok(Answer::ok())
}

fn config_of(image: &MetadataImage, group: &str) -> Result<GroupConfig, Refusal> {
    let own = image.group_config.get(group);
    let config = own.map_or_else(|| GroupConfig::resolve(&Default::default()), GroupConfig::resolve);
    config.map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))
}

/// Stores the message once more, with what consumers want to know of the first time.
async fn put_back(node: &Node, target: &Target, message: &StoredMessage<'_>, is_dead: bool) -> Result<(), Refusal> {
    let id = OffsetMessageId { store_host: message.store_host, commit_log_offset: message.commit_log_offset }.to_string();
    let origin_id = message.properties.get(name::ORIGIN_MESSAGE_ID).unwrap_or(&id);
    let origin_topic = message.properties.get(name::RETRY_TOPIC).unwrap_or(message.topic);
    let mut changes = vec![
        (name::RETRY_TOPIC, Some(origin_topic)),
        (name::ORIGIN_MESSAGE_ID, Some(origin_id)),
        (name::DELAY, None),
        (name::WAIT, None),
    ];
    if is_dead {
        changes.push((name::DLQ_ORIGIN_TOPIC, Some(origin_topic)));
        changes.push((name::DLQ_ORIGIN_MESSAGE_ID, Some(origin_id)));
    }
    let again = Outgoing {
        body: message.body,
        properties: message.properties,
        changes: &changes,
        flag: message.flag,
        sys_flag: message.sys_flag,
        born_timestamp: TimestampMs(message.born_timestamp),
        born_host: message.born_host,
        store_timestamp: node.broker.clock().now(),
        reconsume_times: message.reconsume_times.saturating_add(1),
        prepared_transaction_offset: 0,
    };
    let limits = MessageLimits { max_body_bytes: message.body.len().max(1) };
    store(&node.broker, target, &again, limits).await.map(|_| ()).map_err(|error| match error {
        StoreError::Message(error) => error.into(),
        StoreError::Log(error) => error.into(),
    })
}

/// The message that a client names by its commit log offset; `None` if there is none.
pub(crate) async fn find_message(
    node: &Node,
    commit_log_offset: i64,
    likely_topic: Option<&str>,
    store_host: SocketAddr,
) -> Result<Option<Bytes>, Refusal> {
    let Some(locator) = Locator::from_wire(commit_log_offset) else { return Ok(None) };
    let image = node.broker.image();
    let Some((topic, queue)) = locate(&image, locator, likely_topic) else { return Ok(None) };
    let Some(ends) = node.broker.ends(topic, queue) else { return Ok(None) };
    let Some(from) = locator.resolve(ends.log_start, ends.high_watermark) else { return Ok(None) };
    node.message_at(topic, queue, from, store_host).await
}

/// The queue that a locator points into.
fn locate<'a>(
    image: &'a MetadataImage,
    locator: Locator,
    likely_topic: Option<&str>,
) -> Option<(&'a Arc<TopicImage>, PartitionIndex)> {
    let number = locator.partition()?;
    let find = |topic: &'a Arc<TopicImage>| {
        let at = topic.partitions.iter().position(|partition| partition.number == number)?;
        Some((topic, PartitionIndex(at as i32)))
    };
    let likely = likely_topic.and_then(|name| image.topic(name)).and_then(find);
    likely.or_else(|| image.topics.values().find_map(find)).filter(|(topic, _)| !topic.internal)
}
