//! Replication between brokers: the shell around [`duolog_replica::Replica`]. It decides nothing itself.
//!
//! A partition with more than one replica, one of which is this node's, has a [`Slot`]: the replica behind a lock, and copies of what readers
//! ask for. Whatever changes the partition's log here (a client's append, a cut, a leader's batches) holds the slot's lock from the check of
//! the role to the log's answer, so that nothing of an old epoch comes in late. Several slots are locked in the order of their numbers.
//! Locks are taken in the order table of slots, slot, log; and the map of waiting readers last.
//!
//! * `assume`: images become roles. * `append`: what clients append waits to be committed. * `serve`, `session`: a leader answers followers.
//! * `fetcher`, `take_in`: a follower asks, and appends what it is given. * `propose`: changes of in-sync sets. * `heartbeat`: this node lives; `report`: what it holds.
//! * `heal`: a damaged replica is given up and fetched anew. * `throttle`: how fast replicas that are not in sync get data. * `messages`: what goes over the wire.
//!
//! A partition whose only replica is this node has no slot unless it had more replicas before: what is durable is committed.

mod append;
mod assume;
mod fetcher;
pub mod fuzzing;
mod heal;
mod heartbeat;
mod messages;
mod propose;
mod report;
mod serve;
mod session;
mod slot;
mod status;
mod take_in;
mod throttle;

pub(crate) use append::{AppendRefusal, Promise, Receipt, Wanted};
pub(crate) use heal::speaks_of_damage;
pub(crate) use heartbeat::Heartbeats;
pub(crate) use slot::Slot;
pub use status::ReplicaStatus;

use crate::broker::Road;
use crate::config::FlushMode;
use crate::metadata::Metadata;
use duolog_base::{Clock, LeaderEpoch, NodeId, Offset, PartitionNumber};
use duolog_log::{Advance, Store};
use duolog_replica::{Incarnation, LogView, ReplicationLimits, Role};
use fetcher::Fetchers;
use hashbrown::{HashMap, HashSet};
use heal::Healer;
use parking_lot::{Mutex, RwLock};
use session::Sessions;
use slot::SlotState;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use throttle::{Room, Throttle};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A proposal that is not answered for so long is made again.
const PROPOSAL_RETRY: Duration = Duration::from_secs(2);

/// Told when more of a partition may be shown, or when its role has changed.
pub(crate) trait Readers: Send + Sync {
    fn committed(&self, partition: PartitionNumber);
}

/// What replication works with.
pub(crate) struct Surroundings {
    pub(crate) node: NodeId,
    pub(crate) log: Arc<Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) road: Road,
    pub(crate) readers: Arc<dyn Readers>,
    /// A follower that has not had all that its leader has for so long leaves the in-sync set.
    pub(crate) lag: Duration,
}

