//! What waits in one partition of `__delayed_messages`: a fold of its records, and what is to be done about it. Reads no clock, does no I/O.
//!
//! A timer is pending until an intent lists it, is being delivered until the intent is done, and is gone then. What an intent lists is
//! appended to its target as one batch under the producer id and sequence that the intent names. Those of a committed intent never change, and
//! nothing is appended before its intent is committed, so whoever appends it, and however often, the target takes it once: a leader of
//! the past that is still at work can only repeat what its successor finds open and repeats, too. There is one open intent a target at most.
//! Each leader numbers its own intents under a new producer id, from 0 for each target; what it finds open it finishes under the old one.
//!
//! A half waits for its owner instead of a time ([`Halves`]); once it is committed it is a timer that is due.
//!
//! Everything here follows from the records in their order, so a fail-over at any moment leaves the same state. Compaction may have taken
//! away some of what is no longer true; what a tombstone or an intent says of timers that are not there is passed over.

use super::halves::{Halves, Waiting};
use super::pending::{Pending, Timer};
use super::records::{self, Delayed, Entry, Fate, Intent, Name, Owner, Target};
use crate::coordinator::ReplayError;
use duolog_base::{Offset, PartitionNumber, ProducerEpoch, ProducerId, TimestampMs};
use duolog_replica::{Mutant, planted};
use duolog_wire::record::{
    BatchBuilder, BuildError, Compression, DecodeError, DecompressLimits, Header, NewRecord, Record, RecordError,
    advance_sequence, decode_batch,
};
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};

/// When something is due that waits for nothing more, whatever clocks show.
const AT_ONCE: TimestampMs = TimestampMs(0);
/// Bytes of a batch that is delivered, unless its only record has more.
pub const DELIVERED_BYTES: usize = 512 << 10;

/// The timers of one partition.
#[derive(Debug, Default)]
pub struct Timers {
    pending: Pending,
    /// Due, and known to be for targets that had enough at the time: next once these have no open intent. Not written down.
    held: BTreeMap<PartitionNumber, BTreeSet<Timer>>,
    open: BTreeMap<PartitionNumber, Intent>,
    /// The timers of open intents that are not gone.
    delivering: BTreeMap<Offset, PartitionNumber>,
    halves: Halves,
}

/// A timer or half whose record has been read back.
#[derive(Clone, Debug)]
pub struct Due {
    pub timer: Timer,
    pub name: Name,
    pub delayed: Delayed,
    /// Of a half.
    pub owner: Option<Owner>,
}

/// What is to be written before anything is delivered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub intents: Vec<(PartitionNumber, Intent)>,
    /// Their targets are gone, and they with them.
    pub orphans: Vec<(Name, Timer)>,
}

/// Under what a leader delivers.
#[derive(Debug)]
pub struct Sequences {
    producer: ProducerId,
    next: HashMap<PartitionNumber, i32>,
}

impl Sequences {
    /// The producer id must never have been used.
    pub fn new(producer: ProducerId) -> Sequences {
        Sequences { producer, next: HashMap::new() }
    }

    fn take(&mut self, number: PartitionNumber, count: usize) -> i32 {
        let next = self.next.entry(number).or_insert(0);
        std::mem::replace(next, advance_sequence(*next, count as i32))
    }
}

impl Timers {
    /// Folds one record of the partition into the state.
    pub fn replay(&mut self, record: &Record<'_>) -> Result<(), ReplayError> {
        let key = record.key.ok_or(ReplayError::NoKey)?;
        match records::decode(record.offset, key, record.value, &record.headers)? {
            Entry::Timer(timer) => self.pending.insert(timer),
            Entry::Half(timer) => self.halves.insert(timer),
            Entry::Fate(half, Fate::Asked { next, questions }) => self.halves.asked(half, next, questions),
            Entry::Fate(half, Fate::Committed) => {
                if self.halves.remove(half) || planted(Mutant::HalfCommittedTwice) {
                    self.pending.insert(Timer { at: AT_ONCE, offset: half });
                }
            }
            Entry::FateGone => {}
            Entry::Gone(timer) => {
                let was_pending = self.halves.remove(timer.offset) || self.pending.remove(timer);
                if !was_pending && self.delivering.remove(&timer.offset).is_none() {
                    self.unhold(timer);
                }
            }
            Entry::Intent(number, intent) => {
                self.done(number);
                for timer in &intent.timers {
                    // Of a half that was committed the record that says so may be gone.
                    let was_pending = self.halves.remove(timer.offset) || self.pending.remove(*timer);
                    if !was_pending && let Some(held) = self.held.get_mut(&number) {
                        held.remove(timer);
                    }
                    self.delivering.insert(timer.offset, number);
                }
                self.held.retain(|_, held| !held.is_empty());
                self.open.insert(number, intent);
            }
            Entry::Done(number) => self.done(number),
        }
        Ok(())
    }

    fn done(&mut self, number: PartitionNumber) {
        for timer in self.open.remove(&number).map(|intent| intent.timers).unwrap_or_default() {
            if self.delivering.remove(&timer.offset).is_some() {
                self.pending.insert(timer);
            }
        }
    }

