//! One receive at one queue: what is available again comes first, then what is new.
//!
//! Messages are read, and those that are wanted acquired; what a filter leaves out is done with at once. In an ordered group a message waits for
//! those before it of the same message group, and all without one wait for each other: what was read and has to wait is remembered ([`Seen`]),
//! acquired first, and read once more.
//!
//! [`Seen`]: super::seen::Seen

use super::burial::is_dead;
use super::place::{IN_FLIGHT_OF_QUEUE, Place, member};
use super::seen::{Mark, others};
use super::{Consumed, Deliveries, DeliveryError, Handle, RECEIVED_BYTES};
use crate::message::EmptyBody;
use crate::node::Node;
use crate::pull::{PullOutcome, Pulled, Wanted};
use crate::remoting::Refusal;
use bytes::Bytes;
use duolog_base::{Offset, PartitionIndex};
use duolog_core::filter::Subscription;
use duolog_core::metadata::TopicImage;
use duolog_core::share::{Acquire, AcquiredRange, Candidate, OffsetRange, Pick, SharePartition};
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::properties::name;
use hashbrown::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Reads that one receive makes of a queue before it looks at the next one.
const READS: usize = 4;
/// Messages that are read at once to be remembered.
const SEEN_MESSAGES: usize = 256;

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
}

/// Where a group without an offset begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// As pulls do: at the end, unless the queue is young.
    Usual,
    /// With what is there.
    Start,
}

/// Whether messages are delivered in order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order<'a> {
    Any,
    /// Any of those that were given back from this topic.
    Returned {
        from: &'a Arc<str>,
    },
    /// Those of a message group one after the other. The id lets a receive whose answer was lost get the same messages again.
    Ordered {
        attempt_id: Option<&'a str>,
    },
}

/// A message that was delivered just now.
pub(crate) struct Given {
    /// As remoting clients read it.
    pub(crate) encoded: Bytes,
    pub(crate) queue: PartitionIndex,
    pub(crate) handle: Handle,
    pub(crate) attempt: u32,
}

/// What one look of a receive takes. Dropped before it is answered, everything is available again and counts as not delivered.
pub(super) struct Taking<'a> {
    pub(super) node: &'a Node,
    member: String,
    from: Vec<SharePartition>,
}

impl<'a> Taking<'a> {
    pub(super) fn begin(node: &'a Node, number: u64) -> Taking<'a> {
        Taking { node, member: member(number), from: Vec::new() }
    }

    /// Gives back what it has of the queue it looked at last.
    pub(super) fn give_back_last(&mut self) {
        if let Some(at) = self.from.pop() {
            self.give_back(&at);
        }
    }

    fn give_back(&self, at: &SharePartition) {
        // What cannot be released is available again when its time is over.
        let _ = self.node.share.release(at, &self.member, false);
    }

    /// The answer is on its way.
    pub(super) fn keep(mut self) {
        self.from.clear();
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.from.iter().for_each(|at| self.give_back(at));
    }
}

/// What was read and may be acquired.
struct Offer<'a> {
    window: Range<Offset>,
    candidates: &'a [Candidate],
    unwanted: &'a [OffsetRange],
    /// Messages that need not be read again.
    at_hand: HashMap<Offset, Bytes>,
}

impl Deliveries {
    /// Delivers up to `want` messages of a queue.
    pub(super) async fn receive(
        &self,
        taking: &mut Taking<'_>,
        consumed: &Arc<Consumed>,
        queue: PartitionIndex,
        want: usize,
        receive: &Receive<'_>,
    ) -> Result<Vec<Given>, DeliveryError> {
        let (node, place) = (taking.node, Place::new(consumed.clone(), &receive.topic, queue));
        taking.from.push(place.at.clone());
        if let Order::Returned { from } = receive.order
            && self.has_nothing(node, &receive.topic, &place.queue, queue, from)
        {
            return Ok(Vec::new());
        }
        let mut attempts = place.queue.turn.lock().await;
        self.take_over(node, &receive.topic, &place, receive.begin).await?;
        let attempt_id = match receive.order {
            Order::Any => return self.receive_next(taking, &place, want, receive).await,
            Order::Returned { .. } => return self.receive_seen(taking, &place, want, receive).await,
            Order::Ordered { attempt_id } => attempt_id,
        };
        if let Some(number) = attempt_id.and_then(|id| attempts.take(id)) {
            node.share.release(&place.at, &member(number), false)?;
        }
        let given = self.receive_seen(taking, &place, want, receive).await?;
        if let Some(id) = attempt_id.filter(|_| !given.is_empty()) {
            attempts.remember(id, receive.number);
        }
        Ok(given)
    }

