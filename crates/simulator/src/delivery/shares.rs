//! What the oracle knows of share-partitions: what their leaders gave to whom, took and answered, in each life of their state.
//!
//! * Within a leadership no record is with two members at a time, and only who has a record says what becomes of it.
//! * What was answered as done with is not delivered again by that leader or a later one, and whoever begins finds it done with.
//! * Whoever begins finds nothing done with that nobody was done with, and no start before an earlier one.
//! * Deliveries are counted one by one, no count is forgotten that was answered, and none is above what the group allows.
//! * Where records of a key are delivered in their order, no later one comes before an earlier one is over.
//! * In the end everything that was committed is done with.
//!
//! A *life* of a state begins with its state epoch; what was done in another one does not count.

use super::leaders::key_step;
use crate::log::Partition;
use duolog_base::{LeaderEpoch, NodeId};
use duolog_core::share::decisions::{ShareState, Stage};
use std::collections::{BTreeMap, BTreeSet};

/// An invariant of share-partitions that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareViolation {
    TwoHolders {
        partition: Partition,
        offset: i64,
        members: [String; 2],
    },
    /// Somebody was heard who has not got the record.
    TakenFromOther {
        partition: Partition,
        offset: i64,
        member: String,
    },
    DeliveredAgain {
        partition: Partition,
        offset: i64,
        member: String,
    },
    DeliveredTooOften {
        partition: Partition,
        offset: i64,
        count: i16,
    },
    CountWrong {
        partition: Partition,
        offset: i64,
        before: i16,
        is: i16,
    },
    StartWentBack {
        partition: Partition,
        from: i64,
        to: i64,
    },
    /// A leader begins without an acknowledgement that was answered.
    AcknowledgementLost {
        partition: Partition,
        offset: i64,
    },
    /// A leader begins with a record done with that nobody was done with.
    Skipped {
        partition: Partition,
        offset: i64,
    },
    NeverDone {
        partition: Partition,
        offset: i64,
    },
    /// A record before an earlier one of its key was done with.
    OutOfOrder {
        partition: Partition,
        earlier: i64,
        offset: i64,
    },
}

/// What a member said of a record that it had.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    offset: i64,
    is_done: bool,
    /// Deliveries that are to be remembered, if it is given back.
    count: i16,
}

/// Kafka's numbers of what may be said.
pub const ACCEPT: i8 = 1;
pub const RELEASE: i8 = 2;
pub const REJECT: i8 = 3;
pub const RENEW: i8 = 4;

#[derive(Debug)]
struct Hold {
    member: String,
    until_ms: u64,
    count: i16,
    is_done: bool,
}

#[derive(Debug, Default)]
struct Life {
    /// Where it began.
    begin: i64,
    /// What the newest leader found: its epoch, the start, and what was done with behind it.
    found: Option<(LeaderEpoch, i64, BTreeSet<i64>)>,
    /// What a member was done with, or was delivered for the last time.
    over: BTreeSet<i64>,
    /// What was answered as done with, and in which leadership first.
    answered: BTreeMap<i64, LeaderEpoch>,
    /// Counts that were answered.
    counts: BTreeMap<i64, (LeaderEpoch, i16)>,
}

#[derive(Debug, Default)]
pub struct Shares {
    lives: BTreeMap<(Partition, i32), Life>,
    holds: BTreeMap<(Partition, LeaderEpoch, i32), BTreeMap<i64, Hold>>,
    acked: u64,
    violation: Option<(NodeId, ShareViolation)>,
}

impl Shares {
    pub fn acked(&self) -> u64 {
        self.acked
    }

    pub fn take_violation(&mut self) -> Option<(NodeId, ShareViolation)> {
        self.violation.take()
    }

    fn fail(&mut self, node: NodeId, violation: ShareViolation) {
        self.violation.get_or_insert((node, violation));
    }

    /// The state is to begin anew.
    pub fn begins(&mut self, partition: Partition, state_epoch: i32, begin: i64) {
        self.lives.entry((partition, state_epoch)).or_default().begin = begin;
    }

