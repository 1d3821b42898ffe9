//! A queue as one group consumes it, by the names that the engine and this node have for it.

use super::{Consumed, DeliveryError, Handle, Queue};
use crate::names::retry_topic;
use crate::node::Node;
use duolog_base::PartitionIndex;
use duolog_core::metadata::TopicImage;
use duolog_core::share::{Allowed, Limits, SharePartition};
use std::sync::Arc;

/// Messages of one queue that a group works on at most. Beyond, nothing new is delivered until some are acknowledged.
pub(super) const IN_FLIGHT_OF_QUEUE: usize = 10_000;
/// Messages that were delivered too often are buried here, by the group's own count.
pub(crate) const LIMITS: Limits = Limits::Fixed(Allowed { deliveries: i16::MAX, locks: IN_FLIGHT_OF_QUEUE, dead_letters: false });

pub(super) struct Place {
    pub(super) at: SharePartition,
    pub(super) queue: Arc<Queue>,
}

impl Place {
    pub(super) fn new(consumed: Arc<Consumed>, topic: &TopicImage, queue: PartitionIndex) -> Place {
        Place { at: partition(&consumed.group, topic, queue), queue: consumed.queue(queue) }
    }
}

pub(super) fn partition(group: &Arc<str>, topic: &TopicImage, queue: PartitionIndex) -> SharePartition {
    SharePartition { group: group.clone(), topic: topic.id, partition: queue }
}

/// What the engine calls one receive.
pub(super) fn member(number: u64) -> String {
    format!("{number:x}")
}

/// The topic in which a delivered message lies.
pub(super) fn lies_in(
    node: &Node,
    group: &str,
    topic: &Arc<TopicImage>,
    handle: Handle,
) -> Result<Arc<TopicImage>, DeliveryError> {
    match handle.is_returned {
        false => Ok(topic.clone()),
        true => node.broker.image().topic(&retry_topic(group)).cloned().ok_or(DeliveryError::StaleHandle),
    }
}
