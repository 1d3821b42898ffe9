//! What groups work on whose members receive messages one by one: one [`InFlight`] for each group and queue, filled from the log and
//! noted in the group's offsets. Knows nothing of the protocol that members speak.
//!
//! Only the offset below which everything is done with outlives the process; it is noted with each change and stored a moment
//! later ([`crate::offsets`]). After a crash, what was acknowledged in that moment is delivered again. A group's offset that
//! somebody else sets is taken over within [`CHECK_PERIOD_MS`].
//!
//! Receives of one queue take turns, so that none reads what another is about to deliver. What members have given back lies in the
//! group's retry topic, and is for those who receive the topic that it came from ([`returned`]).

mod handle;
mod in_flight;
mod returned;
mod standing;
mod waiting;

pub(crate) use handle::Handle;
pub(crate) use in_flight::Order;
pub(crate) use standing::Reader;

use crate::dead_letters::Reason;
use crate::message::EmptyBody;
use crate::names::retry_topic;
use crate::node::Node;
use crate::pull::{Pulled, Wanted};
use crate::remoting::Refusal;
use crate::send_back::{self, Fate};
use bytes::Bytes;
use duolog_base::{Offset, PartitionIndex, TopicId};
use duolog_core::filter::Subscription;
use duolog_core::group::Basis;
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::message::StoredMessage;
use hashbrown::HashMap;
use in_flight::{Again, IN_FLIGHT_OF_QUEUE, InFlight, Renewal, StaleHandle, Terms};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a message may be hidden from the others of its group.
pub(crate) const MOST_HIDDEN: Duration = Duration::from_secs(12 * 3600);
/// How long the messages of a consumer that lives are hidden at a time, and altogether.
pub(crate) const RENEWED: Duration = Duration::from_secs(60);
const RENEWED_ALTOGETHER: Duration = Duration::from_secs(3 * 3600);
/// Bytes of the messages of one receive, unless one message is larger.
pub(crate) const RECEIVED_BYTES: usize = 4 << 20;
/// Groups' topics that are consumed at a time, and all messages that are worked on.
const CONSUMED_TOPICS: usize = 100_000;
const IN_FLIGHT: usize = 4_000_000;
/// How often it is looked whether somebody else has set the group's offset.
const CHECK_PERIOD_MS: u64 = 2_000;
/// A group's topic that nobody has asked for so long, and of which nothing is in flight, is forgotten.
const FORGOTTEN_AFTER_MS: u64 = 60_000;
/// Reads without a wanted message that one receive makes of a queue before it looks at the next one.
const READS: usize = 4;
/// One look in so many begins with the retry topic.
const LOOKS_A_RETRY: u64 = 5;
/// When a dead letter could not be stored, it is tried again after so long.
const DEAD_LETTER_AGAIN_MS: u64 = 10_000;
/// Numbers begin with the time, so that those of an earlier process are stale.
const NUMBERS_OF_MILLISECOND_BITS: u32 = 16;

/// All that is worked on at this node.
#[derive(Default)]
pub(crate) struct Deliveries {
    /// Guards the table; held for one look-up.
    topics: Mutex<HashMap<(String, TopicId), Arc<Consumed>>>,
    last_number: AtomicU64,
    in_flight: AtomicUsize,
}

/// A topic as one group consumes it.
pub(crate) struct Consumed {
    group: String,
    /// Guards the table; held for one look-up.
    queues: Mutex<HashMap<i32, Arc<Queue>>>,
    /// Told when a receive may find more than before, other than by new messages.
    pub(crate) changed: Notify,
    used_ms: AtomicU64,
    /// Looks of receives so far.
    looks: AtomicU64,
    /// Whether the group waits for acknowledgements before it goes on.
    is_ordered: AtomicBool,
}

/// One queue as one group consumes it.
struct Queue {
    /// Held by the one who reads for the group.
    turn: tokio::sync::Mutex<()>,
    /// Guards what is in flight; held for one decision. `None` until the group's offset is known.
    state: Mutex<Option<State>>,
}

