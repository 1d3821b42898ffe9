//! What each request is about: by it a node of a cluster finds the node that answers it.
//!
//! A request that is not listed is answered by the node that it came to, from the metadata or by asking others itself.

use super::call::Call;
use crate::locator::Locator;
use duolog_base::PartitionIndex;
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_wire::remoting::Command;
use duolog_wire::remoting::body::{BatchAckRequest, LockBatchRequest, QueryAssignmentRequest, from_json};
use duolog_wire::remoting::code::request;
use std::sync::Arc;

/// A queue that exists.
pub(crate) struct QueueOf {
    pub(crate) topic: Arc<TopicImage>,
    pub(crate) index: PartitionIndex,
}

/// What a request is about.
pub(crate) enum Concern {
    /// Any node answers it.
    Anybody,
    Queue(QueueOf),
    Group(String),
}

/// Where to look for what a request is about.
#[derive(Clone, Copy)]
enum Kind {
    Anybody,
    /// Fields `topic` and `queueId`.
    Queue,
    /// The commit log offset in the field `offset`.
    Message,
    /// The group in the field of this name.
    Group(&'static str),
    /// The group in the body.
    Locks,
    Assignment,
    /// The queue in the body, if there is only one.
    Acknowledgements,
}

fn kind(code: i32) -> Kind {
    match code {
        request::PULL_MESSAGE
        | request::LITE_PULL_MESSAGE
        | request::SEARCH_OFFSET_BY_TIMESTAMP
        | request::GET_MAX_OFFSET
        | request::GET_MIN_OFFSET
        | request::GET_EARLIEST_MSG_STORETIME
        | request::QUERY_CONSUME_QUEUE
        | request::POP_MESSAGE
        | request::ACK_MESSAGE
        | request::PEEK_MESSAGE
        | request::CHANGE_MESSAGE_INVISIBLETIME
        | request::NOTIFICATION
        | request::POLLING_INFO => Kind::Queue,
        request::BATCH_ACK_MESSAGE => Kind::Acknowledgements,
        request::VIEW_MESSAGE_BY_ID => Kind::Message,
        request::QUERY_CONSUMER_OFFSET
        | request::UPDATE_CONSUMER_OFFSET
        | request::GET_CONSUMER_LIST_BY_GROUP
        | request::GET_CONSUMER_CONNECTION_LIST
        | request::GET_CONSUMER_RUNNING_INFO
        | request::CONSUME_MESSAGE_DIRECTLY
        | request::GET_CONSUME_STATS => Kind::Group("consumerGroup"),
        request::INVOKE_BROKER_TO_RESET_OFFSET
        | request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS
        | request::QUERY_CONSUME_TIME_SPAN
        | request::QUERY_TOPICS_BY_CONSUMER
        | request::QUERY_SUBSCRIPTION_BY_CONSUMER
        | request::GET_SUBSCRIPTIONGROUP_CONFIG => Kind::Group("group"),
        request::DELETE_SUBSCRIPTIONGROUP => Kind::Group("groupName"),
        request::CLONE_GROUP_OFFSET => Kind::Group("destGroup"),
        request::LOCK_BATCH_MQ | request::UNLOCK_BATCH_MQ => Kind::Locks,
        request::QUERY_ASSIGNMENT => Kind::Assignment,
        _ => Kind::Anybody,
    }
}

/// What the request is about. One that cannot be understood, or names what is not there, is refused where it came.
pub(crate) fn concern(call: &Call, image: &MetadataImage) -> Concern {
    let command = &call.command;
    let queue = match kind(command.code) {
        Kind::Anybody => None,
        Kind::Queue => named_queue(command, image),
        Kind::Message => message_queue(command, image),
        Kind::Acknowledgements => acknowledged_queue(command, image),
        Kind::Group(field) => {
            return command.fields.get(field).map_or(Concern::Anybody, |group| Concern::Group(group.to_owned()));
        }
        Kind::Locks => return group_of(from_json(&command.body).ok().map(|locks: LockBatchRequest| locks.consumer_group)),
        Kind::Assignment => {
            return group_of(from_json(&command.body).ok().map(|asked: QueryAssignmentRequest| asked.consumer_group));
        }
    };
    queue.map_or(Concern::Anybody, Concern::Queue)
}

fn group_of(group: Option<String>) -> Concern {
    group.map_or(Concern::Anybody, Concern::Group)
}

fn queue_of(topic: &Arc<TopicImage>, id: i32) -> Option<QueueOf> {
    let index = PartitionIndex(id);
    topic.partition(index).map(|_| QueueOf { topic: topic.clone(), index })
}

fn named_queue(command: &Command, image: &MetadataImage) -> Option<QueueOf> {
    let topic = image.topic(command.fields.get("topic")?)?;
    queue_of(topic, command.fields.get("queueId").map_or(Ok(0), str::parse).ok()?)
}

fn acknowledged_queue(command: &Command, image: &MetadataImage) -> Option<QueueOf> {
    let body: BatchAckRequest = from_json(&command.body).ok()?;
    match &body.acks[..] {
        [ack] => queue_of(image.topic(&ack.topic)?, ack.queue_id),
        _ => None,
    }
}

fn message_queue(command: &Command, image: &MetadataImage) -> Option<QueueOf> {
    let locator = Locator::from_wire(command.fields.get("offset")?.parse().ok()?)?;
    let (topic, index) = super::c036_send_back::locate(image, locator, command.fields.get("topic"))?;
    Some(QueueOf { topic: topic.clone(), index })
}
