//! Timers under crashes: the records of a partition and two targets in memory, a leader that is thrown away at any step and replaced by one that
//! replays. Each timer is delivered once unless it was recalled, never early, and the partition is done with it then; each half as its owner
//! says, whoever repeats what, and its owner is asked no more often than is written down.

use super::ownership::{Ended, Ending, Resolution};
use super::pending::Timer;
use super::records::{self, Delayed, Fate, Half, Intent, Kind, Name, Owner, Stored, Target, TimerId, Writing};
use super::state::{Due, Sequences, Timers, delivery};
use bytes::{Bytes, BytesMut};
use duolog_base::{Offset, PartitionIndex, PartitionNumber, ProducerId, TimestampMs};
use duolog_wire::record::{BatchBuilder, BatchHeader, Compression, DecompressLimits, NewRecord, Record, decode_batch};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What lies in one partition, whole batches with their offsets.
#[derive(Default)]
struct Log {
    batches: Vec<BytesMut>,
    end: i64,
}

impl Log {
    fn append(&mut self, mut batch: BytesMut) {
        duolog_wire::record::patch_base_offset(&mut batch, Offset(self.end));
        self.end += i64::from(BatchHeader::parse(&batch).unwrap().record_count);
        self.batches.push(batch);
    }

    fn each(&self, mut take: impl FnMut(&Record<'_>)) {
        for batch in &self.batches {
            let batch = decode_batch(batch, DecompressLimits::default()).unwrap();
            batch.records().for_each(|record| take(&record.unwrap()));
        }
    }

    fn due(&self, timers: &[Timer]) -> Vec<Due> {
        let mut found = BTreeMap::new();
        self.each(|record| {
            if let (Some(key), Some(value)) = (record.key, record.value)
                && let Ok(stored) = records::decode_stored(key, value)
            {
                found.insert(record.offset, stored);
            }
        });
        let due = |timer: &Timer| {
            let Stored { name, delayed, owner } = found.remove(&timer.offset).expect("what is pending can be read");
            Due { timer: *timer, name, delayed, owner }
        };
        timers.iter().map(due).collect()
    }

    /// What lies at an offset, if it is a timer or a half.
    fn find(&self, offset: Offset) -> Option<Due> {
        let mut found = None;
        self.each(|record| {
            if record.offset == offset
                && let (Some(key), Some(value)) = (record.key, record.value)
                && records::is_stored(key)
            {
                let Stored { name, delayed, owner } = records::decode_stored(key, value).unwrap();
                found = Some(Due { timer: Timer { at: TimestampMs(0), offset }, name, delayed, owner });
            }
        });
        found
    }

    /// Of each key the newest record only, as compaction leaves it; tombstones too if `tombstones` says so.
    fn compacted(&self, tombstones: bool) -> Log {
        let mut newest = BTreeMap::new();
        self.each(|record| {
            newest.insert(record.key.unwrap().to_vec(), record.offset);
        });
        let mut log = Log { batches: Vec::new(), end: self.end };
        self.each(|record| {
            if newest[record.key.unwrap()] == record.offset && (tombstones || record.value.is_some()) {
                let headers: Vec<_> = record.headers.clone().collect();
                let mut builder = BatchBuilder::new(Compression::None).base_offset(record.offset);
                let (key, value) = (record.key, record.value);
                builder.push(NewRecord { timestamp: record.timestamp, key, value, headers: &headers }).unwrap();
                let mut batch = BytesMut::new();
                builder.build(&mut batch).unwrap();
                log.batches.push(batch);
            }
        });
        log
    }
}

/// A partition that things are delivered to, with the memory of its producers.
#[derive(Default)]
struct Place {
    values: Vec<String>,
    next_sequence: BTreeMap<ProducerId, i32>,
}

impl Place {
    fn append(&mut self, batch: &[u8]) {
        let batch = decode_batch(batch, DecompressLimits::default()).unwrap();
        let BatchHeader { producer_id, base_sequence, record_count, .. } = batch.header;
        let next = self.next_sequence.entry(producer_id).or_insert(0);
        if base_sequence < *next {
            assert_eq!(base_sequence + record_count, *next, "a repeated batch is the one that was there");
            return;
        }
        assert_eq!(base_sequence, *next, "sequences have no gaps");
        *next += record_count;
        let values = batch.records().map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        self.values.extend(values);
    }
}

struct World {
    log: Log,
    places: BTreeMap<PartitionNumber, Place>,
    timers: Timers,
    sequences: Sequences,
    read: usize,
    lives: i64,
    now: i64,
    sent: i64,
    recalled: BTreeSet<String>,
    /// When each may be delivered, of halves those that are committed.
    at: BTreeMap<String, i64>,
    /// Halves by their offsets: their values, and how often the owner was asked.
    halves: BTreeMap<Offset, (String, u32)>,
    rolled_back: BTreeSet<String>,
}

fn target(number: u32) -> Target {
    Target { number: PartitionNumber(number), topic: "t".to_owned(), partition: PartitionIndex(number as i32) }
}

fn delayed(at: i64, number: u32, value: &str) -> Delayed {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(NewRecord { timestamp: TimestampMs(at), key: None, value: Some(value.as_bytes()), headers: &[] }).unwrap();
    let mut batch = BytesMut::new();
    builder.build(&mut batch).unwrap();
    Delayed { at: TimestampMs(at), target: target(number), tags: 0, batch: Bytes::from(batch) }
}

fn ending(offset: Offset, transaction: &str, resolution: Resolution) -> Ending {
    Ending { offset, group: "g".to_owned(), transaction: Some(transaction.to_owned()), resolution }
}

impl World {
    fn new() -> World {
        World {
            log: Log::default(),
            places: BTreeMap::new(),
            timers: Timers::default(),
            sequences: Sequences::new(ProducerId(0)),
            read: 0,
            lives: 0,
            now: 1_000,
            sent: 0,
            recalled: BTreeSet::new(),
            at: BTreeMap::new(),
            halves: BTreeMap::new(),
            rolled_back: BTreeSet::new(),
        }
    }

