//! A topic as RocketMQ's tools describe it, and how that is kept in this server's configuration.
//!
//! Tools give attributes with a sign in front: `+name=value` sets one, `-name` takes it back. What means nothing here is refused:
//! an attribute that is taken is one that counts.

use crate::remoting::Refusal;
use duolog_core::config::TopicConfig as CoreConfig;
use duolog_core::metadata::{ConfigOperation, TopicImage};
use duolog_wire::remoting::body::TopicConfig;
use duolog_wire::remoting::code::response;
use std::collections::BTreeMap;

const MESSAGE_TYPE: &str = "message.type";
const CLEANUP_POLICY: &str = "cleanup.policy";
const QUEUE_TYPE: &str = "queue.type";
/// The one kind of queue there is, as the original calls it.
const SIMPLE_QUEUE: &str = "SimpleCQ";
/// Cleanup policies by the original's names.
const CLEANUP_POLICIES: [(&str, &str); 2] = [("DELETE", "delete"), ("COMPACTION", "compact")];

/// A topic as a tool wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedTopic<'a> {
    pub(crate) name: &'a str,
    pub(crate) read_queues: i32,
    pub(crate) write_queues: i32,
    pub(crate) perm: i32,
    pub(crate) is_ordered: bool,
    pub(crate) attributes: Vec<AttributeChange<'a>>,
}

/// A change of an attribute: its name, and its new value or `None` to take it back.
pub(crate) type AttributeChange<'a> = (&'a str, Option<&'a str>);

/// Reads `+name=value,-name`.
pub(crate) fn attributes_of_text(text: &str) -> Result<Vec<AttributeChange<'_>>, Refusal> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(attribute).collect()
}

fn attribute(word: &str) -> Result<AttributeChange<'_>, Refusal> {
    let malformed = || invalid(format!("attribute {word:?} is neither +name=value nor -name"));
    match (word.strip_prefix('+'), word.strip_prefix('-')) {
        (Some(set), _) => set.split_once('=').map(|(name, value)| (name, Some(value))).ok_or_else(malformed),
        (_, Some(name)) if !name.contains('=') => Ok((name, None)),
        _ => Err(malformed()),
    }
}

/// The same of a table, in which a name without a sign is set, too.
pub(crate) fn attributes_of_table(table: &BTreeMap<String, String>) -> Vec<AttributeChange<'_>> {
    table.iter().map(|(name, value)| table_entry(name, value)).collect()
}

fn table_entry<'a>(name: &'a str, value: &'a str) -> AttributeChange<'a> {
    match (name.strip_prefix('-'), name.strip_prefix('+')) {
        (Some(name), _) => (name, None),
        (_, Some(name)) => (name, Some(value)),
        _ => (name, Some(value)),
    }
}

/// The changes that make a topic with this configuration what is wanted; without those that change nothing.
pub(crate) fn operations(current: &CoreConfig, wanted: &WantedTopic<'_>) -> Result<Vec<(String, ConfigOperation)>, Refusal> {
    let mut operations = Vec::new();
    if wanted.perm != current.perm.0 {
        operations.push(("rocketmq.perm".to_owned(), set(&wanted.perm.to_string())));
    }
    if wanted.is_ordered != current.is_ordered {
        operations.push(("rocketmq.order".to_owned(), set(&wanted.is_ordered.to_string())));
    }
    for (name, value) in &wanted.attributes {
        operations.extend(operation(name, *value)?);
    }
    Ok(operations)
}

/// What becomes of one attribute; `None` if it is as it says anyway.
fn operation(name: &str, value: Option<&str>) -> Result<Option<(String, ConfigOperation)>, Refusal> {
    let (key, value) = match name {
        MESSAGE_TYPE => ("rocketmq.message.type", value.map(str::to_ascii_uppercase)),
        CLEANUP_POLICY => ("cleanup.policy", value.map(cleanup_policy).transpose()?),
        QUEUE_TYPE if value.is_none_or(|value| value == SIMPLE_QUEUE) => return Ok(None),
        QUEUE_TYPE => return Err(invalid(format!("attribute {QUEUE_TYPE}: all queues are of the kind {SIMPLE_QUEUE}"))),
        _ => return Err(invalid(format!("attribute {name:?} is not supported"))),
    };
    Ok(Some((key.to_owned(), value.map_or(ConfigOperation::Delete, |value| set(&value)))))
}

fn cleanup_policy(name: &str) -> Result<String, Refusal> {
    let found = CLEANUP_POLICIES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let (_, policy) = found.ok_or_else(|| invalid(format!("{CLEANUP_POLICY} {name:?} is neither DELETE nor COMPACTION")))?;
    Ok((*policy).to_owned())
}

fn set(value: &str) -> ConfigOperation {
    ConfigOperation::Set(Some(value.to_owned()))
}

fn invalid(remark: String) -> Refusal {
    Refusal::new(response::INVALID_PARAMETER, remark)
}

/// The topic in RocketMQ's words. Attributes that nobody has set are left out, as in the original.
pub(crate) fn describe(topic: &TopicImage) -> TopicConfig {
    let queues = topic.partitions.len() as i32;
    let mut attributes = BTreeMap::new();
    if topic.overrides.contains_key("rocketmq.message.type") {
        attributes.insert(MESSAGE_TYPE.to_owned(), topic.config.message_type.clone());
    }
    if topic.config.compact {
        attributes.insert(CLEANUP_POLICY.to_owned(), "COMPACTION".to_owned());
    }
    TopicConfig {
        attributes,
        order: topic.config.is_ordered,
        perm: topic.config.perm.0,
        read_queue_nums: queues,
        topic_name: topic.name.clone(),
        write_queue_nums: queues,
        ..TopicConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_signs() {
        let read = attributes_of_text("+message.type=FIFO, -cleanup.policy,+x=a=b").unwrap();
        assert_eq!(read, [("message.type", Some("FIFO")), ("cleanup.policy", None), ("x", Some("a=b"))]);
        assert_eq!(attributes_of_text("").unwrap(), []);
        for bad in ["message.type=FIFO", "+message.type", "-a=b", "+", "message.type"] {
            assert_eq!(attributes_of_text(bad).unwrap_err().code, response::INVALID_PARAMETER, "{bad}");
        }
        let table = [("+a", "1"), ("-b", ""), ("c", "2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(attributes_of_table(&BTreeMap::from(table)), [("a", Some("1")), ("b", None), ("c", Some("2"))]);
    }

    #[test]
    fn only_what_counts_is_taken() {
        let taken = |name, value| operation(name, value).map(|operation| operation.map(|(key, _)| key));
        assert_eq!(taken("message.type", Some("fifo")), Ok(Some("rocketmq.message.type".to_owned())));
        assert_eq!(taken("cleanup.policy", None), Ok(Some("cleanup.policy".to_owned())));
        assert_eq!(taken("queue.type", Some("SimpleCQ")), Ok(None));
        for (name, value) in
            [("queue.type", "BatchCQ"), ("cleanup.policy", "NEVER"), ("reserve.time", "1"), ("retention.ms", "1")]
        {
            assert_eq!(taken(name, Some(value)).unwrap_err().code, response::INVALID_PARAMETER, "{name}");
        }
    }
}
