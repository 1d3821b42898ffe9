//! Storing a message once more because its consumer failed: in the group's retry topic, or in that of its dead letters.

use crate::append::Target;
use crate::dead_letters::{self, Reason};
use crate::delay::{Later, after_level};
use crate::message::{MessageLimits, Outgoing};
use crate::names::is_retry_or_dead_letter;
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
    /// It comes again after a pause, in the retry topic, which is made with so many queues.
    Retry { queues: i32, pause: Pause },
    /// It is kept for people to look at, after so many deliveries.
    Dead { attempts: i32, reason: Reason },
}

/// How long a message waits before it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The time of a delay level.
    Level(i64),
    Milliseconds(i64),
}

impl Pause {
    /// When it is over; `None` if there is none.
    fn end(self, node: &Node) -> Option<Later> {
        let now = node.delays.now();
        match self {
            Pause::Level(level) => after_level(level, now, &node.broker.config().rocketmq_delay_levels),
            Pause::Milliseconds(ms) => {
                let at = TimestampMs(now.0.saturating_add(ms));
                // As with a level, what the producer said of its own delay is over.
                (ms > 0).then_some(Later { at, by_level: true })
            }
        }
    }
}

/// Stores the message once more, with what consumers want to know of the first time.
pub(crate) async fn send_back(node: &Node, group: &str, message: &StoredMessage<'_>, fate: Fate) -> Result<(), Refusal> {
    let topic = match fate {
        Fate::Retry { queues, .. } => node.ensure_retry_topic(group, queues).await?,
        Fate::Dead { .. } => node.ensure_dead_letter_topic(group).await?,
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
    let (queue_id, queue_offset) = (message.queue_id.to_string(), message.queue_offset.to_string());
    if !is_retry_or_dead_letter(message.topic) {
        changes.extend([(dead_letters::ORIGIN_PARTITION, Some(&*queue_id)), (dead_letters::ORIGIN_OFFSET, Some(&*queue_offset))]);
    }
    let attempts_text;
    if let Fate::Dead { attempts, reason } = fate {
        attempts_text = attempts.to_string();
        changes.extend([
            (name::DLQ_ORIGIN_TOPIC, Some(origin_topic)),
            (name::DLQ_ORIGIN_MESSAGE_ID, Some(origin_id)),
            (dead_letters::GROUP, Some(group)),
            (dead_letters::ATTEMPTS, Some(&*attempts_text)),
            (dead_letters::REASON, Some(reason.name())),
        ]);
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
        Fate::Retry { pause, .. } => pause.end(node),
        Fate::Dead { .. } => None,
    };
    match later {
        Some(later) => node.store_later(&topic, queue, later, &again, limits).await.map(|_| ()),
        None => node.store(&Target { topic, queue, acks: Acks::All }, &again, limits).await.map(|_| ()),
    }
}