    fn catch_up(&mut self) {
        for batch in &self.log.batches[self.read..] {
            let batch = decode_batch(batch, DecompressLimits::default()).unwrap();
            batch.records().for_each(|record| self.timers.replay(&record.unwrap()).unwrap());
        }
        self.read = self.log.batches.len();
    }

    /// The leader is gone with all that it knew; another one reads the partition, which may have been compacted meanwhile.
    fn crash(&mut self, compaction: Option<bool>) {
        if let Some(tombstones) = compaction {
            self.log = self.log.compacted(tombstones);
        }
        self.lives += 1;
        (self.timers, self.read, self.sequences) = (Timers::default(), 0, Sequences::new(ProducerId(self.lives)));
        self.catch_up();
    }

    fn write(&mut self, write: impl FnOnce(&mut Writing)) {
        let mut writing = Writing::new(TimestampMs(self.now));
        write(&mut writing);
        if !writing.is_empty() {
            self.log.append(writing.finish().unwrap());
        }
        self.catch_up();
    }

    fn send(&mut self, delay: i64, number: u32) {
        self.sent += 1;
        let (value, at) = (format!("m{}", self.sent), self.now + delay);
        let (id, delayed) = (TimerId(self.sent as u128), delayed(at, number, &value));
        self.write(|writing| writing.timer(id, &delayed).unwrap());
        self.at.insert(value, at);
    }

    /// A half whose owner is asked first after so long.
    fn prepare(&mut self, immunity: i64, number: u32) -> Offset {
        self.sent += 1;
        let value = format!("m{}", self.sent);
        let owner = Owner { group: "g".to_owned(), transaction: value.clone() };
        let half = Half { delayed: delayed(self.now + immunity, number, &value), owner };
        let (id, offset) = (TimerId(self.sent as u128), Offset(self.log.end));
        self.write(|writing| writing.half(id, &half).unwrap());
        self.halves.insert(offset, (value, 0));
        offset
    }

