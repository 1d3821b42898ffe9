//! Records that are picked: those of a key in their order, whoever gets them and whatever becomes of them.

use super::*;
use crate::share::ranges::Ranges;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const ALLOWED: Allowed = Allowed { deliveries: 4, locks: 12, dead_letters: false };
const LOCK_MS: u64 = 50;

fn fresh(start: i64) -> Partition {
    let state = ShareState { state_epoch: 1, start: Some(start), batches: Vec::new() };
    Partition::restore(Offset(start), &state, Offset(i64::MAX / 2))
}

/// Candidates by their keys; a key of 0 is none.
fn candidates(list: &[(i64, u64)]) -> Vec<Candidate> {
    list.iter().map(|(offset, key)| Candidate { offset: Offset(*offset), key: (*key > 0).then_some(*key) }).collect()
}

fn pick(partition: &mut Partition, member: &str, window: (i64, i64), list: &[(i64, u64)], max: usize) -> Vec<(i64, i16)> {
    let window = Offset(window.0)..Offset(window.1);
    let acquired = partition.acquire(window, Pick::Of(&candidates(list)), &Arc::from(member), 100, max, ALLOWED);
    acquired.iter().flat_map(|range| (range.first.0..=range.last.0).map(|at| (at, range.delivery_count))).collect()
}

fn say(partition: &mut Partition, member: &str, at: i64, kind: i8) {
    let batch = Acknowledgement { first: Offset(at), last: Offset(at), types: vec![kind] };
    partition.acknowledge(member, &[batch], 100, ALLOWED).expect("it is the member's");
}

/// Records can be read before 7.
fn late(partition: &mut Partition, member: &str, at: i64) -> Result<(), AcknowledgeError> {
    partition.acknowledge_late(member, Offset(at), Offset(7), ALLOWED)
}

#[test]
fn only_candidates_are_acquired_and_what_lies_between_stays_available_and_uncounted() {
    let mut partition = fresh(0);
    assert_eq!(pick(&mut partition, "a", (0, 8), &[(2, 0), (3, 0), (6, 0)], 2), [(2, 1), (3, 1)]);
    assert_eq!(partition.end, Offset(6), "what was not looked at is new");
    assert_eq!(partition.next(ALLOWED), Some(Offset(0)));
    assert_eq!(partition.next_behind(Offset(2), ALLOWED), Some(Offset(4)));
    assert_eq!(partition.next_behind(Offset(7), ALLOWED), None, "what lies before was not read");
    assert_eq!(partition.take_write(), None);
    assert_eq!(pick(&mut partition, "b", (0, 8), &[(0, 0), (2, 0), (6, 0), (7, 0)], 9), [(0, 1), (6, 1), (7, 1)]);
    assert_eq!(partition.end, Offset(8));
}

#[test]
fn a_record_waits_for_those_of_its_key_before_it() {
    let mut partition = fresh(0);
    let all = [(0, 1), (1, 2), (2, 1), (3, 0), (4, 2), (5, 3)];
    assert_eq!(pick(&mut partition, "a", (0, 6), &all, 1), [(0, 1)]);
    assert_eq!(pick(&mut partition, "b", (1, 6), &all, 9), [(1, 1), (3, 1), (4, 1), (5, 1)], "a run of a key is one member's");
    assert_eq!(pick(&mut partition, "c", (0, 6), &all, 9), []);
    partition.take_news();
    say(&mut partition, "a", 0, 1);
    assert!(partition.take_news(), "the next of its key can be had");
    assert_eq!(pick(&mut partition, "c", (2, 6), &all, 9), [(2, 1)]);
    say(&mut partition, "b", 1, 2);
    assert_eq!(pick(&mut partition, "c", (1, 6), &all, 9), [(1, 2)]);
    say(&mut partition, "b", 4, 2);
    assert_eq!(pick(&mut partition, "b", (1, 6), &all, 9), [], "1 is somebody's again");
    say(&mut partition, "c", 1, 3);
    assert_eq!(pick(&mut partition, "b", (1, 6), &all, 9), [(4, 2)]);
}

#[test]
fn of_each_key_one_record_may_be_had_whatever_is_done_with_before_it() {
    let mut partition = fresh(0);
    let all = candidates(&[(0, 1), (1, 2), (2, 1), (3, 3), (4, 2), (5, 3)]);
    let pick = |partition: &mut Partition, member: &str| {
        let window = Offset(0)..Offset(6);
        let acquired = partition.acquire(window, Pick::OneOfEachKey(&all), &Arc::from(member), 100, 9, ALLOWED);
        acquired.iter().flat_map(|range| range.first.0..=range.last.0).collect::<Vec<_>>()
    };
    assert_eq!(pick(&mut partition, "a"), [0, 1, 3]);
    say(&mut partition, "a", 1, 1);
    assert_eq!(pick(&mut partition, "b"), [4]);
    say(&mut partition, "a", 0, 2);
    say(&mut partition, "a", 3, 3);
    assert_eq!(pick(&mut partition, "b"), [0, 5]);
}

