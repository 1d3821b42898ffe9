//! What members of a group have given back, and other members receive one by one: messages of the group's retry topic, under the topic that
//! they came from.
//!
//! The retry topic has messages of all topics that the group consumes. They are read in order and kept, each until somebody
//! receives its topic; the group's offset stays below them. Remoting members read the retry topic, too: what both read at the same
//! time is consumed twice.
//!
//! Called by [`super::waiting`], and by [`Deliveries::receive`] for queues of such a topic.

use super::in_flight::{IN_FLIGHT_OF_QUEUE, Order, Origin};
use super::{CHECK_PERIOD_MS, Consumed, Deliveries, DeliveryError, IN_FLIGHT, Place, RECEIVED_BYTES, Receive};
use crate::cluster::Place as CurrentPlace;
use crate::message::EmptyBody;
use crate::names::retry_topic;
use crate::node::Node;
use crate::pull::{Pulled, Wanted};
use duolog_base::{Offset, PartitionIndex};
use duolog_core::filter::Subscription;
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::properties::name;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Messages that are read at once.
const READ_MESSAGES: usize = 256;

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

    /// When the next message is due.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.consumed.next_due_ms(&self.queues, self.wanted.order)
    }
}

impl Deliveries {
    /// Whether a look into the queue can be spared: its end is known, and nothing is due.
    pub(super) fn has_nothing(&self, node: &Node, at: Place<'_>, order: Order<'_>) -> bool {
        let now_ms = node.monotonic_ms();
        let Some(ends) = node.broker.ends(at.topic, at.queue) else { return true };
        at.on.state.lock().as_ref().is_some_and(|state| {
            let is_due = state.in_flight.next_due_ms(order).is_some_and(|due_ms| due_ms <= now_ms);
            let is_known = now_ms.saturating_sub(state.checked_ms) < CHECK_PERIOD_MS;
            is_known && !is_due && state.in_flight.next() >= ends.high_watermark
        })
    }

    /// Reads on until there is something for this receive, or there is nothing more.
    pub(super) async fn keep_returned(&self, node: &Node, at: Place<'_>, receive: &Receive<'_>) -> Result<(), DeliveryError> {
        loop {
            let now_ms = node.monotonic_ms();
            let (from, room) = {
                let state = at.on.state.lock();
                let Some(state) = state.as_ref() else { return Ok(()) };
                if state.in_flight.next_due_ms(receive.order).is_some_and(|due_ms| due_ms <= now_ms) {
                    return Ok(());
                }
                (state.in_flight.next(), IN_FLIGHT_OF_QUEUE.saturating_sub(state.in_flight.len()))
            };
            let room = room.min(IN_FLIGHT.saturating_sub(self.in_flight.load(Ordering::Relaxed)));
            if room == 0 || !self.keep_some(node, at, receive, from, room.min(READ_MESSAGES)).await? {
                return Ok(());
            }
        }
    }

    /// Reads and keeps some messages; whether there was anything.
    async fn keep_some(
        &self,
        node: &Node,
        at: Place<'_>,
        receive: &Receive<'_>,
        from: Offset,
        max_messages: usize,
    ) -> Result<bool, DeliveryError> {
        let wanted = Wanted {
            topic: receive.topic.clone(),
            queue: at.queue,
            from,
            max_messages,
            max_bytes: RECEIVED_BYTES,
            subscription: receive.subscription.clone(),
            store_host: receive.store_host,
            empty_body: EmptyBody::AsItIs,
        };
        let outcome = node.pull(&wanted).await?;
        self.change(node, at, |of| match &outcome.pulled {
            Pulled::Found { messages, .. } => {
                let mut rest = &messages[..];
                while let Ok(message) = StoredMessage::take(&mut rest) {
                    of.keep(Offset(message.queue_offset), origin(&message));
                }
                of.pass(outcome.next);
            }
            Pulled::Moved if outcome.next < of.next() && of.is_empty() => of.reset(outcome.next),
            Pulled::NoneWanted | Pulled::Nothing | Pulled::Moved => of.pass(outcome.next),
        });
        Ok(outcome.pulled != Pulled::Nothing && outcome.next != from)
    }
}

/// The topic that a message came from; `None` if it was sent to the retry topic at first.
fn origin(message: &StoredMessage<'_>) -> Origin {
    message.properties.get(name::RETRY_TOPIC).map(Arc::from)
}
