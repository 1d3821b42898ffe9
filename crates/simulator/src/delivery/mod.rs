//! Delivery record by record, and later: what a run plays in place of groups if it is asked to.
//!
//! What is real: share-partitions in the hands of their leaders ([`Work`](duolog_core::share::decisions::Work)), the shards of the share
//! coordinator, and what the leader of a partition of timers decides ([`Leadership`](duolog_core::delay::decisions::Leadership)), with
//! the clock that it goes by. Two partitions are internal: the states of the share-partitions, and the timers.
//!
//! * `states` is the shell of the share coordinator, `leaders` that of share-partitions, `timers` that of delayed and half records;
//! * `consumers` acquire and acknowledge, `owners` send records for later, recall them, and end halves;
//! * `shares` and `dues` know what must be true.

mod consumers;
mod dues;
mod leaders;
mod owners;
mod shares;
mod states;
mod timers;

pub use consumers::{Consumer, Resets};
pub use dues::{DueViolation, Dues};
pub use owners::Owner;
pub use shares::{ShareViolation, Shares};
pub use timers::values;

use crate::log::Partition;
use crate::message::{Address, Message};
use crate::node::{Process, Surroundings};
use bytes::Bytes;
use duolog_base::{LeaderEpoch, Offset, TimestampMs};
use duolog_core::delay::decisions::{Recall, TimerClock};
use duolog_core::delay::{Ended, Ending};
use duolog_core::share::Acknowledgement;
use duolog_core::share::decisions::{Allowed, ShareState, StateError, Write, Writer};
use duolog_replica::Role;
use std::collections::BTreeMap;

/// What the group allows.
pub const ALLOWED: Allowed = Allowed { deliveries: 4, locks: 200, dead_letters: false };
/// How long a record stays acquired.
pub const LOCK_MS: u64 = 400;
/// When the owner of a half is asked first, and how long it is until the next question.
pub const CHECK_MS: u64 = 300;
/// So many times; then the half goes elsewhere.
pub const CHECKS: u32 = 3;
/// After so long whoever asks takes his request for lost.
pub const TIMEOUT_MS: u64 = 400;

/// The internal partitions.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub states: Partition,
    pub timers: Partition,
}

/// What goes over the network for all this.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// To the share coordinator, of a partition's share-partition.
    Ask {
        partition: Partition,
        number: u64,
        ask: StateAsk,
    },
    /// `None`: not here, or not now.
    Told {
        partition: Partition,
        number: u64,
        told: Option<Result<Option<ShareState>, StateError>>,
    },
    /// A state has begun anew.
    Forget {
        partition: Partition,
    },
    /// A consumer to the leader of a partition.
    Acquire {
        partition: Partition,
        request: u64,
        member: String,
    },
    /// Offsets.
    Acquired {
        request: u64,
        given: Vec<i64>,
    },
    Acknowledge {
        partition: Partition,
        request: u64,
        member: String,
        batches: Vec<Acknowledgement>,
    },
    Acknowledged {
        request: u64,
        is_taken: bool,
    },
    /// The consumer goes, and gives back what it has.
    Release {
        partition: Partition,
        member: String,
    },
    /// What is due, to the leader of its target.
    Deliver {
        partition: Partition,
        number: u64,
        batch: Bytes,
    },
    /// Whether it is committed there, or out of sequence; `None`: not here, or not now.
    Delivered {
        partition: Partition,
        number: u64,
        is_taken: Option<bool>,
    },
    /// An owner to the leader of the timers.
    Store {
        request: u64,
        later: Later,
    },
    /// The offset among the timers.
    Stored {
        request: u64,
        offset: Option<i64>,
    },
    Recall {
        request: u64,
        value: u64,
        recall: Recall,
    },
    End {
        request: u64,
        value: u64,
        ending: Ending,
    },
    /// What a recall or an end came to; `None`: not here, or not now.
    Over {
        request: u64,
        ended: Option<Ended>,
    },
    /// An owner is asked about his half, by its value.
    Question {
        value: u64,
    },
}

/// A record that is to come later.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    pub value: u64,
    pub at_ms: u64,
    pub target: Partition,
    /// By its number, if the owner says when.
    pub owner: Option<usize>,
}

#[derive(Clone, Debug)]
pub enum StateAsk {
    Initialize { state_epoch: i32, start: i64 },
    Read { leader_epoch: LeaderEpoch },
    Write { by: Writer, write: Write },
}

