//! The log itself: writing frames without waiting, and group commit with clients that wait for the disk.
//!
//! `cargo bench -p duolog-log --bench storage`. Writes below the system's temporary directory (`TMPDIR`), which should lie on the disk
//! that is to be measured. What a run costs the disk is bounded: each sample begins a new log and removes it.

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duolog_base::{LeaderEpoch, PartitionNumber, RealDisk, TimestampMs};
use duolog_log::{Advance, AppendBatch, AppendOrigin, AppendReceipt, Log, LogFailure, LogObserver, LogOptions};
use duolog_wire::record::{BatchBuilder, Compression, NewRecord};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
/// Appends after which the writer is given its turn.
const REQUESTS_A_DRAIN: u64 = 16;
/// Bytes a sample writes at most before a new log is begun.
const LOG_BYTES: u64 = 512 << 20;

struct Nobody;

impl LogObserver for Nobody {
    fn advanced(&self, _partitions: &[PartitionNumber], _what: Advance) {}
    fn failed(&self, failure: &LogFailure) {
        panic!("{failure}");
    }
}

struct Scratch {
    log: Arc<Log>,
    _dir: tempfile::TempDir,
}

fn scratch(partitions: u32) -> Scratch {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = LogOptions { reserve_bytes: 0, ..LogOptions::default() };
    let (log, _) = Log::open(Arc::new(RealDisk), dir.path().join("log"), options, Arc::new(Nobody), NOW).expect("a new log");
    (0..partitions).for_each(|number| log.open_partition(PartitionNumber(number)));
    Scratch { log, _dir: dir }
}

/// A batch of one record of about `bytes`.
fn batch(bytes: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(NewRecord { timestamp: NOW, value: Some(&vec![7; bytes]), ..NewRecord::default() }).expect("it fits");
    let mut out = BytesMut::new();
    builder.build(&mut out).expect("it is built");
    out
}

/// A request with the same batch for each of so many partitions, as it comes out of a socket.
struct Request {
    bytes: BytesMut,
    batches: Vec<AppendBatch>,
}

impl Request {
    fn new(partitions: u32, batch: &[u8]) -> Request {
        let place = |number| AppendBatch {
            partition: PartitionNumber(number),
            range: number as usize * batch.len()..(number as usize + 1) * batch.len(),
            leader_epoch: LeaderEpoch(0),
            tag_filter: 0,
        };
        let bytes = batch.repeat(partitions as usize);
        Request { bytes: BytesMut::from(&bytes[..]), batches: (0..partitions).map(place).collect() }
    }

    fn append(&self, log: &Log) -> AppendReceipt {
        let receipt = log.append(self.bytes.clone(), &self.batches, AppendOrigin::Client, NOW);
        assert!(receipt.results.iter().all(Result::is_ok), "{:?}", receipt.results);
        receipt
    }
}

/// Frames into the page cache: the lock, the offsets, the frame headers with their checksums, one `pwritev` a drain.
fn frame_write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame write");
    group.sample_size(10);
    for (partitions, bytes) in [(1, 100), (1, 1024), (1, 64 << 10), (1, 1 << 20), (500, 1024)] {
        let request = Request::new(partitions, &batch(bytes));
        let request_bytes = request.bytes.len() as u64;
        group.throughput(Throughput::Bytes(request_bytes));
        group.bench_function(BenchmarkId::new(format!("{bytes} B"), format!("{partitions} partitions")), |bencher| {
            bencher.iter_custom(|requests| write_requests(&request, partitions, requests));
        });
    }
    group.finish();
}

fn write_requests(request: &Request, partitions: u32, requests: u64) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = requests;
    let a_log = (LOG_BYTES / request.bytes.len() as u64).max(1);
    while left > 0 {
        let scratch = scratch(partitions);
        let now = left.min(a_log);
        let began = Instant::now();
        for number in 1..=now {
            request.append(&scratch.log);
            if number % REQUESTS_A_DRAIN == 0 {
                scratch.log.write_step().expect("the disk writes");
            }
        }
        scratch.log.write_step().expect("the disk writes");
        spent += began.elapsed();
        left -= now;
    }
    spent
}

/// Clients that each wait until their batch is durable before they send the next.
fn group_commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("group commit");
    group.sample_size(10);
    for (clients, bytes) in [(1, 1024), (8, 1024), (64, 1024), (8, 64 << 10)] {
        let request = Request::new(1, &batch(bytes));
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new(format!("{bytes} B"), format!("{clients} clients")), |bencher| {
            bencher.iter_custom(|appends| commit(&request, clients, appends));
        });
    }
    group.finish();
}

fn commit(request: &Request, clients: u64, appends: u64) -> Duration {
    let scratch = scratch(1);
    let log = &scratch.log;
    log.start_threads().expect("threads start");
    let began = Instant::now();
    thread::scope(|scope| {
        for client in 0..clients {
            let share = appends / clients + u64::from(client < appends % clients);
            scope.spawn(move || {
                for _ in 0..share {
                    let receipt = request.append(log);
                    log.wait_durable(receipt.end).blocking_recv().expect("the log goes on");
                }
            });
        }
    });
    let spent = began.elapsed();
    log.close().expect("the log closes");
    spent
}

criterion_group!(benches, frame_write, group_commit);
criterion_main!(benches);
