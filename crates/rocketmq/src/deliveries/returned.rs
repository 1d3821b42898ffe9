//! What members of a group have given back, and other members receive one by one: messages of the group's retry topic, under the topic that
//! they came from.
//!
//! The retry topic has messages of all topics that the group consumes. They are read in order and remembered ([`super::seen`]), each until
//! somebody receives its topic; the group's offset stays below them. Remoting members read the retry topic, too: what both read at the same
//! time is consumed twice.
//!
//! Called by [`super::waiting`], and by [`Deliveries::receive`] for queues of such a topic.

use super::{Consumed, Deliveries, DeliveryError, Order, Queue, Receive};
use crate::cluster::Place as CurrentPlace;
use crate::names::retry_topic;
use crate::node::Node;
use duolog_base::PartitionIndex;
use duolog_core::filter::Subscription;
use duolog_core::metadata::TopicImage;
use std::sync::Arc;

/// The retry topic of a group as one receive reads it.
pub(super) struct Retries<'a> {
    pub(super) consumed: Arc<Consumed>,
    pub(super) queues: Vec<PartitionIndex>,
    pub(super) wanted: Receive<'a>,
}

impl<'a> Retries<'a> {
    /// What belongs to a receive of `from`; `None` if it wants nothing of the kind, or nothing was given back to the group yet.
    pub(super) fn of(
        deliveries: &Deliveries,
        node: &Node,
        group: &str,
        from: &'a Arc<str>,
        receive: &Receive<'a>,
    ) -> Result<Option<Retries<'a>>, DeliveryError> {
        if !receive.with_returned {
            return Ok(None);
        }
        let image = node.broker.image();
        let found = image.topic(&retry_topic(group));
        // Whoever asks for the retry topic itself has all of it.
        let found = found.filter(|topic| topic.id != receive.topic.id && topic.config.perm.may_read());
        let Some(topic) = found else { return Ok(None) };
        let consumed = deliveries.consumed(group, topic, node.monotonic_ms())?;
        let is_led = |queue: &PartitionIndex| {
            topic.partition(*queue).is_some_and(|partition| node.place_of(&image, partition) == CurrentPlace::Here)
        };
        let queues = (0..topic.partitions.len() as i32).map(PartitionIndex).filter(is_led).collect();
        // The one who gave it back had subscribed to it.
        let subscription = Arc::new(Subscription::all());
        let wanted = Receive { topic: topic.clone(), subscription, order: Order::Returned { from }, ..receive.clone() };
        Ok(Some(Retries { consumed, queues, wanted }))
    }
}

impl Deliveries {
    /// Whether a look into the queue can be spared: its end is known, and nothing is there from the topic.
    pub(super) fn has_nothing(
        &self,
        node: &Node,
        topic: &TopicImage,
        queue: &Queue,
        index: PartitionIndex,
        from: &Arc<str>,
    ) -> bool {
        let Some(ends) = node.broker.ends(topic, index) else { return true };
        let epoch = topic.partition(index).and_then(|partition| node.broker.leads(partition));
        queue.noted.lock().is_fresh(node.monotonic_ms()) && queue.seen.lock().has_none(epoch, ends.high_watermark, from)
    }
}