/// What the process of a node holds for this.
#[derive(Default)]
pub struct Delivery {
    states: Option<states::States>,
    leads: BTreeMap<Partition, leaders::Lead>,
    keeper: Option<timers::Keeper>,
    /// Looked at since the process began.
    clock: Option<TimerClock>,
    promises: Vec<Promise>,
    numbers: u64,
}

/// An answer that leaves once its partition is committed so far, if the node leads on until then.
struct Promise {
    partition: Partition,
    epoch: LeaderEpoch,
    end: Offset,
    to: Address,
    parcel: Parcel,
}

impl Delivery {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

fn post(around: &mut Surroundings, to: Address, parcel: Parcel) {
    around.outbox.push((to, Message::Parcel(Box::new(parcel))));
}

impl Process {
    /// The epoch in which the node leads a partition, as far as it knows.
    fn leads(&self, partition: Partition) -> Option<LeaderEpoch> {
        match self.replicas.get(&partition)?.role() {
            Role::Leader(leader) => Some(leader.epoch()),
            Role::Follower(_) | Role::Idle => None,
        }
    }

    /// The same, if the log takes records there.
    fn appends(&self, partition: Partition) -> Option<LeaderEpoch> {
        match self.replicas.get(&partition)?.role() {
            Role::Leader(leader) if leader.check_append().is_ok() => Some(leader.epoch()),
            _ => None,
        }
    }

    fn high_watermark(&self, partition: Partition) -> Offset {
        self.replicas.get(&partition).map(|replica| replica.high_watermark()).unwrap_or_default()
    }

    /// Appends a value as the leader; answers where the log ends then.
    fn append_value(&mut self, partition: Partition, epoch: LeaderEpoch, value: u64) -> Offset {
        let offset = self.log.append(partition, crate::log::Record { epoch, value });
        let view = self.log.view(partition);
        if let Some(leader) = self.replicas.get_mut(&partition).and_then(|replica| replica.leader_mut()) {
            leader.log_advanced(view);
        }
        Offset(offset as i64 + 1)
    }

    /// The time that timers go by.
    pub(crate) fn timer_now(&mut self, around: &Surroundings) -> TimestampMs {
        self.delivery.clock.get_or_insert_default().now(TimestampMs(around.wall_ms), around.now_ms)
    }

    pub(crate) fn tick_delivery(&mut self, around: &mut Surroundings) {
        if around.places.is_none() {
            return;
        }
        self.tick_states(around);
        self.tick_leads(around);
        self.turn(around);
    }

    pub(crate) fn take_parcel(&mut self, from: Address, parcel: Parcel, around: &mut Surroundings) {
        match parcel {
            Parcel::Ask { partition, number, ask } => self.asked_state(from, partition, number, ask, around),
            Parcel::Told { partition, number, told } => self.told(partition, number, told, around),
            Parcel::Forget { partition } => _ = self.delivery.leads.remove(&partition),
            Parcel::Acquire { partition, request, member } => self.acquire(from, partition, request, &member, around),
            Parcel::Acknowledge { partition, request, member, batches } => {
                self.acknowledge(from, partition, request, &member, batches, around);
            }
            Parcel::Release { partition, member } => self.release(partition, &member, around),
            Parcel::Deliver { partition, number, batch } => self.take_delivery(from, partition, number, batch, around),
            Parcel::Delivered { partition, number, is_taken } => {
                self.delivered(partition, number, is_taken, around);
            }
            Parcel::Store { request, later } => self.store(from, request, later, around),
            Parcel::Recall { .. } | Parcel::End { .. } => self.asked_timers(from, parcel, around),
            Parcel::Acquired { .. }
            | Parcel::Acknowledged { .. }
            | Parcel::Stored { .. }
            | Parcel::Over { .. }
            | Parcel::Question { .. } => unreachable!("not for a node: {parcel:?}"),
        }
    }

    /// More of a partition may be committed.
    pub(crate) fn delivery_after(&mut self, partition: Partition, around: &mut Surroundings) {
        let Some(places) = around.places else { return };
        let (led, high_watermark) = (self.leads(partition), self.high_watermark(partition));
        let is_kept = |promise: &mut Promise| {
            promise.partition == partition && (led != Some(promise.epoch) || promise.end <= high_watermark)
        };
        let kept: Vec<Promise> = self.delivery.promises.extract_if(.., is_kept).collect();
        for Promise { epoch, to, parcel, .. } in kept {
            if led == Some(epoch) {
                post(around, to, parcel);
            }
        }
        if partition == places.states {
            self.answer_states(around);
        }
    }
}
