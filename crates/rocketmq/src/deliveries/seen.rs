//! What was read of a queue and is not done with, for those who do not want just the next message: members of ordered groups, who may have to
//! pass over many whose message group somebody works on, and those who look for what was given back from one topic among that of others.
//! So that is read once.
//!
//! Knows offsets and what they are for; who has which message is the engine's to say. Decides only.

use super::Order;
use super::place::IN_FLIGHT_OF_QUEUE;
use duolog_base::{LeaderEpoch, Offset};
use duolog_core::share::{Candidate, KeyHash, OffsetRange};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is to be known of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Stands for its message group.
    pub(super) key: KeyHash,
    /// The topic that it was given back from.
    pub(super) origin: Option<Arc<str>>,
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When it was read: in another leadership the log may have another end.
    epoch: Option<LeaderEpoch>,
    next: Offset,
    messages: BTreeMap<Offset, Mark>,
    /// Nobody wants these, and the engine may not know yet.
    unwanted: Vec<OffsetRange>,
}

impl Seen {
    /// Everything below `start` is done with.
    pub(super) fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.epoch != Some(epoch) {
            *self = Seen { epoch: Some(epoch), next: start, ..Seen::default() };
        }
        self.next = self.next.max(start);
        self.messages = self.messages.split_off(&start);
        self.unwanted.retain(|range| range.last >= start);
    }

    /// Nothing counts that was read.
    pub(super) fn forget(&mut self) {
        self.epoch = None;
    }

    /// Where to read on.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// How many more messages there is room for.
    pub(super) fn room(&self) -> usize {
        IN_FLIGHT_OF_QUEUE.saturating_sub(self.messages.len() + self.unwanted.len())
    }

    pub(super) fn add(&mut self, offset: Offset, mark: Mark) {
        self.messages.insert(offset, mark);
    }

    /// It was read up to there, and nobody wants these.
    pub(super) fn pass(&mut self, next: Offset, unwanted: Vec<OffsetRange>) {
        self.next = self.next.max(next);
        self.unwanted.extend(unwanted);
    }

    pub(super) fn unwanted(&self) -> Vec<OffsetRange> {
        self.unwanted.clone()
    }

    /// The message is done with.
    pub(super) fn remove(&mut self, offset: Offset) {
        self.messages.remove(&offset);
    }

    /// Whether everything up to `end` was read in this leadership, and none of it was given back from the topic.
    pub(super) fn has_none(&self, epoch: Option<LeaderEpoch>, end: Offset, origin: &Arc<str>) -> bool {
        let is_of = |mark: &Mark| mark.origin.as_ref() == Some(origin);
        epoch.is_some() && self.epoch == epoch && self.next >= end && !self.messages.values().any(is_of)
    }

    /// Those from `from` on that a receive may want, and the bytes of the largest.
    pub(super) fn candidates(&self, from: Offset, order: Order<'_>) -> (Vec<Candidate>, usize) {
        let is_wanted = |mark: &Mark| match order {
            Order::Returned { from } => mark.origin.as_ref() == Some(from),
            Order::Any | Order::Ordered { .. } => true,
        };
        let wanted = || self.messages.range(from..).filter(|(_, mark)| is_wanted(mark));
        let key = |mark: &Mark| matches!(order, Order::Ordered { .. }).then_some(mark.key);
        let candidates = wanted().map(|(offset, mark)| Candidate { offset: *offset, key: key(mark) }).collect();
        (candidates, wanted().map(|(_, mark)| mark.bytes).max().unwrap_or(0))
    }
}

/// The offsets of `from..next` that are none of these, which ascend.
pub(super) fn others(from: Offset, next: Offset, offsets: impl Iterator<Item = Offset>) -> Vec<OffsetRange> {
    let (mut others, mut first) = (Vec::new(), from);
    for offset in offsets.chain([next]) {
        if first < offset {
            others.push(OffsetRange { first, last: offset.plus(-1) });
        }
        first = offset.plus(1);
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64) -> OffsetRange {
        OffsetRange { first: Offset(first), last: Offset(last) }
    }

    fn mark(origin: &str) -> Mark {
        Mark { key: 7, origin: Some(origin.into()), bytes: 10 }
    }

    #[test]
    fn what_lies_between_is_unwanted() {
        let others = |from, next, offsets: &[i64]| others(Offset(from), Offset(next), offsets.iter().map(|at| Offset(*at)));
        assert_eq!(others(5, 10, &[]), [range(5, 9)]);
        assert_eq!(others(5, 10, &[5, 6, 9]), [range(7, 8)]);
        assert_eq!(others(5, 10, &[7]), [range(5, 6), range(8, 9)]);
        assert_eq!(others(5, 5, &[]), []);
    }

    #[test]
    fn messages_are_for_those_who_receive_their_topic_and_forgotten_when_they_are_done_with() {
        let (orders, bills) = (Arc::from("orders"), Arc::from("bills"));
        let mut seen = Seen::default();
        seen.begin(LeaderEpoch(1), Offset(3));
        (3..6).for_each(|at| seen.add(Offset(at), mark(if at == 4 { "bills" } else { "orders" })));
        seen.pass(Offset(8), vec![range(6, 7)]);
        let offsets = |seen: &Seen, from| {
            let (candidates, _) = seen.candidates(Offset(0), Order::Returned { from });
            candidates.iter().map(|candidate| (candidate.offset.0, candidate.key)).collect::<Vec<_>>()
        };
        assert_eq!((offsets(&seen, &orders), offsets(&seen, &bills)), (vec![(3, None), (5, None)], vec![(4, None)]));
        let ordered = Order::Ordered { attempt_id: None };
        assert!(seen.candidates(Offset(4), ordered).0.iter().all(|candidate| candidate.key == Some(7)));
        seen.remove(Offset(5));
        seen.begin(LeaderEpoch(1), Offset(4));
        assert_eq!((offsets(&seen, &orders), seen.next(), seen.room()), (vec![], Offset(8), IN_FLIGHT_OF_QUEUE - 2));
        seen.begin(LeaderEpoch(2), Offset(4));
        assert_eq!((offsets(&seen, &bills), seen.next(), seen.unwanted()), (vec![], Offset(4), vec![]));
    }
}
