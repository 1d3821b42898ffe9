//! Messages that members of a group are given one by one, each to one member at a time until it is acknowledged: what gRPC's receives and
//! remoting's POP do. Knows nothing of the protocol that members speak.
//!
//! Who has which message until when, and which are done with, is decided and stored by [`duolog_core::share`]: an acknowledgement is stored
//! when it is answered, and so is how often a message was delivered. What the engine calls a member is one receive here, by its number: a
//! handle of an earlier delivery is stale ([`Handle`]). What a process had in flight when it ended comes again, and may still be acknowledged
//! by those who had it, until somebody else has it.
//!
//! The group's offset follows the beginning of what is not done with; an offset that somebody else sets is where the group begins anew
//! ([`group_offset`]). What members have given back lies in the group's retry topic, and is for those who receive the topic that it came from
//! ([`returned`]). Messages of a client whose messages stay hidden as long as it lives are renewed ([`renewals`]).

mod attempts;
mod burial;
mod error;
mod group_offset;
mod handle;
mod place;
mod receive;
mod renewals;
mod returned;
mod seen;
mod standing;
mod waiting;

pub(crate) use error::DeliveryError;
pub(crate) use handle::Handle;
pub(crate) use place::LIMITS;
pub(crate) use receive::{Begin, Given, Order, Receive, each};
pub(crate) use standing::Reader;

use crate::node::Node;
use attempts::Attempts;
use duolog_base::{Offset, PartitionIndex, TopicId};
use duolog_core::metadata::TopicImage;
use duolog_core::share::{Acknowledgement, ShareError};
use group_offset::Noted;
use hashbrown::HashMap;
use parking_lot::Mutex;
use place::{Place, lies_in, member};
use renewals::Renewals;
use seen::Seen;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a message may be hidden from the others of its group.
pub(crate) const MOST_HIDDEN: Duration = Duration::from_secs(12 * 3600);
/// How long the messages of a consumer that lives are hidden at a time.
pub(crate) const RENEWED: Duration = Duration::from_secs(60);
/// Bytes of the messages of one receive, unless one message is larger.
pub(crate) const RECEIVED_BYTES: usize = 4 << 20;
/// Groups' topics that are consumed at a time.
const CONSUMED_TOPICS: usize = 100_000;
/// A group's topic that nobody has asked for so long is forgotten.
const FORGOTTEN_AFTER_MS: u64 = 60_000;
/// One look in so many begins with the retry topic.
const LOOKS_A_RETRY: u64 = 5;
/// Numbers begin with the time, so that those of an earlier process are stale.
const NUMBERS_OF_MILLISECOND_BITS: u32 = 16;
/// Kafka's number for a message that is done with.
const ACCEPT: i8 = 1;

/// All that is received at this node.
#[derive(Default)]
pub(crate) struct Deliveries {
    /// Guards the table; held for one look-up.
    topics: Mutex<HashMap<(String, TopicId), Arc<Consumed>>>,
    last_number: AtomicU64,
    renewals: Renewals,
}

/// A topic as one group consumes it.
struct Consumed {
    group: Arc<str>,
    /// Guards the table; held for one look-up.
    queues: Mutex<HashMap<i32, Arc<Queue>>>,
    used_ms: AtomicU64,
    /// Looks of receives so far.
    looks: AtomicU64,
}

/// One queue as one group consumes it at this node.
#[derive(Default)]
struct Queue {
    /// Held by the one who reads for the group, so that none reads what another is about to deliver.
    turn: tokio::sync::Mutex<Attempts>,
    /// Guards what was read of it; held for one look-up.
    seen: Mutex<Seen>,
    /// Guards what is known of the group's offset; held for one look-up.
    noted: Mutex<Noted>,
    /// Handles of smaller numbers are of the time before the group began anew.
    begun: AtomicU64,
}

impl Deliveries {
    /// A topic as the group consumes it.
    fn consumed(&self, group: &str, topic: &Arc<TopicImage>, now_ms: u64) -> Result<Arc<Consumed>, DeliveryError> {
        let mut topics = self.topics.lock();
        let has_room = topics.len() < CONSUMED_TOPICS;
        let key = (group.to_owned(), topic.id);
        if !has_room && !topics.contains_key(&key) {
            return Err(DeliveryError::TooManyTopics);
        }
        let consumed = topics.entry(key).or_insert_with(|| {
            Arc::new(Consumed {
                group: group.into(),
                queues: Mutex::default(),
                used_ms: AtomicU64::new(now_ms),
                looks: AtomicU64::new(0),
            })
        });
        consumed.used_ms.store(now_ms, Ordering::Relaxed);
        Ok(consumed.clone())
    }

    /// A number for what one receive gets: greater than any before, and the time of the wall clock but for its lowest bits.
    pub(crate) fn number(&self, node: &Node) -> u64 {
        let now = (node.broker.clock().now().0.max(0) as u64) << NUMBERS_OF_MILLISECOND_BITS;
        let next = |last: u64| now.max(last + 1);
        let last = self.last_number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        next(last.unwrap_or_else(|last| last))
    }

