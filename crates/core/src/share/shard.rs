//! The share-partitions of one partition of `__share_group_state`: what is stored of them, and who may write it. (KIP-932)
//!
//! A leader begins with [`ShareShard::read`], which turns away all leaders before it; whoever begins a group's progress anew raises the state
//! epoch, which turns away all who have not read since.

use super::SharePartition;
use super::records::{self, ShareRecord, Snapshot, Update};
use super::state::{Batches, ShareState, ShareSummary, Write};
use crate::coordinator::{Now, Output, ReplayError, Shard, Ticket};
use crate::metadata::MetadataImage;
use duolog_base::{LeaderEpoch, Offset, TimestampMs};
use duolog_replica::{Mutant, planted};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ranges that an update may hold, and updates of a snapshot, before there is a new snapshot.
const UPDATE_BATCHES: usize = 64;
const UPDATES_A_SNAPSHOT: u32 = 500;
const NOT_COUNTED: i32 = -1;

/// Why the state is not read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum StateError {
    #[error("the share-partition was not initialized")]
    NotInitialized,
    #[error("there is a later leader of the partition")]
    FencedLeader,
    #[error("the state has begun anew meanwhile")]
    FencedState,
}

/// What is known of a share-partition.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    snapshot_epoch: i32,
    state_epoch: i32,
    leader_epoch: i32,
    start: Option<Offset>,
    delivery_complete_count: i32,
    created: TimestampMs,
    batches: Batches,
    /// Of these, what was written since the snapshot.
    since_snapshot: Batches,
    updates: u32,
}

impl Known {
    fn begin(snapshot_epoch: i32, state_epoch: i32, leader_epoch: i32, start: Option<Offset>, now: Now) -> Known {
        Known {
            snapshot_epoch,
            state_epoch,
            leader_epoch,
            start,
            delivery_complete_count: NOT_COUNTED,
            created: now.wall,
            batches: Batches::default(),
            since_snapshot: Batches::default(),
            updates: 0,
        }
    }

    fn restore(snapshot: Snapshot) -> Known {
        let mut batches = Batches::default();
        batches.merge(snapshot.start.unwrap_or(Offset(0)), &snapshot.batches);
        Known {
            snapshot_epoch: snapshot.snapshot_epoch,
            state_epoch: snapshot.state_epoch,
            leader_epoch: snapshot.leader_epoch,
            start: snapshot.start,
            delivery_complete_count: snapshot.delivery_complete_count,
            created: snapshot.created,
            batches,
            since_snapshot: Batches::default(),
            updates: 0,
        }
    }

    fn apply(&mut self, update: &Update) {
        self.leader_epoch = self.leader_epoch.max(update.leader_epoch);
        self.start = self.start.max(update.start);
        self.delivery_complete_count = update.delivery_complete_count;
        let start = self.start.unwrap_or(Offset(0));
        self.batches.merge(start, &update.batches);
        self.since_snapshot.merge(start, &update.batches);
        self.updates += 1;
    }

    /// The record that makes the present state last.
    fn record(&mut self, at: &SharePartition, now: Now) -> crate::coordinator::Record {
        if self.since_snapshot.len() > UPDATE_BATCHES || self.updates > UPDATES_A_SNAPSHOT {
            self.snapshot_epoch += 1;
            return self.snapshot(at, now);
        }
        let update = Update {
            snapshot_epoch: self.snapshot_epoch,
            leader_epoch: self.leader_epoch,
            start: self.start,
            delivery_complete_count: self.delivery_complete_count,
            batches: self.since_snapshot.to_list(),
        };
        records::update(at, &update)
    }

    fn snapshot(&mut self, at: &SharePartition, now: Now) -> crate::coordinator::Record {
        (self.since_snapshot, self.updates) = (Batches::default(), 0);
        let snapshot = Snapshot {
            snapshot_epoch: self.snapshot_epoch,
            state_epoch: self.state_epoch,
            leader_epoch: self.leader_epoch,
            start: self.start,
            delivery_complete_count: self.delivery_complete_count,
            created: self.created,
            written: now.wall,
            batches: self.batches.to_list(),
        };
        records::snapshot(at, &snapshot)
    }
}

/// The share-partitions of one partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ShareShard {
    known: BTreeMap<SharePartition, Known>,
}

