//! The service as its callers see it: operations go to the shard of a partition and come back as answers.
//!
//! A shard is started when its partition is first asked for, as one task ([`super::driver`]) fed by a bounded queue.

use super::driver::{self, Driver, Phase};
use super::{InternalLog, InternalLogError, Now, Output, Shard, Ticket, ticket};
use crate::broker::Counter;
use duolog_base::{Clock, PartitionIndex};
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
    slots: Mutex<BTreeMap<i32, Slot<S>>>,
    stop: watch::Sender<bool>,
}

struct Slot<S: Shard> {
    operations: mpsc::Sender<driver::Operation<S>>,
    phase: watch::Receiver<Phase>,
    task: JoinHandle<()>,
}

impl<S: Shard> Runtime<S> {
    /// A service without shards yet. Needs a tokio runtime when a shard is started.
    pub fn new(log: Arc<dyn InternalLog>, clock: Arc<dyn Clock>, make: MakeShard<S>) -> Runtime<S> {
        let slots = Mutex::new(BTreeMap::new());
        Runtime { log, clock, make: Arc::new(make), metrics: Arc::default(), slots, stop: watch::Sender::new(false) }
    }

    pub fn log(&self) -> &Arc<dyn InternalLog> {
        &self.log
    }

    pub fn metrics(&self) -> &RuntimeMetrics {
        &self.metrics
    }

    /// The partitions whose shards take operations.
    pub fn active(&self) -> Vec<PartitionIndex> {
        let slots = self.slots.lock();
        let active = slots.iter().filter(|(_, slot)| *slot.phase.borrow() == Phase::Active);
        active.map(|(index, _)| PartitionIndex(*index)).collect()
    }

    /// Runs an operation in the shard of `partition` and waits for its answer, however long the shard keeps the ticket.
    /// Only the wait for a shard that is not ready is bounded. While the log takes nothing, the shard is not touched.
    pub async fn call<T, F>(&self, partition: PartitionIndex, operation: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&mut S, Ticket<T>, Now, &mut Output) + Send + 'static,
    {
        match self.log.refusal(partition) {
            Some(error) => Err(Unavailable::Log(error)),
            None => self.run(partition, operation).await,
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
        self.run(partition, checked).await
    }

    async fn run<T, F>(&self, partition: PartitionIndex, operation: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&mut S, Ticket<T>, Now, &mut Output) + Send + 'static,
    {
        let (operations, mut phase) = self.slot(partition)?;
        let ready = phase.wait_for(|phase| *phase != Phase::Loading);
        match tokio::time::timeout(Duration::from_millis(LOAD_WAIT_MS), ready).await {
            Err(_) => return Err(Unavailable::Loading),
            Ok(Err(_)) => return Err(Unavailable::Stopped),
            Ok(Ok(phase)) if *phase == Phase::Failed => return Err(Unavailable::Failed),
            Ok(Ok(_)) => {}
        }
        let (ticket, answer) = ticket();
        let operation: driver::Operation<S> = Box::new(move |shard, now, out| operation(shard, ticket, now, out));
        match operations.try_send(operation) {
            Ok(()) => answer.await.map_err(|_| Unavailable::Failed),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Unavailable::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Unavailable::Stopped),
        }
    }

    /// Starts the shard of a partition without asking it for anything.
    pub fn start(&self, partition: PartitionIndex) -> Result<(), Unavailable> {
        self.slot(partition).map(|_| ())
    }

    /// The partitions whose shards have been started.
    pub fn started(&self) -> Vec<PartitionIndex> {
        self.slots.lock().keys().map(|index| PartitionIndex(*index)).collect()
    }

    /// Waits for what has been appended, lets those answers go, and ends all shards. What still waits in them is lost.
    pub async fn close(&self) {
        self.stop.send_replace(true);
        let slots = std::mem::take(&mut *self.slots.lock());
        for slot in slots.into_values() {
            drop(slot.operations);
            if let Err(error) = slot.task.await {
                tracing::error!(%error, "a coordinator shard ended abnormally");
            }
        }
    }

    fn slot(
        &self,
        partition: PartitionIndex,
    ) -> Result<(mpsc::Sender<driver::Operation<S>>, watch::Receiver<Phase>), Unavailable> {
        let mut slots = self.slots.lock();
        if *self.stop.borrow() {
            return Err(Unavailable::Stopped);
        }
        let slot = slots.entry(partition.0).or_insert_with(|| self.spawn(partition));
        Ok((slot.operations.clone(), slot.phase.clone()))
    }

    fn spawn(&self, partition: PartitionIndex) -> Slot<S> {
        let (operations, queue) = mpsc::channel(MAX_QUEUED_OPERATIONS);
        let (phase, phases) = watch::channel(Phase::Loading);
        let driver = Driver {
            partition,
            log: self.log.clone(),
            clock: self.clock.clone(),
            make: self.make.clone(),
            metrics: self.metrics.clone(),
            operations: queue,
            phase,
            stop: self.stop.subscribe(),
        };
        Slot { operations, phase: phases, task: tokio::spawn(driver.run()) }
    }
}