    /// Where a delivered message lies, if the handle may still be the last one.
    fn place(
        &self,
        node: &Node,
        group: &str,
        topic: &Arc<TopicImage>,
        handle: Handle,
    ) -> Result<(Arc<TopicImage>, Place), DeliveryError> {
        let topic = lies_in(node, group, topic, handle)?;
        topic.partition(handle.queue).ok_or(DeliveryError::StaleHandle)?;
        let place = Place::new(self.consumed(group, &topic, node.monotonic_ms())?, &topic, handle.queue);
        match handle.number < place.queue.begun.load(Ordering::Relaxed) {
            true => Err(DeliveryError::StaleHandle),
            false => Ok((topic, place)),
        }
    }

    /// A message is done with: stored when this returns.
    pub(crate) async fn acknowledge(
        &self,
        node: &Node,
        group: &str,
        topic: &Arc<TopicImage>,
        handle: Handle,
    ) -> Result<(), DeliveryError> {
        let (topic, place) = self.place(node, group, topic, handle)?;
        if handle.offset < node.share.start_offset(&place.at).await? {
            return Err(DeliveryError::StaleHandle);
        }
        self.done_with(node, &topic, &place, handle.offset, handle.number).await
    }

    /// The same of several together, for what is stored to be stored at once. The outcomes are in the order of the handles.
    pub(crate) async fn acknowledge_all(
        node: &Arc<Node>,
        group: &str,
        topic: &Arc<TopicImage>,
        handles: Vec<Handle>,
    ) -> Vec<Result<(), DeliveryError>> {
        let mut under_way = JoinSet::new();
        for (index, handle) in handles.into_iter().enumerate() {
            let (node, group, topic) = (node.clone(), group.to_owned(), topic.clone());
            under_way.spawn(async move { (index, node.deliveries.acknowledge(&node, &group, &topic, handle).await) });
        }
        let outcomes: BTreeMap<usize, Result<(), DeliveryError>> = under_way.join_all().await.into_iter().collect();
        outcomes.into_values().collect()
    }

    /// The message is done with, says who was given it last.
    async fn done_with(
        &self,
        node: &Node,
        topic: &TopicImage,
        place: &Place,
        offset: Offset,
        number: u64,
    ) -> Result<(), DeliveryError> {
        let (at, member) = (&place.at, member(number));
        let accepted = [Acknowledgement { first: offset, last: offset, types: vec![ACCEPT] }];
        match node.share.acknowledge(at, &member, &accepted).await {
            // Its time is over, or the leader is another one; that is no harm as long as nobody else has it.
            Err(ShareError::InvalidRecordState) => node.share.acknowledge_late(at, &member, offset).await?,
            outcome => outcome?,
        }
        place.queue.seen.lock().remove(offset);
        self.renewals.forget(at, offset);
        self.note(node, topic, place).await;
        Ok(())
    }

    /// A message stays hidden for so long from now on; the new handle.
    pub(crate) async fn hide(
        &self,
        node: &Node,
        group: &str,
        topic: &Arc<TopicImage>,
        handle: Handle,
        hidden: Duration,
    ) -> Result<Handle, DeliveryError> {
        let (_, place) = self.place(node, group, topic, handle)?;
        let number = self.number(node);
        let hidden = hidden.min(MOST_HIDDEN);
        node.share.renew_as(&place.at, &member(handle.number), handle.offset, hidden, &member(number)).await?;
        self.renewals.forget(&place.at, handle.offset);
        Ok(Handle { number, ..handle })
    }

    /// A consumer gives a message up: it goes to the group's dead letters.
    pub(crate) async fn give_up(
        &self,
        node: &Node,
        group: &str,
        topic: &Arc<TopicImage>,
        handle: Handle,
        store_host: SocketAddr,
    ) -> Result<(), DeliveryError> {
        let (topic, place) = self.place(node, group, topic, handle)?;
        self.bury_given_up(node, &topic, &place, handle, store_host).await
    }

    /// The group goes on at another offset, and nothing of the queue is in flight.
    pub(crate) async fn reset(
        &self,
        node: &Node,
        group: &str,
        topic: &Arc<TopicImage>,
        queue: PartitionIndex,
        offset: Offset,
    ) -> Result<(), DeliveryError> {
        if topic.partition(queue).is_none_or(|partition| node.broker.leads(partition).is_none()) {
            // The leader finds it.
            return Ok(node.commit(group, topic, queue, offset).await?);
        }
        let place = Place::new(self.consumed(group, topic, node.monotonic_ms())?, topic, queue);
        let _turn = place.queue.turn.lock().await;
        self.begin_anew(node, topic, &place, offset).await
    }

    /// Forgets what nobody uses.
    pub(crate) fn expire(&self, now_ms: u64) {
        self.topics.lock().retain(|_, consumed| {
            let is_old = now_ms.saturating_sub(consumed.used_ms.load(Ordering::Relaxed)) > FORGOTTEN_AFTER_MS;
            // Whoever holds it is about to use it.
            !is_old || Arc::strong_count(consumed) > 1
        });
    }
}

impl Consumed {
    fn queue(&self, queue: PartitionIndex) -> Arc<Queue> {
        self.queues.lock().entry(queue.0).or_default().clone()
    }

    /// Whether a look begins with what was given back: otherwise that would wait for as long as there are others.
    fn is_turn_of_retries(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed) % LOOKS_A_RETRY == LOOKS_A_RETRY - 1
    }
}