struct State {
    in_flight: InFlight,
    /// The group's offset as it was noted last.
    noted: Option<Offset>,
    checked_ms: u64,
}

/// What one receive wants.
#[derive(Clone)]
pub(crate) struct Receive<'a> {
    pub(crate) topic: Arc<TopicImage>,
    pub(crate) subscription: Arc<Subscription>,
    pub(crate) store_host: SocketAddr,
    pub(crate) hidden: Duration,
    /// The client, if its messages are hidden for as long as it lives.
    pub(crate) renewed_by: Option<Arc<str>>,
    pub(crate) order: Order<'a>,
    pub(crate) begin: Begin,
    /// Deliveries after which a message is a dead letter.
    pub(crate) max_attempts: u32,
    /// What names these deliveries ([`Deliveries::number`]).
    pub(crate) number: u64,
    /// Whether what members have given back from the topic comes along.
    pub(crate) with_returned: bool,
    pub(crate) is_alive: &'a (dyn Fn(&str) -> bool + Sync),
}

/// Where a group without an offset begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// As pulls do: at the end, unless the queue is young.
    Usual,
    /// With what is there.
    Start,
}

/// A message that was delivered just now.
pub(crate) struct Given {
    /// As remoting clients read it.
    pub(crate) encoded: Bytes,
    pub(crate) queue: PartitionIndex,
    pub(crate) handle: Handle,
    pub(crate) attempt: u32,
}

/// Why a message is not given, or what was said of one does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error(transparent)]
    StaleHandle(#[from] StaleHandle),
    #[error("no topic {0}")]
    UnknownTopic(String),
    #[error("{CONSUMED_TOPICS} topics are consumed already")]
    TooManyTopics,
    /// Reading or storing is refused.
    #[error("{}", .0.remark)]
    Refused(Refusal),
}

impl DeliveryError {
    /// Another node leads the queue now.
    fn is_elsewhere(&self) -> bool {
        let elsewhere = |code| matches!(code, response::SERVICE_NOT_AVAILABLE | response::NOT_LEADER_FOR_QUEUE);
        matches!(self, DeliveryError::Refused(refusal) if elsewhere(refusal.code))
    }
}

impl From<Refusal> for DeliveryError {
    fn from(refusal: Refusal) -> DeliveryError {
        DeliveryError::Refused(refusal)
    }
}

impl Deliveries {
    /// A topic as the group consumes it.
    pub(crate) fn consumed(&self, group: &str, topic: &Arc<TopicImage>, now_ms: u64) -> Result<Arc<Consumed>, DeliveryError> {
        let mut topics = self.topics.lock();
        let has_room = topics.len() < CONSUMED_TOPICS;
        let key = (group.to_owned(), topic.id);
        if !has_room && !topics.contains_key(&key) {
            return Err(DeliveryError::TooManyTopics);
        }
        let consumed = topics.entry(key).or_insert_with(|| {
            Arc::new(Consumed {
                group: group.to_owned(),
                queues: Mutex::default(),
                changed: Notify::new(),
                used_ms: AtomicU64::new(now_ms),
                looks: AtomicU64::new(0),
                is_ordered: AtomicBool::new(false),
            })
        });
        consumed.used_ms.store(now_ms, Ordering::Relaxed);
        Ok(consumed.clone())
    }

    /// The same if it was asked for before.
    fn known(&self, group: &str, topic: &Arc<TopicImage>) -> Result<Arc<Consumed>, DeliveryError> {
        let known = self.topics.lock().get(&(group.to_owned(), topic.id)).cloned();
        known.ok_or_else(|| StaleHandle.into())
    }

