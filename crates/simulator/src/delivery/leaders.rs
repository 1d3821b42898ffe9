//! The shell of share-partitions at the leaders of their partitions: reads their states, carries their writes to the share coordinator and
//! what consumers want to [`Work`]. It decides nothing itself.

use super::shares::Taken;
use super::{ALLOWED, LOCK_MS, Parcel, StateAsk, post};
use crate::log::Partition;
use crate::message::Address;
use crate::node::{Process, Surroundings};
use duolog_base::{LeaderEpoch, Offset};
use duolog_core::share::decisions::{Partition as Deliveries, ShareState, StateError, Work, Write, Writer};
use duolog_core::share::{Acknowledgement, Candidate, Pick};
use std::sync::Arc;

/// When a question that was not answered is asked again.
const AGAIN_MS: u64 = 100;
/// Records that a consumer is given at a time.
const MOST: usize = 60;
/// Keys that the records of a partition have.
const KEYS: usize = 40;

/// How far it is to the next record of the same key, if records of a key are delivered in their order.
pub fn key_step(partition: Partition) -> Option<usize> {
    partition.is_multiple_of(2).then_some(KEYS)
}

fn candidates(from: Offset, end: Offset) -> Vec<Candidate> {
    let key = |offset: i64| (offset as usize % KEYS) as u64;
    (from.0..end.0).map(|offset| Candidate { offset: Offset(offset), key: Some(key(offset)) }).collect()
}

/// A share-partition in one leadership.
pub struct Lead {
    epoch: LeaderEpoch,
    /// The question that is on its way: its number, and when it was asked last.
    asked: Option<(u64, u64)>,
    loaded: Option<Loaded>,
}

struct Loaded {
    state_epoch: i32,
    work: Work,
    /// What is being written.
    write: Option<Write>,
    /// Acknowledgements that are to be stored first: who asked, his request, the change, and what was taken.
    waiting: Vec<(Address, u64, u64, Vec<Taken>)>,
}

impl Process {
    pub(super) fn tick_leads(&mut self, around: &mut Surroundings) {
        let Some(places) = around.places else { return };
        for partition in 0..places.states {
            let led = self.leads(partition);
            if self.delivery.leads.get(&partition).map(|lead| lead.epoch) != led {
                self.delivery.leads.remove(&partition);
                if let Some(epoch) = led {
                    self.delivery.leads.insert(partition, Lead { epoch, asked: None, loaded: None });
                }
            }
            if let Some(loaded) = self.delivery.leads.get_mut(&partition).and_then(|lead| lead.loaded.as_mut()) {
                loaded.work.change(ALLOWED, |deliveries| deliveries.expire(around.now_ms, ALLOWED));
            }
            self.ask_state(partition, around);
        }
    }

    /// Asks the share coordinator what is to be asked now, once more if need be.
    fn ask_state(&mut self, partition: Partition, around: &mut Surroundings) {
        let Some(places) = around.places else { return };
        let number = self.delivery.number();
        let Some(lead) = self.delivery.leads.get_mut(&partition) else { return };
        let ask = match &mut lead.loaded {
            None => StateAsk::Read { leader_epoch: lead.epoch },
            Some(loaded) => {
                if loaded.write.is_none() {
                    loaded.write = loaded.work.begin_write();
                    lead.asked = None;
                }
                let by = Writer { state_epoch: loaded.state_epoch, leader_epoch: lead.epoch.0 };
                match loaded.write.clone() {
                    Some(write) => StateAsk::Write { by, write },
                    None => return,
                }
            }
        };
        // The same question keeps its number, so that a late answer is as good.
        let number = match lead.asked {
            Some((_, asked_ms)) if around.now_ms < asked_ms + AGAIN_MS => return,
            Some((number, _)) => {
                if let Some(loaded) = &mut lead.loaded {
                    loaded.work.is_stuck = true;
                }
                number
            }
            None => number,
        };
        lead.asked = Some((number, around.now_ms));
        if let Some(to) = self.leader_of(places.states, around) {
            post(around, to, Parcel::Ask { partition, number, ask });
        }
    }

    pub(super) fn told(
        &mut self,
        partition: Partition,
        number: u64,
        told: Option<Result<Option<ShareState>, StateError>>,
        around: &mut Surroundings,
    ) {
        let log_end = self.log.view(partition).end;
        let Some(lead) = self.delivery.leads.get_mut(&partition) else { return };
        if lead.asked.is_none_or(|(asked, _)| asked != number) {
            return;
        }
        match (told, &mut lead.loaded) {
            (None, Some(loaded)) => loaded.work.is_stuck = true,
            (None, None) => {}
            (Some(Err(_)), _) => _ = self.delivery.leads.remove(&partition),
            (Some(Ok(Some(state))), None) => {
                let start = Offset(state.start.unwrap_or(0));
                around.oracle.shares.loaded(partition, lead.epoch, &state, self.me.node);
                let work = Work::new(Deliveries::restore(start, &state, log_end));
                lead.asked = None;
                lead.loaded = Some(Loaded { state_epoch: state.state_epoch, work, write: None, waiting: Vec::new() });
            }
            (Some(Ok(None)), Some(loaded)) => {
                lead.asked = None;
                loaded.write = None;
                loaded.work.is_stuck = false;
                loaded.work.written();
                self.ask_state(partition, around);
                self.answer_stored(partition, around);
            }
            (Some(Ok(_)), _) => {}
        }
    }

