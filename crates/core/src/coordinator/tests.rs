//! The runtime on a partition in memory: parking, failure, restart. The shard counts: its record is the new total.

mod leaders;

use super::*;
use bytes::{Bytes, BytesMut};
use duolog_base::{Clock, LeaderEpoch, NodeId, Offset, PartitionIndex, TimestampMs};
use duolog_wire::record::{BatchHeader, patch_base_offset};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

const PARTITION: PartitionIndex = PartitionIndex(0);

/// What appends come to from now on.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Commit,
    /// Until told otherwise.
    Wait,
    Fail,
}

/// What the log takes.
#[derive(Clone, Copy, PartialEq)]
enum Door {
    Open,
    /// So many batches are refused, but it does not know before.
    Refuses(usize),
    /// It says that it takes nothing.
    Full,
}

/// One partition. A batch is readable when it is committed.
struct MemoryLog {
    batches: Arc<Mutex<Vec<Bytes>>>,
    fate: watch::Sender<Fate>,
    door: Mutex<Door>,
    /// The epoch in which this node leads, if it does.
    leads: Mutex<Option<LeaderEpoch>>,
    /// How many batches are committed, if not all.
    committed: watch::Sender<Option<usize>>,
}

fn refused() -> InternalLogError {
    InternalLogError::Append("told to refuse".into())
}

impl MemoryLog {
    fn new() -> Arc<MemoryLog> {
        Arc::new(MemoryLog {
            batches: Arc::default(),
            fate: watch::Sender::new(Fate::Commit),
            door: Mutex::new(Door::Open),
            leads: Mutex::new(Some(LeaderEpoch(1))),
            committed: watch::Sender::new(None),
        })
    }
}

impl InternalLog for MemoryLog {
    fn ensure(&self) -> LogFuture<'_, i32> {
        Box::pin(std::future::ready(Ok(1)))
    }

    fn partitions(&self) -> i32 {
        1
    }

    fn leader(&self, _partition: PartitionIndex) -> Option<NodeId> {
        Some(NodeId(if self.leads.lock().is_some() { 1 } else { 2 }))
    }

    fn leads(&self, _partition: PartitionIndex) -> Option<LeaderEpoch> {
        *self.leads.lock()
    }

    fn refusal(&self, _partition: PartitionIndex) -> Option<InternalLogError> {
        (*self.door.lock() == Door::Full).then(refused)
    }

    fn append(
        &self,
        _partition: PartitionIndex,
        epoch: LeaderEpoch,
        mut batch: BytesMut,
    ) -> Result<AppendFuture, InternalLogError> {
        if *self.leads.lock() != Some(epoch) {
            return Err(InternalLogError::NotLeader);
        }
        let mut door = self.door.lock();
        match *door {
            Door::Open | Door::Refuses(0) => {}
            Door::Refuses(left) => {
                *door = Door::Refuses(left - 1);
                return Err(refused());
            }
            Door::Full => return Err(refused()),
        }
        let (batches, mut fate) = (self.batches.clone(), self.fate.subscribe());
        Ok(Box::pin(async move {
            let failed = InternalLogError::Append("told to fail".into());
            match fate.wait_for(|fate| *fate != Fate::Wait).await.map(|fate| *fate) {
                Ok(Fate::Commit) => {
                    let mut batches = batches.lock();
                    let next = batches.last().map_or(Offset(0), |last| header(last).next_offset());
                    patch_base_offset(&mut batch, next);
                    batches.push(batch.freeze());
                    Ok(())
                }
                _ => Err(failed),
            }
        }))
    }

    fn start(&self, _partition: PartitionIndex) -> Result<Offset, InternalLogError> {
        Ok(Offset(0))
    }

    fn read(&self, _partition: PartitionIndex, from: Offset) -> LogFuture<'_, Chunk> {
        let batches = self.batches.lock();
        // One batch at a time, so that replay has to ask again.
        let found = batches.iter().find(|batch| header(batch).next_offset() > from);
        let chunk = match found {
            Some(batch) => Chunk { batches: batch.clone(), next: header(batch).next_offset() },
            None => Chunk { batches: Bytes::new(), next: from },
        };
        Box::pin(std::future::ready(Ok(chunk)))
    }

    fn committed(&self, _partition: PartitionIndex, end: Offset) -> LogFuture<'_, ()> {
        let mut committed = self.committed.subscribe();
        Box::pin(async move {
            let is_enough = |count: &Option<usize>| count.is_none_or(|count| count as i64 >= end.0);
            committed.wait_for(is_enough).await.expect("the log is there");
            Ok(())
        })
    }
}

fn header(batch: &[u8]) -> BatchHeader {
    BatchHeader::parse(batch).expect("a batch of ours")
}

/// Tokio's clock, which the tests stop.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.monotonic_ms() as i64)
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
}

