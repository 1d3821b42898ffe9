//! The records of a share-partition against one entry for each offset, under random operations, and through crashes between any two of them.

use super::*;
use crate::share::state::Stage;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

const ALLOWED: Allowed = Allowed { deliveries: 3, locks: 20, dead_letters: false };
const LOG_END: Offset = Offset(i64::MAX / 2);
const MEMBERS: [&str; 3] = ["a", "b", "c"];

fn stored(start: i64, batches: Vec<StateBatch>) -> ShareState {
    ShareState { state_epoch: 1, start: Some(start), batches }
}

fn fresh(start: i64) -> Partition {
    Partition::restore(Offset(start), &stored(start, Vec::new()), LOG_END)
}

fn acquire(partition: &mut Partition, window: Range<i64>, member: &str, until_ms: u64, max: usize) -> Vec<(i64, i64, i16)> {
    let window = Offset(window.start)..Offset(window.end);
    let acquired = partition.acquire(window, Pick::All, &Arc::from(member), until_ms, max, ALLOWED);
    acquired.iter().map(|range| (range.first.0, range.last.0, range.delivery_count)).collect()
}

fn say(partition: &mut Partition, member: &str, first: i64, last: i64, types: &[i8]) -> Result<(), AcknowledgeError> {
    let batch = Acknowledgement { first: Offset(first), last: Offset(last), types: types.to_vec() };
    partition.acknowledge(member, &[batch], 1_000, ALLOWED)
}

fn batch(first: i64, last: i64, stage: Stage, delivery_count: i16) -> StateBatch {
    StateBatch::new(OffsetRange { first: Offset(first), last: Offset(last) }, Stored { stage, delivery_count })
}

#[test]
fn new_records_are_acquired_once_and_only_within_what_was_read() {
    let mut partition = fresh(10);
    assert_eq!(partition.next(ALLOWED), Some(Offset(10)));
    assert_eq!(acquire(&mut partition, 10..20, "a", 100, 4), [(10, 13, 1)]);
    assert_eq!(partition.next(ALLOWED), Some(Offset(14)));
    assert_eq!(acquire(&mut partition, 10..20, "b", 100, 100), [(14, 19, 1)]);
    assert_eq!(acquire(&mut partition, 10..20, "b", 100, 100), []);
    assert_eq!(acquire(&mut partition, 25..30, "b", 100, 100), [], "what lies between was not read");
    assert_eq!((partition.start, partition.next(ALLOWED)), (Offset(10), Some(Offset(20))));
}

#[test]
fn the_start_moves_over_what_is_done_with_and_each_offset_may_have_a_verdict_of_its_own() {
    let mut partition = fresh(0);
    acquire(&mut partition, 0..10, "a", 100, 10);
    say(&mut partition, "a", 0, 9, &[1, 1, 3, 0, 2, 1, 4, 1, 1, 1]).unwrap();
    assert_eq!(partition.start, Offset(4));
    let write = partition.take_write().unwrap();
    let left = [batch(4, 4, Stage::Available, 1), batch(5, 5, Stage::Acknowledged, 1), batch(7, 9, Stage::Acknowledged, 1)];
    assert_eq!((write.start, write.delivery_complete_count, &write.batches[..]), (4, 4, &left[..]));
    assert_eq!(partition.take_write(), None);
    assert_eq!(acquire(&mut partition, 4..10, "b", 100, 10), [(4, 4, 2)]);
    say(&mut partition, "b", 4, 4, &[1]).unwrap();
    assert_eq!(partition.start, Offset(6));
    say(&mut partition, "a", 6, 6, &[1]).unwrap();
    assert_eq!((partition.start, partition.in_flight()), (Offset(10), 0));
}