#[test]
fn a_record_that_is_seen_by_one_is_in_the_way_of_all() {
    let mut partition = fresh(0);
    assert_eq!(pick(&mut partition, "a", (0, 4), &[(0, 1), (1, 1)], 1), [(0, 1)]);
    assert_eq!(pick(&mut partition, "a", (1, 4), &[(1, 1)], 9), []);
    // Another reader has no use for 1, but knows that 2 comes behind it.
    assert_eq!(pick(&mut partition, "b", (1, 4), &[(2, 1), (3, 2)], 9), [(3, 1)]);
    partition.trim(Offset(2));
    assert_eq!(pick(&mut partition, "b", (2, 4), &[(2, 1)], 9), [(2, 1)]);
}

#[test]
fn what_is_passed_over_counts_against_the_limit() {
    let mut partition = fresh(0);
    let hot: Vec<(i64, u64)> = (0..20).map(|at| (at, if at == 15 { 2 } else { 1 })).collect();
    assert_eq!(pick(&mut partition, "a", (0, 20), &hot, 1), [(0, 1)]);
    assert_eq!(pick(&mut partition, "b", (1, 20), &hot, 9), []);
    assert_eq!((partition.end, partition.next_behind(Offset(12), ALLOWED)), (Offset(12), None));
}

#[test]
fn what_nobody_wants_is_done_with_and_what_somebody_has_is_not() {
    let mut partition = fresh(0);
    assert_eq!(pick(&mut partition, "a", (0, 6), &[(1, 0), (4, 0)], 9), [(1, 1), (4, 1)]);
    let unwanted = |first, last| OffsetRange { first: Offset(first), last: Offset(last) };
    partition.leave_out(&[unwanted(0, 2), unwanted(5, 9)]);
    assert_eq!((partition.start, partition.next(ALLOWED)), (Offset(1), Some(Offset(3))));
    assert_eq!(partition.take_write().map(|write| (write.start, write.delivery_complete_count)), Some((1, 2)));
    say(&mut partition, "a", 1, 1);
    assert_eq!(partition.start, Offset(3));
}

#[test]
fn a_lock_is_renewed_under_another_name_and_the_old_one_is_worth_nothing() {
    let mut partition = fresh(0);
    pick(&mut partition, "1", (0, 2), &[(0, 0), (1, 0)], 9);
    assert_eq!(partition.renew_as("1", Offset(0), 500, Arc::from("2")), Ok(1));
    assert_eq!(partition.renew_as("1", Offset(0), 500, Arc::from("3")), Err(AcknowledgeError::NotAcquired));
    assert_eq!(partition.take_write(), None, "nothing to store");
    partition.expire(100, ALLOWED);
    assert_eq!(partition.next_expiry_ms(), Some(500));
    assert_eq!(late(&mut partition, "1", 0), Err(AcknowledgeError::NotAcquired), "somebody has it");
    say(&mut partition, "2", 0, 1);
    assert_eq!(partition.start, Offset(1));
}

#[test]
fn who_had_a_record_last_may_accept_it_until_somebody_else_has_it() {
    let mut partition = fresh(0);
    pick(&mut partition, "1", (0, 3), &[(0, 0), (1, 0), (2, 0)], 9);
    partition.expire(100, ALLOWED);
    assert_eq!(late(&mut partition, "2", 0), Err(AcknowledgeError::NotAcquired));
    assert_eq!(late(&mut partition, "1", 0), Ok(()));
    assert_eq!(partition.start, Offset(1));
    pick(&mut partition, "2", (1, 2), &[(1, 0)], 9);
    assert_eq!(late(&mut partition, "1", 1), Err(AcknowledgeError::NotAcquired));
    let write = partition.take_write().expect("something has changed");
    let state = ShareState { state_epoch: 1, start: Some(write.start), batches: write.batches };
    let mut partition = Partition::restore(Offset(write.start), &state, Offset(3));
    assert_eq!(late(&mut partition, "1", 2), Ok(()), "nobody knows who had it before");
    assert_eq!(late(&mut partition, "1", 7), Err(AcknowledgeError::NotAcquired), "there is no such record");
    assert_eq!(late(&mut partition, "1", 5), Ok(()), "it may have been delivered before");
    assert_eq!((partition.start, partition.end, partition.next(ALLOWED)), (Offset(1), Offset(6), Some(Offset(1))));
}

