//! How a group stands in the queues of a topic: where its next receive would begin, how many messages there are, and whether it
//! may find something now. Nothing is taken.

use super::place::{Place, partition};
use super::waiting::{led, numbers};
use super::{Begin, Deliveries, DeliveryError, Order};
use crate::node::Node;
use duolog_base::{Offset, PartitionIndex};
use duolog_core::metadata::TopicImage;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// When there is something, but it may have to wait for others of its message group, it is looked again after so long at the latest.
const ORDERED_PAUSE: Duration = Duration::from_millis(100);

/// A group as it reads a topic.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: Arc<TopicImage>,
    pub(crate) order: Order<'a>,
    pub(crate) begin: Begin,
}

/// How a group stands in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The first message that a receive may get.
    pub(crate) next: Offset,
    /// How many there are from it on at most.
    pub(crate) rest: u64,
    /// Whether a receive may find something.
    pub(crate) is_ready: bool,
}

impl Deliveries {
    /// How the group stands in a queue that this node leads.
    pub(crate) async fn standing(
        &self,
        node: &Node,
        reader: &Reader<'_>,
        queue: PartitionIndex,
    ) -> Result<Standing, DeliveryError> {
        let consumed = self.consumed(reader.group, &reader.topic, node.monotonic_ms())?;
        let place = Place::new(consumed, &reader.topic, queue);
        let turn = place.queue.turn.lock().await;
        self.take_over(node, &reader.topic, &place, reader.begin).await?;
        drop(turn);
        let end = node.broker.ends(&reader.topic, queue).map_or(Offset(0), |ends| ends.high_watermark);
        // While as many are worked on as may be, there is nothing.
        let next = node.share.next_fetch(&place.at).await?.unwrap_or(end);
        let rest = u64::try_from(end.0 - next.0).unwrap_or(0);
        Ok(Standing { next, rest, is_ready: rest > 0 })
    }

    /// Waits until a receive may find something in one of the queues, as far as this node leads them; false when the deadline has
    /// passed first, or the node stops. Who leaves meanwhile loses nothing.
    pub(crate) async fn ready(
        &self,
        node: &Node,
        mut reader: Reader<'_>,
        wished: &[PartitionIndex],
        deadline: Instant,
    ) -> Result<bool, DeliveryError> {
        let broker = &node.broker;
        let consumed = self.consumed(reader.group, &reader.topic, node.monotonic_ms())?;
        let mut stopping = broker.stopping();
        let mut images = broker.metadata().changes();
        let mut is_news = false;
        loop {
            let queues = led(node, &reader.topic, wished);
            // Everything is registered before it is looked, so that nothing that arrives is missed.
            let arrived = broker.watch(numbers(&reader.topic, &queues).collect::<Vec<_>>());
            let available = node.share.watch(queues.iter().map(|queue| partition(&consumed.group, &reader.topic, *queue)));
            if self.is_any_ready(node, &reader, &queues).await? {
                if !is_news && matches!(reader.order, Order::Ordered { .. }) {
                    tokio::time::sleep_until((Instant::now() + ORDERED_PAUSE).min(deadline)).await;
                    return Ok(Instant::now() < deadline);
                }
                return Ok(true);
            }
            tokio::select! {
                biased;
                () = arrived.changed() => is_news = true,
                () = available.changed() => is_news = true,
                _ = images.changed() => {
                    let image = broker.image();
                    let name = &reader.topic.name;
                    let topic = image.topic(name).filter(|topic| topic.id == reader.topic.id);
                    reader.topic = topic.cloned().ok_or_else(|| DeliveryError::UnknownTopic(name.clone()))?;
                }
                _ = stopping.wait_for(|stopping| *stopping) => return Ok(false),
                () = tokio::time::sleep_until(deadline) => return Ok(false),
            }
        }
    }

    async fn is_any_ready(&self, node: &Node, reader: &Reader<'_>, queues: &[PartitionIndex]) -> Result<bool, DeliveryError> {
        for queue in queues {
            match self.standing(node, reader, *queue).await {
                Ok(standing) if standing.is_ready => return Ok(true),
                Ok(_) => {}
                Err(error) if error.is_nothing_here() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
