//! The records of one partition that one group works on: who has acquired which until when, and what has become of them. (KIP-932)
//!
//! Everything below the start is done with; everything from the end on was never delivered. Of what lies between, each record is
//! available, acquired by a member until a time, acknowledged, or archived, and knows how often it was delivered. A record whose lock
//! expires, or that is given back, is available again, unless it was delivered as often as the group allows: then it is archived.
//! Records with a key can be acquired in the order of their key ([`Pick`]). Where there are dead letters, what is given up is on its way there
//! first, and archived once it has arrived ([`Burial`]).
//!
//! What was changed and is to outlive the leader is collected until [`Partition::take_write`]. An acquisition is not: after a crash what was
//! acquired is available, and has been delivered as often as was stored.
//!
//! Decides only: time is given by the caller, in milliseconds of a clock that never goes back. Called by [`super::held`].

mod burial;
mod keys;
mod pick;
#[cfg(test)]
mod pick_tests;
#[cfg(test)]
mod tests;

use super::ranges::{OffsetRange, Ranges};
use super::state::{Batches, ShareState, Stage, StateBatch, Stored, Write};
pub use burial::{Burial, Reason};
use duolog_base::Offset;
use duolog_replica::{Mutant, planted};
use keys::Keys;
pub use keys::{KeyHash, key_hash};
pub use pick::{AcquiredRange, Candidate, Pick};
use std::sync::Arc;

/// What has become of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    /// `last_had_by`, as far as this leader knows.
    Available {
        last_had_by: Option<Arc<str>>,
    },
    Acquired {
        member: Arc<str>,
        until_ms: u64,
    },
    Acknowledged,
    /// On its way to the dead letters.
    Archiving {
        /// `None` if an earlier leader has given it up.
        reason: Option<Reason>,
    },
    Archived,
}