#[test]
fn what_is_not_acquired_by_the_member_is_refused_as_a_whole() {
    let mut partition = fresh(0);
    acquire(&mut partition, 0..5, "a", 100, 10);
    acquire(&mut partition, 5..8, "b", 100, 10);
    let before = partition.clone();
    assert_eq!(say(&mut partition, "a", 3, 5, &[1]), Err(AcknowledgeError::NotAcquired));
    assert_eq!(say(&mut partition, "b", 7, 8, &[1]), Err(AcknowledgeError::NotAcquired), "8 was delivered to nobody");
    assert_eq!(say(&mut partition, "a", 3, 2, &[1]), Err(AcknowledgeError::Malformed));
    assert_eq!(say(&mut partition, "a", 0, 2, &[1, 1]), Err(AcknowledgeError::Malformed));
    assert_eq!(say(&mut partition, "a", 0, 0, &[5]), Err(AcknowledgeError::Malformed));
    let twice = |first| Acknowledgement { first: Offset(first), last: Offset(2), types: vec![1] };
    assert_eq!(partition.acknowledge("a", &[twice(0), twice(2)], 0, ALLOWED), Err(AcknowledgeError::Malformed));
    assert_eq!(partition, before);
    say(&mut partition, "a", 0, 4, &[1]).unwrap();
    assert_eq!(say(&mut partition, "a", 0, 4, &[1]), Ok(()), "what is done with is passed over");
}

#[test]
fn a_lock_that_expires_gives_the_record_to_the_next_until_it_was_delivered_too_often() {
    let mut partition = fresh(0);
    for count in 1..=3 {
        assert_eq!(acquire(&mut partition, 0..1, "a", count as u64 * 10, 1), [(0, 0, count)]);
        partition.expire(count as u64 * 10 - 1, ALLOWED);
        assert_eq!(acquire(&mut partition, 0..1, "b", 1_000, 1), [], "the lock holds");
        partition.expire(count as u64 * 10, ALLOWED);
    }
    assert_eq!((partition.start, partition.next(ALLOWED)), (Offset(1), Some(Offset(1))));
    assert_eq!(partition.next_expiry_ms(), None);
}

#[test]
fn a_renewed_lock_holds_longer() {
    let mut partition = fresh(0);
    acquire(&mut partition, 0..2, "a", 10, 2);
    say(&mut partition, "a", 0, 0, &[4]).unwrap();
    assert_eq!(partition.take_write(), None, "nothing to store");
    partition.expire(10, ALLOWED);
    assert_eq!(partition.next_expiry_ms(), Some(1_000));
    assert_eq!(acquire(&mut partition, 0..2, "b", 100, 2), [(1, 1, 2)]);
}

#[test]
fn what_a_member_has_not_seen_counts_as_not_delivered() {
    let mut partition = fresh(0);
    acquire(&mut partition, 0..2, "a", 10, 2);
    acquire(&mut partition, 2..4, "b", 10, 2);
    partition.release("a", false, ALLOWED);
    assert_eq!(partition.take_write(), None);
    partition.release("b", true, ALLOWED);
    assert_eq!(acquire(&mut partition, 0..4, "c", 10, 4), [(0, 1, 1), (2, 3, 2)]);
}

#[test]
fn only_so_many_records_are_in_flight_whatever_is_done_with_behind_them() {
    let mut partition = fresh(0);
    assert_eq!(acquire(&mut partition, 0..100, "a", 10, 100), [(0, 19, 1)]);
    assert_eq!(partition.next(ALLOWED), None);
    say(&mut partition, "a", 10, 19, &[1]).unwrap();
    assert_eq!(partition.next(ALLOWED), Some(Offset(20)));
    assert_eq!(acquire(&mut partition, 20..100, "a", 10, 100), [(20, 29, 1)]);
    say(&mut partition, "a", 3, 3, &[2]).unwrap();
    assert_eq!(partition.next(ALLOWED), Some(Offset(3)), "what is available again needs no room");
}

