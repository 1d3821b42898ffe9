//! CONSUMER_SEND_MSG_BACK (36): a consumer could not process a message and wants it again.
//!
//! *Behaviour*: the message goes to the group's retry topic, with the topic it came from, its first id, and how often it was
//! given back, after the time of the delay level; after the last attempt, or if the client says so (a level below 0), to the group's
//! dead letters at once. Level 0 leaves it to the server: the pauses of the group's retry policy if it has one; otherwise the third level for the
//! first time, and one more each time.

use crate::dead_letters::Reason;
use crate::group_config::RetryPolicy;
use crate::locator::Locator;
use crate::names::check_group;
use crate::node::Node;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::send_back::{Fate, Pause, send_back};
use bytes::Bytes;
use duolog_base::PartitionIndex;
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::ConsumerSendMessageBackRequest;
use duolog_wire::remoting::message::StoredMessage;
use std::net::SocketAddr;
use std::sync::Arc;

/// Delay level of the first retry, where the client does not choose.
const FIRST_RETRY_LEVEL: i64 = 3;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: ConsumerSendMessageBackRequest<'_> = call.header()?;
    let failed = |what: String| Refusal::new(response::SYSTEM_ERROR, what);
    check_group(header.group).map_err(|problem| failed(problem.to_string()))?;
    let node = &call.node;
    let config = node.group_config(header.group)?;
    if config.retry_queues <= 0 {
        return Ok(Answer::ok());
    }
    let store_host = node.store_host(call.channel.peer());
    let encoded = find_message(node, header.offset, header.origin_topic, store_host).await?;
    let encoded = encoded.ok_or_else(|| failed(format!("look message by offset failed, {}", header.offset)))?;
    let message = StoredMessage::take(&mut &encoded[..]).map_err(|error| failed(error.to_string()))?;
    let max_times = header.max_reconsume_times.unwrap_or(config.retry_max_times);
    let is_tired = max_times >= 0 && message.reconsume_times >= max_times;
    let pause = match (header.delay_level, RetryPolicy::of(&config)) {
        (0, Some(policy)) => Pause::Milliseconds(policy.pause_ms(message.reconsume_times)),
        (0, None) => Pause::Level(FIRST_RETRY_LEVEL + i64::from(message.reconsume_times)),
        (level, _) => Pause::Level(i64::from(level)),
    };
    let dead = |reason| Fate::Dead { attempts: message.reconsume_times.saturating_add(1), reason };
    let fate = match (header.delay_level < 0, is_tired) {
        (true, _) => dead(Reason::Consumer),
        (false, true) => dead(Reason::TooManyAttempts),
        (false, false) => Fate::Retry { queues: config.retry_queues, pause },
    };
    send_back(node, header.group, &message, fate).await?;
    Ok(Answer::ok())
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
    let ends = node.queue_ends(topic, queue).await?;
    let Some(from) = locator.resolve(ends.log_start, ends.high_watermark) else { return Ok(None) };
    node.message_anywhere(topic, queue, from, store_host).await
}

/// The queue that a locator points into.
pub(super) fn locate<'a>(
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
