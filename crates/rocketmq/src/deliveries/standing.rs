//! How a group stands in the queues of a topic: where new messages begin for it, how many there are, and whether a receive may find
//! something now. Nothing is taken.

use super::in_flight::IN_FLIGHT_OF_QUEUE;
use super::waiting::{led, numbers};
use super::{Begin, Deliveries, DeliveryError, IN_FLIGHT, Order, Place};
use crate::node::Node;
use duolog_base::{Offset, PartitionIndex};
use duolog_core::metadata::TopicImage;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

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
    /// The first message that no receive has looked at.
    pub(crate) next: Offset,
    /// How many follow at most.
    pub(crate) rest: u64,
    /// Whether a receive may find something.
    pub(crate) is_ready: bool,
    due_ms: Option<u64>,
}

impl Deliveries {
    /// How the group stands in a queue that this node leads.
    pub(crate) async fn standing(
        &self,
        node: &Node,
        reader: &Reader<'_>,
        queue: PartitionIndex,
    ) -> Result<Standing, DeliveryError> {
        let now_ms = node.monotonic_ms();
        let consumed = self.consumed(reader.group, &reader.topic, now_ms)?;
        let on = consumed.queue(queue);
        let at = Place { group: reader.group, topic: &reader.topic, queue, on: &on };
        let turn = on.turn.lock().await;
        self.take_over(node, at, reader.begin, now_ms).await?;
        drop(turn);
        let end = node.broker.ends(&reader.topic, queue).map_or(Offset(0), |ends| ends.high_watermark);
        let state = on.state.lock();
        let Some(in_flight) = state.as_ref().map(|state| &state.in_flight) else {
            return Ok(Standing { next: end, rest: 0, is_ready: false, due_ms: None });
        };
        let (next, due_ms) = (in_flight.next(), in_flight.next_due_ms(reader.order));
        let has_room = in_flight.len() < IN_FLIGHT_OF_QUEUE && self.in_flight.load(Ordering::Relaxed) < IN_FLIGHT;
        let may_go_on = has_room && (!matches!(reader.order, Order::Queue { .. }) || in_flight.is_empty());
        let is_due = due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let rest = u64::try_from(end.0 - next.0).unwrap_or(0);
        Ok(Standing { next, rest, is_ready: is_due || may_go_on && rest > 0, due_ms })
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
        loop {
            let queues = led(node, &reader.topic, wished);
            // Everything is registered before it is looked, so that nothing that arrives is missed.
            let arrived = broker.watch(numbers(&reader.topic, &queues).collect::<Vec<_>>());
            let mut changed = std::pin::pin!(consumed.changed.notified());
            changed.as_mut().enable();
            let mut due_ms = None::<u64>;
            for queue in &queues {
                match self.standing(node, &reader, *queue).await {
                    Ok(standing) if standing.is_ready => return Ok(true),
                    Ok(standing) => due_ms = due_ms.into_iter().chain(standing.due_ms).min(),
                    Err(error) if error.is_elsewhere() => {}
                    Err(error) => return Err(error),
                }
            }
            let due = due_ms.map(|due_ms| Duration::from_millis(due_ms.saturating_sub(node.monotonic_ms()).max(1)));
            let due = due.map_or(deadline, |due| (Instant::now() + due).min(deadline));
            tokio::select! {
                biased;
                () = arrived.changed() => {}
                () = changed => {}
                _ = images.changed() => {
                    let image = broker.image();
                    let name = &reader.topic.name;
                    let topic = image.topic(name).filter(|topic| topic.id == reader.topic.id);
                    reader.topic = topic.cloned().ok_or_else(|| DeliveryError::UnknownTopic(name.clone()))?;
                }
                _ = stopping.wait_for(|stopping| *stopping) => return Ok(false),
                () = tokio::time::sleep_until(due) => {
                    if Instant::now() >= deadline {
                        return Ok(false);
                    }
                }
            }
        }
    }
}