    /// A leader begins with this.
    pub fn loaded(&mut self, partition: Partition, epoch: LeaderEpoch, state: &ShareState, node: NodeId) {
        let life = self.lives.entry((partition, state.state_epoch)).or_default();
        let start = state.start.unwrap_or(life.begin);
        let ranges = state.batches.iter().filter(|batch| batch.stored().stage != Stage::Available);
        let each = ranges.filter_map(|batch| batch.range()).flat_map(|range| range.first.0..=range.last.0);
        let done: BTreeSet<i64> = each.collect();
        let skipped = (life.begin..start).chain(done.iter().copied()).find(|offset| !life.over.contains(offset));
        let is_done = |offset: i64| offset < start || done.contains(&offset);
        let lost = life.answered.iter().find(|(offset, by)| **by <= epoch && !is_done(**offset)).map(|(offset, _)| *offset);
        let before = life.found.as_ref().filter(|(by, _, _)| *by <= epoch).map(|(_, from, _)| *from);
        if life.found.as_ref().is_none_or(|(by, _, _)| *by <= epoch) {
            life.found = Some((epoch, start, done));
        }
        if let Some(offset) = skipped {
            self.fail(node, ShareViolation::Skipped { partition, offset });
        }
        if let Some(offset) = lost {
            self.fail(node, ShareViolation::AcknowledgementLost { partition, offset });
        }
        if let Some(from) = before.filter(|from| *from > start) {
            self.fail(node, ShareViolation::StartWentBack { partition, from, to: start });
        }
        // A leader may have read before, and what it had given out is available again.
        self.holds.insert((partition, epoch, state.state_epoch), BTreeMap::new());
    }

    /// Records go to a member: until when, and which delivery of each it is.
    #[expect(clippy::too_many_arguments, reason = "an event has its place, its records and its time")]
    pub fn delivered(
        &mut self,
        partition: Partition,
        epoch: LeaderEpoch,
        state_epoch: i32,
        member: &str,
        until_ms: u64,
        given: &[(i64, i16)],
        now_ms: u64,
        node: NodeId,
    ) {
        for (offset, count) in given {
            let hold = Hold { member: member.to_owned(), until_ms, count: *count, is_done: false };
            self.check_order(partition, state_epoch, *offset, given, node);
            self.deliver((partition, epoch, state_epoch), *offset, hold, now_ms, node);
        }
    }

    /// Earlier records of the same key are over, or come along.
    fn check_order(&mut self, partition: Partition, state_epoch: i32, offset: i64, given: &[(i64, i16)], node: NodeId) {
        let (Some(step), Some(life)) = (key_step(partition), self.lives.get(&(partition, state_epoch))) else { return };
        let comes_along = |earlier: &i64| given.iter().any(|(offset, _)| offset == earlier);
        let same_key = (life.begin..offset).rev().skip(step - 1).step_by(step);
        if let Some(earlier) = same_key.into_iter().find(|earlier| !life.over.contains(earlier) && !comes_along(earlier)) {
            self.fail(node, ShareViolation::OutOfOrder { partition, earlier, offset });
        }
    }

    fn deliver(
        &mut self,
        (partition, epoch, state_epoch): (Partition, LeaderEpoch, i32),
        offset: i64,
        hold: Hold,
        now_ms: u64,
        node: NodeId,
    ) {
        let life = self.lives.entry((partition, state_epoch)).or_default();
        let holds = self.holds.entry((partition, epoch, state_epoch)).or_default();
        let (member, count) = (hold.member.clone(), hold.count);
        let before = holds.insert(offset, hold);
        let answered = life.answered.get(&offset).is_some_and(|by| *by <= epoch);
        let counted = life.counts.get(&offset).filter(|(by, _)| *by <= epoch).map_or(0, |(_, count)| *count);
        if count >= super::ALLOWED.deliveries {
            life.over.insert(offset);
        }
        if count > super::ALLOWED.deliveries {
            self.fail(node, ShareViolation::DeliveredTooOften { partition, offset, count });
        }
        match before {
            before if answered || before.as_ref().is_some_and(|before| before.is_done) => {
                self.fail(node, ShareViolation::DeliveredAgain { partition, offset, member });
            }
            Some(before) if before.until_ms > now_ms => {
                let members = [before.member, member];
                self.fail(node, ShareViolation::TwoHolders { partition, offset, members });
            }
            Some(before) if before.count + 1 != count => {
                self.fail(node, ShareViolation::CountWrong { partition, offset, before: before.count, is: count });
            }
            None if count <= counted => {
                self.fail(node, ShareViolation::CountWrong { partition, offset, before: counted, is: count });
            }
            _ => {}
        }
    }