#[test]
fn a_log_that_begins_later_takes_what_is_gone_from_whoever_has_it() {
    let mut partition = fresh(0);
    acquire(&mut partition, 0..10, "a", 10, 10);
    say(&mut partition, "a", 6, 7, &[1]).unwrap();
    partition.trim(Offset(6));
    assert_eq!(partition.start, Offset(8));
    assert_eq!(say(&mut partition, "a", 0, 9, &[1]), Ok(()));
    partition.trim(Offset(50));
    assert_eq!((partition.start, partition.next(ALLOWED)), (Offset(50), Some(Offset(50))));
    assert_eq!(partition.take_write().unwrap().start, 50);
}

#[test]
fn a_log_that_lost_its_end_delivers_what_comes_in_place_of_it() {
    let batches = vec![batch(5, 9, Stage::Acknowledged, 1), batch(11, 12, Stage::Available, 2)];
    let mut partition = Partition::restore(Offset(4), &stored(4, batches.clone()), Offset(7));
    assert_eq!(acquire(&mut partition, 4..20, "a", 10, 20), [(4, 4, 1), (7, 19, 1)]);
    let mut partition = Partition::restore(Offset(4), &stored(4, batches), Offset(2));
    assert_eq!(acquire(&mut partition, 2..4, "a", 10, 20), [(2, 3, 1)]);
}

#[test]
fn what_is_given_up_is_on_its_way_to_the_dead_letters_until_it_is_buried() {
    let allowed = Allowed { dead_letters: true, ..ALLOWED };
    let get = |partition: &mut Partition| partition.acquire(Offset(0)..Offset(4), Pick::All, &Arc::from("a"), 10, 4, allowed);
    let mut partition = fresh(0);
    get(&mut partition);
    let batch = Acknowledgement { first: Offset(0), last: Offset(3), types: vec![3, 0, 1, 2] };
    partition.acknowledge("a", &[batch], 10, allowed).unwrap();
    for _ in 1..ALLOWED.deliveries {
        get(&mut partition);
        partition.expire(10, allowed);
    }
    let burial = |at, deliveries, reason| Burial { offset: Offset(at), deliveries, reason };
    let [rejected, often] = [burial(0, 1, Some(Reason::Rejected)), burial(3, 3, Some(Reason::Attempts))];
    assert_eq!(partition.burials(9), [rejected, often]);
    assert_eq!((partition.start, partition.in_flight(), partition.next(allowed)), (Offset(0), 2, Some(Offset(4))));
    let write = partition.take_write().unwrap();
    assert_eq!(write.batches[0], self::batch(0, 0, Stage::Archiving, 1));
    // The next leader knows that they are given up, and no more.
    let mut next = Partition::restore(Offset(0), &stored(0, write.batches), LOG_END);
    assert_eq!(next.burials(1), [Burial { reason: None, ..rejected }]);
    for partition in [&mut partition, &mut next] {
        partition.buried(Offset(3));
        assert_eq!((partition.start, partition.has_archiving()), (Offset(0), true));
        partition.buried(Offset(0));
        partition.buried(Offset(0));
        assert_eq!((partition.start, partition.has_archiving(), partition.burials(9)), (Offset(4), false, Vec::new()));
    }
}

#[test]
fn a_dead_letter_of_a_record_that_is_gone_is_not_waited_for() {
    let allowed = Allowed { dead_letters: true, ..ALLOWED };
    let mut partition = fresh(0);
    partition.acquire(Offset(0)..Offset(4), Pick::All, &Arc::from("a"), 10, 4, allowed);
    let batch = Acknowledgement { first: Offset(0), last: Offset(3), types: vec![3] };
    partition.acknowledge("a", &[batch], 10, allowed).unwrap();
    partition.trim(Offset(3));
    assert_eq!(partition.burials(9).iter().map(|burial| burial.offset.0).collect::<Vec<_>>(), [3]);
    partition.trim(Offset(4));
    assert!(!partition.has_archiving());
}

/// One entry for each offset, as slow and plain as can be.
#[derive(Clone, Debug, Default)]
struct Naive {
    start: i64,
    end: i64,
    records: BTreeMap<i64, Entry>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    /// Who has it, and until when.
    held: Option<(String, u64)>,
    done: bool,
    count: i16,
}

