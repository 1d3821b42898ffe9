//! Finding topics, and creating them as RocketMQ's clients expect: by sending, and for retries and dead letters.

use crate::names::{AUTO_CREATE_QUEUES, AUTO_CREATE_TOPIC, dead_letter_topic, is_retry_or_dead_letter, retry_topic};
use crate::node::Node;
use crate::remoting::Refusal;
use duolog_base::PartitionIndex;
use duolog_core::config::Perm;
use duolog_core::metadata::{CreateTopicError, MetadataImage, NameRules, NewTopic, TopicImage};
use duolog_wire::remoting::code::response;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a batch needs beyond its message's body: properties and framing.
const BATCH_EXTRA_BYTES: usize = 64 << 10;
/// Queues of the topics of one group's retries and dead letters.
const DEAD_LETTER_QUEUES: i32 = 1;

/// The topic, if clients may see it.
pub(crate) fn find<'a>(image: &'a MetadataImage, name: &str) -> Result<&'a Arc<TopicImage>, Refusal> {
    image.topic(name).filter(|topic| !topic.internal).ok_or_else(|| unknown(name))
}

pub(crate) fn unknown(name: &str) -> Refusal {
    Refusal::new(response::TOPIC_NOT_EXIST, format!("topic[{name}] not exist, apply first please!"))
}

/// The queue, if the topic has it.
pub(crate) fn queue(topic: &TopicImage, id: i32) -> Result<PartitionIndex, Refusal> {
    let index = PartitionIndex(id);
    let illegal = || {
        let remark = format!("queueId[{id}] is illegal, topic:[{}] queues:[{}]", topic.name, topic.partitions.len());
        Refusal::new(response::INVALID_PARAMETER, remark)
    };
    topic.partition(index).map(|_| index).ok_or_else(illegal)
}

/// What a sender says of the topic it expects to be created.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) default_topic: &'a str,
    pub(crate) queues: i32,
}

impl Node {
    /// The topic that is sent to; created if sending does that.
    pub(crate) async fn topic_to_send(&self, name: &str, wish: Wish<'_>) -> Result<Arc<TopicImage>, Refusal> {
        let image = self.broker.image();
        if let Some(topic) = image.topic(name) {
            return if topic.internal { Err(unknown(name)) } else { Ok(topic.clone()) };
        }
        let queues = match self.names.built_in_queues(name) {
            Some(queues) => queues,
            None if is_retry_or_dead_letter(name) => DEAD_LETTER_QUEUES,
            None => inherited_queues(&image, wish).ok_or_else(|| unknown(name))?,
        };
        self.create_topic(name, queues).await
    }

    /// The topic of a group's retries.
    pub async fn ensure_retry_topic(&self, group: &str, queues: i32) -> Result<Arc<TopicImage>, Refusal> {
        self.create_topic(&retry_topic(group), queues.max(1)).await
    }

    /// The topic of a group's dead letters.
    pub async fn ensure_dead_letter_topic(&self, group: &str) -> Result<Arc<TopicImage>, Refusal> {
        self.create_topic(&dead_letter_topic(group), DEAD_LETTER_QUEUES).await
    }

    /// The topic of this name, created with so many queues if it does not exist.
    pub async fn create_topic(&self, name: &str, queues: i32) -> Result<Arc<TopicImage>, Refusal> {
        if let Some(topic) = self.broker.image().topic(name) {
            return Ok(topic.clone());
        }
        let topic = self.new_topic(name, queues);
        match self.broker.metadata().create_topics(vec![topic], false).await.pop() {
            Some(Ok(topic)) => Ok(topic),
            // What somebody else created in between is as good.
            Some(Err(CreateTopicError::Exists { name })) => find(&self.broker.image(), &name).cloned(),
            Some(Err(error)) => Err(create_refusal(&error)),
            None => Err(Refusal::new(response::SYSTEM_ERROR, "the topic was not created")),
        }
    }

    /// A topic as RocketMQ's clients make it: with room for their largest message.
    pub fn new_topic(&self, name: &str, queues: i32) -> NewTopic {
        let config = &self.broker.config();
        let needed = config.rocketmq_max_message_bytes + BATCH_EXTRA_BYTES;
        let configs = match config.topic.max_message_bytes < needed {
            true => BTreeMap::from([("max.message.bytes".to_owned(), needed.to_string())]),
            false => BTreeMap::new(),
        };
        NewTopic {
            name: name.to_owned(),
            rules: NameRules::RocketMq,
            partitions: queues,
            replication_factor: -1,
            configs,
            ..NewTopic::default()
        }
    }
}

/// Queues of a topic that is created by sending to it; `None` if it is not.
fn inherited_queues(image: &MetadataImage, wish: Wish<'_>) -> Option<i32> {
    let most = match image.topic(wish.default_topic) {
        _ if wish.default_topic == AUTO_CREATE_TOPIC => image.config.auto_create_topics.then_some(AUTO_CREATE_QUEUES)?,
        Some(topic) if topic.config.perm.0 & Perm::INHERIT != 0 => topic.partitions.len() as i32,
        Some(_) | None => return None,
    };
    Some(wish.queues.clamp(1, most))
}

fn create_refusal(error: &CreateTopicError) -> Refusal {
    let code = match error {
        CreateTopicError::InvalidName { .. } | CreateTopicError::Collision { .. } => response::MESSAGE_ILLEGAL,
        CreateTopicError::Unavailable(_) => response::SERVICE_NOT_AVAILABLE,
        _ => response::SYSTEM_ERROR,
    };
    Refusal::new(code, error.to_string())
}