    /// A number for what one receive gets: greater than any before, and the time of the wall clock but for its lowest bits.
    pub(crate) fn number(&self, node: &Node) -> u64 {
        let now = (node.broker.clock().now().0.max(0) as u64) << NUMBERS_OF_MILLISECOND_BITS;
        let next = |last: u64| now.max(last + 1);
        let last = self.last_number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        next(last.unwrap_or_else(|last| last))
    }

    /// Changes what is in flight, and notes how far the group is then.
    fn change<T>(&self, node: &Node, at: Place<'_>, change: impl FnOnce(&mut InFlight) -> T) -> Option<T> {
        let mut state = at.on.state.lock();
        let state = state.as_mut()?;
        let before = state.in_flight.len();
        let changed = change(&mut state.in_flight);
        self.in_flight.fetch_add(state.in_flight.len(), Ordering::Relaxed);
        self.in_flight.fetch_sub(before, Ordering::Relaxed);
        let committed = state.in_flight.committed();
        if state.noted != Some(committed) {
            match node.note_offset(at.group, &at.topic.name, at.queue, committed, Basis::Unchanged(state.noted)) {
                true => state.noted = Some(committed),
                // Somebody else has set it: the next receive learns to what.
                false => state.checked_ms = 0,
            }
        }
        Some(changed)
    }

    /// Delivers up to `want` messages of a queue.
    pub(crate) async fn receive(
        &self,
        node: &Node,
        consumed: &Consumed,
        queue: PartitionIndex,
        want: usize,
        receive: &Receive<'_>,
    ) -> Result<Vec<Given>, DeliveryError> {
        consumed.is_ordered.store(matches!(receive.order, Order::Queue { .. }), Ordering::Relaxed);
        let on = consumed.queue(queue);
        let at = Place { group: &consumed.group, topic: &receive.topic, queue, on: &on };
        let is_returned = matches!(receive.order, Order::Returned { .. });
        if is_returned && self.has_nothing(node, at, receive.order) {
            return Ok(Vec::new());
        }
        let _turn = on.turn.lock().await;
        let now_ms = node.monotonic_ms();
        self.take_over(node, at, receive.begin, now_ms).await?;
        if is_returned {
            self.keep_returned(node, at, receive).await?;
        }
        let Some(mut plan) = self.change(node, at, |of| of.plan(now_ms, want, receive.order, receive.is_alive)) else {
            return Ok(Vec::new());
        };
        let mut again = Vec::with_capacity(plan.again.len());
        for due in plan.again.drain(..) {
            match node.message_at(at.topic, at.queue, due.offset, receive.store_host).await? {
                None => drop(self.change(node, at, |of| of.forget(due.offset))),
                Some(encoded) if is_dead(due, &encoded, receive.max_attempts) => {
                    self.bury(node, at, due, &encoded).await;
                }
                Some(encoded) => again.push((due, encoded)),
            }
        }
        let room = plan.fresh.min(IN_FLIGHT.saturating_sub(self.in_flight.load(Ordering::Relaxed)));
        let fresh = if room == 0 { None } else { self.read_fresh(node, at, room, receive).await? };
        // From here on nothing waits: who leaves now would take messages along.
        let attempt_id = match receive.order {
            Order::Queue { attempt_id } => attempt_id,
            Order::Any | Order::Returned { .. } => None,
        };
        let terms = receive.terms(node.monotonic_ms());
        let given = self.change(node, at, |of| {
            let mut given = Vec::with_capacity(again.len());
            for (due, encoded) in again {
                let handle = Handle { queue, offset: due.offset, number: receive.number, is_returned };
                let attempt = of.deliver_again(due, handle.number, &terms);
                given.extend(attempt.map(|attempt| Given { encoded, queue, handle, attempt }));
            }
            if let Some((messages, next)) = fresh {
                for (offset, encoded) in each(&messages) {
                    let handle = Handle { queue, offset, number: receive.number, is_returned };
                    of.deliver(offset, handle.number, &terms);
                    given.push(Given { encoded, queue, handle, attempt: 1 });
                }
                of.pass(next);
            }
            if !given.is_empty() {
                of.delivered_to(attempt_id);
            }
            given
        });
        Ok(given.unwrap_or_default())
    }

