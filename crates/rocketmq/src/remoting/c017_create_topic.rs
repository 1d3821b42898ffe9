//! UPDATE_AND_CREATE_TOPIC (17): creates a topic, or makes one that exists like the one described.
//!
//! *Behaviour*: a topic has as many partitions as it is to have queues to read or to write, whichever are more; one that exists
//! can only grow. Of the attributes, the kind of messages and the clean-up policy have a meaning here; others are refused.

use crate::node::Node;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use duolog_core::config::Perm;
use duolog_core::metadata::{ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate, NewPartitions, TopicImage};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::CreateTopicRequest;

/// An attribute to be set starts with this, one to be taken away with `-`.
const SET: char = '+';
const ATTRIBUTE_KEYS: [(&str, &str); 2] = [("message.type", "rocketmq.message.type"), ("cleanup.policy", "cleanup.policy")];

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: CreateTopicRequest<'_> = call.header()?;
    let node = &call.node;
    let refused = |what: String| Refusal::new(response::INVALID_PARAMETER, what);
    let queues = header.read_queue_nums.max(header.write_queue_nums);
    if queues < 1 {
        return Err(refused(format!("a topic of {queues} queues")));
    }
    if node.names.system_topics().any(|name| name == header.topic) {
        return Err(refused(format!("The topic[{}] is conflict with system topic.", header.topic)));
    }
    let changes = changes(&header)?;
    let topic = node.create_topic(header.topic, queues).await?;
    if topic.internal {
        return Err(topics::unknown(header.topic));
    }
    grow(node, &topic, queues).await?;
    let differs = |(key, operation): &(String, ConfigOperation)| match operation {
        ConfigOperation::Set(value) => topic.overrides.get(key) != value.as_ref(),
        _ => topic.overrides.contains_key(key),
    };
    if changes.iter().any(differs) {
        configure(node, header.topic, changes).await?;
    }
    Ok(Answer::ok())
}

async fn grow(node: &Node, topic: &TopicImage, queues: i32) -> Result<(), Refusal> {
    if queues <= topic.partitions.len() as i32 {
        return Ok(());
    }
    let grown = NewPartitions { topic: topic.name.clone(), total: queues, assignment: Vec::new() };
    let results = node.broker.metadata().create_partitions(vec![grown], false).await;
    let result = results.into_iter().collect::<Result<Vec<()>, _>>();
    result.map(|_| ()).map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))
}

async fn configure(node: &Node, topic: &str, changes: Vec<(String, ConfigOperation)>) -> Result<(), Refusal> {
    let change = ConfigChange { resource: ConfigResource::Topic(topic.to_owned()), update: ConfigUpdate::Incremental(changes) };
    let results = node.broker.metadata().alter_configs(vec![change], false).await;
    let result = results.into_iter().collect::<Result<Vec<()>, _>>();
    result.map(|_| ()).map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))
}

/// The topic's configuration as the request describes it. What is the default is not set.
fn changes(header: &CreateTopicRequest<'_>) -> Result<Vec<(String, ConfigOperation)>, Refusal> {
    const USUAL: i32 = Perm::READ | Perm::WRITE;
    let set = |key: &str, value: Option<String>| {
        let operation = value.map_or(ConfigOperation::Delete, |value| ConfigOperation::Set(Some(value)));
        (key.to_owned(), operation)
    };
    let mut changes = vec![
        set("rocketmq.perm", (header.perm != USUAL).then(|| header.perm.to_string())),
        set("rocketmq.order", header.order.then(|| "true".to_owned())),
    ];
    for attribute in header.attributes.unwrap_or_default().split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let malformed = || Refusal::new(response::INVALID_PARAMETER, format!("attribute {attribute:?} is not supported"));
        let (key, value) = match attribute.strip_prefix(SET) {
            Some(pair) => pair.split_once('=').map(|(key, value)| (key, Some(value))).ok_or_else(malformed)?,
            None => (attribute.strip_prefix('-').ok_or_else(malformed)?, None),
        };
        let (_, own) = ATTRIBUTE_KEYS.iter().find(|(name, _)| *name == key).ok_or_else(malformed)?;
        changes.push(set(own, value.map(|value| own_value(own, value))));
    }
    Ok(changes)
}

/// Kafka's names of policies.
fn own_value(key: &str, value: &str) -> String {
    match (key, value) {
        ("cleanup.policy", "COMPACTION") => "compact".to_owned(),
        ("cleanup.policy", other) => other.to_lowercase(),
        (_, value) => value.to_owned(),
    }
}
