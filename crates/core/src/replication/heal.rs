//! A damaged replica is given up and fetched anew; [`duolog_replica::Damage`] says when its records may be thrown away.
//!
//! What is damaged is learned from the log when it is opened, from its housekeeping, and from reads that fail, of consumers and of
//! followers. A read that failed is made again before it is believed: the log may have been cut under it, or its index be rebuilt.
//!
//! One task: it asks the controller to count on the damaged replicas no more, and begins those anew that nobody counts on. Where no other
//! replica is in sync the controller refuses: the replica stays as it is, refuses what it cannot read, and it is tried again.

use super::Replication;
use super::slot::{Slot, SlotState};
use crate::metadata::{GivenUp, decide_giving_up};
use duolog_base::{Offset, PartitionNumber};
use duolog_log::{Layout, ReadError, ReadLimits};
use duolog_replica::Role;
use duolog_wire::record::batches;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often it is tried again to give up what nobody else could lead.
const RETRY: Duration = Duration::from_secs(1);
/// How long an index that cannot be read is given to be rebuilt.
const REBUILD_LIMIT: Duration = Duration::from_secs(60);
/// Partitions of which a failed read is remembered.
const MAX_SUSPICIONS: usize = 1024;
/// Bytes read at once when a read is made again.
const PORTION_BYTES: usize = 1 << 20;

/// What the task is told by others.
#[derive(Default)]
pub(super) struct Healer {
    known: Mutex<Known>,
    wake: Notify,
}

#[derive(Default)]
struct Known {
    /// Found damaged by the housekeeping of the log.
    reported: BTreeSet<PartitionNumber>,
    suspected: HashMap<PartitionNumber, Suspicion>,
    /// Their slots know that they are damaged.
    damaged: BTreeSet<PartitionNumber>,
}

/// A read from one offset to another has failed.
#[derive(Clone, Copy)]
struct Suspicion {
    from: Offset,
    upto: Offset,
    since: Instant,
}

/// What a read that is made again says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Sound,
    Damaged,
    /// The index cannot be read, which the log may rebuild.
    Unclear,
}

impl Healer {
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    fn has_work(&self) -> bool {
        let known = self.known.lock();
        !(known.reported.is_empty() && known.suspected.is_empty() && known.damaged.is_empty())
    }
}

/// Heals for a broker until it is gone.
pub(super) async fn run(replication: Weak<Replication>) {
    loop {
        let Some(known) = replication.upgrade() else { return };
        match known.healer.has_work() {
            true => _ = tokio::time::timeout(RETRY, known.healer.wake.notified()).await,
            false => known.healer.wake.notified().await,
        }
        known.heal().await;
    }
}

impl Replication {
    /// The log's housekeeping has found damage. Called by its threads.
    pub(crate) fn found_by_log(&self, partition: PartitionNumber) {
        self.healer.known.lock().reported.insert(partition);
        self.healer.wake();
    }

    /// A read from one offset to another has failed for a reason that speaks of damage.
    pub(crate) fn suspect(&self, partition: PartitionNumber, from: Offset, upto: Offset) {
        if !self.has_slot(partition) {
            return;
        }
        let mut known = self.healer.known.lock();
        if known.suspected.len() < MAX_SUSPICIONS {
            known.suspected.entry(partition).or_insert(Suspicion { from, upto, since: Instant::now() });
            self.healer.wake();
        }
    }

    /// From now on the replica is not vouched for.
    pub(super) fn found_damaged(&self, slot: &Slot, state: &mut SlotState, reason: String) {
        if state.damaged.is_none() {
            tracing::error!(partition = %slot.number, topic = state.topic.name, reason, "the replica of this node is damaged");
        }
        state.replica.found_damaged();
        state.damaged = Some(reason);
        self.healer.known.lock().damaged.insert(slot.number);
        self.healer.wake();
    }

    async fn heal(self: &Arc<Self>) {
        let replication = self.clone();
        if tokio::task::spawn_blocking(move || replication.look_at_reports()).await.is_err() {
            return;
        }
        let requests = self.to_give_up();
        let results = self.around.metadata.give_up_replicas(&requests).await;
        for (request, result) in requests.iter().zip(results) {
            let partition = (request.topic, request.index);
            match result {
                Ok(epoch) => tracing::info!(?partition, %epoch, "a damaged replica is not counted on any more"),
                Err(error) => tracing::debug!(?partition, %error, "a damaged replica is not given up"),
            }
        }
        let replication = self.clone();
        // An aborted task leaves what it has begun to the next life.
        let _ = tokio::task::spawn_blocking(move || replication.begin_anew()).await;
    }

