//! Messages with a priority (RocketMQ 5.4). A priority is a queue: the message goes to the queue of that number, and who receives from
//! all queues of a topic for such messages looks at the highest one first.
//!
//! Pulls know nothing of it: who pulls chooses the queue himself. On a cluster the order holds among the queues that one node leads.

use crate::delay::is_delay;
use crate::group_config::priority_factor;
use crate::transactions::is_half;
use duolog_base::PartitionIndex;
use duolog_core::config::GroupConfig;
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::properties::{Properties, name};

/// What a topic for messages with a priority says of itself in `rocketmq.message.type`.
const PRIORITY_TOPIC: &str = "PRIORITY";

/// The priority of a message; `None` if it has none, or is of another kind before that: half, for later, or of a message group.
pub(crate) fn priority(properties: Properties<'_>) -> Option<i32> {
    // Most messages have none, and this is asked of all.
    if !properties.text().contains(name::PRIORITY) {
        return None;
    }
    let is_other = |(name, _): (&str, &str)| is_delay(name) || name == name::SHARDING_KEY;
    if is_half(properties) || properties.iter().any(is_other) {
        return None;
    }
    properties.get(name::PRIORITY)?.parse().ok().filter(|priority| *priority >= 0)
}

/// The queue of a priority in a topic with so many queues.
pub(crate) fn queue_of(priority: i32, queues: i32) -> PartitionIndex {
    PartitionIndex(priority.min(queues - 1))
}

/// All queues of a topic in the order in which a receive looks at them: from `first` on and around, or from the highest down if the topic
/// is for messages with a priority. The group's factor says in how many of 100 turns.
pub(crate) fn receive_order(topic: &TopicImage, config: &GroupConfig, first: i32, turn: u64) -> Vec<PartitionIndex> {
    let count = topic.partitions.len() as i32;
    let is_priority = topic.config.message_type == PRIORITY_TOPIC && !config.consume_orderly;
    match is_priority && turn % 100 < priority_factor(config) {
        true => (0..count).rev().map(PartitionIndex).collect(),
        false => (0..count).map(|ahead| PartitionIndex((first.max(0) + ahead) % count)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<i32> {
        let text: String = text
            .chars()
            .map(|c| {
                if c == '=' {
                    '\u{1}'
                } else if c == ';' {
                    '\u{2}'
                } else {
                    c
                }
            })
            .collect();
        priority(Properties::new(&text))
    }

    #[test]
    fn a_message_of_another_kind_has_no_priority() {
        assert_eq!(of("a=b;_SYS_MSG_PRIORITY_=3;"), Some(3));
        assert_eq!(of("a=_SYS_MSG_PRIORITY_;"), None);
        for other in ["DELAY=1;", "TIMER_DELAY_SEC=1;", "TIMER_DELIVER_MS=1;", "__SHARDINGKEY=k;", "TRAN_MSG=true;"] {
            assert_eq!(of(&format!("_SYS_MSG_PRIORITY_=3;{other}")), None, "{other}");
        }
        for odd in ["-1", "", "x", "99999999999"] {
            assert_eq!(of(&format!("_SYS_MSG_PRIORITY_={odd};")), None, "{odd}");
        }
    }

    #[test]
    fn a_priority_beyond_the_queues_is_the_highest_there_is() {
        assert_eq!([0, 2, 3, 1000].map(|priority| queue_of(priority, 3).0), [0, 2, 2, 2]);
    }
}
