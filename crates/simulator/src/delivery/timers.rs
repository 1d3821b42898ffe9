//! The shell of the leader of the timers: reads its partition as far as it is committed, writes what [`Leadership`] decides, and carries
//! what is due to the leaders of its targets, which take each batch once. It decides nothing itself.
//!
//! A record of the simulated log holds a whole batch; its records have the offsets from [`SLOTS`] times that of the batch on.

use super::{CHECK_MS, CHECKS, Later, Parcel, Promise, post};
use crate::log::Partition;
use crate::message::Address;
use crate::node::{Process, Surroundings};
use crate::oracle::Violation;
use bytes::{Bytes, BytesMut};
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, PartitionNumber, ProducerId, TimestampMs};
use duolog_core::delay::decisions::{Due, Leadership, Outcome, Writing, delivery, each_record, stored};
use duolog_core::delay::{Delayed, Ended, Ending, Half, Resolution, Target, Timer, TimerId};
use duolog_replica::{Mutant, planted};
use duolog_wire::record::{BatchBuilder, Compression, DecompressLimits, NewRecord, decode_batch};
use std::collections::{BTreeMap, BTreeSet};

/// Offsets that a batch has.
const SLOTS: usize = 4096;
/// What is begun, and asked, at a time.
const AT_ONCE: usize = 50;
/// When a delivery that was not answered is tried again.
const AGAIN_MS: u64 = 200;
const TOPIC: &str = "t";

pub struct Keeper {
    epoch: LeaderEpoch,
    leadership: Leadership,
    /// What is being read reaches so far, and has to be committed before it counts.
    target: usize,
    /// Not taken by the log yet.
    batch: Option<Bytes>,
    /// What happens once what was written is read back.
    then: Vec<Then>,
    /// Recalls and ends of halves; nobody waits for those of the leader itself.
    asked: Vec<(Option<Address>, Parcel)>,
    /// Deliveries under way: their numbers, and since when.
    open: BTreeMap<PartitionNumber, (u64, u64)>,
    done: Vec<(PartitionNumber, Outcome)>,
    /// What others want was looked at last.
    hears: bool,
}

/// What happens once it is certain.
enum Then {
    Answer {
        to: Option<Address>,
        request: u64,
        ended: Ended,
    },
    /// A value was recalled or rolled back, or is to come.
    Over {
        value: u64,
        is_withdrawn: bool,
    },
    /// The owner of a half is asked, which was done so often before.
    Ask {
        half: Half,
        offset: Offset,
        asked: u32,
    },
}

/// Where a value goes.
pub fn target(partition: Partition) -> Target {
    Target { number: PartitionNumber(partition), topic: TOPIC.to_owned(), partition: PartitionIndex(partition as i32) }
}

/// The id of a value's timer or half.
pub fn id(value: u64) -> TimerId {
    TimerId(u128::from(value))
}

/// Who may end a half.
pub fn group(owner: usize) -> String {
    format!("owner-{owner}")
}

fn batch_of(value: u64) -> Bytes {
    let (mut builder, mut bytes) = (BatchBuilder::new(Compression::None), BytesMut::new());
    let record = NewRecord { timestamp: TimestampMs(0), key: None, value: Some(&value.to_be_bytes()), headers: &[] };
    builder.push(record).and_then(|()| builder.build(&mut bytes)).expect("a small record makes a batch");
    bytes.freeze()
}

/// The values that a batch of delayed records carries.
pub fn values(batch: &[u8]) -> Vec<u64> {
    let decoded = decode_batch(batch, DecompressLimits::default()).expect("a sound batch");
    let value = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("a value"));
    decoded.records().map(|record| value(record.expect("a sound record").value.expect("a value"))).collect()
}

impl Process {
    /// A batch of the timers, with the offsets of its place.
    fn batch_at(&self, timers: Partition, place: usize, around: &Surroundings) -> Option<BytesMut> {
        let record = self.log.record(timers, place)?;
        let mut bytes = BytesMut::from(&around.oracle.batch(record.value)[..]);
        bytes[..8].copy_from_slice(&((place * SLOTS) as i64).to_be_bytes());
        Some(bytes)
    }

    /// What lies at the offset of a timer.
    fn read_back(&self, timers: Partition, timer: Timer, around: &Surroundings) -> Option<Due> {
        let batch = self.batch_at(timers, usize::try_from(timer.offset.0).ok()? / SLOTS, around)?;
        let mut found = None;
        let read = each_record(&batch, |record| {
            if record.offset == timer.offset {
                found = stored(record, timer)?;
            }
            Ok(())
        });
        read.ok().and(found)
    }

