//! Delayed delivery: records that are stored now and appear in their partition later, once, and never before their time.
//!
//! A delayed record is a record of the internal topic `__delayed_messages`, in any of its partitions; whoever sends it is answered when that is
//! committed. The leader of each of these partitions keeps its timers (`coordinator`, a thin shell around `state`) and appends
//! what is due to its target, here or at another node (`anywhere`), as an idempotent producer. All state is in the partition: a fail-over is
//! a replay. The topic is compacted, so that what has been delivered goes away.
//!
//! Exactly once has one limit: a target forgets a producer after `producer.id.expiration.ms`. If a node fails between appending a batch and noting
//! it, and the partition of timers has no leader for so long, the batch is appended again.
//!
//! A half record waits for its owner to say that it is to be delivered or dropped, in place of a time; the owner is asked from time to time
//! (`ownership`). The rest is the same.
//!
//! A record keeps the timestamp it comes with, so who sends it gives it the time of its delivery: retention begins to count then.

mod anywhere;
mod batches;
mod clock;
mod coordinator;
mod door;
mod halves;
mod leadership;
mod ownership;
mod pending;
pub(crate) mod records;
mod state;
#[cfg(test)]
mod tests;

pub use batches::{DELIVER_AFTER, DELIVER_AT, Divided, divide};
pub use ownership::{Ended, Ending, Question, Resolution};
pub use pending::Timer;
pub use records::{Delayed, Half, Owner, Target, TimerId};

/// What decides, without waiting and I/O: for who plays it without a broker.
pub mod decisions {
    pub use super::clock::TimerClock;
    pub use super::leadership::{Leadership, Outcome, Recall, each_record, stored};
    pub use super::records::{Intent, Kind, Name, Writing};
    pub use super::state::{Due, Timers, delivery};
}

use crate::broker::{Broker, ProduceError, Watch};
use crate::coordinator::{BrokerLog, InternalLog, InternalTopic};
use crate::metadata::{IdSource, RandomIds, TopicImage};
pub(crate) use anywhere::AppendFailure;
use bytes::Bytes;
use clock::TimerClock;
use coordinator::{AskedRecall, Coordinator};
use door::{CALLS, Door, END, EndHead, KINDS, RECALL, RecallHead};
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, PartitionNumber, TimestampMs};
use duolog_peer::{CallError, CallKind, head};
use duolog_wire::record::{BuildError, DecompressLimits, decode_batch};
use leadership::Recall;
use ownership::{AskedEnding, QUESTIONS};
use parking_lot::Mutex;
use records::Writing;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Recalls that may wait for one partition.
const MAX_QUEUED_RECALLS: usize = 4096;
/// Ends of halves that may wait for one partition.
const MAX_QUEUED_ENDINGS: usize = 4096;
/// How long a request is held that nobody can take now, and how long to wait between attempts.
const HOLD: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// How long a recall, or the end of a half, may take.
const RECALL_LIMIT: Duration = Duration::from_secs(10);
/// How long a half of whose partition nobody knows here is waited for.
const KNOWN_LIMIT: Duration = Duration::from_secs(2);
/// How often leaderships are looked at besides changes of the metadata, since a role is assumed a moment after it is given.
const LOOK: Duration = Duration::from_millis(500);

/// Why a record is not taken for later delivery.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelayError {
    #[error("the topic of delayed messages is not there: {0}")]
    NoTopic(String),
    /// As it would have been if it were to be appended at once.
    #[error(transparent)]
    Refused(#[from] ProduceError),
    #[error("delayed messages are not taken now: {0}")]
    Unavailable(String),
}

/// A record that was taken: enough to recall it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Of `__delayed_messages`.
    pub partition: PartitionIndex,
    pub number: PartitionNumber,
    pub timer: Timer,
    pub id: TimerId,
}

/// A half that was taken: by this its owner ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    pub number: PartitionNumber,
    pub offset: Offset,
}

/// What the tasks have in common.
struct Shared {
    broker: Arc<Broker>,
    log: BrokerLog,
    /// Guards one reading of the clocks.
    clock: Mutex<TimerClock>,
    /// Guards the tasks of partitions that this node leads; held for look-ups only.
    slots: Mutex<BTreeMap<i32, Slot>>,
    /// Guards who asks owners of halves; held for a copy.
    asker: Mutex<Option<mpsc::Sender<Question>>>,
}