impl Naive {
    fn acquire(&mut self, window: Range<i64>, member: &str, until: u64, max: usize) -> Vec<(i64, i16)> {
        let mut got = Vec::new();
        for at in window.clone() {
            let in_flight = self.records.values().filter(|entry| !entry.done).count();
            if got.len() == max {
                break;
            }
            if at == self.end && window.start <= self.end && in_flight < ALLOWED.locks {
                self.records.insert(at, Entry { held: None, done: false, count: 0 });
                self.end += 1;
            }
            if let Some(entry) = self.records.get_mut(&at)
                && !entry.done
                && entry.held.is_none()
            {
                entry.count += 1;
                entry.held = Some((member.to_owned(), until));
                got.push((at, entry.count));
            }
        }
        got
    }

    fn settle(&mut self, at: i64, verdict: i8, until: u64) {
        let Some(entry) = self.records.get_mut(&at) else { return };
        match verdict {
            4 => entry.held.as_mut().unwrap().1 = until,
            2 => {
                entry.held = None;
                entry.done = entry.count >= ALLOWED.deliveries;
            }
            _ => (entry.held, entry.done) = (None, true),
        }
        self.advance();
    }

    fn acknowledge(&mut self, member: &str, first: i64, types: &[i8], until: u64) -> bool {
        let offsets = || (first..).zip(types.iter().copied()).filter(|(at, _)| *at >= self.start);
        let is_held =
            |at: i64| self.records.get(&at).is_some_and(|entry| entry.held.as_ref().is_some_and(|(holder, _)| holder == member));
        if !offsets().all(|(at, _)| is_held(at)) {
            return false;
        }
        let offsets: Vec<_> = offsets().collect();
        offsets.into_iter().for_each(|(at, verdict)| self.settle(at, verdict, until));
        true
    }

    fn advance(&mut self) {
        while self.records.get(&self.start).is_some_and(|entry| entry.done) {
            self.records.remove(&self.start);
            self.start += 1;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Acquire {
        member: usize,
        ahead: i64,
        length: i64,
        max: usize,
    },
    Acknowledge {
        member: usize,
        behind: i64,
        types: Vec<i8>,
    },
    /// Everything a member has.
    Answer {
        member: usize,
        verdict: i8,
    },
    Release {
        member: usize,
        seen: bool,
    },
    Time(u64),
    Trim(i64),
    /// What has changed is written; the second time, if `twice`, after the next write.
    Write,
    /// The leader is gone; another one reads what was written.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize, -2..3i64, 0..12i64, 0..15usize)
            .prop_map(|(member, ahead, length, max)| Step::Acquire { member, ahead, length, max }),
        3 => (0..3usize, 0..25i64, prop::collection::vec(0..5i8, 1..6))
            .prop_map(|(member, behind, types)| Step::Acknowledge { member, behind, types }),
        3 => (0..3usize, 0..5i8).prop_map(|(member, verdict)| Step::Answer { member, verdict }),
        1 => (0..3usize, any::<bool>()).prop_map(|(member, seen)| Step::Release { member, seen }),
        2 => (1..40u64).prop_map(Step::Time),
        1 => (0..6i64).prop_map(Step::Trim),
        3 => Just(Step::Write),
        1 => Just(Step::Crash),
    ]
}

/// What a share coordinator has of the partition.
#[derive(Default)]
struct Coordinator {
    start: Offset,
    batches: Batches,
}

impl Coordinator {
    fn write(&mut self, write: &Write) {
        self.start = self.start.max(Offset(write.start));
        self.batches.merge(self.start, &write.batches);
    }
}

/// Both sides, and what was promised to members.
struct World {
    partition: Partition,
    naive: Naive,
    coordinator: Coordinator,
    earlier: Vec<Write>,
    now_ms: u64,
}

const LOCK_MS: u64 = 50;

impl World {
    fn new() -> World {
        let (partition, naive) = (fresh(0), Naive::default());
        World { partition, naive, coordinator: Coordinator::default(), earlier: Vec::new(), now_ms: 0 }
    }

