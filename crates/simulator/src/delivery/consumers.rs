//! Consumers of a share group: they acquire, say what became of each record, keep some too long, go and come back; and who has the group
//! begin anew somewhere.

use super::shares::{ACCEPT, REJECT, RELEASE, RENEW};
use super::{LOCK_MS, Parcel, StateAsk, TIMEOUT_MS};
use crate::log::Partition;
use crate::message::{Address, Message};
use crate::world::{Event, HEALED_MS, World};
use duolog_base::Offset;
use duolog_core::share::Acknowledgement;

/// How often a group begins anew in a partition, in parts of a thousand of the times that somebody looks.
const RESETS: u64 = 12;

#[derive(Debug)]
pub struct Consumer {
    partition: Partition,
    /// Grows whenever it starts again.
    life: u32,
    name: usize,
    /// Request, and when it is given up.
    waiting: Option<(u64, u64)>,
    next_request: u64,
    has: Vec<i64>,
    /// Who gave it something last.
    giver: Option<usize>,
}

impl Consumer {
    pub fn new(name: usize, partition: Partition) -> Consumer {
        Consumer { partition, life: 0, name, waiting: None, next_request: 1, has: Vec::new(), giver: None }
    }

    fn member(&self) -> String {
        format!("{}.{}", self.name, self.life)
    }

    fn restart(&mut self) {
        self.life += 1;
        self.has.clear();
        self.waiting = None;
    }

    fn request(&mut self, now_ms: u64) -> u64 {
        self.next_request += 1;
        self.waiting = Some((self.next_request, now_ms + TIMEOUT_MS));
        self.next_request
    }
}

/// How a group begins anew in a partition.
#[derive(Clone, Debug, Default)]
pub struct Resets {
    /// The state epoch that is known to be stored.
    pub stored: i32,
    /// The one that is to be: where it begins, and when it was asked for last.
    asked: Option<(i32, i64, u64)>,
}

impl World<'_> {
    pub(crate) fn consumer_tick(&mut self, index: usize) {
        if self.consumers[index].waiting.is_none_or(|(_, until_ms)| until_ms <= self.now_ms) {
            // What was not answered is as good as never said.
            if self.consumers[index].waiting.take().is_some() {
                self.consumers[index].has.clear();
            }
            self.consumer_acts(index);
        }
        let next_ms = 20 + self.random.below(40);
        self.schedule(next_ms, Event::ConsumerTick { consumer: index });
    }

    fn consumer_acts(&mut self, index: usize) {
        let is_healed = self.now_ms >= HEALED_MS;
        let choice = self.random.below(50).max(if is_healed { 3 } else { 0 });
        let (now_ms, random) = (self.now_ms, &mut self.random);
        let consumer = &mut self.consumers[index];
        let partition = consumer.partition;
        let parcel = match choice {
            0 => return consumer.restart(),
            1 => {
                consumer.waiting = Some((0, now_ms + 2 * LOCK_MS));
                return;
            }
            2 => {
                let member = consumer.member();
                consumer.restart();
                Parcel::Release { partition, member }
            }
            _ if consumer.has.is_empty() => {
                let (request, member) = (consumer.request(now_ms), consumer.member());
                Parcel::Acquire { partition, request, member }
            }
            _ => {
                let mut said = |offset: i64| {
                    let verdict = match random.below(if is_healed { 20 } else { 28 }) {
                        20 | 21 => REJECT,
                        22..25 => RELEASE,
                        25..27 => RENEW,
                        // Nothing is said; the lock expires.
                        27 => return None,
                        _ => ACCEPT,
                    };
                    Some(Acknowledgement { first: Offset(offset), last: Offset(offset), types: vec![verdict] })
                };
                let batches: Vec<Acknowledgement> = consumer.has.iter().filter_map(|offset| said(*offset)).collect();
                consumer.has = batches.iter().filter(|batch| batch.types[0] == RENEW).map(|batch| batch.first.0).collect();
                let (request, member) = (consumer.request(now_ms), consumer.member());
                Parcel::Acknowledge { partition, request, member, batches }
            }
        };
        // It goes where it got what it has, and often where it was before.
        let goes_back = !matches!(parcel, Parcel::Acquire { .. }) || self.random.chance(1, 2);
        let to = match self.consumers[index].giver.filter(|_| goes_back) {
            Some(giver) => giver,
            None => self.likely_leader(partition),
        };
        self.send(Address::Consumer(index), Address::Node(to), Message::Parcel(Box::new(parcel)));
    }

    pub(crate) fn consumer_told(&mut self, index: usize, from: Address, parcel: Parcel) {
        let consumer = &mut self.consumers[index];
        match parcel {
            Parcel::Acquired { request, given } if consumer.waiting.is_some_and(|(waiting, _)| waiting == request) => {
                consumer.waiting = None;
                consumer.giver = match from {
                    Address::Node(node) if !given.is_empty() => Some(node),
                    _ => None,
                };
                consumer.has.extend(given);
            }
            Parcel::Acknowledged { request, is_taken } if consumer.waiting.is_some_and(|(waiting, _)| waiting == request) => {
                consumer.waiting = None;
                if !is_taken {
                    consumer.has.clear();
                }
            }
            Parcel::Told { partition, number, told: Some(Ok(_)) } => {
                let resets = &mut self.resets[partition as usize];
                if let Some((state_epoch, _, _)) = resets.asked.filter(|(epoch, _, _)| *epoch as u64 == number) {
                    resets.stored = state_epoch;
                    resets.asked = None;
                    let to = self.likely_leader(partition);
                    self.send(Address::Consumer(0), Address::Node(to), Message::Parcel(Box::new(Parcel::Forget { partition })));
                }
            }
            _ => {}
        }
    }

    /// Has the group begin, or begin anew, where that is not so yet.
    pub(crate) fn reset_tick(&mut self) {
        let Some(places) = self.places() else { return };
        for partition in 0..places.states {
            let now_ms = self.now_ms;
            let resets = self.resets[partition as usize].clone();
            let begins = resets.stored == 0 || (now_ms < HEALED_MS && self.random.chance(RESETS, 1000));
            let (state_epoch, start) = match resets.asked {
                Some((_, _, asked_ms)) if now_ms < asked_ms + TIMEOUT_MS => continue,
                Some((state_epoch, start, _)) => (state_epoch, start),
                None if begins => {
                    let committed = self.oracle.committed(partition) as u64;
                    let start = if resets.stored == 0 { 0 } else { self.random.below(committed + 1) as i64 };
                    self.oracle.shares.begins(partition, resets.stored + 1, start);
                    (resets.stored + 1, start)
                }
                None => continue,
            };
            self.resets[partition as usize].asked = Some((state_epoch, start, now_ms));
            let ask = StateAsk::Initialize { state_epoch, start };
            let parcel = Parcel::Ask { partition, number: state_epoch as u64, ask };
            let to = self.likely_leader(places.states);
            self.send(Address::Consumer(0), Address::Node(to), Message::Parcel(Box::new(parcel)));
        }
    }
}