    /// Reads messages that nobody in the group has had; `None` if there are none.
    async fn read_fresh(
        &self,
        node: &Node,
        at: Place<'_>,
        room: usize,
        receive: &Receive<'_>,
    ) -> Result<Option<(Bytes, Offset)>, DeliveryError> {
        for _ in 0..READS {
            let Some(from) = at.on.state.lock().as_ref().map(|state| state.in_flight.next()) else { return Ok(None) };
            let wanted = Wanted {
                topic: receive.topic.clone(),
                queue: at.queue,
                from,
                max_messages: room,
                max_bytes: RECEIVED_BYTES,
                subscription: receive.subscription.clone(),
                store_host: receive.store_host,
                empty_body: EmptyBody::AsItIs,
            };
            let outcome = node.pull(&wanted).await?;
            if let Pulled::Found { messages, .. } = outcome.pulled {
                return Ok(Some((messages, outcome.next)));
            }
            self.change(node, at, |of| match outcome.pulled {
                // The log has ended earlier than the group believed.
                Pulled::Moved if outcome.next < of.next() && of.is_empty() => of.reset(outcome.next),
                _ => of.pass(outcome.next),
            });
            if outcome.pulled == Pulled::Nothing {
                return Ok(None);
            }
        }
        // There is more behind what nobody wants.
        Ok(None)
    }

    /// Learns the group's offset: at first, and when somebody else has set it.
    async fn take_over(&self, node: &Node, at: Place<'_>, begin: Begin, now_ms: u64) -> Result<(), DeliveryError> {
        if let Some(offset) = node.offsets.resets.take(at.group, &at.topic.name, at.queue) {
            self.go_on_at(at, offset);
        }
        let noted = match &mut *at.on.state.lock() {
            Some(state) if now_ms.saturating_sub(state.checked_ms) < CHECK_PERIOD_MS => return Ok(()),
            Some(state) => {
                state.checked_ms = now_ms;
                state.noted
            }
            None => None,
        };
        let stored = node.committed(at.group, &at.topic.name, at.queue).await?;
        let first = match (stored, begin) {
            (Some(offset), _) => Some(offset),
            (None, Begin::Usual) => node.first_offset(at.topic, at.queue),
            (None, Begin::Start) => node.broker.ends(at.topic, at.queue).map(|ends| ends.log_start),
        };
        let first = first.unwrap_or(Offset(0));
        let mut state = at.on.state.lock();
        match &mut *state {
            None => *state = Some(State { in_flight: InFlight::new(first), noted: stored, checked_ms: now_ms }),
            Some(known) if known.noted == noted && stored.is_some() && stored != noted => {
                drop(state);
                self.go_on_at(at, first);
            }
            // Somebody has deleted it: the group goes on, and has one again with the next change.
            Some(known) if known.noted == noted && stored.is_none() => known.noted = None,
            Some(_) => {}
        }
        Ok(())
    }

    /// The group's offset is another one, and stored as such.
    fn go_on_at(&self, at: Place<'_>, offset: Offset) {
        if let Some(state) = &mut *at.on.state.lock() {
            self.in_flight.fetch_sub(state.in_flight.len(), Ordering::Relaxed);
            state.in_flight.reset(offset);
            state.noted = Some(offset);
        }
    }

    /// A message that was delivered too often goes to the dead letters. If that fails it is tried again later.
    async fn bury(&self, node: &Node, at: Place<'_>, due: Again, encoded: &Bytes) {
        match dead_letter(node, at.group, encoded, due.attempts, Reason::TooManyAttempts).await {
            Ok(()) => drop(self.change(node, at, |of| of.acknowledge(due.offset, due.handle))),
            Err(error) => {
                let (group, topic, offset) = (at.group, &at.topic.name, due.offset);
                tracing::warn!(group, topic, %offset, %error, "a dead letter is not stored");
                let due_ms = node.monotonic_ms() + DEAD_LETTER_AGAIN_MS;
                let _ = self.change(node, at, |of| of.hide(due.offset, due.handle, due.handle, due_ms));
            }
        }
    }