    fn step(&mut self, step: Step) {
        let until = self.now_ms + LOCK_MS;
        match step {
            Step::Acquire { member, ahead, length, max } => {
                let next = self.partition.next(ALLOWED).unwrap_or(self.partition.end);
                let first = (next.0 + ahead).max(0);
                let window = first..first + length;
                let naive = self.naive.acquire(window.clone(), MEMBERS[member], until, max);
                let ranges = acquire(&mut self.partition, window, MEMBERS[member], until, max);
                let mut got: Vec<(i64, i16)> =
                    ranges.iter().flat_map(|(first, last, count)| (*first..=*last).map(|at| (at, *count))).collect();
                got.sort_unstable();
                assert_eq!(got, naive);
            }
            Step::Acknowledge { member, behind, types } => {
                let first = (self.naive.end - behind).max(0);
                let naive = self.naive.acknowledge(MEMBERS[member], first, &types, until);
                let last = Offset(first + types.len() as i64 - 1);
                let batch = Acknowledgement { first: Offset(first), last, types };
                let outcome = self.partition.acknowledge(MEMBERS[member], &[batch], until, ALLOWED);
                assert_eq!(outcome.is_ok(), naive);
            }
            Step::Answer { member, verdict } => self.answer(MEMBERS[member], verdict, until),
            Step::Release { member, seen } => {
                self.partition.release(MEMBERS[member], seen, ALLOWED);
                for at in self.held_by(MEMBERS[member]) {
                    match seen {
                        true => self.naive.settle(at, 2, 0),
                        false => {
                            let entry = self.naive.records.get_mut(&at).unwrap();
                            (entry.held, entry.count) = (None, entry.count - 1);
                        }
                    }
                }
            }
            Step::Time(passed) => {
                self.now_ms += passed;
                self.partition.expire(self.now_ms, ALLOWED);
                let expired = |entry: &Entry| entry.held.as_ref().is_some_and(|(_, until)| *until <= self.now_ms);
                let expired: Vec<i64> =
                    self.naive.records.iter().filter(|(_, entry)| expired(entry)).map(|(at, _)| *at).collect();
                expired.into_iter().for_each(|at| self.naive.settle(at, 2, 0));
            }
            Step::Trim(further) => {
                let log_start = self.naive.start + further;
                self.partition.trim(Offset(log_start));
                self.naive.records = self.naive.records.split_off(&log_start);
                (self.naive.start, self.naive.end) = (log_start, self.naive.end.max(log_start));
                self.naive.advance();
            }
            Step::Write => self.write(),
            Step::Crash => self.crash(),
        }
        self.check();
    }

    fn held_by(&self, member: &str) -> Vec<i64> {
        let of_member = |entry: &Entry| entry.held.as_ref().is_some_and(|(holder, _)| holder == member);
        self.naive.records.iter().filter(|(_, entry)| of_member(entry)).map(|(at, _)| *at).collect()
    }

    fn answer(&mut self, member: &str, verdict: i8, until: u64) {
        let one = |at: &i64| Acknowledgement { first: Offset(*at), last: Offset(*at), types: vec![verdict] };
        let held = self.held_by(member);
        let batches: Vec<Acknowledgement> = held.iter().map(one).collect();
        self.partition.acknowledge(member, &batches, until, ALLOWED).expect("all of them are the member's");
        held.into_iter().for_each(|at| self.naive.settle(at, verdict, until));
    }

