//! The records of one partition that one group works on: who has acquired which until when, and what has become of them. (KIP-932)
//!
//! Everything below the start is done with; everything from the end on was never delivered. Of what lies between, each record is
//! available, acquired by a member until a time, acknowledged, or archived, and knows how often it was delivered. A record whose lock
//! expires, or that is given back, is available again, unless it was delivered as often as the group allows: then it is archived.
//!
//! What was changed and is to outlive the leader is collected until [`Partition::take_write`]. An acquisition is not: after a crash what was
//! acquired is available, and has been delivered as often as was stored.
//!
//! Decides only: time is given by the caller, in milliseconds of a clock that never goes back. Called by [`super::held`].

use super::ranges::{OffsetRange, Ranges};
use super::state::{Batches, ShareState, Stage, StateBatch, Stored, Write};
use duolog_base::Offset;
use duolog_replica::{Mutant, planted};
use std::ops::Range;
use std::sync::Arc;

/// What has become of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    Available,
    Acquired { member: Arc<str>, until_ms: u64 },
    Acknowledged,
    Archived,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Delivery {
    progress: Progress,
    /// Deliveries so far.
    count: i16,
}

impl Delivery {
    fn is_done(&self) -> bool {
        matches!(self.progress, Progress::Acknowledged | Progress::Archived)
    }

    fn is_of(&self, by: &str) -> bool {
        matches!(&self.progress, Progress::Acquired { member, .. } if **member == *by || planted(Mutant::AnybodyAcknowledges))
    }

    /// As it is to be stored. A delivery under way counts once it has ended.
    fn stored(&self) -> Stored {
        match self.progress {
            Progress::Available => Stored { stage: Stage::Available, delivery_count: self.count },
            Progress::Acquired { .. } => Stored { stage: Stage::Available, delivery_count: self.count.saturating_sub(1) },
            Progress::Acknowledged => Stored { stage: Stage::Acknowledged, delivery_count: self.count },
            Progress::Archived => Stored { stage: Stage::Archived, delivery_count: self.count },
        }
    }
}

/// Records that a member has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquiredRange {
    pub first: Offset,
    pub last: Offset,
    /// With this delivery.
    pub delivery_count: i16,
}

/// What a member says of records that it has acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub first: Offset,
    pub last: Offset,
    /// Kafka's numbers: 0 there is no such record, 1 accept, 2 release, 3 reject, 4 renew. One for all, or one for each offset.
    pub types: Vec<i8>,
}

/// Why nothing of what a member said counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcknowledgeError {
    #[error("the acknowledgement is malformed")]
    Malformed,
    #[error("a record is not acquired by the member")]
    NotAcquired,
}

/// What a group allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Deliveries of a record.
    pub deliveries: i16,
    /// Records that are delivered and not done with.
    pub locks: usize,
}

/// The state of one share-partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Everything below is done with.
    start: Offset,
    /// The first record that was not delivered yet.
    end: Offset,
    /// From the start to the end, without a gap.
    deliveries: Ranges<Delivery>,
    /// Records behind the start that are done with.
    done: i64,
    /// Nothing before it is available.
    search_from: Offset,
    /// No lock expires before it.
    next_expiry_ms: Option<u64>,
    /// Changed since they were written last.
    unwritten: Ranges<()>,
    written_start: Offset,
}

impl Partition {
    /// As it was stored, beginning at `start`, for a log that ends before `log_end`.
    pub fn restore(start: Offset, state: &ShareState, log_end: Offset) -> Partition {
        let written_start = start;
        // A log that has lost its end delivers anew what comes in place of that.
        let start = start.min(log_end);
        let mut stored = Batches::default();
        stored.merge(start, &state.batches);
        let mut partition = Partition {
            start,
            end: start,
            deliveries: Ranges::default(),
            done: 0,
            search_from: start,
            next_expiry_ms: None,
            unwritten: Ranges::default(),
            written_start,
        };
        for batch in stored.to_list() {
            let Some(range) = batch.range() else { continue };
            let last = range.last.min(log_end.plus(-1));
            if range.first > last {
                continue;
            }
            partition.extend(range.first);
            let Stored { stage, delivery_count: count } = batch.stored();
            let progress = match stage {
                Stage::Available => Progress::Available,
                Stage::Acknowledged => Progress::Acknowledged,
                Stage::Archived => Progress::Archived,
            };
            partition.end = last.plus(1);
            partition.put(OffsetRange { first: range.first, last }, Delivery { progress, count });
        }
        partition.advance();
        partition
    }

