//! Delivery to groups whose members share partitions: each record is given to one member at a time, which says what became of it. (KIP-932)
//!
//! A *share-partition* is a partition as one group reads it. What of it was delivered to whom is decided at the leader of the partition
//! (`partition`, pure; `leader`, its shell); what is to outlive that leader is stored by the share coordinator, a service on
//! `__share_group_state` (`shard`), which may be at another node (`states`, `door`). An acknowledgement is answered when it is stored.
//! What was acquired and not acknowledged is delivered again: after its lock has expired, or at once when the leader is another one.
//!
//! Who is in a group, and who reads which partition, is none of this module's business. Records are read elsewhere, too: a front end asks where
//! to read ([`ShareGroups::next_fetch`]), reads, and acquires what it is about to send ([`ShareGroups::acquire`]).

pub mod dead_letters;
mod door;
mod held;
mod leader;
mod metrics;
mod partition;
mod ranges;
mod records;
mod shard;
mod state;
mod states;
#[cfg(test)]
mod tests;
mod watch;
mod work;

pub use metrics::ShareMetrics;
pub use partition::{Acknowledgement, AcquiredRange, Allowed, Candidate, KeyHash, Pick, Reason, key_hash};
pub use ranges::OffsetRange;
pub use state::ShareSummary;
pub use watch::ShareWatch;

/// What decides, without waiting and I/O: for who plays it without a broker.
pub mod decisions {
    pub use super::partition::{AcknowledgeError, Allowed, Burial, Partition};
    pub use super::shard::{ShareShard, StateError, Writer};
    pub use super::state::{ShareState, Stage, StateBatch, Stored, Write};
    pub use super::work::{Change, Work};
}

use crate::broker::Broker;
use crate::coordinator::{BrokerLog, InternalTopic, Now, Output, Runtime, RuntimeMetrics, Ticket, Unavailable};
use crate::delay::Delays;
use crate::metadata::MetadataImage;
use dead_letters::DeadLetters;
use door::{CALLS, Door, FORGET, KINDS};
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use duolog_peer::head;
use held::Held;
use parking_lot::Mutex;
use shard::ShareShard;
use states::{Ask, AskHead, States};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use watch::Watches;

/// How long a question that nobody can answer now is asked again, and how long to wait between attempts.
const HOLD: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// How long a leader may take to be told that a state has begun anew.
const FORGET_LIMIT: Duration = Duration::from_secs(2);
/// How long what could not be forgotten is put off.
const REFORGET_PAUSE: Duration = Duration::from_secs(5);

/// A partition as a group reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharePartition {
    pub group: Arc<str>,
    pub topic: TopicId,
    pub partition: PartitionIndex,
}

/// Why a share-partition does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    #[error("unknown partition")]
    UnknownPartition,
    #[error("this node does not lead the partition")]
    NotLeader,
    #[error("there is a later leader of the partition")]
    FencedLeaderEpoch,
    #[error("the state of the share-partition has begun anew meanwhile")]
    FencedStateEpoch,
    #[error("a record is not acquired by the member")]
    InvalidRecordState,
    #[error("the acknowledgement is malformed")]
    InvalidRequest,
    #[error("the share-partition was not initialized")]
    GroupIdNotFound,
    /// It may pass.
    #[error("the leader is not ready yet")]
    Loading,
    /// It may pass.
    #[error("share groups are not served now: {0}")]
    Unavailable(String),
    #[error("reading failed: {0}")]
    Storage(String),
}

/// What one acquisition wants.
#[derive(Clone, Debug)]
pub struct Acquire<'a> {
    /// Who gets the records, and is to say what became of them.
    pub member: &'a str,
    /// Begins where it was to be read, and ends where what was read does.
    pub window: Range<Offset>,
    pub max_records: usize,
    /// How long the member has them to itself; `None` as the group is configured.
    pub lock: Option<Duration>,
    pub pick: Pick<'a>,
    /// What nobody in the group will want: it is done with at once, as far as it lies below what is acquired and nobody has it.
    pub unwanted: &'a [OffsetRange],
}

/// Where the limits of groups come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// The configuration of the group, as a Kafka share group.
    Configured,
    Fixed(Allowed),
}

/// What the tasks have in common.
struct Shared {
    broker: Arc<Broker>,
    states: States,
    /// Guards the share-partitions that this node leads and was asked for; held for look-ups only.
    held: Mutex<AllHeld>,
    watches: Arc<Watches>,
    metrics: ShareMetrics,
    /// When the task that waits for locks to expire wakes up, on the monotonic clock.
    armed_ms: AtomicU64,
    /// Has it look again.
    rearm: Arc<Notify>,
    /// Without it, what is given up is archived.
    dead_letters: OnceLock<DeadLetters>,
}

#[derive(Default)]
struct AllHeld {
    held: BTreeMap<SharePartition, Arc<Held>>,
    is_closed: bool,
}

