//! The offset of a group whose messages are delivered one by one: it follows the beginning of what is not done with, so that tools, and members
//! who read the queue in order, know how far the group is.
//!
//! It is noted with each acknowledgement and stored a moment later ([`crate::offsets`]), with a mark that says that it is the engine's. An offset
//! without the mark was set by somebody else: the group begins anew there, as soon as that is seen, within [`CHECK_PERIOD_MS`]. So what is stored
//! of the group's progress never comes from two sources: where the mark is, the engine's state counts, which is never behind.

use super::place::{Place, partition};
use super::{Begin, Deliveries, DeliveryError};
use crate::node::Node;
use crate::remoting::Refusal;
use duolog_base::{Offset, PartitionIndex};
use duolog_core::group::Basis;
use duolog_core::metadata::TopicImage;
use duolog_core::share::ShareError;
use duolog_wire::remoting::code::response;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often it is looked whether somebody else has set the group's offset.
const CHECK_PERIOD_MS: u64 = 2_000;

/// What is known of the group's offset.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// As it was noted last, or found.
    offset: Option<Offset>,
    /// `None` until it was asked for, and when it has to be.
    checked_ms: Option<u64>,
}

impl Noted {
    /// Whether somebody else's offset would be known.
    pub(super) fn is_fresh(&self, now_ms: u64) -> bool {
        self.checked_ms.is_some_and(|checked_ms| now_ms.saturating_sub(checked_ms) < CHECK_PERIOD_MS)
    }
}

impl Deliveries {
    /// Learns whether somebody has set the group's offset, and has the group begin if it has not.
    pub(super) async fn take_over(
        &self,
        node: &Node,
        topic: &TopicImage,
        place: &Place,
        begin: Begin,
    ) -> Result<(), DeliveryError> {
        let (group, queue, now_ms) = (&*place.at.group, place.at.partition, node.monotonic_ms());
        let was_reset = node.offsets.resets.take(group, &topic.name, queue).is_some();
        let noted = {
            let mut noted = place.queue.noted.lock();
            if noted.is_fresh(now_ms) && !was_reset {
                return Ok(());
            }
            noted.checked_ms = None;
            noted.offset
        };
        let committed = node.progress_of(group, &topic.name, queue).await?;
        match committed {
            Some(committed) if !committed.is_delivered => self.begin_anew(node, topic, place, committed.offset).await?,
            _ => {
                let first = match (committed, begin) {
                    (Some(committed), _) => Some(committed.offset),
                    (None, Begin::Usual) => node.first_offset(topic, queue),
                    (None, Begin::Start) => node.broker.ends(topic, queue).map(|ends| ends.log_start),
                };
                self.begin(node, place, first.unwrap_or(Offset(0))).await?;
                let mut known = place.queue.noted.lock();
                if known.offset == noted {
                    known.offset = committed.map(|committed| committed.offset);
                }
            }
        }
        place.queue.noted.lock().checked_ms = Some(now_ms);
        self.note(node, topic, place).await;
        Ok(())
    }

    /// Has the group begin there, unless it has begun already.
    async fn begin(&self, node: &Node, place: &Place, first: Offset) -> Result<(), DeliveryError> {
        match node.share.start_offset(&place.at).await {
            Err(ShareError::GroupIdNotFound) => Ok(node.share.initialize(&place.at, 0, Some(first)).await?),
            found => Ok(found.map(|_| ())?),
        }
    }

    /// The group goes on there, and nothing of the queue is in flight. The one who asks has the turn.
    pub(super) async fn begin_anew(
        &self,
        node: &Node,
        topic: &TopicImage,
        place: &Place,
        offset: Offset,
    ) -> Result<(), DeliveryError> {
        let state_epoch = match node.share.read_summary(&place.at).await {
            Ok(summary) => summary.state_epoch + 1,
            Err(ShareError::GroupIdNotFound) => 0,
            Err(error) => return Err(error.into()),
        };
        node.share.initialize(&place.at, state_epoch, Some(offset)).await?;
        place.queue.begun.store(self.number(node), Ordering::Relaxed);
        place.queue.seen.lock().forget();
        // Before anything is given out: without the mark the group would begin here once more.
        node.commit_delivered(&place.at.group, topic, place.at.partition, offset).await?;
        place.queue.noted.lock().offset = Some(offset);
        Ok(())
    }

    /// Notes how far the group is.
    pub(super) async fn note(&self, node: &Node, topic: &TopicImage, place: &Place) {
        // If it is not known now, it is with the next acknowledgement.
        let Ok(start) = node.share.start_offset(&place.at).await else { return };
        let mut noted = place.queue.noted.lock();
        if noted.checked_ms.is_none() || noted.offset >= Some(start) {
            return;
        }
        let basis = Basis::Unchanged(noted.offset);
        match node.note_offset(&place.at.group, &topic.name, place.at.partition, start, basis) {
            true => noted.offset = Some(start),
            // Somebody else has set it: the next receive learns to what.
            false => noted.checked_ms = None,
        }
    }
}

impl Node {
    /// Forgets what a group has done with, where it has offsets: they are about to be deleted.
    pub(crate) async fn forget_deliveries(&self, group: &str) -> Result<(), Refusal> {
        let (image, group) = (self.broker.image(), Arc::<str>::from(group));
        for (topic, queues) in self.progress(&group).await? {
            let Some(topic) = image.topic(&topic) else { continue };
            for queue in queues.into_keys() {
                let at = partition(&group, topic, PartitionIndex(queue));
                let unavailable = |error: ShareError| Refusal::new(response::SYSTEM_BUSY, error.to_string());
                self.share.delete(&at).await.map_err(unavailable)?;
            }
        }
        Ok(())
    }
}