    /// When the first lock may expire.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.next_expiry_ms
    }

    /// Records that are delivered and not done with, or were.
    fn in_flight(&self) -> i64 {
        self.end.0 - self.start.0 - self.done
    }

    /// The first record that could be acquired; `None` while there are as many in flight as may be.
    pub fn next(&self, allowed: Allowed) -> Option<Offset> {
        let again = self.available(self.end.plus(-1)).next().map(|(range, _)| range.first);
        again.or_else(|| (self.in_flight() < allowed.locks.min(i32::MAX as usize) as i64).then_some(self.end))
    }

    /// What is available up to `last`.
    fn available(&self, last: Offset) -> impl Iterator<Item = (OffsetRange, i16)> {
        let first = self.search_from.max(self.start);
        // An empty range would have its end before its beginning.
        let range = OffsetRange { first, last: last.max(first) };
        let available = self.deliveries.within(range).filter(|(_, delivery)| delivery.progress == Progress::Available);
        available.map(|(range, delivery)| (range, delivery.count))
    }

    /// Gives a member up to so many records of `window`, those that are available first, then new ones. New are those from the end on.
    pub fn acquire(
        &mut self,
        window: Range<Offset>,
        member: &Arc<str>,
        until_ms: u64,
        max_records: usize,
        allowed: Allowed,
    ) -> Vec<AcquiredRange> {
        let mut room = max_records.min(i32::MAX as usize) as i64;
        let mut acquired = Vec::new();
        if window.is_empty() {
            return acquired;
        }
        let found: Vec<(OffsetRange, i16)> = self.available(window.end.plus(-1)).collect();
        for (range, count) in found {
            let first = range.first.max(window.start);
            let last = range.last.min(window.end.plus(-1)).min(first.plus(room - 1));
            if first <= last {
                room -= last.0 - first.0 + 1;
                acquired.push(AcquiredRange { first, last, delivery_count: count.saturating_add(1) });
            }
        }
        let locks = allowed.locks.min(i32::MAX as usize) as i64;
        let fresh = room.min(locks - self.in_flight()).min(window.end.0 - self.end.0);
        if fresh > 0 && window.start <= self.end {
            let (first, last) = (self.end, self.end.plus(fresh - 1));
            self.end = last.plus(1);
            acquired.push(AcquiredRange { first, last, delivery_count: 1 });
        }
        for AcquiredRange { first, last, delivery_count } in &acquired {
            let progress = Progress::Acquired { member: member.clone(), until_ms };
            self.put(OffsetRange { first: *first, last: *last }, Delivery { progress, count: *delivery_count });
        }
        if !acquired.is_empty() {
            self.expires(until_ms);
            let left = self.available(self.end.plus(-1)).next();
            self.search_from = left.map_or(self.end, |(range, _)| range.first);
        }
        acquired
    }

    /// Takes what a member says of its records: all of it, or nothing. Records that are done with whatever anybody says are passed over.
    pub fn acknowledge(
        &mut self,
        member: &str,
        batches: &[Acknowledgement],
        renewed_until_ms: u64,
        allowed: Allowed,
    ) -> Result<(), AcknowledgeError> {
        let runs = runs(batches)?;
        for (range, _) in &runs {
            let Some(range) = self.still_open(*range) else { continue };
            let mut next = range.first;
            for (part, delivery) in self.deliveries.within(range) {
                if part.first != next || !delivery.is_of(member) {
                    return Err(AcknowledgeError::NotAcquired);
                }
                next = part.last.plus(1);
            }
            if next <= range.last {
                return Err(AcknowledgeError::NotAcquired);
            }
        }
        for (range, verdict) in runs {
            if let Some(range) = self.still_open(range) {
                self.settle(range, verdict, renewed_until_ms, allowed);
            }
        }
        self.advance();
        Ok(())
    }

    /// The part of the range that is not below the start.
    fn still_open(&self, range: OffsetRange) -> Option<OffsetRange> {
        let first = range.first.max(self.start);
        (first <= range.last).then_some(OffsetRange { first, last: range.last })
    }

    fn settle(&mut self, range: OffsetRange, verdict: Verdict, renewed_until_ms: u64, allowed: Allowed) {
        let parts: Vec<(OffsetRange, Delivery)> =
            self.deliveries.within(range).map(|(part, delivery)| (part, delivery.clone())).collect();
        for (part, Delivery { progress, count }) in parts {
            let progress = match (verdict, progress) {
                (Verdict::Accept, _) => Progress::Acknowledged,
                (Verdict::Reject, _) => Progress::Archived,
                (Verdict::Release, _) => given_back(count, allowed),
                (Verdict::Renew, progress) if planted(Mutant::RenewalForgotten) => progress,
                (Verdict::Renew, Progress::Acquired { member, .. }) => {
                    self.expires(renewed_until_ms);
                    Progress::Acquired { member, until_ms: renewed_until_ms }
                }
                (Verdict::Renew, progress) => progress,
            };
            self.put(part, Delivery { progress, count });
            if verdict != Verdict::Renew && !(verdict == Verdict::Release && planted(Mutant::ReleaseNotStored)) {
                self.unwritten.set(part, ());
            }
        }
    }

    /// A member gives back all it has. If it has not seen them (`seen` is false), they count as not delivered.
    pub fn release(&mut self, member: &str, seen: bool, allowed: Allowed) {
        let held: Vec<(OffsetRange, i16)> = self.select(|delivery| delivery.is_of(member));
        for (range, count) in held {
            match seen {
                true => self.give_back(range, count, allowed),
                // What is stored does not count this delivery.
                false => self.put(range, Delivery { progress: Progress::Available, count: count.saturating_sub(1) }),
            }
        }
        self.advance();
    }

    /// Makes available what was acquired until now.
    pub fn expire(&mut self, now_ms: u64, allowed: Allowed) {
        if self.next_expiry_ms.is_none_or(|next| next > now_ms) {
            return;
        }
        let expired = |delivery: &Delivery| match delivery.progress {
            Progress::Acquired { until_ms, .. } => until_ms <= now_ms,
            _ => false,
        };
        let expired: Vec<(OffsetRange, i16)> = self.select(expired);
        expired.into_iter().for_each(|(range, count)| self.give_back(range, count, allowed));
        let times = self.deliveries.iter().filter_map(|(_, delivery)| match delivery.progress {
            Progress::Acquired { until_ms, .. } => Some(until_ms),
            _ => None,
        });
        self.next_expiry_ms = times.min();
        self.advance();
    }

    fn select(&self, wanted: impl Fn(&Delivery) -> bool) -> Vec<(OffsetRange, i16)> {
        let found = self.deliveries.iter().filter(|(_, delivery)| wanted(delivery));
        found.map(|(range, delivery)| (range, delivery.count)).collect()
    }

    fn give_back(&mut self, range: OffsetRange, count: i16, allowed: Allowed) {
        self.put(range, Delivery { progress: given_back(count, allowed), count });
        self.unwritten.set(range, ());
    }

    /// Records below `log_start` are gone, whoever has them.
    pub fn trim(&mut self, log_start: Offset) {
        if log_start <= self.start {
            return;
        }
        self.done -= self.done_within(OffsetRange { first: self.start, last: log_start.plus(-1) });
        self.deliveries.remove_below(log_start);
        self.start = log_start;
        self.end = self.end.max(log_start);
        self.advance();
    }

    /// What is to be stored of what has changed since the last write, if anything has.
    pub fn take_write(&mut self) -> Option<Write> {
        self.unwritten.remove_below(self.start);
        if !self.has_unwritten() {
            return None;
        }
        let mut stored: Ranges<Stored> = Ranges::default();
        for (range, ()) in self.unwritten.iter() {
            for (part, delivery) in self.deliveries.within(range) {
                stored.set(part, delivery.stored());
            }
        }
        self.unwritten = Ranges::default();
        self.written_start = self.start;
        let batches = stored.iter().map(|(range, stored)| StateBatch::new(range, *stored)).collect();
        let delivery_complete_count = i32::try_from(self.done).unwrap_or(i32::MAX);
        Some(Write { start: self.start.0, delivery_complete_count, batches })
    }

    /// Whether there is something to write.
    pub fn has_unwritten(&self) -> bool {
        self.written_start != self.start || self.unwritten.last().is_some_and(|last| last >= self.start)
    }

    /// Counts what lies before `end` and was never mentioned as available.
    fn extend(&mut self, end: Offset) {
        if self.end < end {
            let range = OffsetRange { first: self.end, last: end.plus(-1) };
            self.end = end;
            self.put(range, Delivery { progress: Progress::Available, count: 0 });
        }
    }

    fn put(&mut self, range: OffsetRange, delivery: Delivery) {
        self.done -= self.done_within(range);
        if delivery.is_done() {
            self.done += range.count();
        }
        if delivery.progress == Progress::Available {
            self.search_from = self.search_from.min(range.first);
        }
        self.deliveries.set(range, delivery);
    }

    fn done_within(&self, range: OffsetRange) -> i64 {
        let done = self.deliveries.within(range).filter(|(_, delivery)| delivery.is_done());
        done.map(|(part, _)| part.count()).sum()
    }

    fn expires(&mut self, until_ms: u64) {
        self.next_expiry_ms = Some(self.next_expiry_ms.map_or(until_ms, |next| next.min(until_ms)));
    }

    /// Moves the start over what is done with.
    fn advance(&mut self) {
        while let Some((range, delivery)) = self.deliveries.first()
            && delivery.is_done()
        {
            self.start = range.last.plus(1);
            self.done -= range.count();
            self.deliveries.remove_below(self.start);
        }
        if self.deliveries.is_empty() {
            self.start = self.end;
        }
    }
}