/// The replicas of this node.
pub(crate) struct Replication {
    around: Surroundings,
    limits: ReplicationLimits,
    /// This life of the node; nothing is done before it is known.
    me: OnceLock<Incarnation>,
    /// Read by appends until they are in the log: a partition without a slot is not given one meanwhile.
    slots: RwLock<HashMap<PartitionNumber, Arc<Slot>>>,
    /// Held while an image is acted on: one after the other.
    acting: Mutex<()>,
    fetchers: Fetchers,
    sessions: Sessions,
    /// Of what this node sends as a leader, and of what it asks for as a follower.
    sending: Mutex<Throttle>,
    fetching: Mutex<Throttle>,
    tickets: AtomicU64,
    /// In-sync sets are to be looked at now.
    propose_now: Notify,
    healer: Healer,
    /// Partitions whose log has advanced while their slot was held.
    missed: Mutex<HashSet<PartitionNumber>>,
    missed_some: Notify,
    stopped: AtomicBool,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Replication {
    pub(crate) fn new(around: Surroundings) -> Arc<Replication> {
        let limits =
            ReplicationLimits { lag_ms: around.lag.as_millis() as u64, proposal_retry_ms: PROPOSAL_RETRY.as_millis() as u64 };
        let first_session = around.clock.now().0.max(0) as u64;
        Arc::new(Replication {
            around,
            limits,
            me: OnceLock::new(),
            slots: RwLock::default(),
            acting: Mutex::default(),
            fetchers: Fetchers::default(),
            sessions: Sessions::new(first_session),
            sending: Mutex::default(),
            fetching: Mutex::default(),
            tickets: AtomicU64::new(0),
            propose_now: Notify::new(),
            healer: Healer::default(),
            missed: Mutex::default(),
            missed_some: Notify::new(),
            stopped: AtomicBool::new(false),
            tasks: Mutex::default(),
        })
    }

    /// Begins to act, as the life that the controller has given this epoch: takes its roles, serves followers, follows.
    pub(crate) fn begin(self: &Arc<Self>) {
        let Some(epoch) = self.around.metadata.broker_epoch() else { return };
        self.me.get_or_init(|| Incarnation { node: self.around.node, epoch: Some(epoch) });
        self.act_on_all();
        self.around.road.switchboard.connect(messages::KINDS, Arc::new(serve::Door(Arc::downgrade(self))));
        let tasks = [
            tokio::spawn(propose::run(Arc::downgrade(self))),
            tokio::spawn(catch_up_always(self.clone())),
            tokio::spawn(heal::run(Arc::downgrade(self))),
        ];
        self.tasks.lock().extend(tasks);
    }

    /// Ends all tasks; producers that wait are not answered.
    pub(crate) fn stop(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.around.road.switchboard.disconnect(messages::KINDS);
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        self.fetchers.stop();
        self.sessions.stop();
        self.give_up_waiting();
    }

    /// Producers that wait learn that the log has stopped.
    pub(crate) fn give_up_waiting(&self) {
        for slot in self.all() {
            slot.lock().forget_waiting();
        }
    }

    /// Tells the log how much of compacted partitions will not be cut off any more.
    pub(crate) fn set_stable_ends(&self) {
        for slot in self.slots.read().values().filter(|slot| slot.lock().topic.config.compact) {
            self.around.log.set_stable_end(slot.number, slot.high_watermark());
        }
    }

    pub(crate) fn slot(&self, partition: PartitionNumber) -> Option<Arc<Slot>> {
        self.slots.read().get(&partition).cloned()
    }

    /// The high watermark of a replicated partition; `None` if it has no slot.
    pub(crate) fn high_watermark(&self, partition: PartitionNumber) -> Option<Offset> {
        self.slots.read().get(&partition).map(|slot| slot.high_watermark())
    }

    /// The epoch in which this node leads a replicated partition: `None` if it has no slot.
    pub(crate) fn leads(&self, partition: PartitionNumber) -> Option<Option<LeaderEpoch>> {
        self.slots.read().get(&partition).map(|slot| slot.leads())
    }

    /// Whether this node leads, but not everything that was committed before is known to be.
    pub(crate) fn is_unsettled(&self, partition: PartitionNumber) -> bool {
        let slot = self.slot(partition);
        slot.is_some_and(|slot| matches!(slot.lock().replica.role(), Role::Leader(leader) if !leader.is_settled()))
    }

    pub(crate) fn has_slot(&self, partition: PartitionNumber) -> bool {
        self.slots.read().contains_key(&partition)
    }

    /// All slots, in the order of their numbers.
    fn all(&self) -> Vec<Arc<Slot>> {
        let mut all: Vec<Arc<Slot>> = self.slots.read().values().cloned().collect();
        all.sort_unstable_by_key(|slot| slot.number);
        all
    }

    /// The log has come further with these partitions. Called by the log's threads, and by a cut that has the log written first and
    /// holds a slot: so no slot is waited for. What is held elsewhere is left to [`Replication::catch_up`].
    pub(crate) fn log_advanced(&self, partitions: &[PartitionNumber], what: Advance) {
        // Recursive: who waits to write the table may wait for a slot that the caller holds.
        let slots = self.slots.read_recursive();
        for slot in partitions.iter().filter_map(|partition| slots.get(partition)) {
            if slot.leads().is_none() || !slot.counts(what) {
                continue;
            }
            match slot.try_lock() {
                Some(mut state) => self.advance(slot, &mut state),
                None => {
                    self.missed.lock().insert(slot.number);
                    self.missed_some.notify_one();
                }
            }
        }
    }

    fn advance(&self, slot: &Slot, state: &mut SlotState) {
        let Some(view) = self.view(slot, state) else { return };
        if let Some(leader) = state.replica.leader_mut() {
            leader.log_advanced(view);
            self.after(slot, state);
        }
    }

    /// Tells the leaders what the log's threads could not.
    fn catch_up(&self) {
        let missed = std::mem::take(&mut *self.missed.lock());
        for slot in missed.into_iter().filter_map(|partition| self.slot(partition)) {
            self.advance(&slot, &mut slot.lock());
        }
    }

    /// The ends of the partition's log now; `None` if the log does not have it.
    fn view(&self, slot: &Slot, state: &SlotState) -> Option<LogView> {
        let ends = self.around.log.ends(slot.number)?;
        let durable = match state.topic.config.flush {
            FlushMode::Sync => ends.durable,
            FlushMode::Async => ends.written,
        };
        Some(LogView { start: ends.start, durable: durable.max(ends.start), end: ends.end, last_epoch: ends.last_epoch })
    }

    /// What may be sent to a follower now. To those in sync, anything: an in-sync set must not come and go with the throttle.
    fn room_to_send(&self, slot: &Slot, state: &SlotState, follower: NodeId) -> Room {
        let listed = state.topic.config.leader_throttled.contains(slot.index, self.around.node);
        if !listed || is_in_sync(slot, state, follower) {
            return Room::Free;
        }
        let rate = self.around.metadata.image().config.leader_throttled_rate;
        self.sending.lock().room(rate, self.now_ms())
    }

    /// What this node may ask for now as a follower.
    fn room_to_fetch(&self, slot: &Slot, state: &SlotState) -> Room {
        if !self.is_fetch_throttled(slot, state) {
            return Room::Free;
        }
        let rate = self.around.metadata.image().config.follower_throttled_rate;
        self.fetching.lock().room(rate, self.now_ms())
    }

    fn is_fetch_throttled(&self, slot: &Slot, state: &SlotState) -> bool {
        let me = self.around.node;
        state.topic.config.follower_throttled.contains(slot.index, me) && !is_in_sync(slot, state, me)
    }

    /// Tells readers, producers and followers what an event has brought.
    fn after(&self, slot: &Slot, state: &mut SlotState) {
        state.answer_producers();
        let moved = slot.publish(state);
        if moved {
            self.around.readers.committed(slot.number);
            state.tell_followers(slot.number, false);
        }
    }

    fn now_ms(&self) -> u64 {
        self.around.clock.monotonic_ms()
    }
}

/// As the metadata has it.
fn is_in_sync(slot: &Slot, state: &SlotState, node: NodeId) -> bool {
    state.topic.partition(slot.index).is_some_and(|partition| partition.in_sync.contains(&node))
}

/// Ends with the task that runs it, which is aborted when replication stops.
async fn catch_up_always(replication: Arc<Replication>) {
    loop {
        replication.missed_some.notified().await;
        replication.catch_up();
    }
}

#[cfg(test)]
mod tests;
