//! The task that keeps one shard: loads it, feeds it operations and time, appends its records, releases its answers.
//!
//! A loaded shard waits in [`Driver::next_event`] only. Appends are pipelined: the next operations run while earlier records
//! are on their way to the disk, and answers leave in order.

use super::flights::Flights;
use super::replay::replay;
use super::runtime::{MakeShard, RuntimeMetrics};
use super::{AppendFuture, InternalLog, InternalLogError, Now, Output, ReplayError, Shard};
use duolog_base::{Clock, LeaderEpoch, PartitionIndex};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Operations that share one append.
const MAX_OPERATIONS_A_TURN: usize = 256;
/// Appends on their way to the disk at a time.
const MAX_APPENDS_IN_FLIGHT: usize = 16;
/// How often, and how many milliseconds apart, a batch that was refused is brought again before the shard fails.
const MAX_REFUSALS: usize = 100;
const REFUSAL_PAUSE_MS: u64 = 20;
/// How long deadlines wait while nothing can be appended, in milliseconds: what they do may have to be written down.
const FULL_PAUSE_MS: u64 = 500;
/// How long a shard that failed stays away before it is replayed, in milliseconds.
const RELOAD_PAUSE_MS: u64 = 500;

/// What callers want done by the shard.
pub(super) type Operation<S> = Box<dyn FnOnce(&mut S, Now, &mut Output) + Send>;

/// Whether the shard takes operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Loading,
    Active,
    /// Thrown away; replayed soon.
    Failed,
}

/// Why serving ended.
enum Ended {
    /// The service ends, or this node leads the partition no more.
    Stopped,
    Failed(InternalLogError),
}

/// What a loaded shard waits for.
enum Event<S> {
    /// The oldest batches are committed, or will never be.
    Committed(Result<(), InternalLogError>),
    Operation(Operation<S>),
    /// A deadline has come.
    Time,
    Stop,
}

type Flight = super::flights::Flight<AppendFuture>;

pub(super) struct Driver<S: Shard> {
    pub(super) partition: PartitionIndex,
    /// The leadership that the shard belongs to: it appends in this one only.
    pub(super) epoch: LeaderEpoch,
    pub(super) log: Arc<dyn InternalLog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) make: Arc<MakeShard<S>>,
    pub(super) metrics: Arc<RuntimeMetrics>,
    pub(super) operations: mpsc::Receiver<Operation<S>>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) stop: watch::Receiver<bool>,
}

impl<S: Shard> Driver<S> {
    pub(super) async fn run(mut self) {
        while let Some(shard) = self.load().await {
            self.phase.send_replace(Phase::Active);
            match self.serve(shard).await {
                Ended::Stopped | Ended::Failed(InternalLogError::NotLeader) => return,
                Ended::Failed(error) => {
                    self.metrics.failures.add(1);
                    tracing::warn!(partition = %self.partition, %error, "coordinator shard unloaded");
                    if !self.pause().await {
                        return;
                    }
                }
            }
        }
    }