    /// The next messages, whatever others work on.
    async fn receive_next(
        &self,
        taking: &Taking<'_>,
        place: &Place,
        want: usize,
        receive: &Receive<'_>,
    ) -> Result<Vec<Given>, DeliveryError> {
        let node = taking.node;
        let mut given: Vec<Given> = Vec::new();
        let mut next = node.share.next_fetch(&place.at).await?;
        for _ in 0..READS {
            let Some(from) = next else { break };
            let outcome = read(node, place, from, want - given.len(), receive).await?;
            if outcome.next <= from {
                break;
            }
            let at_hand: HashMap<Offset, Bytes> = messages(&outcome).collect();
            let offsets: Vec<Offset> = messages(&outcome).map(|(offset, _)| offset).collect();
            let candidates: Vec<Candidate> = offsets.iter().map(|at| Candidate { offset: *at, key: None }).collect();
            let unwanted = others(from, outcome.next, offsets.into_iter());
            let offer = Offer { window: from..outcome.next, candidates: &candidates, unwanted: &unwanted, at_hand };
            given.extend(self.take(taking, place, want - given.len(), receive, offer).await?);
            let bytes: usize = given.iter().map(|given| given.encoded.len()).sum();
            if given.len() == want || bytes >= RECEIVED_BYTES || outcome.next >= outcome.ends.high_watermark {
                break;
            }
            next = node.share.next_fetch_behind(&place.at, outcome.next).await?;
        }
        Ok(given)
    }

    /// Messages for which others may have to be passed over: of those that were read before, then of those behind them.
    async fn receive_seen(
        &self,
        taking: &Taking<'_>,
        place: &Place,
        want: usize,
        receive: &Receive<'_>,
    ) -> Result<Vec<Given>, DeliveryError> {
        let (node, seen) = (taking.node, &place.queue.seen);
        let start = node.share.start_offset(&place.at).await?;
        let partition = receive.topic.partition(place.at.partition);
        let epoch = partition.and_then(|partition| node.broker.leads(partition)).ok_or_else(Refusal::not_here)?;
        seen.lock().begin(epoch, start);
        let mut given = self.take_seen(taking, place, start, want, receive, HashMap::new()).await?;
        while given.is_empty() {
            let (from, room) = {
                let seen = seen.lock();
                (seen.next(), seen.room())
            };
            if room == 0 {
                break;
            }
            let outcome = read(node, place, from, room.min(SEEN_MESSAGES), receive).await?;
            if outcome.next <= from {
                break;
            }
            let at_hand: HashMap<Offset, Bytes> = messages(&outcome).collect();
            {
                let mut seen = seen.lock();
                for (offset, encoded) in messages(&outcome) {
                    seen.add(offset, mark(&encoded));
                }
                let offsets = messages(&outcome).map(|(offset, _)| offset);
                seen.pass(outcome.next, others(from, outcome.next, offsets));
            }
            given = self.take_seen(taking, place, from, want, receive, at_hand).await?;
            if outcome.next >= outcome.ends.high_watermark {
                break;
            }
        }
        Ok(given)
    }

    /// Takes of what was read from `from` on.
    async fn take_seen(
        &self,
        taking: &Taking<'_>,
        place: &Place,
        from: Offset,
        want: usize,
        receive: &Receive<'_>,
        at_hand: HashMap<Offset, Bytes>,
    ) -> Result<Vec<Given>, DeliveryError> {
        let ((candidates, largest), unwanted, next) = {
            let seen = place.queue.seen.lock();
            (seen.candidates(from, receive.order), seen.unwanted(), seen.next())
        };
        if candidates.is_empty() && unwanted.is_empty() {
            return Ok(Vec::new());
        }
        let want = want.min(RECEIVED_BYTES / largest.max(1)).max(1);
        // From the beginning on: the engine knows where it is.
        let offer = Offer { window: Offset(0)..next, candidates: &candidates, unwanted: &unwanted, at_hand };
        self.take(taking, place, want, receive, offer).await
    }

