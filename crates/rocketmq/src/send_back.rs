//! Storing a message once more because its consumer failed: in the group's retry topic, or in that of its dead letters.

use crate::append::Target;
use crate::delay::after_level;
use crate::message::{MessageLimits, Outgoing};
use crate::node::Node;
use crate::remoting::Refusal;
use duolog_base::TimestampMs;
use duolog_core::broker::Acks;
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::message_id::OffsetMessageId;
use duolog_wire::remoting::properties::name;

/// What becomes of a message that could not be consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It comes again after the time of a level, in the retry topic, which is made with so many queues.
    Retry { queues: i32, level: i64 },
    /// It is kept for people to look at.
    Dead,
}

/// Stores the message once more, with what consumers want to know of the first time.
pub(crate) async fn send_back(node: &Node, group: &str, message: &StoredMessage<'_>, fate: Fate) -> Result<(), Refusal> {
    let topic = match fate {
        Fate::Retry { queues, .. } => node.ensure_retry_topic(group, queues).await?,
        Fate::Dead => node.ensure_dead_letter_topic(group).await?,
    };
    let queue = node.any_queue(&topic, &node.broker.image());
    let id = OffsetMessageId { store_host: message.store_host, commit_log_offset: message.commit_log_offset }.to_string();
    let origin_id = message.properties.get(name::ORIGIN_MESSAGE_ID).unwrap_or(&id);
    let origin_topic = message.properties.get(name::RETRY_TOPIC).unwrap_or(message.topic);
    let mut changes = vec![
        (name::RETRY_TOPIC, Some(origin_topic)),
        (name::ORIGIN_MESSAGE_ID, Some(origin_id)),
        (name::DELAY, None),
        (name::WAIT, None),
    ];
    if fate == Fate::Dead {
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
        delivered_at: None,
    };
    let limits = MessageLimits { max_body_bytes: message.body.len().max(1) };
    let later = match fate {
        Fate::Retry { level, .. } => after_level(level, node.delays.now(), &node.broker.config().rocketmq_delay_levels),
        Fate::Dead => None,
    };
    match later {
        Some(later) => node.store_later(&topic, queue, later, &again, limits).await.map(|_| ()),
        None => node.store(&Target { topic, queue, acks: Acks::All }, &again, limits).await.map(|_| ()),
    }
}
