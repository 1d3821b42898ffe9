//! Which messages of one queue a group works on: delivered, not acknowledged yet, and hidden from others for a while.
//!
//! What was delivered and is neither acknowledged nor hidden any more is *due*: it is delivered again, as one more attempt. A
//! handle is the number of one delivery; the next delivery of the same message, or a change of its time, makes it stale.
//! Everything below [`InFlight::committed`] is acknowledged, or was not wanted; that offset alone outlives the process.
//!
//! A queue of retries holds messages of more than one topic, each for those who receive that one: they are *kept* as due, and
//! delivered for the first time like again.
//!
//! In an ordered group nothing of a queue is delivered while anything of it is hidden, and what is due comes before what is new.
//!
//! Decides only: time is given by the caller, in milliseconds of a clock that never goes back, and messages are read and
//! stored by [`super`], the only caller.

use duolog_base::Offset;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Messages of one queue that a group works on at most. Beyond, nothing new is delivered until some are acknowledged.
pub const IN_FLIGHT_OF_QUEUE: usize = 10_000;
/// How soon the messages of a consumer that has left are due.
const RELEASED_AFTER_MS: u64 = 1_000;

/// The messages of one queue that one group works on.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Everything below was delivered, or was not wanted.
    next: Offset,
    deliveries: BTreeMap<Offset, Delivery>,
    /// When each delivery is due, by the topic it is for.
    by_time: BTreeSet<(Origin, u64, Offset)>,
    /// Which receive of an ordered group got what is in flight.
    attempt_id: Option<String>,
}

/// The topic that a message in a queue of retries was given back from; `None` for all others.
pub type Origin = Option<Arc<str>>;

/// The last delivery of a message.
#[derive(Clone, Debug)]
struct Delivery {
    /// 0 of a message that is kept.
    handle: u64,
    origin: Origin,
    attempts: u32,
    due_ms: u64,
    renewal: Option<Renewal>,
}

/// A consumer whose messages stay hidden for as long as it lives.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub client: Arc<str>,
    pub period_ms: u64,
    /// Not beyond this time.
    pub until_ms: u64,
}

/// How what is delivered is hidden.
#[derive(Clone, Debug)]
pub struct Terms {
    pub now_ms: u64,
    pub hidden_ms: u64,
    pub renewal: Option<Renewal>,
}

/// Whether the messages of a queue are delivered in order.
#[derive(Clone, Copy, Debug)]
pub enum Order<'a> {
    Any,
    /// Any of those that were given back from this topic.
    Returned {
        from: &'a Arc<str>,
    },
    /// The id lets a receive whose answer was lost get the same messages again.
    Queue {
        attempt_id: Option<&'a str>,
    },
}

impl Order<'_> {
    fn origin(self) -> Origin {
        match self {
            Order::Returned { from } => Some(from.clone()),
            Order::Any | Order::Queue { .. } => None,
        }
    }
}

/// What a receive may get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub again: Vec<Again>,
    /// Messages from [`InFlight::next`] on.
    pub fresh: usize,
}

/// A message to deliver again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    pub offset: Offset,
    pub handle: u64,
    /// Deliveries so far.
    pub attempts: u32,
    /// The same receive once more: it is no further attempt.
    pub is_repeat: bool,
}

/// The handle is of an earlier delivery, or of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receipt handle is not that of the last delivery")]
pub struct StaleHandle;

impl InFlight {
    pub fn new(next: Offset) -> InFlight {
        InFlight { next, deliveries: BTreeMap::new(), by_time: BTreeSet::new(), attempt_id: None }
    }

    /// Where new messages begin.
    pub fn next(&self) -> Offset {
        self.next
    }

    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// The lowest message that is not done with.
    pub fn committed(&self) -> Offset {
        self.deliveries.first_key_value().map_or(self.next, |(offset, _)| *offset)
    }