    /// A message is done with.
    pub(crate) async fn acknowledge(
        &self,
        node: &Node,
        group: &str,
        topic: &Arc<TopicImage>,
        handle: Handle,
    ) -> Result<(), DeliveryError> {
        let topic = &lies_in(node, group, topic, handle)?;
        let consumed = self.known(group, topic)?;
        let on = consumed.queue(handle.queue);
        let at = Place { group, topic, queue: handle.queue, on: &on };
        let (done, may_be_more) = self
            .change(node, at, |of| {
                let was_full = of.len() >= IN_FLIGHT_OF_QUEUE;
                let done = of.acknowledge(handle.offset, handle.number);
                (done, was_full || (of.is_empty() && consumed.is_ordered.load(Ordering::Relaxed)))
            })
            .ok_or(StaleHandle)?;
        // An ordered queue that is done with goes on.
        if done.is_ok() && may_be_more {
            consumed.changed.notify_waiters();
        }
        Ok(done?)
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
        let topic = &lies_in(node, group, topic, handle)?;
        let consumed = self.known(group, topic)?;
        let on = consumed.queue(handle.queue);
        let at = Place { group, topic, queue: handle.queue, on: &on };
        let number = self.number(node);
        let due_ms = node.monotonic_ms() + hidden.min(MOST_HIDDEN).as_millis() as u64;
        self.change(node, at, |of| of.hide(handle.offset, handle.number, number, due_ms)).ok_or(StaleHandle)??;
        consumed.changed.notify_waiters();
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
        let topic = &lies_in(node, group, topic, handle)?;
        let consumed = self.known(group, topic)?;
        let on = consumed.queue(handle.queue);
        let at = Place { group, topic, queue: handle.queue, on: &on };
        let _turn = on.turn.lock().await;
        let attempts = self.change(node, at, |of| of.check(handle.offset, handle.number)).ok_or(StaleHandle)??;
        if let Some(encoded) = node.message_at(topic, at.queue, handle.offset, store_host).await? {
            dead_letter(node, group, &encoded, attempts, Reason::Consumer).await?;
        }
        self.change(node, at, |of| of.acknowledge(handle.offset, handle.number)).ok_or(StaleHandle)??;
        consumed.changed.notify_waiters();
        Ok(())
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
        let Ok(consumed) = self.known(group, topic) else { return Ok(node.commit(group, topic, queue, offset).await?) };
        let on = consumed.queue(queue);
        let at = Place { group, topic, queue, on: &on };
        let _turn = on.turn.lock().await;
        self.change(node, at, |of| of.reset(offset));
        node.commit(group, topic, queue, offset).await?;
        consumed.changed.notify_waiters();
        Ok(())
    }

    /// A consumer has left: what was hidden for as long as it lives is due soon.
    pub(crate) fn release(&self, client: &str, now_ms: u64) {
        let consumed: Vec<Arc<Consumed>> = self.topics.lock().values().cloned().collect();
        for consumed in consumed {
            let queues: Vec<Arc<Queue>> = consumed.queues.lock().values().cloned().collect();
            let released = queues
                .iter()
                .filter(|queue| queue.state.lock().as_mut().is_some_and(|state| state.in_flight.release(client, now_ms)));
            if released.count() > 0 {
                consumed.changed.notify_waiters();
            }
        }
    }

    /// Forgets what nobody uses.
    pub(crate) fn expire(&self, now_ms: u64) {
        self.topics.lock().retain(|_, consumed| {
            let is_old = now_ms.saturating_sub(consumed.used_ms.load(Ordering::Relaxed)) > FORGOTTEN_AFTER_MS;
            // Whoever holds it is about to use it.
            !is_old || Arc::strong_count(consumed) > 1 || !consumed.is_empty()
        });
    }
}