    /// What the leader does with what somebody says of a half.
    fn end(&mut self, ending: &Ending) -> Ended {
        let found = self.log.find(ending.offset);
        let ended = ending.judge(found.as_ref(), &self.timers, &mut BTreeSet::new());
        if ended == Ended::Done {
            self.sent += 1;
            let diverted = TimerId(self.sent as u128);
            self.write(|writing| ending.note(found.as_ref().unwrap(), diverted, writing).unwrap());
            let (value, _) = self.halves[&ending.offset].clone();
            match ending.resolution {
                Resolution::Rollback => drop(self.rolled_back.insert(value)),
                Resolution::Commit | Resolution::Divert(_) => drop(self.at.insert(value, self.now)),
            }
        }
        ended
    }

    /// One of the halves that were ever there, ended by its owner.
    fn end_any(&mut self, choice: usize, resolution: Resolution) {
        let halves: Vec<Offset> = self.halves.keys().copied().collect();
        let Some(offset) = halves.get(choice % halves.len().max(1)) else { return };
        let was_waiting = self.timers.waiting(*offset).is_some();
        let ended = self.end(&ending(*offset, &self.halves[offset].0.clone(), resolution));
        match was_waiting {
            true => assert_eq!(ended, Ended::Done),
            // Compaction may have taken it away.
            false => assert!(matches!(ended, Ended::Over | Ended::Unknown), "{ended:?}"),
        }
    }

    /// A round of questions; the leader may be lost before anybody is asked.
    fn ask(&mut self, interval: i64) {
        let due = self.log.due(&self.timers.halves().to_ask(TimestampMs(self.now), 3));
        let next = TimestampMs(self.now + interval);
        let mut asked = Vec::new();
        for due in &due {
            let waiting = self.timers.waiting(due.timer.offset).unwrap();
            assert!(waiting.next.0 <= self.now, "not asked before its time");
            assert_eq!(waiting.questions, self.halves[&due.timer.offset].1, "what was asked is known whoever leads");
            asked.push((due.name.id, due.timer.offset, waiting.questions + 1));
        }
        for (_, offset, questions) in &asked {
            self.halves.get_mut(offset).unwrap().1 = *questions;
        }
        self.write(|writing| {
            asked.iter().for_each(|(id, half, questions)| {
                writing.fate(*id, *half, Fate::Asked { next, questions: *questions }).unwrap();
            });
        });
    }

    fn recall(&mut self, choice: usize) {
        let pending = self.timers.due(TimestampMs(i64::MAX), usize::MAX);
        let Some(timer) = pending.get(choice % pending.len().max(1)).copied() else { return };
        let due = self.log.due(&[timer]).remove(0);
        if due.name.kind == Kind::Half {
            return;
        }
        self.recalled.insert(format!("m{}", due.name.id.0));
        self.write(|writing| writing.gone(due.name, timer).unwrap());
        assert!(!self.timers.is_pending(timer));
    }

    fn intend(&mut self, most: usize, room: usize) {
        let due = self.log.due(&self.timers.due(TimestampMs(self.now), most));
        let plan = self.timers.plan(&due, &mut self.sequences, |_| Some(room));
        self.write(|writing| plan.intents.iter().for_each(|(number, intent)| writing.intent(*number, intent).unwrap()));
    }

    /// Appends the open intents to their targets; what comes of it is noted only where `noted` says so.
    fn deliver(&mut self, noted: impl Fn(PartitionNumber) -> bool) {
        let open: Vec<(PartitionNumber, Intent)> = self.timers.open().map(|(number, intent)| (number, intent.clone())).collect();
        for (number, intent) in open {
            let due = self.log.due(&intent.timers);
            assert!(
                due.iter().all(|due| due.timer.at.0 <= self.now && due.name.kind == Kind::Half || due.delayed.at.0 <= self.now)
            );
            assert!(due.iter().all(|due| due.delayed.target.number == number), "never early");
            let (batch, _) = delivery(&intent, &due).unwrap();
            self.places.entry(number).or_default().append(&batch);
            if noted(number) {
                self.write(|writing| {
                    due.iter().for_each(|due| writing.gone(due.name, due.timer).unwrap());
                    writing.done(number).unwrap();
                });
            }
        }
    }

