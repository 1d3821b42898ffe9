//! The shell of the share coordinator: replays its partition into the production [`ShareShard`], hands it what leaders ask, appends its
//! records, and lets answers go when [`Flights`] says so. It decides nothing itself.

use super::{Parcel, StateAsk, post};
use crate::log::Partition;
use crate::message::Address;
use crate::node::{Process, Surroundings};
use crate::oracle::Violation;
use bytes::Bytes;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};
use duolog_core::coordinator::{Flight, Flights, Now, Output, Shard, Waiting, replay_batches, ticket};
use duolog_core::share::SharePartition;
use duolog_core::share::decisions::{ShareShard, ShareState, StateError};
use std::sync::Arc;

/// How often a batch that was refused is brought again before the shard is thrown away.
const MAX_REFUSALS: usize = 20;

pub struct States {
    /// The leadership it belongs to.
    epoch: LeaderEpoch,
    shard: ShareShard,
    /// While what was replayed is not committed: where it ends.
    loading: Option<Offset>,
    flights: Flights<Offset>,
    out: Output,
    asked: Vec<Asked>,
    refusals: usize,
}

/// A question whose answer has not left.
struct Asked {
    from: Address,
    partition: Partition,
    number: u64,
    answer: Awaited,
}

enum Awaited {
    Done(Waiting<Result<(), StateError>>),
    State(Waiting<Result<ShareState, StateError>>),
}

impl Awaited {
    fn take(&mut self) -> Option<Result<Option<ShareState>, StateError>> {
        match self {
            Awaited::Done(waiting) => waiting.take().map(|done| done.map(|()| None)),
            Awaited::State(waiting) => waiting.take().map(|state| state.map(Some)),
        }
    }
}

/// The share-partition of a partition: there is one group.
fn place(partition: Partition) -> SharePartition {
    SharePartition { group: Arc::from("g"), topic: TopicId(7), partition: PartitionIndex(partition as i32) }
}

fn now(around: &Surroundings) -> Now {
    Now { monotonic_ms: around.now_ms, wall: TimestampMs(around.wall_ms) }
}

impl States {
    fn ask(&mut self, partition: Partition, ask: StateAsk, now: Now) -> Awaited {
        let (at, out) = (place(partition), &mut self.out);
        match ask {
            StateAsk::Initialize { state_epoch, start } => {
                let (ticket, waiting) = ticket();
                self.shard.initialize(at, state_epoch, Some(Offset(start)), ticket, now, out);
                Awaited::Done(waiting)
            }
            StateAsk::Read { leader_epoch } => {
                let (ticket, waiting) = ticket();
                self.shard.read(&at, leader_epoch, ticket, now, out);
                Awaited::State(waiting)
            }
            StateAsk::Write { by, write } => {
                let (ticket, waiting) = ticket();
                self.shard.write(&at, by, write, ticket, now, out);
                Awaited::Done(waiting)
            }
        }
    }

    /// The shard's state is ahead of the log, which refuses what it wrote.
    fn rests(&mut self) -> bool {
        self.flights.newest().is_some_and(|flight| !flight.refused.is_empty())
    }
}

impl Process {
    /// Brings the shard in line with what the node leads.
    fn follow_states(&mut self, places: super::Places, around: &mut Surroundings) {
        let led = self.leads(places.states);
        if self.delivery.states.as_ref().map(|states| states.epoch) != led {
            self.delivery.states = led.map(|epoch| self.load_states(places, epoch, around));
        }
        let high_watermark = self.high_watermark(places.states);
        if let Some(states) = &mut self.delivery.states
            && states.loading.is_some_and(|end| end <= high_watermark)
        {
            states.loading = None;
            states.shard.loaded(now(around), &mut states.out);
        }
    }

    fn load_states(&self, places: super::Places, epoch: LeaderEpoch, around: &mut Surroundings) -> States {
        let mut shard = ShareShard::default();
        let end = self.log.view(places.states).end;
        for record in self.log.read(places.states, 0, usize::MAX) {
            let batch = around.oracle.batch(record.value).clone();
            if replay_batches(&batch, Offset(0), &mut shard).is_err() {
                around.oracle.fail(Violation::NotReplayed { node: self.me.node, epoch });
            }
        }
        let (flights, out) = (Flights::default(), Output::default());
        States { epoch, shard, loading: Some(end), flights, out, asked: Vec::new(), refusals: 0 }
    }

    pub(super) fn asked_state(
        &mut self,
        from: Address,
        partition: Partition,
        number: u64,
        ask: StateAsk,
        around: &mut Surroundings,
    ) {
        let Some(places) = around.places else { return };
        self.follow_states(places, around);
        let may_append = self.appends(places.states).is_some();
        let states = self.delivery.states.as_mut().filter(|_| may_append);
        match states.and_then(|states| (states.loading.is_none() && !states.rests()).then_some(states)) {
            Some(states) => {
                let answer = states.ask(partition, ask, now(around));
                states.asked.push(Asked { from, partition, number, answer });
                self.dispatch_states(places, around);
            }
            None => post(around, from, Parcel::Told { partition, number, told: None }),
        }
    }

    pub(super) fn tick_states(&mut self, around: &mut Surroundings) {
        let Some(places) = around.places else { return };
        self.follow_states(places, around);
        self.bring_states(places, around);
        if let Some(states) = &mut self.delivery.states {
            states.refusals = if states.rests() { states.refusals + 1 } else { 0 };
            if states.refusals > MAX_REFUSALS {
                self.delivery.states = None;
            }
        }
        self.after(places.states, around);
    }

    /// The records of the last operation go on their way.
    fn dispatch_states(&mut self, places: super::Places, around: &mut Surroundings) {
        let Some(states) = &mut self.delivery.states else { return };
        let departed = states.flights.depart(&mut states.out, TimestampMs(around.wall_ms));
        assert!(departed.is_ok(), "small records make a batch");
        self.bring_states(places, around);
        self.after(places.states, around);
    }

    /// Brings to the log what it has not taken yet.
    fn bring_states(&mut self, places: super::Places, around: &mut Surroundings) {
        let may_append = self.appends(places.states);
        let Some(states) = &mut self.delivery.states else { return };
        let (epoch, mut ends) = (states.epoch, Vec::new());
        let Some(flight) = states.flights.newest().filter(|_| may_append == Some(epoch)) else { return };
        let refused: Vec<_> = flight.refused.drain(..).collect();
        for batch in refused {
            let value = around.oracle.next_batch(Bytes::from(batch));
            ends.push(self.append_value(places.states, epoch, value));
        }
        if let Some(flight) = self.delivery.states.as_mut().and_then(|states| states.flights.newest()) {
            flight.appends.extend(ends);
        }
    }

    /// Lets go the answers that wait for nothing any more.
    pub(super) fn answer_states(&mut self, around: &mut Surroundings) {
        let Some(places) = around.places else { return };
        let (led, high_watermark) = (self.leads(places.states), self.high_watermark(places.states));
        let Some(states) = self.delivery.states.as_mut().filter(|states| led == Some(states.epoch)) else { return };
        let is_committed =
            |flight: &mut Flight<Offset>| flight.refused.is_empty() && flight.appends.iter().all(|end| *end <= high_watermark);
        while states.flights.oldest().is_some_and(is_committed) {
            states.flights.land();
        }
        for mut asked in std::mem::take(&mut states.asked) {
            match asked.answer.take() {
                None => states.asked.push(asked),
                told => {
                    let Asked { from, partition, number, .. } = asked;
                    post(around, from, Parcel::Told { partition, number, told });
                }
            }
        }
    }
}
