//! One receive from beginning to end: it takes what there is in the queues it may look at, and where there is nothing waits until
//! something comes, or is available again, or its time is over.
//!
//! Of queues that other nodes lead there is nothing. What members of the group have given back from this topic comes along ([`Retries`]).

use super::place::partition;
use super::receive::Taking;
use super::returned::Retries;
use super::{Consumed, Deliveries, DeliveryError, Given, RECEIVED_BYTES, Receive};
use crate::cluster::Place;
use crate::node::Node;
use duolog_base::{PartitionIndex, PartitionNumber};
use duolog_core::config::FlushMode;
use duolog_core::metadata::TopicImage;
use duolog_core::share::SharePartition;
use std::sync::Arc;
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
            let retried = retries.iter().flat_map(|of| partitions(&of.consumed, &of.wanted, &of.queues));
            let available = node.share.watch(partitions(&consumed, &wanted, &queues).chain(retried));
            let given = self.look(node, &consumed, &wanted, &queues, retries.as_ref(), want).await?;
            if is_over || !given.is_empty() {
                return Ok(given);
            }
            tokio::select! {
                biased;
                () = arrived.changed() => {}
                () = available.changed() => {}
                _ = images.changed() => {
                    let image = broker.image();
                    let name = &wanted.topic.name;
                    let topic = image.topic(name).filter(|topic| topic.id == wanted.topic.id);
                    wanted.topic = topic.cloned().ok_or_else(|| DeliveryError::UnknownTopic(name.clone()))?;
                    queues = led(node, &wanted.topic, &wished);
                }
                _ = stopping.wait_for(|stopping| *stopping) => is_over = true,
                () = tokio::time::sleep_until(deadline) => is_over = true,
            }
        }
    }

    /// Takes what there is now, from all queues.
    async fn look(
        &self,
        node: &Node,
        consumed: &Arc<Consumed>,
        wanted: &Receive<'_>,
        queues: &[PartitionIndex],
        retries: Option<&Retries<'_>>,
        want: usize,
    ) -> Result<Vec<Given>, DeliveryError> {
        let own = Some((consumed, wanted, queues));
        let returned = retries.map(|of| (&of.consumed, &of.wanted, &of.queues[..]));
        let sources = if consumed.is_turn_of_retries() { [returned, own] } else { [own, returned] };
        let mut taking = Taking::begin(node, wanted.number);
        let mut given: Vec<Given> = Vec::new();
        'sources: for (consumed, wanted, queues) in sources.into_iter().flatten() {
            for queue in queues {
                let more = self.receive(&mut taking, consumed, *queue, want - given.len(), wanted).await;
                if more.is_err() {
                    taking.give_back_last();
                }
                match more {
                    Ok(more) => given.extend(more),
                    // If another node leads it, clients go there with the next route.
                    Err(error) if error.is_nothing_here() => {}
                    // What was taken already is not lost for a queue that cannot be read.
                    Err(_) if !given.is_empty() => break 'sources,
                    Err(error) => return Err(error),
                }
                let bytes: usize = given.iter().map(|given| given.encoded.len()).sum();
                if given.len() == want || bytes >= RECEIVED_BYTES {
                    break 'sources;
                }
            }
        }
        taking.keep();
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

/// Queues as the group consumes them, to be watched.
fn partitions(consumed: &Consumed, wanted: &Receive<'_>, queues: &[PartitionIndex]) -> impl Iterator<Item = SharePartition> {
    queues.iter().map(|queue| partition(&consumed.group, &wanted.topic, *queue))
}

/// The partitions behind queues, to be watched.
pub(super) fn numbers(topic: &TopicImage, queues: &[PartitionIndex]) -> impl Iterator<Item = (PartitionNumber, FlushMode)> {
    let partitions = queues.iter().filter_map(|queue| topic.partition(*queue));
    partitions.map(|partition| (partition.number, topic.config.flush))
}
