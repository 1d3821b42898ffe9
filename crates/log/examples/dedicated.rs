//! The dedicated layout from outside: writes a data directory for Kafka's tools to look at, and takes over one that Kafka wrote.
//!
//! `write ROOT` fills partitions of a topic `written`; `import FROM ROOT` takes over the partition directory FROM;
//! `dump DIR` prints the batches of a partition directory; `read ROOT TOPIC` opens the log and prints what it serves of
//! partition 0. The interop suite of Kafka's tools runs it.

use bytes::BytesMut;
use duolog_base::{
    LeaderEpoch, Offset, PartitionIndex, PartitionNumber, ProducerEpoch, ProducerId, RealDisk, TimestampMs, TopicId,
};
use duolog_log::dedicated::import::{ImportOptions, import};
use duolog_log::dedicated::inspect::{self, Item};
use duolog_log::dedicated::{DedicatedLog, PartitionHome, PartitionName, SegmentPolicy};
use duolog_log::{Advance, AppendBatch, AppendOrigin, LogFailure, LogObserver, LogOptions, ReadLimits, SyncOutcome};
use duolog_wire::record::{BatchBuilder, BatchHeader, Compression, NewRecord, TransactionOutcome, encode_end_transaction};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const BATCHES: i64 = 3000;

struct Silent;

impl LogObserver for Silent {
    fn advanced(&self, _: &[PartitionNumber], _: Advance) {}
    fn failed(&self, failure: &LogFailure) {
        eprintln!("{failure}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["write", root] => write(Path::new(root)),
        ["import", from, root] => {
            let imported = import(&RealDisk, Path::new(from), Path::new(root), ImportOptions::default())?;
            println!("{} {} {}", imported.start, imported.end, imported.batches);
            Ok(())
        }
        ["dump", dir] => dump(Path::new(dir)),
        ["read", root, topic] => read(Path::new(root), topic),
        _ => Err("usage: write ROOT | import FROM ROOT | dump DIR | read ROOT TOPIC".into()),
    }
}

fn open(root: &Path) -> Result<Arc<DedicatedLog>, Box<dyn Error>> {
    Ok(DedicatedLog::open(Arc::new(RealDisk), root.to_owned(), LogOptions::default(), Arc::new(Silent), NOW)?.0)
}

fn home(topic: &str) -> PartitionHome {
    let name = PartitionName { topic: topic.into(), index: PartitionIndex(0) };
    let policy = SegmentPolicy { segment_bytes: 200_000, ..SegmentPolicy::default() };
    PartitionHome { name, topic_id: TopicId(77), policy }
}

/// Batches of one to seven records, plain and compressed, idempotent and in transactions that end both ways.
fn write(root: &Path) -> Result<(), Box<dyn Error>> {
    let partition = PartitionNumber(1);
    let log = open(root)?;
    log.open_partition(partition, home("written"))?;
    for turn in 0..BATCHES {
        let batch = match turn % 10 {
            9 => mark(turn)?,
            _ => data(turn)?,
        };
        let epoch = LeaderEpoch((turn / 1000) as i32);
        let request = [AppendBatch { partition, range: 0..batch.len(), leader_epoch: epoch, tag_filter: 0 }];
        let receipt = log.append(batch, &request, AppendOrigin::Client, NOW);
        receipt.results.into_iter().collect::<Result<Vec<_>, _>>()?;
        if turn % 50 == 0 {
            settle(&log)?;
        }
    }
    settle(&log)?;
    log.house_step(NOW)?;
    log.close()?;
    Ok(())
}

/// Ten turns are one transaction of producer 7, or of nobody.
fn data(turn: i64) -> Result<BytesMut, Box<dyn Error>> {
    let (cycle, within) = (turn / 10, turn % 10);
    let codec = if cycle % 4 == 3 { Compression::Lz4 } else { Compression::None };
    let mut builder = BatchBuilder::new(codec);
    if cycle % 2 == 0 {
        let before: i64 = (0..within).map(records).sum();
        let sequence = (cycle / 2 * (0..9).map(records).sum::<i64>() + before) as i32;
        builder = builder.producer(ProducerId(7), ProducerEpoch(0), sequence).transactional();
    }
    for record in 0..records(within) {
        let value = vec![b'a' + (turn % 26) as u8; 20 + (turn % 90) as usize];
        let time = TimestampMs(NOW.0 + turn * 10 - (turn % 7) * 3 + record);
        builder.push(NewRecord { timestamp: time, value: Some(&value), ..NewRecord::default() })?;
    }
    let mut out = BytesMut::new();
    builder.build(&mut out)?;
    Ok(out)
}

fn records(within: i64) -> i64 {
    1 + within % 7
}

fn mark(turn: i64) -> Result<BytesMut, Box<dyn Error>> {
    if turn / 10 % 2 == 1 {
        return data(turn);
    }
    let outcome = if turn / 10 % 6 == 0 { TransactionOutcome::Abort } else { TransactionOutcome::Commit };
    let mut out = BytesMut::new();
    let time = TimestampMs(NOW.0 + turn * 10);
    encode_end_transaction((ProducerId(7), ProducerEpoch(0)), outcome, 3, time, &mut out)?;
    Ok(out)
}

fn settle(log: &DedicatedLog) -> Result<(), LogFailure> {
    while log.write_step()? == SyncOutcome::Progressed {}
    while log.sync_step()? == SyncOutcome::Progressed {}
    Ok(())
}

fn show(header: &BatchHeader) {
    let BatchHeader { base_offset, leader_epoch, max_timestamp, producer_id, record_count, crc, .. } = header;
    let last_offset = header.last_offset();
    println!("{base_offset} {last_offset} {record_count} {leader_epoch} {producer_id} {} {crc}", max_timestamp.0);
}

fn dump(dir: &Path) -> Result<(), Box<dyn Error>> {
    for item in inspect::items(Arc::new(RealDisk), dir)? {
        match item? {
            Item::Batch { header, .. } => show(&header),
            Item::Damage { file, position, .. } => return Err(format!("{} is damaged at {position}", file.display()).into()),
        }
    }
    let report = inspect::verify(Arc::new(RealDisk), dir)?;
    match report.problems.first() {
        Some(problem) => Err(format!("{problem:?} and {} more", report.problem_count - 1).into()),
        None => Ok(()),
    }
}

fn read(root: &Path, topic: &str) -> Result<(), Box<dyn Error>> {
    let partition = PartitionNumber(1);
    let log = open(root)?;
    let topic_id = inspect::topic_id(&RealDisk, &root.join(format!("{topic}-0")))?.unwrap_or(TopicId(77));
    log.open_partition(partition, PartitionHome { topic_id, ..home(topic) })?;
    let ends = log.ends(partition).ok_or("the partition is not there")?;
    let mut next = ends.start;
    while next < ends.end {
        let limits = ReadLimits { upto: Offset(i64::MAX), max_bytes: 100_000, at_least_one: true, tags: None };
        let plan = log.read(partition, next, limits)?;
        let bytes = plan.materialize()?;
        for found in duolog_wire::record::batches(&bytes) {
            show(&found?.0);
        }
        if plan.next <= next {
            return Err(format!("nothing at {next}").into());
        }
        next = plan.next;
    }
    log.close()?;
    Ok(())
}