    /// A leader has heard what a member says of records, one by one.
    #[expect(clippy::too_many_arguments, reason = "an event has its place, its records and its time")]
    pub fn taken(
        &mut self,
        partition: Partition,
        epoch: LeaderEpoch,
        state_epoch: i32,
        member: &str,
        said: &[(i64, i8)],
        until_ms: u64,
        now_ms: u64,
        node: NodeId,
    ) -> Vec<Taken> {
        let life = self.lives.entry((partition, state_epoch)).or_default();
        let holds = self.holds.entry((partition, epoch, state_epoch)).or_default();
        let (mut taken, mut strange) = (Vec::new(), None);
        for (offset, what) in said {
            let offset = *offset;
            let hold = holds.get_mut(&offset).filter(|hold| hold.member == member && hold.until_ms > now_ms && !hold.is_done);
            match hold {
                // Of what is over, or lies before the beginning, anybody may say anything.
                None if offset < life.begin || life.over.contains(&offset) => {}
                None => strange = Some(offset),
                Some(hold) if *what == RENEW => hold.until_ms = until_ms,
                Some(hold) => {
                    hold.until_ms = now_ms;
                    hold.is_done = *what != RELEASE;
                    taken.push(Taken { offset, is_done: hold.is_done, count: hold.count });
                    if hold.is_done {
                        life.over.insert(offset);
                    }
                }
            }
        }
        if let Some(offset) = strange {
            self.fail(node, ShareViolation::TakenFromOther { partition, offset, member: member.to_owned() });
        }
        taken
    }

    /// A member has given back all it has.
    pub fn released(&mut self, partition: Partition, epoch: LeaderEpoch, state_epoch: i32, member: &str) {
        let holds = self.holds.entry((partition, epoch, state_epoch)).or_default();
        holds.values_mut().filter(|hold| hold.member == member).for_each(|hold| hold.until_ms = 0);
    }

    /// What was taken is answered as stored: a later leader that has begun knows of it.
    pub fn answered(&mut self, partition: Partition, epoch: LeaderEpoch, state_epoch: i32, taken: &[Taken], node: NodeId) {
        let life = self.lives.entry((partition, state_epoch)).or_default();
        let later = life.found.as_ref().filter(|(by, _, _)| *by > epoch);
        let is_known = |offset: i64| later.is_none_or(|(_, start, done)| offset < *start || done.contains(&offset));
        let unknown = taken.iter().find(|taken| taken.is_done && !is_known(taken.offset)).map(|taken| taken.offset);
        for Taken { offset, is_done, count } in taken {
            if *is_done {
                self.acked += 1;
                let by = life.answered.entry(*offset).or_insert(epoch);
                *by = epoch.min(*by);
            } else {
                let known = life.counts.entry(*offset).or_insert((epoch, *count));
                *known = (*known).max((epoch, *count));
            }
        }
        if let Some(offset) = unknown {
            self.fail(node, ShareViolation::AcknowledgementLost { partition, offset });
        }
    }