impl Consumed {
    fn queue(&self, queue: PartitionIndex) -> Arc<Queue> {
        let new = || Arc::new(Queue { turn: tokio::sync::Mutex::new(()), state: Mutex::new(None) });
        self.queues.lock().entry(queue.0).or_insert_with(new).clone()
    }

    fn is_empty(&self) -> bool {
        let queues = self.queues.lock();
        queues.values().all(|queue| queue.state.lock().as_ref().is_none_or(|state| state.in_flight.is_empty()))
    }

    /// Whether a look begins with what was given back: otherwise that would wait for as long as there are others.
    pub(crate) fn is_turn_of_retries(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed) % LOOKS_A_RETRY == LOOKS_A_RETRY - 1
    }

    /// When the next message of these queues is due.
    pub(crate) fn next_due_ms(&self, queues: &[PartitionIndex], order: Order<'_>) -> Option<u64> {
        let table = self.queues.lock();
        let states = queues.iter().filter_map(|queue| table.get(&queue.0));
        states.filter_map(|queue| queue.state.lock().as_ref()?.in_flight.next_due_ms(order)).min()
    }
}

impl Receive<'_> {
    fn terms(&self, now_ms: u64) -> Terms {
        let renewal = self.renewed_by.as_ref().map(|client| Renewal {
            client: client.clone(),
            period_ms: RENEWED.as_millis() as u64,
            until_ms: now_ms + RENEWED_ALTOGETHER.as_millis() as u64,
        });
        Terms { now_ms, hidden_ms: self.hidden.as_millis() as u64, renewal }
    }
}

/// A queue, and whose.
#[derive(Clone, Copy)]
struct Place<'a> {
    group: &'a str,
    topic: &'a Arc<TopicImage>,
    queue: PartitionIndex,
    on: &'a Queue,
}

/// The topic in which a delivered message lies.
fn lies_in(node: &Node, group: &str, topic: &Arc<TopicImage>, handle: Handle) -> Result<Arc<TopicImage>, DeliveryError> {
    match handle.is_returned {
        false => Ok(topic.clone()),
        true => node.broker.image().topic(&retry_topic(group)).cloned().ok_or_else(|| StaleHandle.into()),
    }
}

/// Whether the message was delivered often enough, to members of whichever protocol.
fn is_dead(due: Again, encoded: &Bytes, max_attempts: u32) -> bool {
    let times = StoredMessage::take(&mut &encoded[..]).map_or(0, |message| message.reconsume_times);
    let attempts = due.attempts.saturating_add(u32::try_from(times).unwrap_or(0));
    due.attempts > 0 && attempts >= max_attempts && !due.is_repeat
}

/// The messages that a pull brought, apart.
pub(crate) fn each(messages: &Bytes) -> impl Iterator<Item = (Offset, Bytes)> {
    let mut rest = &messages[..];
    std::iter::from_fn(move || {
        let before = rest;
        let message = StoredMessage::take(&mut rest).ok()?;
        Some((Offset(message.queue_offset), messages.slice_ref(&before[..before.len() - rest.len()])))
    })
}

/// Stores a message among the dead letters. `attempts` are those of this table; it may have had others before.
async fn dead_letter(node: &Node, group: &str, encoded: &Bytes, attempts: u32, reason: Reason) -> Result<(), DeliveryError> {
    let unreadable = |error| Refusal::new(response::SYSTEM_ERROR, format!("a message cannot be read: {error}"));
    let message = StoredMessage::take(&mut &encoded[..]).map_err(unreadable)?;
    let attempts = message.reconsume_times.saturating_add(i32::try_from(attempts).unwrap_or(i32::MAX));
    Ok(send_back::send_back(node, group, &message, Fate::Dead { attempts, reason }).await?)
}