/// The task of one leadership.
struct Slot {
    epoch: LeaderEpoch,
    recalls: mpsc::Sender<AskedRecall>,
    endings: mpsc::Sender<AskedEnding>,
    task: JoinHandle<()>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The timers of this node, and the way to those of others.
pub struct Delays {
    shared: Arc<Shared>,
    /// Which partition is asked first.
    turn: AtomicUsize,
    /// Of batches that are divided.
    turns: batches::Turns,
    watcher: JoinHandle<()>,
}

impl Drop for Delays {
    fn drop(&mut self) {
        self.close();
    }
}

impl Delays {
    /// Starts the service. Needs a tokio runtime.
    pub fn start(broker: &Arc<Broker>) -> Arc<Delays> {
        let log = BrokerLog::new(broker.clone(), InternalTopic::Delayed);
        let (clock, slots, asker) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { broker: broker.clone(), log, clock, slots, asker });
        // The first look: a slip that comes before this node has timers to keep is known for one.
        shared.now();
        if let Some(road) = broker.road() {
            road.switchboard.connect(KINDS, Arc::new(Door(Arc::downgrade(&shared))));
        }
        let watcher = tokio::spawn(watch_leaders(broker.clone(), Arc::downgrade(&shared)));
        Arc::new(Delays { shared, turn: AtomicUsize::new(0), turns: batches::Turns::default(), watcher })
    }

    /// Ends the service at once, which loses nothing.
    pub fn close(&self) {
        self.watcher.abort();
        if let Some(road) = self.shared.broker.road() {
            road.switchboard.disconnect(KINDS);
        }
        self.shared.slots.lock().clear();
    }

    /// The time that timers of this node go by.
    pub fn now(&self) -> TimestampMs {
        self.shared.now()
    }

    /// The questions to owners of halves, which whoever calls this asks from now on.
    pub fn questions(&self) -> mpsc::Receiver<Question> {
        let (asker, questions) = mpsc::channel(QUESTIONS);
        *self.shared.asker.lock() = Some(asker);
        questions
    }

    /// Stores a record for later; it is safe when this returns.
    pub async fn schedule(&self, topic: &TopicImage, delayed: &Delayed) -> Result<Scheduled, DelayError> {
        check(topic, delayed)?;
        let id = TimerId(RandomIds.next_id().0);
        let (target, offset) = self.store(|writing| writing.timer(id, delayed)).await?;
        let timer = Timer { at: delayed.at, offset };
        Ok(Scheduled { partition: target.partition, number: target.number, timer, id })
    }

    /// Stores a record that its owner commits or rolls back; it is safe when this returns.
    pub async fn prepare(&self, topic: &TopicImage, half: &Half) -> Result<Prepared, DelayError> {
        check(topic, &half.delayed)?;
        let id = TimerId(RandomIds.next_id().0);
        let (target, offset) = self.store(|writing| writing.half(id, half)).await?;
        Ok(Prepared { number: target.number, offset })
    }

    /// Appends a batch to a partition wherever it is led, and waits until it is safe.
    pub(crate) async fn append(&self, target: &Target, batch: Bytes, tags: u64) -> Result<Offset, AppendFailure> {
        self.shared.append_anywhere(target, batch, tags).await
    }