    /// One round: what is written is read back before anything else is decided.
    pub(super) fn turn(&mut self, around: &mut Surroundings) {
        let Some(places) = around.places else { return };
        let led = self.leads(places.timers);
        let mut keeper = match (self.delivery.keeper.take(), led) {
            (Some(keeper), Some(epoch)) if keeper.epoch == epoch => keeper,
            (_, None) => return,
            (_, Some(epoch)) => Keeper {
                epoch,
                leadership: Leadership::new(Offset(0), fresh_producer(around)),
                target: 0,
                batch: None,
                then: Vec::new(),
                asked: Vec::new(),
                open: BTreeMap::new(),
                done: Vec::new(),
                hears: false,
            },
        };
        while self.bring_timers(places.timers, &mut keeper, around) && self.catch_up(places.timers, &mut keeper, around) {
            tell(&mut keeper, around);
            // An intent counts once it is read back, and so does its end.
            self.deliver_open(places.timers, &mut keeper, around);
            let mut writing = Writing::new(TimestampMs(around.wall_ms));
            self.decide(places.timers, &mut keeper, &mut writing, around);
            if writing.is_empty() {
                tell(&mut keeper, around);
                break;
            }
            keeper.batch = Some(writing.finish().expect("small records make a batch").freeze());
        }
        self.delivery.keeper = Some(keeper);
        self.after(places.timers, around);
    }

    /// Whether the log has what was written.
    fn bring_timers(&mut self, timers: Partition, keeper: &mut Keeper, around: &mut Surroundings) -> bool {
        let Some(batch) = keeper.batch.take() else { return true };
        if self.appends(timers) != Some(keeper.epoch) {
            keeper.batch = Some(batch);
            return false;
        }
        let value = around.oracle.next_batch(batch);
        keeper.target = self.append_value(timers, keeper.epoch, value).0 as usize;
        true
    }

    /// Whether everything up to the target is committed and folded in.
    fn catch_up(&mut self, timers: Partition, keeper: &mut Keeper, around: &mut Surroundings) -> bool {
        let next = keeper.leadership.next().0 as usize / SLOTS;
        if keeper.target <= next {
            keeper.target = self.log.view(timers).end.0 as usize;
        }
        if self.high_watermark(timers).0 < keeper.target as i64 && !planted(Mutant::UncommittedTimersCount) {
            return false;
        }
        for place in next..keeper.target {
            let Some(batch) = self.batch_at(timers, place, around) else { return false };
            if keeper.leadership.replay(&batch, Offset(((place + 1) * SLOTS) as i64)).is_err() {
                around.oracle.fail(Violation::NotReplayed { node: self.me.node, epoch: keeper.epoch });
            }
        }
        true
    }

    /// What is to be written next, if anything is: what is due, or what others want, by turns.
    fn decide(&mut self, timers: Partition, keeper: &mut Keeper, writing: &mut Writing, around: &mut Surroundings) {
        for _ in 0..2 {
            keeper.hears = !keeper.hears;
            match keeper.hears {
                true => self.hear(timers, keeper, writing, around),
                false => self.begin(timers, keeper, writing, around),
            }
            if !writing.is_empty() {
                return;
            }
        }
    }

    /// What became of deliveries, recalls, and what is said of halves.
    fn hear(&mut self, timers: Partition, keeper: &mut Keeper, writing: &mut Writing, around: &mut Surroundings) {
        let sound = "small records make a batch";
        for (number, outcome) in std::mem::take(&mut keeper.done) {
            if outcome == Outcome::Void {
                keeper.leadership.renumber(fresh_producer(around));
            }
            Leadership::finish(number, &outcome, writing).expect(sound);
            keeper.open.remove(&number);
        }
        let mut seen = BTreeSet::new();
        for (from, parcel) in std::mem::take(&mut keeper.asked) {
            let (request, ended) = match &parcel {
                Parcel::Recall { request, recall, .. } => {
                    let found = self.read_back(timers, recall.timer, around);
                    let recalled = keeper.leadership.recall(*recall, found.as_ref(), &mut seen, writing).expect(sound);
                    (*request, if recalled { Ended::Done } else { Ended::Unknown })
                }
                Parcel::End { request, value, ending } => {
                    let found = self.read_back(timers, Timer { at: TimestampMs(0), offset: ending.offset }, around);
                    let diverted = TimerId(u128::from(*value) | 1 << 64);
                    let ended = keeper.leadership.end(ending, found.as_ref(), diverted, &mut seen, writing).expect(sound);
                    (*request, ended)
                }
                other => unreachable!("not for the timers: {other:?}"),
            };
            let is_withdrawn = !matches!(&parcel, Parcel::End { ending, .. } if ending.resolution != Resolution::Rollback);
            if let (Ended::Done, Parcel::Recall { value, .. } | Parcel::End { value, .. }) = (ended, &parcel) {
                keeper.then.push(Then::Over { value: *value, is_withdrawn });
            }
            keeper.then.push(Then::Answer { to: from, request, ended });
        }
    }