    /// When something can be delivered again: the first message, or where there is an order, all of them are due.
    pub fn next_due_ms(&self, order: Order<'_>) -> Option<u64> {
        let mut times = self.due(order, u64::MAX);
        let next = match order {
            Order::Any | Order::Returned { .. } => times.next(),
            Order::Queue { .. } => times.next_back(),
        };
        next.map(|(due_ms, _)| due_ms)
    }

    /// What is due until then, the first first.
    fn due(&self, order: Order<'_>, until_ms: u64) -> impl DoubleEndedIterator<Item = (u64, Offset)> {
        let first = (order.origin(), 0, Offset(i64::MIN));
        let last = (order.origin(), until_ms, Offset(i64::MAX));
        self.by_time.range(first..=last).map(|(_, due_ms, offset)| (*due_ms, *offset))
    }

    /// What a receive of so many messages may get now.
    pub fn plan(&mut self, now_ms: u64, want: usize, order: Order<'_>, is_alive: &dyn Fn(&str) -> bool) -> Plan {
        self.renew(now_ms, order, is_alive);
        let due = |queue: &Self| queue.due(order, now_ms).take(want).map(|(_, at)| queue.again(at, false)).collect::<Vec<_>>();
        match order {
            Order::Returned { .. } => Plan { again: due(self), fresh: 0 },
            Order::Any => {
                let again = due(self);
                let room = IN_FLIGHT_OF_QUEUE.saturating_sub(self.len());
                Plan { fresh: (want - again.len()).min(room), again }
            }
            Order::Queue { .. } if self.is_empty() => Plan { fresh: want.min(IN_FLIGHT_OF_QUEUE), again: Vec::new() },
            Order::Queue { attempt_id } => {
                let is_repeat = attempt_id.is_some() && attempt_id == self.attempt_id.as_deref();
                let is_hidden = self.next_due_ms(order).is_some_and(|due_ms| due_ms > now_ms);
                let take = if is_hidden && !is_repeat { 0 } else { want };
                let lowest = self.deliveries.keys().take(take);
                Plan { again: lowest.map(|offset| self.again(*offset, is_repeat && is_hidden)).collect(), fresh: 0 }
            }
        }
    }

    fn again(&self, offset: Offset, is_repeat: bool) -> Again {
        let delivery = &self.deliveries[&offset];
        Again { offset, handle: delivery.handle, attempts: delivery.attempts, is_repeat }
    }

    /// Hides anew what is due, as long as its consumer lives.
    fn renew(&mut self, now_ms: u64, order: Order<'_>, is_alive: &dyn Fn(&str) -> bool) {
        let due: Vec<Offset> = self.due(order, now_ms).map(|(_, offset)| offset).collect();
        for offset in due {
            let renewed = self.deliveries.get(&offset).and_then(|delivery| {
                let renewal = delivery.renewal.as_ref()?;
                let lives = renewal.until_ms > now_ms && is_alive(&renewal.client);
                lives.then(|| now_ms.saturating_add(renewal.period_ms).min(renewal.until_ms))
            });
            if let Some(due_ms) = renewed {
                self.move_due(offset, due_ms);
            }
        }
    }

    /// A message beyond all others is delivered for the first time.
    pub fn deliver(&mut self, offset: Offset, handle: u64, terms: &Terms) {
        assert!(offset >= self.next, "a new message lies beyond those delivered");
        let due_ms = terms.now_ms.saturating_add(terms.hidden_ms);
        self.add(offset, Delivery { handle, origin: None, attempts: 1, due_ms, renewal: terms.renewal.clone() });
    }

    /// A message beyond all others is kept for those who receive the topic that it was given back from.
    pub fn keep(&mut self, offset: Offset, origin: Origin) {
        assert!(offset >= self.next, "a new message lies beyond those kept");
        self.add(offset, Delivery { handle: 0, origin, attempts: 0, due_ms: 0, renewal: None });
    }