    /// Appends records to any partition of timers, all or none; where the first one lies.
    async fn store(&self, write: impl FnOnce(&mut Writing) -> Result<(), BuildError>) -> Result<(Target, Offset), DelayError> {
        self.shared.log.ensure().await.map_err(|error| DelayError::NoTopic(error.to_string()))?;
        let mut writing = Writing::new(self.shared.broker.clock().now());
        write(&mut writing).map_err(|_| ProduceError::Compression)?;
        let batch = writing.finish().map_err(|_| ProduceError::Compression)?.freeze();
        let deadline = Instant::now() + HOLD;
        loop {
            let mut problem = "no partition of theirs has a leader".to_owned();
            for target in self.candidates() {
                match self.shared.append_anywhere(&target, batch.clone(), 0).await {
                    Ok(offset) => return Ok((target, offset)),
                    Err(AppendFailure::NotHere | AppendFailure::Gone) => {}
                    Err(AppendFailure::Later(why)) => problem = why,
                    // It may be there already; whoever sends it again decides.
                    Err(error @ (AppendFailure::Lost | AppendFailure::Sequence | AppendFailure::Never(_))) => {
                        return Err(DelayError::Unavailable(error.to_string()));
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(DelayError::Unavailable(problem));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The partitions to try, those that this node leads first.
    fn candidates(&self) -> Vec<Target> {
        let image = self.shared.broker.image();
        let Some(topic) = image.topic(self.shared.log.topic().name()) else { return Vec::new() };
        let count = topic.partitions.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let turns = (0..count).map(|ahead| (first.wrapping_add(ahead)) % count);
        let live = turns.filter(|index| image.live_leader(&topic.partitions[*index]).is_some());
        let (own, others): (Vec<usize>, Vec<usize>) =
            live.partition(|index| self.shared.broker.leads(&topic.partitions[*index]).is_some());
        let target = |index: usize| Target {
            number: topic.partitions[index].number,
            topic: topic.name.clone(),
            partition: PartitionIndex(index as i32),
        };
        own.into_iter().chain(others).map(target).collect()
    }

    /// Sees to it that a timer is not delivered; false if it is not pending (any more).
    pub async fn recall(&self, partition: PartitionIndex, timer: Timer, id: TimerId) -> Result<bool, DelayError> {
        let recall = Recall { timer, id };
        let head =
            RecallHead { partition: partition.0, at: timer.at.0, offset: timer.offset.0, id: ((id.0 >> 64) as u64, id.0 as u64) };
        let recalled = self.at_leader(partition, RECALL, &head, || self.shared.recall_here(partition, recall));
        Ok(recalled.await?.unwrap_or(false))
    }

    /// Does with a half what its owner says.
    pub async fn end(&self, number: PartitionNumber, ending: Ending) -> Result<Ended, DelayError> {
        self.shared.know_partitions().await;
        let image = self.shared.broker.image();
        let topic = image.topic(self.shared.log.topic().name());
        let place = topic.and_then(|topic| topic.partitions.iter().position(|partition| partition.number == number));
        let Some(place) = place else { return Ok(Ended::Unknown) };
        let partition = PartitionIndex(place as i32);
        let head = EndHead::new(partition, &ending);
        let ended = self.at_leader(partition, END, &head, || self.shared.end_here(partition, ending.clone()));
        Ok(ended.await?.unwrap_or(Ended::Unknown))
    }

    /// Has the leader of a partition of timers do something that may be repeated; `None` if there is no such partition.
    async fn at_leader<T: DeserializeOwned, F: Future<Output = Option<T>>>(
        &self,
        partition: PartitionIndex,
        kind: CallKind,
        head: &impl Serialize,
        here: impl Fn() -> F,
    ) -> Result<Option<T>, DelayError> {
        let (broker, log) = (&self.shared.broker, &self.shared.log);
        let deadline = Instant::now() + HOLD;
        loop {
            let image = broker.image();
            let Some(found) = image.topic(log.topic().name()).and_then(|topic| topic.partition(partition)) else {
                return Ok(None);
            };
            let answer = match (broker.road(), image.live_leader(found)) {
                _ if broker.leads(found).is_some() => here().await,
                (Some(road), Some(node)) if node != broker.node() => {
                    match road.peers.call(node, CALLS, kind, head::pack_alone(head), RECALL_LIMIT).await {
                        Ok(answer) => door::unpack::<Option<T>>(&answer).ok().and_then(|(answer, _)| answer),
                        Err(error @ CallError::TooLong { .. }) => return Err(DelayError::Unavailable(error.to_string())),
                        Err(_) => None,
                    }
                }
                // This node is about to lead, or does no longer.
                _ => None,
            };
            if let Some(answer) = answer {
                return Ok(Some(answer));
            }
            if Instant::now() >= deadline {
                return Err(DelayError::Unavailable("nobody keeps this timer for now".to_owned()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Refuses what the target would not take at once.
fn check(topic: &TopicImage, delayed: &Delayed) -> Result<(), ProduceError> {
    let partition = topic.partition(delayed.target.partition).ok_or(ProduceError::UnknownPartition)?;
    assert_eq!(partition.number, delayed.target.number, "the target is a partition of the topic");
    if topic.internal {
        return Err(ProduceError::InternalTopic { topic: topic.name.clone() });
    }
    let (bytes, limit) = (delayed.batch.len(), topic.config.max_message_bytes);
    if bytes > limit {
        return Err(ProduceError::TooLarge { bytes, limit });
    }
    if topic.config.compact && has_no_key(&delayed.batch) {
        return Err(ProduceError::KeyMissing { topic: topic.name.clone() });
    }
    Ok(())
}

fn has_no_key(batch: &Bytes) -> bool {
    let decoded = decode_batch(batch, DecompressLimits::default());
    decoded.is_ok_and(|batch| batch.records().any(|record| record.is_ok_and(|record| record.key.is_none())))
}

impl Shared {
    fn now(&self) -> TimestampMs {
        let (wall, monotonic_ms) = (self.broker.clock().now(), self.broker.clock().monotonic_ms());
        self.clock.lock().now(wall, monotonic_ms)
    }

    /// Waits a moment for the topic of timers, which another node may have made just now.
    async fn know_partitions(&self) {
        if self.broker.road().is_none() {
            return;
        }
        let mut changes = self.broker.metadata().changes();
        let known = changes.wait_for(|_| self.log.partitions() > 0);
        // What is missing then is not found.
        let _ = tokio::time::timeout(KNOWN_LIMIT, known).await;
    }

    /// Tells when the partition of timers has grown.
    fn watch(&self, partition: PartitionIndex) -> Watch {
        let image = self.broker.image();
        let topic = image.topic(self.log.topic().name());
        let watched = topic.and_then(|topic| Some((topic.partition(partition)?.number, topic.config.flush)));
        self.broker.watch(watched)
    }

    /// Asks the task of the partition; `None` if there is none, or it does not come to an answer.
    async fn recall_here(&self, partition: PartitionIndex, recall: Recall) -> Option<bool> {
        let recalls = self.slots.lock().get(&partition.0)?.recalls.clone();
        let (answer, answered) = oneshot::channel();
        recalls.try_send((recall, answer)).ok()?;
        tokio::time::timeout(RECALL_LIMIT, answered).await.ok()?.ok()
    }

    /// The same for the end of a half.
    async fn end_here(&self, partition: PartitionIndex, ending: Ending) -> Option<Ended> {
        let endings = self.slots.lock().get(&partition.0)?.endings.clone();
        let (answer, answered) = oneshot::channel();
        endings.try_send((ending, answer)).ok()?;
        tokio::time::timeout(RECALL_LIMIT, answered).await.ok()?.ok()
    }

    /// Brings the tasks in line with what this node leads.
    fn follow_leaders(self: &Arc<Self>) {
        let led = (0..self.log.partitions()).map(PartitionIndex);
        let led: BTreeMap<i32, LeaderEpoch> = led.filter_map(|index| Some((index.0, self.log.leads(index)?))).collect();
        let mut slots = self.slots.lock();
        slots.retain(|index, slot| led.get(index) == Some(&slot.epoch) && !slot.task.is_finished());
        for (index, epoch) in led {
            slots.entry(index).or_insert_with(|| {
                let (recalls, recalls_asked) = mpsc::channel(MAX_QUEUED_RECALLS);
                let (endings, endings_asked) = mpsc::channel(MAX_QUEUED_ENDINGS);
                let (shared, partition) = (self.clone(), PartitionIndex(index));
                let task = Coordinator { shared, partition, epoch, recalls: recalls_asked, endings: endings_asked };
                Slot { epoch, recalls, endings, task: tokio::spawn(task.run()) }
            });
        }
    }
}

/// Has the tasks follow the leaders of their partitions.
async fn watch_leaders(broker: Arc<Broker>, shared: Weak<Shared>) {
    let mut changes = broker.metadata().changes();
    loop {
        // What comes from now on is another change.
        changes.borrow_and_update();
        let Some(shared) = shared.upgrade() else { return };
        shared.follow_leaders();
        let is_used = shared.log.partitions() > 0 && broker.road().is_some();
        drop(shared);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK), if is_used => {}
        }
    }
}