    /// Answers acknowledgements that are stored.
    fn answer_stored(&mut self, partition: Partition, around: &mut Surroundings) {
        let me = self.me.node;
        let Some(lead) = self.delivery.leads.get_mut(&partition) else { return };
        let Some(loaded) = &mut lead.loaded else { return };
        let stored = loaded.work.stored();
        for (from, request, _, taken) in loaded.waiting.extract_if(.., |(_, _, change, _)| *change <= stored) {
            around.oracle.shares.answered(partition, lead.epoch, loaded.state_epoch, &taken, me);
            post(around, from, Parcel::Acknowledged { request, is_taken: true });
        }
    }

    pub(super) fn acquire(&mut self, from: Address, partition: Partition, request: u64, member: &str, around: &mut Surroundings) {
        let high_watermark = self.high_watermark(partition);
        let led = self.leads(partition);
        let me = self.me.node;
        let lead = self.delivery.leads.get_mut(&partition).filter(|lead| led == Some(lead.epoch));
        let Some((epoch, loaded)) = lead.and_then(|lead| Some((lead.epoch, lead.loaded.as_mut()?))) else {
            return post(around, from, Parcel::Acquired { request, given: Vec::new() });
        };
        let (member, now_ms) = (Arc::<str>::from(member), around.now_ms);
        let until_ms = now_ms + LOCK_MS;
        let is_stuck = loaded.work.is_stuck;
        let (acquired, _) = loaded.work.change(ALLOWED, |deliveries| {
            deliveries.expire(now_ms, ALLOWED);
            match deliveries.next(ALLOWED) {
                Some(next) if next < high_watermark && !is_stuck => {
                    let candidates = candidates(next, high_watermark);
                    let pick = if key_step(partition).is_some() { Pick::Of(&candidates) } else { Pick::All };
                    deliveries.acquire(next..high_watermark, pick, &member, until_ms, MOST, ALLOWED)
                }
                _ => Vec::new(),
            }
        });
        let each = |range: &duolog_core::share::AcquiredRange| {
            let count = range.delivery_count;
            (range.first.0..=range.last.0).map(move |offset| (offset, count)).collect::<Vec<_>>()
        };
        let given: Vec<(i64, i16)> = acquired.iter().flat_map(each).collect();
        around.oracle.shares.delivered(partition, epoch, loaded.state_epoch, &member, until_ms, &given, now_ms, me);
        let given = given.into_iter().map(|(offset, _)| offset).collect();
        post(around, from, Parcel::Acquired { request, given });
        self.ask_state(partition, around);
        self.answer_stored(partition, around);
    }

    pub(super) fn acknowledge(
        &mut self,
        from: Address,
        partition: Partition,
        request: u64,
        member: &str,
        batches: Vec<Acknowledgement>,
        around: &mut Surroundings,
    ) {
        let (led, me, now_ms) = (self.leads(partition), self.me.node, around.now_ms);
        let lead = self.delivery.leads.get_mut(&partition).filter(|lead| led == Some(lead.epoch));
        let Some((epoch, loaded)) = lead.and_then(|lead| Some((lead.epoch, lead.loaded.as_mut()?))) else {
            return post(around, from, Parcel::Acknowledged { request, is_taken: false });
        };
        let until_ms = now_ms + LOCK_MS;
        let (outcome, change) = loaded.work.change(ALLOWED, |deliveries| {
            deliveries.expire(now_ms, ALLOWED);
            deliveries.acknowledge(member, &batches, until_ms, ALLOWED)
        });
        match outcome {
            Ok(()) => {
                let said: Vec<(i64, i8)> = batches.iter().map(|batch| (batch.first.0, batch.types[0])).collect();
                let taken = around.oracle.shares.taken(partition, epoch, loaded.state_epoch, member, &said, until_ms, now_ms, me);
                loaded.waiting.push((from, request, change.number, taken));
            }
            Err(_) => post(around, from, Parcel::Acknowledged { request, is_taken: false }),
        }
        self.ask_state(partition, around);
        self.answer_stored(partition, around);
    }

    pub(super) fn release(&mut self, partition: Partition, member: &str, around: &mut Surroundings) {
        let Some(lead) = self.delivery.leads.get_mut(&partition) else { return };
        let epoch = lead.epoch;
        let Some(loaded) = &mut lead.loaded else { return };
        loaded.work.change(ALLOWED, |deliveries| deliveries.release(member, true, ALLOWED));
        around.oracle.shares.released(partition, epoch, loaded.state_epoch, member);
        self.ask_state(partition, around);
    }
}