    fn check(&self) {
        let mut seen = BTreeSet::new();
        for value in self.places.values().flat_map(|place| &place.values) {
            assert!(seen.insert(value.clone()), "{value} was delivered twice");
            assert!(!self.recalled.contains(value), "{value} was recalled");
            assert!(!self.rolled_back.contains(value), "{value} was rolled back");
            assert!(self.at.contains_key(value), "nobody committed {value}");
            assert!(self.at[value] <= self.now, "{value} came early");
        }
    }

    /// All that is left is delivered, and what nobody has decided rolled back.
    fn settle(&mut self) {
        let halves: Vec<Offset> = self.halves.keys().copied().collect();
        for (choice, offset) in halves.into_iter().enumerate() {
            if self.timers.waiting(offset).is_some() {
                self.end_any(choice, Resolution::Rollback);
            }
        }
        self.now = self.at.values().copied().max().unwrap_or(self.now).max(self.now);
        for _ in 0..1_000 {
            if self.timers.len() == 0 {
                break;
            }
            self.intend(4, 1 << 20);
            self.deliver(|_| true);
        }
        self.check();
        let delivered: usize = self.places.values().map(|place| place.values.len()).sum();
        assert_eq!(delivered + self.recalled.len(), self.at.len(), "nothing is lost");
        assert_eq!(self.timers.len(), 0);
        let mut left = 0;
        self.log.compacted(false).each(|_| left += 1);
        assert_eq!(left, 0, "compaction leaves nothing of what is over");
    }
}

#[test]
fn a_batch_that_was_appended_and_not_noted_is_repeated_by_the_next_leader_and_taken_once() {
    let mut world = World::new();
    for number in [1, 2, 1] {
        world.send(10, number);
    }
    world.now += 10;
    world.intend(10, 1 << 20);
    world.deliver(|_| false);
    world.crash(None);
    assert_eq!(world.timers.open().count(), 2, "what is open is known from the records");
    world.deliver(|_| true);
    assert_eq!(world.places[&PartitionNumber(1)].values, ["m1", "m3"]);
    assert_eq!(world.places[&PartitionNumber(2)].values, ["m2"]);
    world.settle();
}

#[test]
fn nothing_is_due_before_its_time_and_the_next_time_is_known() {
    let mut world = World::new();
    world.send(100, 1);
    world.send(50, 1);
    assert_eq!(world.timers.next(), Some(TimestampMs(1_050)));
    assert_eq!(world.timers.due(TimestampMs(1_049), 10), []);
    assert_eq!(world.timers.due(TimestampMs(1_050), 10).len(), 1);
    assert_eq!(world.timers.due(TimestampMs(1_100), 1).len(), 1, "no more than wanted");
    world.settle();
    assert_eq!(world.places[&PartitionNumber(1)].values, ["m2", "m1"]);
}

#[test]
fn what_is_due_for_a_target_with_an_open_intent_waits_for_it_and_can_still_be_recalled() {
    let mut world = World::new();
    world.send(0, 1);
    world.intend(10, 1 << 20);
    world.send(0, 1);
    world.send(0, 1);
    world.intend(10, 1 << 20);
    assert_eq!(world.timers.due(TimestampMs(i64::MAX), 10), [], "they are not looked at again before it is done");
    assert_eq!(world.timers.open().next().unwrap().1.timers.len(), 1);
    let held = Timer { at: TimestampMs(1_000), offset: Offset(2) };
    assert!(world.timers.is_pending(held));
    assert_eq!(world.timers.next(), None, "the held ones do not keep the leader awake");
    let name = world.log.due(&[held]).remove(0).name;
    world.write(|writing| writing.gone(name, held).unwrap());
    world.recalled.insert("m2".to_owned());
    world.deliver(|_| true);
    world.settle();
    assert_eq!(world.places[&PartitionNumber(1)].values, ["m1", "m3"]);
}

#[test]
fn timers_of_an_intent_that_is_given_up_are_delivered_under_another_one() {
    let mut world = World::new();
    world.send(0, 1);
    world.intend(10, 1 << 20);
    world.write(|writing| writing.done(PartitionNumber(1)).unwrap());
    assert_eq!(world.timers.due(TimestampMs(world.now), 10).len(), 1);
    world.sequences = Sequences::new(ProducerId(77));
    world.settle();
    assert_eq!(world.places[&PartitionNumber(1)].values, ["m1"]);
}

#[test]
fn a_target_that_is_gone_takes_its_timers_with_it() {
    let mut world = World::new();
    world.send(0, 1);
    let due = world.log.due(&world.timers.due(TimestampMs(world.now), 10));
    let plan = world.timers.plan(&due, &mut world.sequences, |_| None);
    assert_eq!((plan.intents.len(), plan.orphans), (0, vec![(Name { kind: Kind::Timer, id: TimerId(1) }, due[0].timer)]));
}

#[test]
fn a_batch_has_no_more_bytes_than_its_target_takes_but_for_one_record() {
    let mut world = World::new();
    for _ in 0..3 {
        world.send(0, 1);
    }
    world.intend(10, 1);
    assert_eq!(world.timers.open().next().unwrap().1.timers.len(), 1);
    world.deliver(|_| true);
    world.settle();
    assert_eq!(world.places[&PartitionNumber(1)].values, ["m1", "m2", "m3"]);
}

#[test]
fn records_that_are_not_ours_are_refused() {
    let refuse = |key: &[u8], value: Option<&[u8]>| {
        let record = Record { offset: Offset(0), timestamp: TimestampMs(0), key: Some(key), value, headers: Default::default() };
        assert!(Timers::default().replay(&record).is_err(), "{key:?} {value:?}");
    };
    refuse(&[], None);
    refuse(&[0; 17], None);
    refuse(&[0; 17], Some(&[1, 2]));
    refuse(&[0; 17], Some(&[9; 40]));
    refuse(&[1, 0], None);
    refuse(&[1, 0, 0, 0, 1], Some(&[1; 18]));
    refuse(&[2; 17], Some(&[1, 2]));
    refuse(&[2; 17], None);
    refuse(&[3; 17], Some(&[1; 9]));
    refuse(&[3; 17], Some(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 9]));
    refuse(&[7], Some(&[]));
}