    fn add(&mut self, offset: Offset, delivery: Delivery) {
        self.by_time.insert((delivery.origin.clone(), delivery.due_ms, offset));
        self.deliveries.insert(offset, delivery);
        self.next = Offset(offset.0 + 1);
    }

    /// A planned message is delivered again; how often it was now. `None` if it was acknowledged or hidden meanwhile.
    pub fn deliver_again(&mut self, again: Again, handle: u64, terms: &Terms) -> Option<u32> {
        let delivery = self.deliveries.get_mut(&again.offset).filter(|delivery| delivery.handle == again.handle)?;
        delivery.handle = handle;
        delivery.attempts = delivery.attempts.saturating_add(u32::from(!again.is_repeat));
        delivery.renewal = terms.renewal.clone();
        let attempts = delivery.attempts;
        self.move_due(again.offset, terms.now_ms.saturating_add(terms.hidden_ms));
        Some(attempts)
    }

    /// Says which receive of an ordered group got what is in flight.
    pub fn delivered_to(&mut self, attempt_id: Option<&str>) {
        self.attempt_id = attempt_id.map(str::to_owned);
    }

    /// Everything below has been looked at.
    pub fn pass(&mut self, next: Offset) {
        self.next = self.next.max(next);
    }

    /// The message is done with.
    pub fn acknowledge(&mut self, offset: Offset, handle: u64) -> Result<(), StaleHandle> {
        self.check(offset, handle)?;
        self.forget(offset);
        Ok(())
    }

    /// The message is gone, whoever works on it.
    pub fn forget(&mut self, offset: Offset) {
        if let Some(delivery) = self.deliveries.remove(&offset) {
            self.by_time.remove(&(delivery.origin, delivery.due_ms, offset));
        }
    }

    /// The message is due after so long, and not before; the handle is another one from now on.
    pub fn hide(&mut self, offset: Offset, handle: u64, new_handle: u64, due_ms: u64) -> Result<(), StaleHandle> {
        self.check(offset, handle)?;
        if let Some(delivery) = self.deliveries.get_mut(&offset) {
            delivery.handle = new_handle;
            delivery.renewal = None;
        }
        self.move_due(offset, due_ms);
        Ok(())
    }

    /// Whether the handle is that of the message's last delivery; how many there were.
    pub fn check(&self, offset: Offset, handle: u64) -> Result<u32, StaleHandle> {
        match self.deliveries.get(&offset) {
            Some(delivery) if delivery.handle == handle => Ok(delivery.attempts),
            Some(_) | None => Err(StaleHandle),
        }
    }

    /// The consumer has left: what was hidden for as long as it lives is due soon. Whether there was any.
    pub fn release(&mut self, client: &str, now_ms: u64) -> bool {
        let of_client = |delivery: &Delivery| delivery.renewal.as_ref().is_some_and(|renewal| &*renewal.client == client);
        let held: Vec<Offset> = self.deliveries.iter().filter(|(_, of)| of_client(of)).map(|(offset, _)| *offset).collect();
        for offset in &held {
            if let Some(delivery) = self.deliveries.get_mut(offset) {
                delivery.renewal = None;
                let due_ms = delivery.due_ms.min(now_ms.saturating_add(RELEASED_AFTER_MS));
                self.move_due(*offset, due_ms);
            }
        }
        !held.is_empty()
    }

    /// The group goes on somewhere else. All handles are stale.
    pub fn reset(&mut self, next: Offset) {
        *self = InFlight::new(next);
    }

    fn move_due(&mut self, offset: Offset, due_ms: u64) {
        if let Some(delivery) = self.deliveries.get_mut(&offset) {
            self.by_time.remove(&(delivery.origin.clone(), delivery.due_ms, offset));
            delivery.due_ms = due_ms;
            self.by_time.insert((delivery.origin.clone(), due_ms, offset));
        }
    }
}

#[cfg(test)]
mod tests;
