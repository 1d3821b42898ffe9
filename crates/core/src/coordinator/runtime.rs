//! The service as its callers see it: operations go to the shard of a partition and come back as answers.
//!
//! A shard is started when its partition is first asked for, as one task ([`super::driver`]) fed by a bounded queue. It belongs to one
//! leadership of this node over the partition: when that ends it is thrown away, and who waits in it is told.

use super::driver::{self, Driver, Phase};
use super::{InternalLog, InternalLogError, Now, Output, Shard, Ticket, ticket};
use crate::broker::Counter;
use duolog_base::{Clock, LeaderEpoch, PartitionIndex};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Operations that may wait for one shard; past it, callers are told to come back.
const MAX_QUEUED_OPERATIONS: usize = 4096;
/// How long an operation waits for a shard that is being replayed, in milliseconds.
const LOAD_WAIT_MS: u64 = 5_000;

/// Why there is no answer. The caller tries again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Another node is to be asked.
    #[error("this node does not lead the shard's partition")]
    NotCoordinator,
    #[error("the shard is being replayed")]
    Loading,
    #[error("{MAX_QUEUED_OPERATIONS} operations wait for the shard already")]
    Overloaded,
    #[error("the shard failed before its answer was committed")]
    Failed,
    #[error("the service has stopped")]
    Stopped,
    #[error(transparent)]
    Log(#[from] InternalLogError),
}

/// Makes an empty shard for a partition.
pub type MakeShard<S> = Box<dyn Fn(PartitionIndex) -> S + Send + Sync>;

/// What the shards of a service did since the start of the process.
#[derive(Debug, Default)]
pub struct RuntimeMetrics {
    /// Shards that were replayed to their end.
    pub loads: Counter,
    /// Records replayed by them.
    pub replayed_records: Counter,
    /// Shards thrown away because an append failed.
    pub failures: Counter,
    /// Batches that the log refused and that were brought again.
    pub refusals: Counter,
}

/// All shards of one service on this node.
pub struct Runtime<S: Shard> {
    log: Arc<dyn InternalLog>,
    clock: Arc<dyn Clock>,
    make: Arc<MakeShard<S>>,
    metrics: Arc<RuntimeMetrics>,
    /// Guards the set of started shards; held for look-ups only.
    shards: Mutex<Shards<S>>,
}

struct Shards<S: Shard> {
    slots: BTreeMap<i32, Slot<S>>,
    /// Shards of leaderships that are over, which wait for what they have appended.
    ending: Vec<JoinHandle<()>>,
    is_closed: bool,
}

struct Slot<S: Shard> {
    epoch: LeaderEpoch,
    operations: mpsc::Sender<driver::Operation<S>>,
    phase: watch::Receiver<Phase>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What a caller needs of a slot.
struct Entrance<S: Shard> {
    epoch: LeaderEpoch,
    operations: mpsc::Sender<driver::Operation<S>>,
    phase: watch::Receiver<Phase>,
}

impl<S: Shard> Shards<S> {
    /// Ends a shard without waiting for it.
    fn end(&mut self, slot: Slot<S>) {
        slot.stop.send_replace(true);
        self.ending.retain(|task| !task.is_finished());
        self.ending.push(slot.task);
    }
}

impl<S: Shard> Runtime<S> {
    /// A service without shards yet. Needs a tokio runtime when a shard is started.
    pub fn new(log: Arc<dyn InternalLog>, clock: Arc<dyn Clock>, make: MakeShard<S>) -> Runtime<S> {
        let shards = Mutex::new(Shards { slots: BTreeMap::new(), ending: Vec::new(), is_closed: false });
        Runtime { log, clock, make: Arc::new(make), metrics: Arc::default(), shards }
    }

    pub fn log(&self) -> &Arc<dyn InternalLog> {
        &self.log
    }

    pub fn metrics(&self) -> &RuntimeMetrics {
        &self.metrics
    }

    /// The partitions whose shards take operations.
    pub fn active(&self) -> Vec<PartitionIndex> {
        let shards = self.shards.lock();
        let active = shards.slots.iter().filter(|(_, slot)| *slot.phase.borrow() == Phase::Active);
        active.map(|(index, _)| PartitionIndex(*index)).collect()
    }

    /// Runs an operation in the shard of `partition` and waits for its answer, however long the shard keeps the ticket.
    /// Only the wait for a shard that is not ready is bounded. While the log takes nothing, the shard is not touched.
    pub async fn call<T, F>(&self, partition: PartitionIndex, operation: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&mut S, Ticket<T>, Now, &mut Output) + Send + 'static,
    {
        // Who is to ask another node is told so first.
        let entrance = self.enter(partition)?;
        match self.log.refusal(partition) {
            Some(error) => Err(Unavailable::Log(error)),
            None => self.run(partition, entrance, operation).await,
        }
    }

    /// Like [`Runtime::call`], for an operation that puts out no records: it is done while the log takes nothing, too.
    pub async fn query<T, F>(&self, partition: PartitionIndex, operation: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&mut S, Ticket<T>, Now, &mut Output) + Send + 'static,
    {
        let checked = move |shard: &mut S, ticket: Ticket<T>, now: Now, out: &mut Output| {
            let before = out.records().len();
            operation(shard, ticket, now, out);
            assert_eq!(out.records().len(), before, "a query writes nothing");
        };
        self.run(partition, self.enter(partition)?, checked).await
    }