#[test]
fn a_half_is_seen_by_nobody_before_it_is_committed_and_once_then() {
    let mut world = World::new();
    let half = world.prepare(6_000, 1);
    world.now += 100_000;
    world.intend(10, 1 << 20);
    assert_eq!(world.timers.open().count(), 0);
    assert_eq!(world.timers.len(), 1);
    let commit = ending(half, "m1", Resolution::Commit);
    assert_eq!(world.end(&commit), Ended::Done);
    world.crash(None);
    assert_eq!(world.end(&commit), Ended::Over);
    assert_eq!(world.end(&ending(half, "m1", Resolution::Rollback)), Ended::Over, "it is too late");
    world.intend(10, 1 << 20);
    world.deliver(|_| false);
    world.crash(None);
    assert_eq!(world.end(&commit), Ended::Over);
    world.settle();
    assert_eq!(world.places[&PartitionNumber(1)].values, ["m1"]);
}

#[test]
fn only_its_owner_ends_a_half() {
    let mut world = World::new();
    let half = world.prepare(6_000, 1);
    let timer = Offset(world.log.end);
    world.send(50, 1);
    let by = |group: &str| Ending { group: group.to_owned(), ..ending(half, "m1", Resolution::Commit) };
    assert_eq!(world.end(&by("other")), Ended::NotTheOwner);
    assert_eq!(world.end(&ending(half, "m2", Resolution::Commit)), Ended::NotTheOwner);
    assert_eq!(world.end(&ending(timer, "m2", Resolution::Commit)), Ended::Unknown, "a timer has no owner");
    assert_eq!(world.end(&ending(Offset(99), "m1", Resolution::Commit)), Ended::Unknown);
    assert_eq!(world.end(&Ending { transaction: None, ..by("g") }), Ended::Done);
    world.settle();
}