    /// What is due, and whose time it is to be asked.
    fn begin(&mut self, timers: Partition, keeper: &mut Keeper, writing: &mut Writing, around: &mut Surroundings) {
        let sound = "small records make a batch";
        let now = self.timer_now(around);
        let due: Vec<Due> = keeper
            .leadership
            .timers()
            .due(now, AT_ONCE)
            .into_iter()
            .filter_map(|timer| self.read_back(timers, timer, around))
            .collect();
        keeper.leadership.begin(&due, |_| Some(1 << 20), writing).expect(sound);
        let halves = keeper.leadership.timers().halves().to_ask(now, AT_ONCE);
        let found = halves.into_iter().filter_map(|timer| self.read_back(timers, timer, around)).collect();
        let next = TimestampMs(now.0 + CHECK_MS as i64);
        for (offset, asked, half) in keeper.leadership.ask(found, next, writing).expect(sound) {
            keeper.then.push(Then::Ask { half, offset, asked });
        }
    }

    fn deliver_open(&mut self, timers: Partition, keeper: &mut Keeper, around: &mut Surroundings) {
        let open: Vec<_> = keeper.leadership.timers().open().map(|(number, intent)| (number, intent.clone())).collect();
        for (number, intent) in open {
            let is_busy = keeper.open.get(&number).is_some_and(|(_, since_ms)| around.now_ms < since_ms + AGAIN_MS);
            if is_busy || keeper.done.iter().any(|(of, _)| *of == number) {
                continue;
            }
            let due: Vec<Due> = intent.timers.iter().filter_map(|timer| self.read_back(timers, *timer, around)).collect();
            if due.len() < intent.timers.len() {
                continue;
            }
            let (batch, _) = delivery(&intent, &due).expect("what was stored can be delivered");
            let attempt = match keeper.open.get(&number) {
                Some((attempt, _)) => *attempt,
                None => self.delivery.number(),
            };
            keeper.open.insert(number, (attempt, around.now_ms));
            if let Some(to) = self.leader_of(number.0, around) {
                post(around, to, Parcel::Deliver { partition: number.0, number: attempt, batch: batch.freeze() });
            }
        }
    }

    pub(super) fn delivered(&mut self, partition: Partition, number: u64, is_taken: Option<bool>, around: &mut Surroundings) {
        let Some(places) = around.places else { return };
        let Some(mut keeper) = self.delivery.keeper.take() else { return };
        let of = PartitionNumber(partition);
        if let (Some(true), Some((attempt, _))) | (Some(false), Some((attempt, _))) = (is_taken, keeper.open.get(&of))
            && *attempt == number
            && let Some((_, intent)) = keeper.leadership.timers().open().find(|(open, _)| *open == of)
        {
            let names = intent.timers.iter().filter_map(|timer| self.read_back(places.timers, *timer, around));
            let outcome = match is_taken {
                Some(true) => Outcome::Over(names.map(|due| (due.name, due.timer)).collect()),
                _ => Outcome::Void,
            };
            // Told once more, it is no news.
            keeper.done.retain(|(known, _)| *known != of);
            keeper.done.push((of, outcome));
        }
        self.delivery.keeper = Some(keeper);
        self.turn(around);
    }