    /// Replays the partition until that works, and waits until what was replayed is committed: what the shard then tells cannot be lost.
    /// `None` when the service stops or the leadership is over.
    async fn load(&mut self) -> Option<S> {
        while self.log.leads(self.partition) == Some(self.epoch) {
            self.phase.send_replace(Phase::Loading);
            let mut shard = (self.make)(self.partition);
            let log = self.log.clone();
            let loading = async {
                let replayed = replay(log.as_ref(), self.partition, &mut shard).await?;
                log.committed(self.partition, replayed.next).await?;
                Ok::<_, ReplayError>(replayed)
            };
            let loaded = tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return None,
                loaded = loading => loaded,
            };
            match loaded {
                Ok(replayed) => {
                    self.metrics.loads.add(1);
                    self.metrics.replayed_records.add(replayed.records);
                    tracing::debug!(partition = %self.partition, records = replayed.records, "coordinator shard loaded");
                    return Some(shard);
                }
                Err(error) => {
                    tracing::error!(partition = %self.partition, %error, "coordinator shard does not load");
                    if !self.pause().await {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Turns operations away for a while; false when the service stops.
    async fn pause(&mut self) -> bool {
        self.phase.send_replace(Phase::Failed);
        let pause = tokio::time::sleep(Duration::from_millis(RELOAD_PAUSE_MS));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return false,
                () = &mut pause => return true,
                // Dropping an operation drops its ticket, which tells its caller.
                operation = self.operations.recv() => if operation.is_none() { return false },
            }
        }
    }

    async fn serve(&mut self, mut shard: S) -> Ended {
        let mut flights = Flights::default();
        let mut out = Output::default();
        shard.loaded(self.now(), &mut out);
        let ended = loop {
            if let Err(ended) = self.dispatch(&mut out, &mut flights).await {
                break ended;
            }
            let mut due = shard.next_deadline().map(|deadline| deadline.saturating_sub(self.now().monotonic_ms));
            if due == Some(0) {
                // Not left to the choice below, where a busy queue would keep time out.
                if self.log.refusal(self.partition).is_none() {
                    shard.poll_timers(self.now(), &mut out);
                    continue;
                }
                due = Some(FULL_PAUSE_MS);
            }
            match self.next_event(&mut flights, due).await {
                Event::Committed(Ok(())) => flights.land(),
                Event::Committed(Err(error)) => break Ended::Failed(error),
                Event::Operation(operation) => self.turn(operation, &mut shard, &mut out),
                Event::Time => {}
                Event::Stop => break Ended::Stopped,
            }
        };
        // Who waits in the shard or for it is sent away at once; what is on its way may still come through.
        drop(shard);
        let is_over = matches!(ended, Ended::Stopped);
        if is_over {
            self.operations.close();
            while self.operations.try_recv().is_ok() {}
        }
        settle(flights, is_over).await;
        ended
    }

    /// Where a loaded shard waits, but for the log's refusals.
    async fn next_event(&mut self, flights: &mut Flights<AppendFuture>, due: Option<u64>) -> Event<S> {
        let has_room = flights.len() < MAX_APPENDS_IN_FLIGHT;
        tokio::select! {
            biased;
            committed = first(flights) => Event::Committed(committed),
            _ = self.stop.wait_for(|stop| *stop) => Event::Stop,
            operation = self.operations.recv(), if has_room => operation.map_or(Event::Stop, Event::Operation),
            () = sleep(due) => Event::Time,
        }
    }

    /// Runs the operation and those that wait behind it.
    fn turn(&mut self, operation: Operation<S>, shard: &mut S, out: &mut Output) {
        let now = self.now();
        operation(shard, now, out);
        for _ in 1..MAX_OPERATIONS_A_TURN {
            match self.operations.try_recv() {
                Ok(operation) => operation(shard, now, out),
                Err(_) => break,
            }
        }
    }

    /// Appends the records of `out`; its answers leave with them, or with what is on its way already.
    async fn dispatch(&mut self, out: &mut Output, flights: &mut Flights<AppendFuture>) -> Result<(), Ended> {
        let departed = flights.depart(out, self.clock.now());
        match departed.map_err(|error| Ended::Failed(InternalLogError::Append(error.to_string())))? {
            Some(flight) => self.insist(flight).await,
            None => Ok(()),
        }
    }

    /// Brings the batches to the log until it takes them. The shard's state is ahead of the log meanwhile, so it rests.
    async fn insist(&mut self, flight: &mut Flight) -> Result<(), Ended> {
        for _ in 0..MAX_REFUSALS {
            match self.submit(flight) {
                Ok(()) => return Ok(()),
                Err(InternalLogError::NotLeader) => break,
                Err(_) => self.metrics.refusals.add(1),
            }
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return Err(Ended::Stopped),
                () = sleep(Some(REFUSAL_PAUSE_MS)) => {}
            }
        }
        self.submit(flight).map_err(Ended::Failed)
    }

    fn submit(&self, flight: &mut Flight) -> Result<(), InternalLogError> {
        while let Some(batch) = flight.refused.front() {
            // The log takes what it is given apart, so it gets a copy of what may have to be brought again.
            flight.appends.push_back(self.log.append(self.partition, self.epoch, batch.clone())?);
            flight.refused.pop_front();
        }
        Ok(())
    }

    fn now(&self) -> Now {
        Now { monotonic_ms: self.clock.monotonic_ms(), wall: self.clock.now() }
    }
}

/// Waits for the oldest append of the oldest flight.
async fn first(flights: &mut Flights<AppendFuture>) -> Result<(), InternalLogError> {
    let Some(flight) = flights.oldest() else {
        return std::future::pending().await;
    };
    // Popped only when it is done: this future is dropped whenever something else happens first.
    while let Some(append) = flight.appends.front_mut() {
        let committed = append.await;
        flight.appends.pop_front();
        committed?;
    }
    Ok(())
}

/// Waits until nothing is on its way any more, so that the end of the partition stands still.
async fn settle(mut flights: Flights<AppendFuture>, mut intact: bool) {
    while let Some(flight) = flights.oldest() {
        for append in std::mem::take(&mut flight.appends) {
            intact &= append.await.is_ok();
        }
        intact &= flight.refused.is_empty();
        match intact {
            true => flights.land(),
            false => flights.lose(),
        }
    }
}

async fn sleep(due_ms: Option<u64>) {
    match due_ms {
        Some(due) => tokio::time::sleep(Duration::from_millis(due)).await,
        None => std::future::pending().await,
    }
}