/// Available, and nobody is known to have had it.
const UNTOUCHED: Progress = Progress::Available { last_had_by: None };

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

    fn is_available(&self) -> bool {
        matches!(self.progress, Progress::Available { .. })
    }

    fn is_of(&self, by: &str) -> bool {
        matches!(&self.progress, Progress::Acquired { member, .. } if **member == *by || planted(Mutant::AnybodyAcknowledges))
    }

    /// As it is to be stored. A delivery under way counts once it has ended.
    fn stored(&self) -> Stored {
        match self.progress {
            Progress::Available { .. } => Stored { stage: Stage::Available, delivery_count: self.count },
            Progress::Acquired { .. } => Stored { stage: Stage::Available, delivery_count: self.count.saturating_sub(1) },
            Progress::Acknowledged => Stored { stage: Stage::Acknowledged, delivery_count: self.count },
            Progress::Archiving { .. } => Stored { stage: Stage::Archiving, delivery_count: self.count },
            Progress::Archived => Stored { stage: Stage::Archived, delivery_count: self.count },
        }
    }
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
    /// Records of a partition that are delivered, or were passed over, and are not done with.
    pub locks: usize,
    /// What is given up becomes a dead letter.
    pub dead_letters: bool,
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
    /// Records on their way to the dead letters.
    archiving: i64,
    /// Nothing before it is available.
    search_from: Offset,
    /// No lock expires before it.
    next_expiry_ms: Option<u64>,
    /// Changed since they were written last.
    unwritten: Ranges<()>,
    written_start: Offset,
    /// Those of the records that were seen, and are neither below the start nor done with.
    keys: Keys,
    /// Something can be acquired that could not be before.
    is_news: bool,
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
            archiving: 0,
            search_from: start,
            next_expiry_ms: None,
            unwritten: Ranges::default(),
            written_start,
            keys: Keys::default(),
            is_news: false,
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
                Stage::Available => UNTOUCHED,
                Stage::Acknowledged => Progress::Acknowledged,
                Stage::Archiving => Progress::Archiving { reason: None },
                Stage::Archived => Progress::Archived,
            };
            partition.end = last.plus(1);
            partition.put(OffsetRange { first: range.first, last }, Delivery { progress, count });
        }
        partition.advance();
        partition
    }

    /// Everything below is done with.
    pub fn start(&self) -> Offset {
        self.start
    }

    /// When the first lock may expire.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.next_expiry_ms
    }

    /// Records that are delivered and not done with, or were.
    pub fn in_flight(&self) -> i64 {
        self.end.0 - self.start.0 - self.done
    }

    /// The first record that could be acquired; `None` while there are as many in flight as may be.
    pub fn next(&self, allowed: Allowed) -> Option<Offset> {
        self.next_behind(self.start, allowed)
    }

    /// The first record at or behind `from` that could be acquired.
    pub fn next_behind(&self, from: Offset, allowed: Allowed) -> Option<Offset> {
        let again = self.available(from, self.end.plus(-1)).next().map(|(range, _)| range.first);
        again.or_else(|| (from <= self.end && self.room(allowed) > 0).then_some(self.end))
    }

    /// How many more records may be in flight.
    fn room(&self, allowed: Allowed) -> i64 {
        allowed.locks.min(i32::MAX as usize) as i64 - self.in_flight()
    }

    /// What is available from `from` up to `last`.
    fn available(&self, from: Offset, last: Offset) -> impl Iterator<Item = (OffsetRange, i16)> {
        let first = from.max(self.search_from).max(self.start);
        // An empty range would have its end before its beginning.
        let range = OffsetRange { first, last: last.max(first) };
        let available = self.deliveries.within(range).filter(|(_, delivery)| delivery.is_available());
        available.map(|(range, delivery)| (range, delivery.count))
    }

    /// Whether there is something for those who found nothing before; tells it once.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
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
                (Verdict::Missing, _) => Progress::Archived,
                (Verdict::Reject, _) => given_up(Reason::Rejected, allowed),
                (Verdict::Release, progress) => {
                    self.is_news = true;
                    given_back(Delivery { progress, count }, allowed)
                }
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

    /// A record stays acquired until then, under another name from now on. How often it was delivered.
    pub fn renew_as(
        &mut self,
        member: &str,
        offset: Offset,
        until_ms: u64,
        new_member: Arc<str>,
    ) -> Result<i16, AcknowledgeError> {
        let acquired = self.delivery(offset).filter(|delivery| delivery.is_of(member));
        let count = acquired.ok_or(AcknowledgeError::NotAcquired)?.count;
        self.put(one(offset), Delivery { progress: Progress::Acquired { member: new_member, until_ms }, count });
        self.expires(until_ms);
        Ok(count)
    }

    /// Accepts a record that nobody has any more from the member that had it last, or from anybody if that is not known: also one behind
    /// what this leader knows to be delivered, as long as it can be read before `readable_end`.
    pub fn acknowledge_late(
        &mut self,
        member: &str,
        offset: Offset,
        readable_end: Offset,
        allowed: Allowed,
    ) -> Result<(), AcknowledgeError> {
        if offset < readable_end && offset.0 - self.end.0 < self.room(allowed) {
            self.extend(offset.plus(1));
        }
        let is_theirs = |delivery: &&Delivery| match &delivery.progress {
            Progress::Available { last_had_by } => last_had_by.as_deref().is_none_or(|last| last == member),
            _ => false,
        };
        let count = self.delivery(offset).filter(is_theirs).ok_or(AcknowledgeError::NotAcquired)?.count;
        self.put(one(offset), Delivery { progress: Progress::Acknowledged, count });
        self.unwritten.set(one(offset), ());
        self.advance();
        Ok(())
    }

    fn delivery(&self, offset: Offset) -> Option<&Delivery> {
        self.deliveries.within(one(offset)).next().map(|(_, delivery)| delivery)
    }

    /// A member gives back all it has. If it has not seen them (`seen` is false), they count as not delivered.
    pub fn release(&mut self, member: &str, seen: bool, allowed: Allowed) {
        for (range, delivery) in self.select(|delivery| delivery.is_of(member)) {
            match seen {
                true => self.give_back(range, delivery, allowed),
                // What is stored does not count this delivery.
                false => {
                    self.put(range, Delivery { progress: UNTOUCHED, count: delivery.count.saturating_sub(1) });
                    self.is_news = true;
                }
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
        self.select(expired).into_iter().for_each(|(range, delivery)| self.give_back(range, delivery, allowed));
        let times = self.deliveries.iter().filter_map(|(_, delivery)| match delivery.progress {
            Progress::Acquired { until_ms, .. } => Some(until_ms),
            _ => None,
        });
        self.next_expiry_ms = times.min();
        self.advance();
    }

    fn select(&self, wanted: impl Fn(&Delivery) -> bool) -> Vec<(OffsetRange, Delivery)> {
        let found = self.deliveries.iter().filter(|(_, delivery)| wanted(delivery));
        found.map(|(range, delivery)| (range, delivery.clone())).collect()
    }

    /// What a member had is available again, or given up.
    fn give_back(&mut self, range: OffsetRange, delivery: Delivery, allowed: Allowed) {
        let count = delivery.count;
        self.put(range, Delivery { progress: given_back(delivery, allowed), count });
        self.unwritten.set(range, ());
        self.is_news = true;
    }

    /// Records below `log_start` are gone, whoever has them.
    pub fn trim(&mut self, log_start: Offset) {
        if log_start <= self.start {
            return;
        }
        let gone = OffsetRange { first: self.start, last: log_start.plus(-1) };
        self.done -= self.done_within(gone);
        self.archiving -= self.archiving_within(gone);
        self.deliveries.remove_below(log_start);
        self.is_news |= self.keys.remove_below(log_start);
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
            self.put(range, Delivery { progress: UNTOUCHED, count: 0 });
        }
    }

    fn put(&mut self, range: OffsetRange, delivery: Delivery) {
        self.done -= self.done_within(range);
        self.archiving -= self.archiving_within(range);
        if matches!(delivery.progress, Progress::Archiving { .. }) {
            self.archiving += range.count();
        }
        if delivery.is_done() {
            self.done += range.count();
            self.is_news |= self.keys.remove(range);
        }
        if delivery.is_available() {
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

/// What becomes of a record that a member does not have any more: another one may have it, unless it was delivered too often.
fn given_back(delivery: Delivery, allowed: Allowed) -> Progress {
    let is_last = delivery.count >= allowed.deliveries && !planted(Mutant::DeliveredWithoutLimit);
    match delivery.progress {
        _ if is_last => given_up(Reason::Attempts, allowed),
        Progress::Acquired { member, .. } => Progress::Available { last_had_by: Some(member) },
        _ => UNTOUCHED,
    }
}

fn given_up(reason: Reason, allowed: Allowed) -> Progress {
    if allowed.dead_letters { Progress::Archiving { reason: Some(reason) } } else { Progress::Archived }
}

fn one(offset: Offset) -> OffsetRange {
    OffsetRange { first: offset, last: offset }
}

/// What is to become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// There is no such record, and it will never be acknowledged.
    Missing,
    Accept,
    Release,
    Reject,
    Renew,
}

impl Verdict {
    fn from_type(number: i8) -> Result<Verdict, AcknowledgeError> {
        match number {
            0 => Ok(Verdict::Missing),
            1 => Ok(Verdict::Accept),
            2 => Ok(Verdict::Release),
            3 => Ok(Verdict::Reject),
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
