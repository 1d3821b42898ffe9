//! Rules for topic names: Kafka's, and RocketMQ's for topics that its clients make (`%RETRY%group`, `namespace%topic`).

/// Longest topic name, in characters; with a partition number it must still fit a file name.
pub const MAX_TOPIC_NAME: usize = 249;

/// Topics that coordinators write, by name.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The internal topic of records that are delivered later.
pub const DELAYED_TOPIC: &str = "__delayed_messages";
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";
pub const SHARE_STATE_TOPIC: &str = "__share_group_state";

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    #[error("must not be empty")]
    Empty,
    #[error("must not be \".\" or \"..\"")]
    Dots,
    #[error("has {length} characters, more than {MAX_TOPIC_NAME}")]
    TooLong { length: usize },
    #[error("may contain only ASCII letters, digits, '.', '_' and '-'")]
    Character,
    #[error("may contain only ASCII letters, digits, '%', '|', '_' and '-'")]
    RocketMqCharacter,
}

/// Whose rules a new name follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameRules {
    #[default]
    Kafka,
    /// With `%` and `|`, without `.`.
    RocketMq,
}

impl NameRules {
    /// Refuses what cannot name a new topic.
    pub fn check(self, name: &str) -> Result<(), NameProblem> {
        match self {
            NameRules::Kafka => check_topic_name(name),
            NameRules::RocketMq => check_rocketmq_topic_name(name),
        }
    }
}

/// Refuses what cannot name a topic.
pub fn check_topic_name(name: &str) -> Result<(), NameProblem> {
    match name {
        "" => return Err(NameProblem::Empty),
        "." | ".." => return Err(NameProblem::Dots),
        _ => {}
    }
    if name.len() > MAX_TOPIC_NAME {
        return Err(NameProblem::TooLong { length: name.chars().count() });
    }
    match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        true => Ok(()),
        false => Err(NameProblem::Character),
    }
}

fn check_rocketmq_topic_name(name: &str) -> Result<(), NameProblem> {
    if name.is_empty() {
        return Err(NameProblem::Empty);
    }
    if name.len() > MAX_TOPIC_NAME {
        return Err(NameProblem::TooLong { length: name.chars().count() });
    }
    match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')) {
        true => Ok(()),
        false => Err(NameProblem::RocketMqCharacter),
    }
}

/// Whether a topic of this name is written by the server and closed to producers.
pub fn is_internal_topic(name: &str) -> bool {
    matches!(name, OFFSETS_TOPIC | DELAYED_TOPIC | TRANSACTIONS_TOPIC | SHARE_STATE_TOPIC)
}

/// Whether the name shares its form in metrics with other names.
pub(super) fn may_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// The form in which names that collide are equal.
pub(super) fn collision_form(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            assert_eq!(check_topic_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_topic_name(""), Err(NameProblem::Empty));
        assert_eq!(check_topic_name(".."), Err(NameProblem::Dots));
        assert_eq!(check_topic_name(&"x".repeat(250)), Err(NameProblem::TooLong { length: 250 }));
        for bad in ["a b", "a/b", "ä", "a,b"] {
            assert_eq!(check_topic_name(bad), Err(NameProblem::Character), "{bad}");
        }
    }

    #[test]
    fn rocketmqs_own_topics_have_names_that_kafka_would_refuse() {
        let check = |name| NameRules::RocketMq.check(name);
        for good in ["%RETRY%group", "%DLQ%g-1", "MQ_INST%orders", "a|b"] {
            assert_eq!(check(good), Ok(()), "{good}");
            assert_eq!(check_topic_name(good), Err(NameProblem::Character), "{good}");
        }
        for bad in ["a/b", "../x", "a b", "a.b", "a\\b"] {
            assert_eq!(check(bad), Err(NameProblem::RocketMqCharacter), "{bad}");
        }
        assert_eq!(check(&"x".repeat(250)), Err(NameProblem::TooLong { length: 250 }));
    }
}