    async fn run<T, F>(&self, partition: PartitionIndex, entrance: Entrance<S>, operation: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&mut S, Ticket<T>, Now, &mut Output) + Send + 'static,
    {
        let Entrance { epoch, operations, mut phase } = entrance;
        let or_moved = |error| match self.log.leads(partition) == Some(epoch) {
            true => error,
            false => Unavailable::NotCoordinator,
        };
        let ready = phase.wait_for(|phase| *phase != Phase::Loading);
        match tokio::time::timeout(Duration::from_millis(LOAD_WAIT_MS), ready).await {
            Err(_) => return Err(or_moved(Unavailable::Loading)),
            Ok(Err(_)) => return Err(or_moved(Unavailable::Stopped)),
            Ok(Ok(phase)) if *phase == Phase::Failed => return Err(or_moved(Unavailable::Failed)),
            Ok(Ok(_)) => {}
        }
        let (ticket, answer) = ticket();
        let operation: driver::Operation<S> = Box::new(move |shard, now, out| operation(shard, ticket, now, out));
        match operations.try_send(operation) {
            Ok(()) => answer.await.map_err(|_| or_moved(Unavailable::Failed)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Unavailable::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(or_moved(Unavailable::Stopped)),
        }
    }

    /// Brings the shards in line with what this node leads: those of leaderships that are over end, those of partitions it leads start.
    /// To be called whenever that may have changed.
    pub fn follow_leaders(&self) {
        let mut shards = self.shards.lock();
        let led: BTreeMap<i32, LeaderEpoch> = self.led().into_iter().map(|(partition, epoch)| (partition.0, epoch)).collect();
        let over: Vec<Slot<S>> =
            shards.slots.extract_if(.., |index, slot| led.get(index) != Some(&slot.epoch)).map(|(_, slot)| slot).collect();
        over.into_iter().for_each(|slot| shards.end(slot));
        for (index, epoch) in led {
            self.slot(&mut shards, PartitionIndex(index), epoch);
        }
    }

    /// The partitions that this node leads, each with the epoch.
    pub fn led(&self) -> Vec<(PartitionIndex, LeaderEpoch)> {
        let partitions = (0..self.log.partitions()).map(PartitionIndex);
        partitions.filter_map(|partition| Some((partition, self.log.leads(partition)?))).collect()
    }

    /// Waits for what has been appended, lets those answers go, and ends all shards. What still waits in them is lost.
    pub async fn close(&self) {
        let ending = {
            let mut shards = self.shards.lock();
            shards.is_closed = true;
            let slots = std::mem::take(&mut shards.slots);
            slots.into_values().for_each(|slot| shards.end(slot));
            std::mem::take(&mut shards.ending)
        };
        for task in ending {
            if let Err(error) = task.await {
                tracing::error!(%error, "a coordinator shard ended abnormally");
            }
        }
    }

    /// The way to the partition's shard, if this node leads it.
    fn enter(&self, partition: PartitionIndex) -> Result<Entrance<S>, Unavailable> {
        let epoch = self.log.leads(partition);
        let mut shards = self.shards.lock();
        if shards.is_closed {
            return Err(Unavailable::Stopped);
        }
        let slot = epoch.and_then(|epoch| self.slot(&mut shards, partition, epoch));
        let slot = slot.ok_or(Unavailable::NotCoordinator)?;
        Ok(Entrance { epoch: slot.epoch, operations: slot.operations.clone(), phase: slot.phase.clone() })
    }

    /// The shard of a leadership, started if need be; `None` if there is a later one by now, or the service has ended.
    fn slot<'a>(&self, shards: &'a mut Shards<S>, partition: PartitionIndex, epoch: LeaderEpoch) -> Option<&'a Slot<S>> {
        if shards.is_closed {
            return None;
        }
        match shards.slots.get(&partition.0) {
            Some(slot) if slot.epoch > epoch => return None,
            Some(slot) if slot.epoch == epoch && !slot.operations.is_closed() => {}
            Some(_) | None => {
                if let Some(before) = shards.slots.insert(partition.0, self.spawn(partition, epoch)) {
                    shards.end(before);
                }
            }
        }
        shards.slots.get(&partition.0)
    }

    fn spawn(&self, partition: PartitionIndex, epoch: LeaderEpoch) -> Slot<S> {
        let (operations, queue) = mpsc::channel(MAX_QUEUED_OPERATIONS);
        let (phase, phases) = watch::channel(Phase::Loading);
        let (stop, stopped) = watch::channel(false);
        let driver = Driver {
            partition,
            epoch,
            log: self.log.clone(),
            clock: self.clock.clone(),
            make: self.make.clone(),
            metrics: self.metrics.clone(),
            operations: queue,
            phase,
            stop: stopped,
        };
        Slot { epoch, operations, phase: phases, stop, task: tokio::spawn(driver.run()) }
    }
}
