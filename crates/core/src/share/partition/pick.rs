//! Which records of what was read a member gets: all that may be had, or some, and those of a key in their order.
//!
//! A record with a key is passed over while an earlier one of the same key is not done with, unless the same member gets both at once. Only
//! records that were read are known by their key; after a leader's end nothing is acquired, and everything is read again from the first record
//! that is available.

use super::{Allowed, Delivery, KeyHash, OffsetRange, Partition, Progress, one};
use duolog_base::Offset;
use duolog_replica::{Mutant, planted};
use hashbrown::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Records that a member has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquiredRange {
    pub first: Offset,
    pub last: Offset,
    /// With this delivery.
    pub delivery_count: i16,
}

/// Which records of a window are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Pick<'a> {
    /// All alike, also offsets at which there is no record.
    All,
    /// These, in the order of their offsets. Those between them stay available, and do not count as delivered.
    Of(&'a [Candidate]),
    /// The same, but of each key one record at the most: whoever has two could give back the first after the second is done with.
    OneOfEachKey(&'a [Candidate]),
}

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub offset: Offset,
    /// `None` if it waits for no other.
    pub key: Option<KeyHash>,
}

/// How the records of a key fare in one acquisition.
enum Turn {
    /// All up to this one are acquired now.
    Runs(Offset),
    /// One had to wait, and so do those behind it.
    Waits,
}

impl Partition {
    /// Gives a member up to so many records of `window`, those that are available first, then new ones. New are those from the end on.
    pub fn acquire(
        &mut self,
        window: Range<Offset>,
        pick: Pick<'_>,
        member: &Arc<str>,
        until_ms: u64,
        max_records: usize,
        allowed: Allowed,
    ) -> Vec<AcquiredRange> {
        let acquired = match pick {
            _ if window.is_empty() => Vec::new(),
            Pick::All => self.pick_all(window, max_records.min(i32::MAX as usize) as i64, allowed),
            Pick::Of(candidates) => self.pick_of(window, candidates, false, max_records, allowed),
            Pick::OneOfEachKey(candidates) => self.pick_of(window, candidates, true, max_records, allowed),
        };
        for AcquiredRange { first, last, delivery_count } in &acquired {
            let progress = Progress::Acquired { member: member.clone(), until_ms };
            self.put(OffsetRange { first: *first, last: *last }, Delivery { progress, count: *delivery_count });
        }
        if !acquired.is_empty() {
            self.expires(until_ms);
            let left = self.available(self.start, self.end.plus(-1)).next();
            self.search_from = left.map_or(self.end, |(range, _)| range.first);
        }
        acquired
    }

    fn pick_all(&mut self, window: Range<Offset>, mut room: i64, allowed: Allowed) -> Vec<AcquiredRange> {
        let mut picked = Vec::new();
        for (range, count) in self.available(window.start, window.end.plus(-1)) {
            let first = range.first.max(window.start);
            let last = range.last.min(window.end.plus(-1)).min(first.plus(room - 1));
            if first <= last {
                room -= last.0 - first.0 + 1;
                picked.push(AcquiredRange { first, last, delivery_count: count.saturating_add(1) });
            }
        }
        let fresh = room.min(self.room(allowed)).min(window.end.0 - self.end.0);
        if fresh > 0 && window.start <= self.end {
            let (first, last) = (self.end, self.end.plus(fresh - 1));
            self.end = last.plus(1);
            picked.push(AcquiredRange { first, last, delivery_count: 1 });
        }
        picked
    }

    /// What of these records is available is done with, without a delivery.
    pub fn leave_out(&mut self, unwanted: &[OffsetRange]) {
        for range in unwanted {
            let available = |(_, delivery): &(OffsetRange, &Delivery)| delivery.is_available();
            let parts: Vec<_> = self.deliveries.within(*range).filter(available).map(|(part, of)| (part, of.count)).collect();
            for (part, count) in parts {
                self.put(part, Delivery { progress: Progress::Acknowledged, count });
                self.unwritten.set(part, ());
            }
        }
        self.advance();
    }

    /// Of what is new, everything that was looked at is within the end from now on.
    fn pick_of(
        &mut self,
        window: Range<Offset>,
        candidates: &[Candidate],
        one_of_each_key: bool,
        max_records: usize,
        allowed: Allowed,
    ) -> Vec<AcquiredRange> {
        let fresh = if window.start <= self.end { self.room(allowed).max(0) } else { 0 };
        let mut looked_at = window.end.min(self.end.plus(fresh));
        let (mut picked, mut count, mut turns) = (Vec::new(), 0, HashMap::new());
        let within = |candidate: &&Candidate| window.contains(&candidate.offset) && candidate.offset >= self.start;
        for Candidate { offset, key } in candidates.iter().filter(within).copied() {
            if offset >= looked_at {
                break;
            }
            if count >= max_records {
                looked_at = offset;
                break;
            }
            let delivery = self.delivery(offset);
            if delivery.is_some_and(Delivery::is_done) {
                continue;
            }
            let is_free = delivery.is_none_or(Delivery::is_available);
            let delivery_count = delivery.map_or(0, |delivery| delivery.count).saturating_add(1);
            if let Some(key) = key {
                let is_turn = match turns.get(&key) {
                    _ if !is_free => false,
                    Some(Turn::Waits) => false,
                    Some(Turn::Runs(_)) if one_of_each_key => false,
                    Some(Turn::Runs(before)) => !self.keys.has_between(key, Some(*before), offset),
                    None => !self.keys.has_between(key, None, offset) || planted(Mutant::KeyOrderIgnored),
                };
                self.keys.add(offset, key);
                // What waits now is in the way of those behind it.
                turns.insert(key, if is_turn { Turn::Runs(offset) } else { Turn::Waits });
                if !is_turn {
                    continue;
                }
            }
            if is_free {
                count += 1;
                push(&mut picked, offset, delivery_count);
            }
        }
        self.extend(looked_at);
        picked
    }
}

/// Adds a record, to the range that it continues if it does.
fn push(ranges: &mut Vec<AcquiredRange>, offset: Offset, delivery_count: i16) {
    let OffsetRange { first, last } = one(offset);
    match ranges.last_mut() {
        Some(range) if range.last.plus(1) == first && range.delivery_count == delivery_count => range.last = last,
        _ => ranges.push(AcquiredRange { first, last, delivery_count }),
    }
}