    /// Acquires what is offered, as far as nobody has it.
    async fn take(
        &self,
        taking: &Taking<'_>,
        place: &Place,
        want: usize,
        receive: &Receive<'_>,
        mut offer: Offer<'_>,
    ) -> Result<Vec<Given>, DeliveryError> {
        let acquire = Acquire {
            member: &taking.member,
            window: offer.window,
            max_records: want,
            lock: Some(receive.hidden),
            pick: Pick::Of(offer.candidates),
            unwanted: offer.unwanted,
        };
        let acquired = taking.node.share.acquire(&place.at, acquire).await?;
        if !offer.unwanted.is_empty() {
            self.note(taking.node, &receive.topic, place).await;
        }
        let mut given = Vec::new();
        for range in acquired {
            let AcquiredRange { first, last, delivery_count } = range;
            let attempts = u32::try_from(delivery_count - 1).unwrap_or(0);
            if (first.0..=last.0).any(|at| !offer.at_hand.contains_key(&Offset(at))) {
                offer.at_hand.extend(read_range(taking.node, place, first, last, receive).await?);
            }
            for offset in (first.0..=last.0).map(Offset) {
                let Some(encoded) = offer.at_hand.remove(&offset) else {
                    // It is not there any more.
                    self.done_with(taking.node, &receive.topic, place, offset, receive.number).await?;
                    continue;
                };
                if is_dead(attempts, &encoded, receive.max_attempts) {
                    self.bury_worn_out(taking.node, receive, place, offset, attempts, &encoded).await;
                    continue;
                }
                self.renewals.begin(taking.node, place, offset, receive);
                let is_returned = matches!(receive.order, Order::Returned { .. });
                let handle = Handle { queue: place.at.partition, offset, number: receive.number, is_returned };
                given.push(Given { encoded, queue: place.at.partition, handle, attempt: attempts + 1 });
            }
        }
        Ok(given)
    }
}

/// Reads what the receive wants.
async fn read(
    node: &Node,
    place: &Place,
    from: Offset,
    max_messages: usize,
    receive: &Receive<'_>,
) -> Result<PullOutcome, DeliveryError> {
    let wanted = Wanted {
        topic: receive.topic.clone(),
        queue: place.at.partition,
        from,
        max_messages,
        max_bytes: RECEIVED_BYTES,
        subscription: receive.subscription.clone(),
        store_host: receive.store_host,
        empty_body: EmptyBody::AsItIs,
    };
    Ok(node.pull(&wanted).await?)
}

/// Reads messages that were read before.
async fn read_range(
    node: &Node,
    place: &Place,
    first: Offset,
    last: Offset,
    receive: &Receive<'_>,
) -> Result<HashMap<Offset, Bytes>, DeliveryError> {
    let all = Receive { subscription: Arc::new(Subscription::all()), ..receive.clone() };
    let (mut found, mut from) = (HashMap::new(), first);
    while from <= last {
        let count = usize::try_from(last.0 - from.0 + 1).unwrap_or(IN_FLIGHT_OF_QUEUE);
        let outcome = read(node, place, from, count, &all).await?;
        if outcome.next <= from {
            break;
        }
        found.extend(messages(&outcome).filter(|(offset, _)| *offset <= last));
        from = outcome.next;
    }
    Ok(found)
}

fn messages(outcome: &PullOutcome) -> impl Iterator<Item = (Offset, Bytes)> {
    let found = match &outcome.pulled {
        Pulled::Found { messages, .. } => Some(messages),
        Pulled::NoneWanted | Pulled::Nothing | Pulled::Moved => None,
    };
    found.into_iter().flat_map(each)
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

fn mark(encoded: &Bytes) -> Mark {
    let message = StoredMessage::take(&mut &encoded[..]).ok();
    let property = |name| message.as_ref().and_then(|message| message.properties.get(name));
    let mut key = DefaultHasher::new();
    // All that have no message group are of one.
    property(name::SHARDING_KEY).hash(&mut key);
    Mark { key: key.finish(), origin: property(name::RETRY_TOPIC).map(Arc::from), bytes: encoded.len() }
}