#[test]
fn a_half_that_is_diverted_goes_elsewhere() {
    let mut world = World::new();
    let half = world.prepare(6_000, 1);
    assert_eq!(world.end(&ending(half, "m1", Resolution::Divert(target(2)))), Ended::Done);
    assert_eq!(world.end(&ending(half, "m1", Resolution::Commit)), Ended::Over);
    world.settle();
    assert_eq!((world.places.len(), &world.places[&PartitionNumber(2)].values), (1, &vec!["m1".to_owned()]));
}

#[test]
fn owners_are_asked_at_their_times_and_no_leader_forgets_how_often() {
    let mut world = World::new();
    let half = world.prepare(6_000, 1);
    assert_eq!(world.timers.halves().next(), Some(TimestampMs(7_000)));
    assert_eq!(world.timers.next(), None, "it is no timer");
    for (questions, at) in [(1, 7_000), (2, 37_000), (3, 67_000)] {
        world.now = at - 1;
        assert_eq!(world.timers.halves().to_ask(TimestampMs(world.now), 10), []);
        world.now = at;
        world.ask(30_000);
        world.crash(Some(questions % 2 == 0));
        let waiting = world.timers.waiting(half).unwrap();
        assert_eq!((waiting.questions, waiting.next.0), (questions, at + 30_000));
    }
    world.end_any(0, Resolution::Commit);
    world.settle();
}

#[derive(Clone, Debug)]
enum Step {
    Send { delay: i64, number: u32 },
    Recall(usize),
    Prepare { immunity: i64, number: u32 },
    End(usize, Resolution),
    Ask { interval: i64 },
    Time(i64),
    Intend { most: usize, room: usize },
    Deliver { noted: [bool; 3] },
    Crash(Option<bool>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0i64..300, 0u32..3).prop_map(|(delay, number)| Step::Send { delay, number }),
        1 => any::<usize>().prop_map(Step::Recall),
        3 => (0i64..300, 0u32..3).prop_map(|(immunity, number)| Step::Prepare { immunity, number }),
        3 => (any::<usize>(), prop_oneof![
            3 => Just(Resolution::Commit),
            1 => Just(Resolution::Rollback),
            1 => (0u32..3).prop_map(|number| Resolution::Divert(target(number))),
        ]).prop_map(|(choice, resolution)| Step::End(choice, resolution)),
        2 => (1i64..200).prop_map(|interval| Step::Ask { interval }),
        2 => (0i64..200).prop_map(Step::Time),
        3 => (1usize..6, prop_oneof![Just(1usize), Just(300), Just(1 << 20)])
            .prop_map(|(most, room)| Step::Intend { most, room }),
        3 => any::<[bool; 3]>().prop_map(|noted| Step::Deliver { noted }),
        2 => any::<Option<bool>>().prop_map(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn whatever_crashes_each_timer_and_each_committed_half_is_delivered_once(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Send { delay, number } => world.send(delay, number),
                Step::Recall(choice) => world.recall(choice),
                Step::Prepare { immunity, number } => drop(world.prepare(immunity, number)),
                Step::End(choice, resolution) => world.end_any(choice, resolution),
                Step::Ask { interval } => world.ask(interval),
                Step::Time(passed) => world.now += passed,
                Step::Intend { most, room } => world.intend(most, room),
                Step::Deliver { noted } => world.deliver(|number| noted[number.0 as usize]),
                Step::Crash(compaction) => world.crash(compaction),
            }
            world.check();
        }
        world.settle();
    }
}
