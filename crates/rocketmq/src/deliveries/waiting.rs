//! One receive from beginning to end: it takes what there is in the queues it may look at, and where there is nothing waits until
//! something comes, or is due again, or its time is over.
//!
//! Of queues that other nodes lead there is nothing. What members of the group have given back from this topic comes along ([`Retries`]).

use super::returned::Retries;
use super::{Consumed, Deliveries, DeliveryError, Given, RECEIVED_BYTES, Receive};
use crate::cluster::Place;
use crate::node::Node;
use duolog_base::{PartitionIndex, PartitionNumber};
use duolog_core::config::FlushMode;
use duolog_core::metadata::TopicImage;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

impl Deliveries {
    /// Receives; if there is nothing, waits for something until the deadline.
    pub(crate) async fn wait(
        &self,
        node: &Node,
        group: &str,
        mut wanted: Receive<'_>,
        wished: Vec<PartitionIndex>,
        want: usize,
        deadline: Instant,
    ) -> Result<Vec<Given>, DeliveryError> {
        let broker = &node.broker;
        let consumed = self.consumed(group, &wanted.topic, node.monotonic_ms())?;
        let from: Arc<str> = wanted.topic.name.as_str().into();
        let nobody = Notify::new();
        let mut queues = led(node, &wanted.topic, &wished);
        let mut stopping = broker.stopping();
        let mut images = broker.metadata().changes();
        let mut is_over = false;
        loop {
            // What is given is as young as its number says.
            wanted.number = self.number(node);
            // Everything is registered before it is looked, so that nothing that arrives is missed.
            let retries = Retries::of(self, node, group, &from, &wanted)?;
            let watched =
                numbers(&wanted.topic, &queues).chain(retries.iter().flat_map(|of| numbers(&of.wanted.topic, &of.queues)));
            let arrived = broker.watch(watched.collect::<Vec<_>>());
            let mut changed = std::pin::pin!(consumed.changed.notified());
            changed.as_mut().enable();
            let mut returned = std::pin::pin!(retries.as_ref().map_or(&nobody, |of| &of.consumed.changed).notified());
            returned.as_mut().enable();
            let given = self.look(node, &consumed, &wanted, &queues, retries.as_ref(), want).await?;
            if is_over || !given.is_empty() {
                return Ok(given);
            }
            let now_ms = node.monotonic_ms();
            let due = consumed.next_due_ms(&queues, wanted.order);
            let due = due.into_iter().chain(retries.as_ref().and_then(Retries::next_due_ms)).min();
            let due = due.map(|due_ms| Duration::from_millis(due_ms.saturating_sub(now_ms).max(1)));
            let due = due.map_or(deadline, |due| (Instant::now() + due).min(deadline));
            tokio::select! {
                biased;
                () = arrived.changed() => {}
                () = changed => {}
                () = returned => {}
                _ = images.changed() => {
                    let image = broker.image();
                    let name = &wanted.topic.name;
                    let topic = image.topic(name).filter(|topic| topic.id == wanted.topic.id);
                    wanted.topic = topic.cloned().ok_or_else(|| DeliveryError::UnknownTopic(name.clone()))?;
                    queues = led(node, &wanted.topic, &wished);
                }
                _ = stopping.wait_for(|stopping| *stopping) => is_over = true,
                () = tokio::time::sleep_until(due) => is_over = Instant::now() >= deadline,
            }
        }
    }

    /// Takes what there is now, from all queues.
    async fn look(
        &self,
        node: &Node,
        consumed: &Consumed,
        wanted: &Receive<'_>,
        queues: &[PartitionIndex],
        retries: Option<&Retries<'_>>,
        want: usize,
    ) -> Result<Vec<Given>, DeliveryError> {
        let own = Some((consumed, wanted, queues));
        let returned = retries.map(|of| (&*of.consumed, &of.wanted, &of.queues[..]));
        let sources = if consumed.is_turn_of_retries() { [returned, own] } else { [own, returned] };
        let mut given: Vec<Given> = Vec::new();
        for (consumed, wanted, queues) in sources.into_iter().flatten() {
            for queue in queues {
                let more = self.receive(node, consumed, *queue, want - given.len(), wanted).await;
                match more {
                    Ok(more) => given.extend(more),
                    // Another node leads it now: clients go there with the next route.
                    Err(error) if error.is_elsewhere() => {}
                    // What was taken already is not lost for a queue that cannot be read.
                    Err(_) if !given.is_empty() => return Ok(given),
                    Err(error) => return Err(error),
                }
                let bytes: usize = given.iter().map(|given| given.encoded.len()).sum();
                if given.len() == want || bytes >= RECEIVED_BYTES {
                    return Ok(given);
                }
            }
        }
        Ok(given)
    }
}

/// Those of the queues that this node leads.
pub(super) fn led(node: &Node, topic: &TopicImage, queues: &[PartitionIndex]) -> Vec<PartitionIndex> {
    let image = node.broker.image();
    let is_led = |queue: &&PartitionIndex| {
        topic.partition(**queue).is_some_and(|partition| node.place_of(&image, partition) == Place::Here)
    };
    queues.iter().filter(is_led).copied().collect()
}

/// The partitions behind queues, to be watched.
pub(super) fn numbers(topic: &TopicImage, queues: &[PartitionIndex]) -> impl Iterator<Item = (PartitionNumber, FlushMode)> {
    let partitions = queues.iter().filter_map(|queue| topic.partition(*queue));
    partitions.map(|partition| (partition.number, topic.config.flush))
}