impl ShareShard {
    /// Begins a group's progress. A state epoch that is known is no news; with a later one the progress begins anew if `start` says where.
    pub fn initialize(
        &mut self,
        at: SharePartition,
        state_epoch: i32,
        start: Option<Offset>,
        ticket: Ticket<Result<(), StateError>>,
        now: Now,
        out: &mut Output,
    ) {
        let (snapshot_epoch, leader_epoch) = match self.known.get(&at) {
            Some(known) if known.state_epoch > state_epoch => return out.answer(ticket, Err(StateError::FencedState)),
            Some(known) if known.state_epoch == state_epoch || start.is_none() => return out.answer(ticket, Ok(())),
            Some(known) => (known.snapshot_epoch + 1, known.leader_epoch),
            None => (0, 0),
        };
        let mut known = Known::begin(snapshot_epoch, state_epoch, leader_epoch, start, now);
        out.append(known.snapshot(&at, now));
        self.known.insert(at, known);
        out.answer(ticket, Ok(()));
    }

    pub fn delete(&mut self, at: &SharePartition, ticket: Ticket<Result<(), StateError>>, out: &mut Output) {
        if self.known.remove(at).is_some() {
            records::tombstones(at).into_iter().for_each(|record| out.append(record));
        }
        out.answer(ticket, Ok(()));
    }

    /// What a leader begins with. Leaders before it write no more.
    pub fn read(
        &mut self,
        at: &SharePartition,
        leader_epoch: LeaderEpoch,
        ticket: Ticket<Result<ShareState, StateError>>,
        now: Now,
        out: &mut Output,
    ) {
        let Some(known) = self.known.get_mut(at) else { return out.answer(ticket, Err(StateError::NotInitialized)) };
        if known.leader_epoch > leader_epoch.0 {
            return out.answer(ticket, Err(StateError::FencedLeader));
        }
        if known.leader_epoch < leader_epoch.0 {
            known.leader_epoch = leader_epoch.0;
            out.append(known.record(at, now));
        }
        let start = known.start.map(|start| start.0);
        out.answer(ticket, Ok(ShareState { state_epoch: known.state_epoch, start, batches: known.batches.to_list() }));
    }

    pub fn write(
        &mut self,
        at: &SharePartition,
        by: Writer,
        write: Write,
        ticket: Ticket<Result<(), StateError>>,
        now: Now,
        out: &mut Output,
    ) {
        let Some(known) = self.known.get_mut(at) else { return out.answer(ticket, Err(StateError::NotInitialized)) };
        if known.state_epoch != by.state_epoch && !planted(Mutant::StateEpochIgnored) {
            return out.answer(ticket, Err(StateError::FencedState));
        }
        if known.leader_epoch > by.leader_epoch && !planted(Mutant::StaleLeaderWrites) {
            return out.answer(ticket, Err(StateError::FencedLeader));
        }
        known.apply(&Update {
            snapshot_epoch: known.snapshot_epoch,
            leader_epoch: by.leader_epoch,
            start: (write.start >= 0).then_some(Offset(write.start)),
            delivery_complete_count: write.delivery_complete_count,
            batches: write.batches,
        });
        out.append(known.record(at, now));
        out.answer(ticket, Ok(()));
    }

    pub fn summary(&self, at: &SharePartition, ticket: Ticket<Result<ShareSummary, StateError>>, out: &mut Output) {
        let summary = self.known.get(at).map(|known| ShareSummary {
            start_offset: known.start,
            leader_epoch: LeaderEpoch(known.leader_epoch),
            state_epoch: known.state_epoch,
            delivery_complete_count: known.delivery_complete_count,
        });
        out.answer(ticket, summary.ok_or(StateError::NotInitialized));
    }

    /// Forgets topics that are not in the image.
    pub fn forget_deleted_topics(&mut self, image: &MetadataImage, ticket: Ticket<()>, out: &mut Output) {
        let gone = self.known.extract_if(.., |at, _| image.topic_by_id(at.topic).is_none());
        gone.for_each(|(at, _)| records::tombstones(&at).into_iter().for_each(|record| out.append(record)));
        out.answer(ticket, ());
    }
}

/// Which leader writes, and what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    pub state_epoch: i32,
    pub leader_epoch: i32,
}

impl Shard for ShareShard {
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        let (at, record) = records::decode(key, value)?;
        match record {
            ShareRecord::Snapshot(snapshot) => {
                self.known.insert(at, Known::restore(snapshot));
            }
            ShareRecord::Update(update) => {
                // One that belongs to another snapshot is part of that, or of what came after.
                if let Some(known) = self.known.get_mut(&at)
                    && known.snapshot_epoch == update.snapshot_epoch
                {
                    known.apply(&update);
                }
            }
            ShareRecord::Gone => {
                self.known.remove(&at);
            }
            ShareRecord::NoUpdate | ShareRecord::Other => {}
        }
        Ok(())
    }

    fn loaded(&mut self, _now: Now, _out: &mut Output) {}

    fn poll_timers(&mut self, _now: Now, _out: &mut Output) {}

    fn next_deadline(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests;