#[derive(Default)]
struct Counter {
    total: u64,
    /// Answered when the total reaches it.
    awaited: Vec<(u64, Ticket<u64>)>,
    alarm: Option<(u64, Ticket<u64>)>,
}

impl Counter {
    fn add(&mut self, count: u64, ticket: Ticket<u64>, out: &mut Output) {
        self.total += count;
        out.append(Record { key: b"total".to_vec(), value: Some(self.total.to_be_bytes().to_vec()) });
        out.answer(ticket, self.total);
        let reached = self.awaited.extract_if(.., |(total, _)| *total <= self.total);
        for (_, ticket) in reached.collect::<Vec<_>>() {
            out.answer(ticket, self.total);
        }
    }
}

impl Shard for Counter {
    fn replay(&mut self, _key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        let value: [u8; 8] = value.and_then(|value| value.try_into().ok()).ok_or(ReplayError::NoKey)?;
        self.total = u64::from_be_bytes(value);
        Ok(())
    }

    fn loaded(&mut self, _now: Now, _out: &mut Output) {}

    fn poll_timers(&mut self, now: Now, out: &mut Output) {
        if let Some((_, ticket)) = self.alarm.take_if(|(due, _)| *due <= now.monotonic_ms) {
            self.add(1, ticket, out);
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        self.alarm.as_ref().map(|(due, _)| *due)
    }
}

fn runtime(log: &Arc<MemoryLog>) -> Arc<Runtime<Counter>> {
    let clock = Arc::new(TestClock(Instant::now()));
    Arc::new(Runtime::new(log.clone(), clock, Box::new(|_| Counter::default())))
}

async fn add(runtime: &Runtime<Counter>, count: u64) -> Result<u64, Unavailable> {
    runtime.call(PARTITION, move |shard, ticket, _, out| shard.add(count, ticket, out)).await
}

async fn total(runtime: &Runtime<Counter>) -> Result<u64, Unavailable> {
    runtime.call(PARTITION, |shard, ticket, _, out| out.answer(ticket, shard.total)).await
}

/// Lets everything run that can.
async fn idle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_there_after_a_restart() {
    let log = MemoryLog::new();
    let first = runtime(&log);
    for _ in 0..10 {
        add(&first, 2).await.expect("committed");
    }
    first.close().await;
    assert_eq!(total(&first).await, Err(Unavailable::Stopped));
    assert_eq!(total(&runtime(&log)).await, Ok(20));
}

#[tokio::test(start_paused = true)]
async fn answers_and_reads_wait_for_the_commit() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    log.fate.send_replace(Fate::Wait);
    let (writer, reader) = (runtime.clone(), runtime.clone());
    let write = tokio::spawn(async move { add(&writer, 1).await });
    idle().await;
    let read = tokio::spawn(async move { total(&reader).await });
    idle().await;
    assert!(!write.is_finished() && !read.is_finished());
    log.fate.send_replace(Fate::Commit);
    assert_eq!(write.await.expect("no panic"), Ok(1));
    assert_eq!(read.await.expect("no panic"), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_append_is_told_to_all_that_saw_it_and_leaves_no_trace() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    assert_eq!(add(&runtime, 5).await, Ok(5));
    let waiter = runtime.clone();
    let waits = tokio::spawn(async move {
        waiter.call(PARTITION, |shard: &mut Counter, ticket: Ticket<u64>, _, _| shard.awaited.push((100, ticket))).await
    });
    idle().await;
    log.fate.send_replace(Fate::Wait);
    let (writer, reader) = (runtime.clone(), runtime.clone());
    let write = tokio::spawn(async move { add(&writer, 1).await });
    idle().await;
    let read = tokio::spawn(async move { total(&reader).await });
    idle().await;
    log.fate.send_replace(Fate::Fail);
    assert_eq!(write.await.expect("no panic"), Err(Unavailable::Failed));
    assert_eq!(read.await.expect("no panic"), Err(Unavailable::Failed), "it would have told what is lost");
    assert_eq!(waits.await.expect("no panic"), Err(Unavailable::Failed), "who waits in the shard hears of it");
    assert_eq!(total(&runtime).await, Err(Unavailable::Failed), "the shard stays away for a moment");
    log.fate.send_replace(Fate::Commit);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(total(&runtime).await, Ok(5));
}

#[tokio::test(start_paused = true)]
async fn operations_that_come_together_share_an_append() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    assert_eq!(total(&runtime).await, Ok(0));
    log.fate.send_replace(Fate::Wait);
    let writes: Vec<_> = (0..50)
        .map(|_| {
            let runtime = runtime.clone();
            tokio::spawn(async move { add(&runtime, 1).await })
        })
        .collect();
    idle().await;
    log.fate.send_replace(Fate::Commit);
    for write in writes {
        write.await.expect("no panic").expect("committed");
    }
    assert_eq!(total(&runtime).await, Ok(50));
    assert!(log.batches.lock().len() < 25, "{} batches for 50 operations", log.batches.lock().len());
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_kept_and_what_they_write_is_committed() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    let before = Instant::now();
    let set = |shard: &mut Counter, ticket: Ticket<u64>, now: Now, _: &mut Output| {
        shard.alarm = Some((now.monotonic_ms + 30_000, ticket));
    };
    assert_eq!(runtime.call(PARTITION, set).await, Ok(1));
    assert_eq!(before.elapsed().as_secs(), 30);
    assert_eq!(log.batches.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_asker_that_goes_away_leaves_nothing_behind() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    let waiter = runtime.clone();
    let gone = tokio::spawn(async move {
        waiter.call(PARTITION, |shard: &mut Counter, ticket: Ticket<u64>, _, _| shard.awaited.push((1, ticket))).await
    });
    idle().await;
    gone.abort();
    assert_eq!(add(&runtime, 1).await, Ok(1));
    let left = runtime.call(PARTITION, |shard, ticket, _, out| out.answer(ticket, shard.awaited.len())).await;
    assert_eq!(left, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn closing_answers_what_is_on_its_way_and_sends_the_others_away() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    let waiter = runtime.clone();
    let waits = tokio::spawn(async move {
        waiter.call(PARTITION, |shard: &mut Counter, ticket: Ticket<u64>, _, _| shard.awaited.push((100, ticket))).await
    });
    idle().await;
    log.fate.send_replace(Fate::Wait);
    let (writer, closer) = (runtime.clone(), runtime.clone());
    let write = tokio::spawn(async move { add(&writer, 1).await });
    idle().await;
    let close = tokio::spawn(async move { closer.close().await });
    idle().await;
    log.fate.send_replace(Fate::Commit);
    close.await.expect("no panic");
    assert_eq!(write.await.expect("no panic"), Ok(1));
    assert_eq!(waits.await.expect("no panic"), Err(Unavailable::Failed));
}

/// A call that the shard keeps until the total is reached.
fn wait_for_total(runtime: &Arc<Runtime<Counter>>, total: u64) -> tokio::task::JoinHandle<Result<u64, Unavailable>> {
    let runtime = runtime.clone();
    tokio::spawn(async move {
        runtime.query(PARTITION, move |shard: &mut Counter, ticket: Ticket<u64>, _, _| shard.awaited.push((total, ticket))).await
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_a_moment_is_brought_again_and_nobody_notices() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    let waits = wait_for_total(&runtime, 3);
    idle().await;
    *log.door.lock() = Door::Refuses(5);
    assert_eq!(add(&runtime, 1).await, Ok(1));
    *log.door.lock() = Door::Refuses(5);
    assert_eq!(add(&runtime, 2).await, Ok(3));
    assert_eq!(waits.await.expect("no panic"), Ok(3), "the shard was not thrown away");
    runtime.close().await;
    assert_eq!(log.batches.lock().len(), 2, "each batch is there once");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_long_is_told_and_leaves_no_trace() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    assert_eq!(add(&runtime, 5).await, Ok(5));
    let waits = wait_for_total(&runtime, 100);
    idle().await;
    *log.door.lock() = Door::Refuses(usize::MAX);
    assert_eq!(add(&runtime, 1).await, Err(Unavailable::Failed));
    assert_eq!(waits.await.expect("no panic"), Err(Unavailable::Failed));
    *log.door.lock() = Door::Open;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(total(&runtime).await, Ok(5));
}

#[tokio::test(start_paused = true)]
async fn while_the_log_is_full_writes_are_turned_away_and_all_else_goes_on() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    assert_eq!(add(&runtime, 5).await, Ok(5));
    let waits = wait_for_total(&runtime, 7);
    let alarmed = runtime.clone();
    let alarm = tokio::spawn(async move {
        let set = |shard: &mut Counter, ticket: Ticket<u64>, now: Now, _: &mut Output| {
            shard.alarm = Some((now.monotonic_ms + 1_000, ticket));
        };
        alarmed.query(PARTITION, set).await
    });
    idle().await;
    *log.door.lock() = Door::Full;
    assert_eq!(add(&runtime, 1).await, Err(Unavailable::Log(refused())));
    let read = runtime.query(PARTITION, |shard, ticket, _, out| out.answer(ticket, shard.total)).await;
    assert_eq!(read, Ok(5));
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(!alarm.is_finished(), "what a deadline does could not be written down");
    *log.door.lock() = Door::Open;
    assert_eq!(alarm.await.expect("no panic"), Ok(6));
    assert_eq!(add(&runtime, 1).await, Ok(7));
    assert_eq!(waits.await.expect("no panic"), Ok(7), "the shard was never thrown away");
}