    /// Everything before `end` must be done with in this life.
    pub fn check_done(&mut self, partition: Partition, state_epoch: i32, end: i64, node: NodeId) {
        let life = self.lives.entry((partition, state_epoch)).or_default();
        if let Some(offset) = (life.begin..end).find(|offset| !life.over.contains(offset)) {
            self.fail(node, ShareViolation::NeverDone { partition, offset });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_base::Offset;
    use duolog_core::share::OffsetRange;
    use duolog_core::share::decisions::{StateBatch, Stored};

    const ONE: LeaderEpoch = LeaderEpoch(1);
    const TWO: LeaderEpoch = LeaderEpoch(2);
    const NODE: NodeId = NodeId(1);
    /// Its records have no order by key.
    const PARTITION: Partition = 1;

    fn state(start: i64, done: &[i64]) -> ShareState {
        let one = |offset: &i64| {
            let range = OffsetRange { first: Offset(*offset), last: Offset(*offset) };
            StateBatch::new(range, Stored { stage: Stage::Acknowledged, delivery_count: 1 })
        };
        ShareState { state_epoch: 1, start: Some(start), batches: done.iter().map(one).collect() }
    }

    /// What is said of a history that begins with records 0 to 2 at member `a` until 100, of which 0 was answered as done with.
    fn says(change: impl Fn(&mut Shares)) -> Option<ShareViolation> {
        let mut shares = Shares::default();
        shares.begins(PARTITION, 1, 0);
        shares.loaded(PARTITION, ONE, &state(0, &[]), NODE);
        shares.delivered(PARTITION, ONE, 1, "a", 100, &[(0, 1), (1, 1), (2, 1)], 0, NODE);
        let taken = shares.taken(PARTITION, ONE, 1, "a", &[(0, ACCEPT)], 0, 10, NODE);
        shares.answered(PARTITION, ONE, 1, &taken, NODE);
        change(&mut shares);
        shares.take_violation().map(|(_, what)| what)
    }

    fn deliver(shares: &mut Shares, epoch: LeaderEpoch, offset: i64, count: i16, now_ms: u64) {
        shares.delivered(PARTITION, epoch, 1, "b", now_ms + 100, &[(offset, count)], now_ms, NODE);
    }

    #[test]
    fn a_sound_history_passes() {
        let sound = says(|shares| {
            deliver(shares, ONE, 1, 2, 100);
            let taken = shares.taken(PARTITION, ONE, 1, "b", &[(1, RELEASE)], 0, 110, NODE);
            shares.answered(PARTITION, ONE, 1, &taken, NODE);
            shares.loaded(PARTITION, TWO, &state(1, &[]), NODE);
            deliver(shares, TWO, 1, 3, 120);
            let taken = shares.taken(PARTITION, TWO, 1, "b", &[(0, ACCEPT), (1, REJECT)], 0, 130, NODE);
            shares.answered(PARTITION, TWO, 1, &taken, NODE);
            shares.check_done(PARTITION, 1, 2, NODE);
        });
        assert_eq!(sound, None);
    }

    #[test]
    fn bad_histories_are_found() {
        let partition = PARTITION;
        let members = ["a".to_owned(), "b".to_owned()];
        let two = says(|shares| deliver(shares, ONE, 1, 2, 99));
        assert_eq!(two, Some(ShareViolation::TwoHolders { partition, offset: 1, members }));
        let again = says(|shares| deliver(shares, TWO, 0, 2, 200));
        assert_eq!(again, Some(ShareViolation::DeliveredAgain { partition, offset: 0, member: "b".to_owned() }));
        let wrong = says(|shares| deliver(shares, ONE, 1, 1, 100));
        assert_eq!(wrong, Some(ShareViolation::CountWrong { partition, offset: 1, before: 1, is: 1 }));
        let often = says(|shares| deliver(shares, TWO, 1, 5, 100));
        assert_eq!(often, Some(ShareViolation::DeliveredTooOften { partition, offset: 1, count: 5 }));
        let other = says(|shares| {
            shares.taken(PARTITION, ONE, 1, "b", &[(1, ACCEPT)], 0, 20, NODE);
        });
        assert_eq!(other, Some(ShareViolation::TakenFromOther { partition, offset: 1, member: "b".to_owned() }));
        let lost = says(|shares| shares.loaded(PARTITION, TWO, &state(0, &[]), NODE));
        assert_eq!(lost, Some(ShareViolation::AcknowledgementLost { partition, offset: 0 }));
        let late = says(|shares| {
            let taken = shares.taken(PARTITION, ONE, 1, "a", &[(1, ACCEPT)], 0, 20, NODE);
            shares.loaded(PARTITION, TWO, &state(1, &[]), NODE);
            shares.answered(PARTITION, ONE, 1, &taken, NODE);
        });
        assert_eq!(late, Some(ShareViolation::AcknowledgementLost { partition, offset: 1 }));
        let skipped = says(|shares| shares.loaded(PARTITION, TWO, &state(2, &[]), NODE));
        assert_eq!(skipped, Some(ShareViolation::Skipped { partition, offset: 1 }));
        let never = says(|shares| shares.check_done(PARTITION, 1, 2, NODE));
        assert_eq!(never, Some(ShareViolation::NeverDone { partition, offset: 1 }));
    }
}