    /// The write reaches the coordinator, and one from before does so again.
    fn write(&mut self) {
        assert_eq!(self.partition.has_unwritten(), self.partition.clone().take_write().is_some());
        if let Some(write) = self.partition.take_write() {
            assert_eq!(i64::from(write.delivery_complete_count), self.partition.done);
            self.coordinator.write(&write);
            self.earlier.push(write);
        }
        if let Some(again) = self.earlier.len().checked_sub(2) {
            let before = (self.coordinator.start, self.coordinator.batches.clone());
            self.coordinator.write(&self.earlier[again].clone());
            assert_eq!(before, (self.coordinator.start, self.coordinator.batches.clone()));
        }
        // All that was decided is there: who reads it has what the leader has, but for the locks.
        let restored = self.restored();
        assert_eq!(restored.start, self.partition.start);
        for (at, entry) in &self.naive.records {
            let (done, count) = Self::entry(&restored, *at).unwrap_or((false, 0));
            let delivered = entry.count - i16::from(entry.held.is_some());
            assert_eq!(done, entry.done, "record {at}");
            assert!(done || count >= delivered, "record {at} was delivered {delivered} times, {count} are stored");
        }
    }

    fn restored(&self) -> Partition {
        let state = stored(self.coordinator.start.0, self.coordinator.batches.to_list());
        Partition::restore(self.coordinator.start, &state, LOG_END)
    }

    fn entry(partition: &Partition, at: i64) -> Option<(bool, i16)> {
        let found = partition.deliveries.within(OffsetRange { first: Offset(at), last: Offset(at) }).next();
        found.map(|(_, delivery)| (delivery.is_done(), delivery.count))
    }

    /// What was not written is as if it had not been. Nobody was told that it was.
    fn crash(&mut self) {
        self.partition = self.restored();
        let each = (self.partition.start.0..self.partition.end.0).map(|at| {
            let (done, count) = Self::entry(&self.partition, at).expect("there are no gaps");
            (at, Entry { held: None, done, count })
        });
        self.naive = Naive { start: self.partition.start.0, end: self.partition.end.0, records: each.collect() };
        self.earlier.clear();
    }

    fn check(&self) {
        let (partition, naive) = (&self.partition, &self.naive);
        assert_eq!((partition.start.0, partition.end.0), (naive.start, naive.end));
        let done = naive.records.values().filter(|entry| entry.done).count();
        assert_eq!(partition.done, done as i64);
        let mut next = partition.start.0;
        for (range, delivery) in partition.deliveries.iter() {
            assert_eq!(range.first.0, next, "there are no gaps");
            next = range.last.0 + 1;
            for at in range.first.0..next {
                let held = match &delivery.progress {
                    Progress::Acquired { member, until_ms } => Some((member.to_string(), *until_ms)),
                    _ => None,
                };
                let entry = Entry { held, done: delivery.is_done(), count: delivery.count };
                assert_eq!(Some(&entry), naive.records.get(&at), "record {at}");
            }
        }
        assert_eq!(next, partition.end.0);
        let available = naive.records.iter().find(|(_, entry)| !entry.done && entry.held.is_none()).map(|(at, _)| *at);
        let has_room = naive.records.len() - done < ALLOWED.locks;
        assert_eq!(partition.next(ALLOWED).map(|next| next.0), available.or(has_room.then_some(naive.end)));
        let first = naive.records.values().filter_map(|entry| Some(entry.held.as_ref()?.1)).min();
        assert!(first.is_none_or(|first| partition.next_expiry_ms().is_some_and(|next| next <= first)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_share_partition_is_as_its_records_would_be(steps in prop::collection::vec(step(), 0..60)) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        // What is written is kept, and everything is delivered to somebody in the end.
        world.step(Step::Write);
        world.step(Step::Crash);
        for _ in 0..=ALLOWED.deliveries {
            world.step(Step::Acquire { member: 0, ahead: -25, length: 60, max: 1_000 });
            world.step(Step::Answer { member: 0, verdict: 1 });
        }
        world.step(Step::Write);
        prop_assert_eq!(world.partition.in_flight(), 0);
        prop_assert_eq!(world.coordinator.start, world.partition.end);
    }
}