/// All share-partitions of this node, and the way to the states of all.
pub struct ShareGroups {
    shared: Arc<Shared>,
    limits: Limits,
    /// Guards the tasks that follow the metadata and the clock, until they are stopped.
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl ShareGroups {
    /// Starts the service. Needs a tokio runtime.
    pub fn start(broker: &Arc<Broker>) -> Arc<ShareGroups> {
        let log = Arc::new(BrokerLog::new(broker.clone(), InternalTopic::ShareState));
        let runtime = Runtime::new(log, broker.clock().clone(), Box::new(|_| ShareShard::default()));
        runtime.follow_leaders();
        let shared = Arc::new(Shared {
            broker: broker.clone(),
            states: States { broker: broker.clone(), runtime },
            held: Mutex::default(),
            watches: Arc::default(),
            metrics: ShareMetrics::default(),
            armed_ms: AtomicU64::new(u64::MAX),
            rearm: Arc::default(),
            dead_letters: OnceLock::new(),
        });
        if let Some(road) = broker.road() {
            road.switchboard.connect(KINDS, Arc::new(Door(Arc::downgrade(&shared))));
        }
        let leaders = tokio::spawn(watch_leaders(broker.clone(), Arc::downgrade(&shared)));
        let topics = tokio::spawn(watch_topics(broker.clone(), Arc::downgrade(&shared)));
        let locks = tokio::spawn(expire_locks(shared.rearm.clone(), Arc::downgrade(&shared)));
        let tasks = Arc::new(Mutex::new(vec![leaders, topics, locks]));
        Arc::new(ShareGroups { shared, limits: Limits::Configured, tasks })
    }

    /// From now on, what a group gives up becomes a dead letter if the group has a topic for these.
    pub fn bury_by(&self, delays: &Arc<Delays>) {
        let letters = DeadLetters { broker: self.shared.broker.clone(), delays: delays.clone() };
        // Whoever comes first is as good.
        let _ = self.shared.dead_letters.set(letters);
    }

    /// The same for groups whose limits are these. Whoever asks for a share-partition first says by which limits this leader goes.
    pub fn with_limits(&self, limits: Limits) -> Arc<ShareGroups> {
        Arc::new(ShareGroups { shared: self.shared.clone(), limits, tasks: self.tasks.clone() })
    }

    /// Ends the service: what is on its way to the disk is answered, and nothing is acquired or acknowledged any more.
    pub async fn close(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        if let Some(road) = self.shared.broker.road() {
            road.switchboard.disconnect(KINDS);
        }
        let held = {
            let mut all = self.shared.held.lock();
            all.is_closed = true;
            std::mem::take(&mut all.held)
        };
        for held in held.into_values() {
            held.end(ShareError::Unavailable("the service has stopped".to_owned()));
        }
        self.shared.states.runtime.close().await;
    }

    pub fn runtime_metrics(&self) -> &RuntimeMetrics {
        self.shared.states.runtime.metrics()
    }

    pub fn metrics(&self) -> &ShareMetrics {
        &self.shared.metrics
    }

    /// Records of the partitions led here that groups have been given and are not done with.
    pub fn in_flight(&self) -> u64 {
        self.shared.in_flight()
    }

    /// Has the group begin in a partition, at `start` or where its configuration says. With the state epoch that is known nothing changes; with
    /// a later one the progress begins anew at `start`, and stays as it is without one.
    pub async fn initialize(&self, at: &SharePartition, state_epoch: i32, start: Option<Offset>) -> Result<(), ShareError> {
        let image = self.shared.broker.image();
        let topic = image.topic_by_id(at.topic).ok_or(ShareError::UnknownPartition)?;
        topic.partition(at.partition).ok_or(ShareError::UnknownPartition)?;
        self.shared.states.initialize(at, state_epoch, start).await?;
        if start.is_some() {
            self.tell_leader(at).await;
        }
        Ok(())
    }

    /// Forgets the group's progress in a partition, if there is any.
    pub async fn delete(&self, at: &SharePartition) -> Result<(), ShareError> {
        self.shared.states.delete(at).await?;
        self.tell_leader(at).await;
        Ok(())
    }

    /// What is stored of the group's progress, from any node.
    pub async fn read_summary(&self, at: &SharePartition) -> Result<ShareSummary, ShareError> {
        Ok(self.shared.states.summary(at).await?)
    }

    /// Where to read what could be acquired next: at a record that is available again, or behind everything that was delivered. `None` while
    /// nothing may be acquired. This node has to lead the partition, as for all that follows.
    pub async fn next_fetch(&self, at: &SharePartition) -> Result<Option<Offset>, ShareError> {
        self.shared.next_fetch(at, None, self.limits).await
    }

    /// The same at or behind `from`, for those who found nothing they want before it.
    pub async fn next_fetch_behind(&self, at: &SharePartition, from: Offset) -> Result<Option<Offset>, ShareError> {
        self.shared.next_fetch(at, Some(from), self.limits).await
    }

    /// Everything below is done with, as this leader knows; that may not be stored yet.
    pub async fn start_offset(&self, at: &SharePartition) -> Result<Offset, ShareError> {
        self.shared.start_offset(at, self.limits).await
    }

    /// Gives a member records of those that were read. Nothing, if others were faster.
    pub async fn acquire(&self, at: &SharePartition, wanted: Acquire<'_>) -> Result<Vec<AcquiredRange>, ShareError> {
        self.shared.acquire(at, wanted, self.limits).await
    }

    /// Takes what a member says of records that it has acquired: all of it, or nothing. It is stored when this returns.
    pub async fn acknowledge(&self, at: &SharePartition, member: &str, batches: &[Acknowledgement]) -> Result<(), ShareError> {
        self.shared.acknowledge(at, member, batches, self.limits).await
    }

    /// Accepts a record whose lock has expired or was that of an earlier leadership, if nobody has acquired it since. It is stored when this
    /// returns.
    pub async fn acknowledge_late(&self, at: &SharePartition, member: &str, offset: Offset) -> Result<(), ShareError> {
        self.shared.acknowledge_late(at, member, offset, self.limits).await
    }

    /// A member keeps a record for so long from now on, as `new_member`. How often it was delivered, with this time.
    pub async fn renew_as(
        &self,
        at: &SharePartition,
        member: &str,
        offset: Offset,
        lock: Duration,
        new_member: &str,
    ) -> Result<i16, ShareError> {
        self.shared.renew_as(at, member, offset, lock, new_member, self.limits).await
    }

    /// A member gives back all it has acquired: it goes, or is gone. These deliveries count if it may have `seen` the records.
    pub fn release(&self, at: &SharePartition, member: &str, seen: bool) -> Result<(), ShareError> {
        self.shared.release(at, member, seen)
    }

    /// Registers interest in share-partitions. Whoever looks at one after this misses nothing.
    pub fn watch(&self, partitions: impl IntoIterator<Item = SharePartition>) -> ShareWatch {
        self.shared.watches.watch(partitions)
    }

    /// Has the leader forget what it holds. If it cannot be told, it learns with its next write.
    async fn tell_leader(&self, at: &SharePartition) {
        self.shared.forget(at);
        let (broker, image) = (&self.shared.broker, self.shared.broker.image());
        let partition = image.topic_by_id(at.topic).and_then(|topic| topic.partition(at.partition));
        let leader = partition.and_then(|partition| image.live_leader(partition)).filter(|node| *node != broker.node());
        if let (Some(node), Some(road)) = (leader, broker.road()) {
            let body = head::pack_alone(&AskHead::new(at, Ask::Summary));
            if let Err(error) = road.peers.call(node, CALLS, FORGET, body, FORGET_LIMIT).await {
                tracing::warn!(partition = ?at, %error, "the leader was not told that a share-partition begins anew");
            }
        }
    }
}

/// Has the shards, and what is held in memory, follow the leaders of their partitions.
async fn watch_leaders(broker: Arc<Broker>, shared: Weak<Shared>) {
    let mut changes = broker.metadata().changes();
    loop {
        // What comes from now on is another change.
        changes.borrow_and_update();
        match shared.upgrade() {
            Some(shared) => {
                shared.states.runtime.follow_leaders();
                shared.drop_lost();
            }
            None => return,
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Has the shards forget topics that are gone: as the metadata moves on, and once when this node begins to lead.
async fn watch_topics(broker: Arc<Broker>, shared: Weak<Shared>) {
    let mut changes = broker.metadata().changes();
    let mut known = broker.image();
    let mut led: Vec<(PartitionIndex, LeaderEpoch)> = Vec::new();
    let mut is_due = true;
    loop {
        if is_due {
            let Some(shared) = shared.upgrade() else { return };
            led = shared.states.runtime.led();
            is_due = false;
            if let Err(error) = shared.forget_deleted_topics(&known).await {
                tracing::warn!(%error, "share-partitions of deleted topics are kept for now");
                is_due = true;
            }
        }
        let pause = tokio::time::sleep(REFORGET_PAUSE);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = pause, if is_due => {}
        }
        let image = broker.image();
        let Some(shared) = shared.upgrade() else { return };
        is_due |= known.topics.values().any(|topic| image.topic_by_id(topic.id).is_none()) || shared.states.runtime.led() != led;
        known = image;
    }
}

/// Makes available what members have held for too long.
async fn expire_locks(rearm: Arc<Notify>, shared: Weak<Shared>) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        let pause_ms = strong.expire().map(|next| next.saturating_sub(strong.broker.clock().monotonic_ms()));
        drop(strong);
        match pause_ms {
            Some(pause_ms) => {
                // Deadlines are whole milliseconds; one that has just begun is not over.
                let pause = tokio::time::sleep(Duration::from_millis(pause_ms.max(1)));
                tokio::select! {
                    () = pause => {}
                    () = rearm.notified() => {}
                }
            }
            None => rearm.notified().await,
        }
    }
}

impl Shared {
    async fn forget_deleted_topics(&self, image: &Arc<MetadataImage>) -> Result<(), Unavailable> {
        for (partition, _) in self.states.runtime.led() {
            let image = image.clone();
            let forget = move |shard: &mut ShareShard, ticket: Ticket<()>, _: Now, out: &mut Output| {
                shard.forget_deleted_topics(&image, ticket, out);
            };
            self.states.runtime.call(partition, forget).await?;
        }
        Ok(())
    }
}