fn given_back(count: i16, allowed: Allowed) -> Progress {
    let is_last = count >= allowed.deliveries && !planted(Mutant::DeliveredWithoutLimit);
    if is_last { Progress::Archived } else { Progress::Available }
}

/// What is to become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accept,
    Release,
    Reject,
    Renew,
}

impl Verdict {
    fn from_type(number: i8) -> Result<Verdict, AcknowledgeError> {
        match number {
            // A record that is not there will never be acknowledged.
            0 | 3 => Ok(Verdict::Reject),
            1 => Ok(Verdict::Accept),
            2 => Ok(Verdict::Release),
            4 => Ok(Verdict::Renew),
            _ => Err(AcknowledgeError::Malformed),
        }
    }
}

/// The verdicts on ranges, in the order of their offsets, none of which is named twice.
fn runs(batches: &[Acknowledgement]) -> Result<Vec<(OffsetRange, Verdict)>, AcknowledgeError> {
    let mut runs: Vec<(OffsetRange, Verdict)> = Vec::new();
    let mut least = Offset(0);
    for Acknowledgement { first, last, types } in batches {
        if *first < least || last < first || last.0 == i64::MAX {
            return Err(AcknowledgeError::Malformed);
        }
        least = last.plus(1);
        if let [one] = types[..] {
            runs.push((OffsetRange { first: *first, last: *last }, Verdict::from_type(one)?));
            continue;
        }
        if i64::try_from(types.len()) != Ok(last.0 - first.0 + 1) {
            return Err(AcknowledgeError::Malformed);
        }
        let mut at = *first;
        for same in types.chunk_by(|a, b| a == b) {
            let range = OffsetRange { first: at, last: at.plus(same.len() as i64 - 1) };
            at = range.last.plus(1);
            runs.push((range, Verdict::from_type(same[0])?));
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests;