    /// A batch of what is due, at the leader of its target, as the producer's window of the log would have it.
    pub(super) fn take_delivery(
        &mut self,
        from: Address,
        partition: Partition,
        number: u64,
        batch: Bytes,
        around: &mut Surroundings,
    ) {
        let answer = |is_taken| Parcel::Delivered { partition, number, is_taken };
        let Some(epoch) = self.appends(partition) else { return post(around, from, answer(None)) };
        let header = decode_batch(&batch, DecompressLimits::default()).expect("a sound batch").header;
        let (producer, first) = (header.producer_id.0, header.base_sequence);
        let known = self.log.read(partition, 0, usize::MAX).into_iter().enumerate();
        let same_producer = known.filter_map(|(offset, record)| Some((offset, around.oracle.stamp(record.value)?)));
        let of: Vec<(usize, (i64, i32, i32))> = same_producer.filter(|(_, stamp)| stamp.0 == producer && producer >= 0).collect();
        let end = match of.iter().find(|(_, stamp)| stamp.1 == first) {
            Some((offset, _)) => Offset(*offset as i64 + 1),
            None if of.last().is_some_and(|(_, stamp)| stamp.1 + stamp.2 != first) => {
                return post(around, from, answer(Some(false)));
            }
            None => {
                let values = values(&batch);
                values.iter().for_each(|value| around.oracle.dues.appended(*value, around.now_ms));
                let value = around.oracle.next_delivery(batch, (producer, first, values.len() as i32));
                self.append_value(partition, epoch, value)
            }
        };
        self.delivery.promises.push(Promise { partition, epoch, end, to: from, parcel: answer(Some(true)) });
        self.after(partition, around);
    }

    /// An owner's record is stored for later.
    pub(super) fn store(&mut self, from: Address, request: u64, later: Later, around: &mut Surroundings) {
        let Some(places) = around.places else { return };
        let Some(epoch) = self.appends(places.timers) else {
            return post(around, from, Parcel::Stored { request, offset: None });
        };
        let Later { value, at_ms, target: to, owner } = later;
        let delayed = Delayed { at: TimestampMs(at_ms as i64), target: target(to), tags: 0, batch: batch_of(value) };
        let mut writing = Writing::new(TimestampMs(around.wall_ms));
        let written = match owner {
            None => writing.timer(id(value), &delayed),
            Some(owner) => {
                let owner = duolog_core::delay::Owner { group: group(owner), transaction: value.to_string() };
                writing.half(id(value), &Half { delayed, owner })
            }
        };
        let batch = written.and_then(|()| writing.finish()).expect("a small record makes a batch");
        let place = around.oracle.next_batch(batch.freeze());
        let end = self.append_value(places.timers, epoch, place);
        let parcel = Parcel::Stored { request, offset: Some((end.0 - 1) * SLOTS as i64) };
        self.delivery.promises.push(Promise { partition: places.timers, epoch, end, to: from, parcel });
        self.turn(around);
    }

    /// A recall, or the end of a half.
    pub(super) fn asked_timers(&mut self, from: Address, parcel: Parcel, around: &mut Surroundings) {
        match (&mut self.delivery.keeper, &parcel) {
            (Some(keeper), _) => {
                keeper.asked.push((Some(from), parcel));
                self.turn(around);
            }
            (None, Parcel::Recall { request, .. } | Parcel::End { request, .. }) => {
                post(around, from, Parcel::Over { request: *request, ended: None });
            }
            (None, _) => {}
        }
    }
}

/// What was written is read back: answers and questions leave.
fn tell(keeper: &mut Keeper, around: &mut Surroundings) {
    for then in std::mem::take(&mut keeper.then) {
        match then {
            Then::Answer { to: Some(to), request, ended } => post(around, to, Parcel::Over { request, ended: Some(ended) }),
            Then::Answer { to: None, .. } => {}
            Then::Over { value, is_withdrawn } => around.oracle.dues.ended(value, is_withdrawn),
            Then::Ask { half, offset, asked } => {
                let value = values(&half.delayed.batch)[0];
                around.oracle.dues.asks(value, asked);
                let group = half.owner.group;
                if asked < CHECKS {
                    let owner = group.trim_start_matches("owner-").parse().expect("the number of an owner");
                    post(around, Address::Owner(owner), Parcel::Question { value });
                } else {
                    // Nobody knows what is to become of it.
                    around.oracle.dues.may_come(value);
                    let ending = Ending { offset, group, transaction: None, resolution: Resolution::Divert(target(0)) };
                    keeper.asked.push((None, Parcel::End { request: 0, value, ending }));
                }
            }
        }
    }
}

/// A producer id that nobody has used.
fn fresh_producer(around: &mut Surroundings) -> ProducerId {
    match planted(Mutant::ProducerOfTimersReused) {
        true => ProducerId(1),
        false => ProducerId(around.oracle.next_value() as i64),
    }
}