#[derive(Clone, Debug)]
enum Step {
    /// Reads so far, from the first record that could be had on, and behind what was not.
    Receive {
        member: usize,
        length: i64,
        max: usize,
        one_of_each_key: bool,
    },
    Answer {
        member: usize,
        kind: i8,
        every: bool,
    },
    Release {
        member: usize,
        seen: bool,
    },
    Time(u64),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..3usize, 1..9i64, 1..6usize, any::<bool>())
            .prop_map(|(member, length, max, one_of_each_key)| Step::Receive { member, length, max, one_of_each_key }),
        5 => (0..3usize, 1..5i8, any::<bool>()).prop_map(|(member, kind, every)| Step::Answer { member, kind, every }),
        1 => (0..3usize, any::<bool>()).prop_map(|(member, seen)| Step::Release { member, seen }),
        2 => (1..60u64).prop_map(Step::Time),
        1 => Just(Step::Crash),
    ]
}

const MEMBERS: [&str; 3] = ["a", "b", "c"];

/// The partition, a log of records with keys, and what members have.
struct World {
    partition: Partition,
    keys: Vec<u64>,
    now_ms: u64,
}

impl World {
    fn is_open(&self, at: i64) -> bool {
        let delivery = self.partition.delivery(Offset(at));
        at >= self.partition.start.0 && delivery.is_none_or(|delivery| !delivery.is_done())
    }

    fn receive(&mut self, member: usize, length: i64, max: usize, one_of_each_key: bool) -> usize {
        let mut from = self.partition.next(ALLOWED);
        while let Some(first) = from.filter(|first| first.0 < self.keys.len() as i64) {
            let end = (first.0 + length).min(self.keys.len() as i64);
            let list: Vec<(i64, u64)> = (first.0..end).map(|at| (at, self.keys[at as usize])).collect();
            let (member, until_ms) = (Arc::from(MEMBERS[member]), self.now_ms + LOCK_MS);
            let window = first..Offset(end);
            let list = candidates(&list);
            let pick = if one_of_each_key { Pick::OneOfEachKey(&list) } else { Pick::Of(&list) };
            let acquired = self.partition.acquire(window, pick, &member, until_ms, max, ALLOWED);
            let mut picked: Ranges<()> = Ranges::default();
            acquired.iter().for_each(|of| picked.set(OffsetRange { first: of.first, last: of.last }, ()));
            let picked: BTreeSet<i64> = picked.iter().flat_map(|(range, ())| range.first.0..=range.last.0).collect();
            for at in &picked {
                let key = self.keys[*at as usize];
                let before = (0..*at).filter(|before| key > 0 && self.keys[*before as usize] == key);
                let is_in_the_way = |before: &i64| self.is_open(*before) && (one_of_each_key || !picked.contains(before));
                let open: Vec<i64> = before.filter(is_in_the_way).collect();
                assert!(open.is_empty(), "{at} of key {key} is acquired while {open:?} are not done with");
            }
            if !picked.is_empty() {
                return picked.len();
            }
            from = self.partition.next_behind(Offset(end), ALLOWED);
        }
        0
    }

    fn held_by(&self, member: usize) -> Vec<i64> {
        let held = self.partition.select(|delivery| delivery.is_of(MEMBERS[member]));
        held.iter().flat_map(|(range, _)| range.first.0..=range.last.0).collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Receive { member, length, max, one_of_each_key } => {
                self.receive(member, length, max, one_of_each_key);
            }
            Step::Answer { member, kind, every } => {
                let held = self.held_by(member);
                let some = if every { held.len() } else { held.len().div_ceil(2) };
                held[..some].iter().for_each(|at| say(&mut self.partition, MEMBERS[member], *at, kind));
            }
            Step::Release { member, seen } => self.partition.release(MEMBERS[member], seen, ALLOWED),
            Step::Time(passed) => {
                self.now_ms += passed;
                self.partition.expire(self.now_ms, ALLOWED);
            }
            Step::Crash => {
                // All that was decided was written: the leader is another one.
                let stored: Vec<StateBatch> =
                    self.partition.deliveries.iter().map(|(range, of)| StateBatch::new(range, of.stored())).collect();
                let start = self.partition.start;
                let state = ShareState { state_epoch: 1, start: Some(start.0), batches: stored };
                self.partition = Partition::restore(start, &state, Offset(i64::MAX / 2));
            }
        }
        let known: BTreeMap<Offset, KeyHash> = self.partition.keys.iter().collect();
        assert!(known.keys().all(|at| *at >= self.partition.start && *at < self.partition.end && self.is_open(at.0)));
        assert!(known.iter().all(|(at, key)| self.keys[at.0 as usize] == *key));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn records_of_a_key_are_given_out_in_their_order_and_all_in_the_end(
        keys in prop::collection::vec(0..4u64, 1..50),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut world = World { partition: fresh(0), keys, now_ms: 0 };
        steps.into_iter().for_each(|step| world.step(step));
        for _ in 0..200 {
            world.step(Step::Answer { member: 0, kind: 1, every: true });
            world.step(Step::Time(LOCK_MS));
            world.receive(0, 7, 5, true);
        }
        prop_assert_eq!(world.partition.start.0, world.keys.len() as i64);
    }
}