    /// Believes what was reported, and what a second look confirms. May wait for the disk.
    fn look_at_reports(&self) {
        let (reported, suspected) = {
            let mut known = self.healer.known.lock();
            (std::mem::take(&mut known.reported), std::mem::take(&mut known.suspected))
        };
        for slot in reported.into_iter().filter_map(|partition| self.slot(partition)) {
            self.found_damaged(&slot, &mut slot.lock(), "the housekeeping has come across a damaged batch".to_owned());
        }
        for (partition, suspicion) in suspected {
            let Some(slot) = self.slot(partition) else { continue };
            let verdict = match self.look_again(partition, &suspicion) {
                Verdict::Unclear if suspicion.since.elapsed() >= REBUILD_LIMIT => Verdict::Damaged,
                verdict => verdict,
            };
            match verdict {
                Verdict::Damaged => {
                    let reason = format!("from {} to {} it cannot be read", suspicion.from, suspicion.upto);
                    self.found_damaged(&slot, &mut slot.lock(), reason);
                }
                Verdict::Unclear => _ = self.healer.known.lock().suspected.entry(partition).or_insert(suspicion),
                Verdict::Sound => {}
            }
        }
    }

    fn look_again(&self, partition: PartitionNumber, suspicion: &Suspicion) -> Verdict {
        let log = &self.around.log;
        let is_shared = log.place(partition).is_some_and(|place| place.layout == Layout::Shared);
        let mut from = suspicion.from;
        while from < suspicion.upto {
            let limits = ReadLimits { upto: suspicion.upto, max_bytes: PORTION_BYTES, at_least_one: true, tags: None };
            let plan = match log.read(partition, from, limits) {
                Ok(plan) => plan,
                Err(error) if is_shared && speaks_of_damage(&error) => return Verdict::Unclear,
                Err(error) if speaks_of_damage(&error) => return Verdict::Damaged,
                Err(_) => return Verdict::Sound,
            };
            match plan.materialize() {
                Ok(bytes) if are_sound(&bytes) => {}
                Err(error) if !speaks_of_damage(&error) => return Verdict::Sound,
                _ => return Verdict::Damaged,
            }
            if plan.next <= from {
                break;
            }
            from = plan.next;
        }
        Verdict::Sound
    }

    /// The damaged replicas that the controller is to be asked about, as far as this node's metadata lets it agree.
    fn to_give_up(&self) -> Vec<GivenUp> {
        let Some(broker_epoch) = self.me.get().and_then(|me| me.epoch) else { return Vec::new() };
        let image = self.around.metadata.image();
        let mut requests = Vec::new();
        for slot in self.damaged() {
            let state = slot.lock();
            if state.gone || state.replica.damage().is_none_or(|damage| damage.may_begin_anew()) {
                continue;
            }
            let (node, topic, leader_epoch) = (self.around.node, state.topic.id, state.replica.epoch());
            let request = GivenUp { node, broker_epoch, topic, index: slot.index, leader_epoch };
            if decide_giving_up(&image, &[request]).results.iter().all(Result::is_ok) {
                requests.push(request);
            }
        }
        requests
    }

    fn damaged(&self) -> Vec<Arc<Slot>> {
        let slots = self.slots.read();
        let mut known = self.healer.known.lock();
        known.damaged.retain(|partition| slots.contains_key(partition));
        known.damaged.iter().filter_map(|partition| slots.get(partition).cloned()).collect()
    }

    /// Throws away what nobody counts on, and follows from the beginning. Waits for the disk.
    fn begin_anew(self: &Arc<Self>) {
        for slot in self.damaged() {
            let mut state = slot.lock();
            let may = state.replica.damage().is_some_and(|damage| damage.may_begin_anew());
            let leader = match state.replica.role() {
                Role::Follower(follower) if may && !state.gone => follower.leader(),
                _ => continue,
            };
            if let Err(error) = self.around.log.restart_at(slot.number, Offset(0)) {
                state.note_trouble(slot.number, &error);
                continue;
            }
            // The log holds the partition, since it has begun it anew.
            let Some(view) = self.view(&slot, &state) else { continue };
            tracing::info!(partition = %slot.number, topic = state.topic.name, "a damaged replica begins anew");
            state.replica.began_anew(view);
            (state.damaged, state.quarantined) = (None, None);
            state.forget_trouble();
            self.around.log.set_stable_end(slot.number, state.replica.high_watermark());
            self.after(&slot, &mut state);
            self.healer.known.lock().damaged.remove(&slot.number);
            self.fetchers.want(self, leader, slot.number);
        }
    }
}

/// Whether a read that failed so may have come across damage.
pub(crate) fn speaks_of_damage(error: &ReadError) -> bool {
    let kinds = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof, io::ErrorKind::NotFound];
    match error {
        ReadError::Quarantined(_) => true,
        ReadError::Io(error) => kinds.contains(&error.kind()),
        ReadError::UnknownPartition(_) | ReadError::OutOfRange { .. } => false,
    }
}

/// Whether all batches are whole and undamaged.
pub(super) fn are_sound(bytes: &[u8]) -> bool {
    batches(bytes).all(|batch| batch.is_ok_and(|(header, range)| header.verify_crc(&bytes[range]).is_ok()))
}