    fn unhold(&mut self, timer: Timer) {
        self.held.retain(|_, held| {
            held.remove(&timer);
            !held.is_empty()
        });
    }

    /// What is to be delivered next: for each target without an open intent what is held for it, and what else is due, in the order of their
    /// times.
    pub fn due(&self, now: TimestampMs, most: usize) -> Vec<Timer> {
        let free = self.held.iter().filter(|(number, _)| !self.open.contains_key(number));
        let mut due: Vec<Timer> = free.flat_map(|(_, held)| held.iter().copied().take(most)).take(most).collect();
        let left = most - due.len();
        due.extend(self.pending.iter().take_while(|timer| timer.at <= now).take(left));
        due
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<TimestampMs> {
        self.pending.iter().next().map(|timer| timer.at)
    }

    pub fn halves(&self) -> &Halves {
        &self.halves
    }

    /// A half that nothing has been said of.
    pub fn waiting(&self, half: Offset) -> Option<Waiting> {
        self.halves.get(half)
    }

    /// Whether the timer can still be recalled.
    pub fn is_pending(&self, timer: Timer) -> bool {
        self.pending.contains(timer) || self.held.values().any(|held| held.contains(&timer))
    }

    /// Those not delivered yet.
    pub(crate) fn len(&self) -> usize {
        self.halves.len() + self.pending.len() + self.delivering.len() + self.held.values().map(BTreeSet::len).sum::<usize>()
    }

    pub fn open(&self) -> impl Iterator<Item = (PartitionNumber, &Intent)> {
        self.open.iter().map(|(number, intent)| (*number, intent))
    }

    /// Drops a timer whose record is not there any more.
    pub fn forget(&mut self, timer: Timer) {
        self.halves.remove(timer.offset);
        self.pending.remove(timer);
        self.unhold(timer);
    }

    /// Divides due timers into batches by their targets, each within the bytes that `room` gives, which knows no target that is gone. What does
    /// not fit, or is for a target with an open intent, is held until that is done.
    pub fn plan(&mut self, due: &[Due], sequences: &mut Sequences, room: impl Fn(&Target) -> Option<usize>) -> Plan {
        let mut plan = Plan::default();
        let mut batches: BTreeMap<PartitionNumber, (usize, Vec<Timer>)> = BTreeMap::new();
        for Due { timer, name, delayed, .. } in due {
            let number = delayed.target.number;
            let Some(room) = room(&delayed.target) else {
                plan.orphans.push((*name, *timer));
                continue;
            };
            if !self.open.contains_key(&number) {
                let (bytes, timers) = batches.entry(number).or_default();
                *bytes += delayed.batch.len();
                if timers.is_empty() || *bytes <= room.min(DELIVERED_BYTES) {
                    timers.push(*timer);
                    continue;
                }
            }
            if self.pending.remove(*timer) {
                self.held.entry(number).or_default().insert(*timer);
            }
        }
        let intend = |(number, (_, timers)): (PartitionNumber, (usize, Vec<Timer>))| {
            let base_sequence = sequences.take(number, timers.len());
            (number, Intent { producer: sequences.producer, base_sequence, timers })
        };
        plan.intents = batches.into_iter().map(intend).collect();
        plan
    }
}

/// Why a batch cannot be made of what was read.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("a delayed record cannot be unpacked: {0}")]
    Batch(#[from] DecodeError),
    #[error("a delayed record cannot be read: {0}")]
    Record(#[from] RecordError),
    #[error("a delayed batch has no record")]
    Empty,
    #[error("batch cannot be built: {0}")]
    Build(#[from] BuildError),
}

/// The batch that an intent stands for, from its timers in their order; and what is known of its tags.
pub fn delivery(intent: &Intent, due: &[Due]) -> Result<(bytes::BytesMut, u64), DeliveryError> {
    assert!(due.iter().map(|due| due.timer).eq(intent.timers.iter().copied()), "an intent is delivered whole and in its order");
    let mut builder = BatchBuilder::new(Compression::None);
    if !planted(Mutant::DeliveryNotIdempotent) {
        builder = builder.producer(intent.producer, ProducerEpoch(0), intent.base_sequence);
    }
    let mut tags = Some(0);
    for Due { delayed, .. } in due {
        let batch = decode_batch(&delayed.batch, DecompressLimits::default())?;
        let record = batch.records().next().ok_or(DeliveryError::Empty)??;
        let headers: Vec<Header<'_>> = record.headers.clone().collect();
        builder.push(NewRecord { timestamp: record.timestamp, key: record.key, value: record.value, headers: &headers })?;
        // Of a batch with a record of which nothing is known, nothing is known.
        tags = tags.filter(|_| delayed.tags != 0).map(|tags| tags | delayed.tags);
    }
    let mut bytes = bytes::BytesMut::with_capacity(builder.uncompressed_bytes());
    builder.build(&mut bytes)?;
    Ok((bytes, tags.unwrap_or(0)))
}
