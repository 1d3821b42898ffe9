//! Names that mean something by themselves: topics of retries and dead letters, topics that are always there.

use duolog_core::metadata::{NameProblem, NameRules};

pub const RETRY_PREFIX: &str = "%RETRY%";
pub const DEAD_LETTER_PREFIX: &str = "%DLQ%";
/// The topic whose route tells producers whether, and with how many queues, topics are created by sending.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";

/// What the name of the topic of replies ends with; the cluster's name comes first.
const REPLY_TOPIC_END: &str = "_REPLY_TOPIC";

/// Queues of topics that are created by sending, at most; a client asks for fewer as a rule.
pub const AUTO_CREATE_QUEUES: i32 = 8;
/// Queues of the topic that is called like the cluster.
const CLUSTER_TOPIC_QUEUES: i32 = 16;
/// Longest name of a group, in bytes.
const MAX_GROUP_BYTES: usize = 255;

/// Topics that the original keeps for itself and that nobody may send to.
const CLOSED_TOPICS: &[&str] = &[
    "OFFSET_MOVED_EVENT",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "SCHEDULE_TOPIC_XXXX",
    "SELF_TEST_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
];
/// Topics that tools may send to before anybody has created them.
const OPEN_TOPICS: &[&str] = &["BenchmarkTest", AUTO_CREATE_TOPIC, TRACE_TOPIC];

/// What this node is called among RocketMQ's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeNames {
    pub cluster: String,
    pub broker: String,
}

impl NodeNames {
    /// Queues of a topic that need not be created to be there; `None` for any other.
    pub fn built_in_queues(&self, topic: &str) -> Option<i32> {
        match topic {
            AUTO_CREATE_TOPIC => Some(AUTO_CREATE_QUEUES),
            _ if topic == self.cluster => Some(CLUSTER_TOPIC_QUEUES),
            _ if topic.strip_suffix(REPLY_TOPIC_END) == Some(&self.cluster) => Some(1),
            _ if topic == self.broker || OPEN_TOPICS.contains(&topic) || CLOSED_TOPICS.contains(&topic) => Some(1),
            _ => None,
        }
    }

    /// The topics that tools hide.
    pub fn system_topics(&self) -> impl Iterator<Item = &str> {
        let own = [self.cluster.as_str(), self.broker.as_str()];
        own.into_iter().chain(OPEN_TOPICS.iter().copied()).chain(CLOSED_TOPICS.iter().copied())
    }
}

/// Whether clients may not send to the topic.
pub fn is_closed_topic(topic: &str) -> bool {
    CLOSED_TOPICS.contains(&topic)
}

pub fn is_retry_or_dead_letter(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX) || topic.starts_with(DEAD_LETTER_PREFIX)
}

pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

pub fn dead_letter_topic(group: &str) -> String {
    format!("{DEAD_LETTER_PREFIX}{group}")
}

/// Refuses what cannot name a group.
pub fn check_group(group: &str) -> Result<(), NameProblem> {
    match group.len() > MAX_GROUP_BYTES {
        true => Err(NameProblem::TooLong { length: group.len() }),
        false => NameRules::RocketMq.check(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_and_the_broker_are_topics_too() {
        let names = NodeNames { cluster: "c".to_owned(), broker: "b".to_owned() };
        assert_eq!(names.built_in_queues("c"), Some(CLUSTER_TOPIC_QUEUES));
        assert_eq!(names.built_in_queues("b"), Some(1));
        assert_eq!(names.built_in_queues("TBW102"), Some(8));
        assert_eq!(names.built_in_queues("c_REPLY_TOPIC"), Some(1));
        assert_eq!(names.built_in_queues("orders"), None);
        assert!(names.system_topics().any(|topic| topic == "b"));
    }

    #[test]
    fn group_names_that_could_be_paths_are_refused() {
        for bad in ["", "../g", "g/h", "g h", "g.h"] {
            assert!(check_group(bad).is_err(), "{bad}");
        }
        assert_eq!(check_group("%RETRY%g-1_a|b"), Ok(()));
    }
}
