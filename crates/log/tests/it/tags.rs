//! Reads with a tag filter: exactly the batches that may hold a wanted tag, wherever they lie.

use crate::scenario::*;
use bytes::BytesMut;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, TimestampMs};
use duolog_log::clean::CleaningPolicy;
use duolog_log::inspect::{Item, Kind, frames};
use duolog_log::{AppendBatch, AppendOrigin, Log, LogOptions, ReadLimits, ReadPart, ReadPlan, TAGS_KNOWN, TagFilter};
use duolog_sim::SimDisk;
use duolog_wire::record::{BatchBuilder, Compression, NewRecord, batches};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const PARTITION: PartitionNumber = PartitionNumber(1);
/// Batches that one read leaves out at most.
const MAX_LEFT_OUT: usize = 8192;

/// Two tags, both, neither, and batches of which nothing is known.
const WORDS: [u64; 5] = [TAGS_KNOWN | 0b0011, TAGS_KNOWN | 0b1100, TAGS_KNOWN | 0b1111, TAGS_KNOWN, 0];
const ONE: &[u64] = &[0b0011];
const OTHER: &[u64] = &[0b1100];

fn dir() -> &'static Path {
    Path::new("/data/shared")
}

fn eager() -> LogOptions {
    LogOptions { file_bytes: 4 << 10, tail_cache_bytes: 600, recycled_files: 0, tidy: eager_tidying(), ..options() }
}

fn open_two(disk: &SimDisk, options: &LogOptions) -> Arc<Log> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = open(&shared, dir(), options.clone()).unwrap();
    (0..2).for_each(|number| log.open_partition(PartitionNumber(number)));
    log
}

/// Two records, one of which has the key that every fifth batch has.
fn keyed(number: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    for key in [number % 5, 1000 + number] {
        let (key, value) = (key.to_le_bytes(), [number as u8; 60]);
        builder.push(NewRecord { timestamp: NOW, key: Some(&key), value: Some(&value), ..NewRecord::default() }).unwrap();
    }
    let mut out = BytesMut::new();
    builder.build(&mut out).unwrap();
    out.to_vec()
}

fn word_of(number: u64) -> u64 {
    WORDS[number as usize % WORDS.len()]
}

/// Appends batches with their words in one request, and as many to another partition between them.
fn append_tagged(log: &Log, numbers: impl Iterator<Item = u64>) {
    let mut buffer = BytesMut::new();
    let mut list = Vec::new();
    for number in numbers {
        for partition in [PartitionNumber(0), PARTITION] {
            let start = buffer.len();
            buffer.extend_from_slice(&keyed(number));
            let (range, tag_filter) = (start..buffer.len(), word_of(number));
            list.push(AppendBatch { partition, range, leader_epoch: LeaderEpoch(0), tag_filter });
        }
    }
    let receipt = log.append(buffer, &list, AppendOrigin::Client, NOW);
    assert!(receipt.results.iter().all(Result::is_ok));
}

fn read(log: &Log, from: i64, upto: i64, wanted: &[u64]) -> ReadPlan {
    let tags = Some(TagFilter::new(wanted).unwrap());
    log.read(PARTITION, Offset(from), ReadLimits { upto: Offset(upto), max_bytes: 1500, at_least_one: true, tags }).unwrap()
}

/// Base offsets of the batches that a reader with these tags is given, from the beginning to the end.
fn offsets(log: &Log, wanted: &[u64]) -> Vec<i64> {
    let end = log.ends(PARTITION).unwrap().end.0;
    let (mut next, mut found) = (0, Vec::new());
    while next < end {
        let plan = read(log, next, i64::MAX, wanted);
        let bytes = plan.materialize().unwrap();
        found.extend(batches(&bytes).map(|batch| batch.unwrap().0.base_offset.0));
        assert!(plan.next.0 > next, "the reader does not move on from {next}");
        next = plan.next.0;
    }
    found
}

/// Every batch has two offsets.
fn expected(batches: u64, wanted: &[u64]) -> Vec<i64> {
    let filter = TagFilter::new(wanted).unwrap();
    (0..batches).filter(|number| filter.may_match(word_of(*number))).map(|number| 2 * number as i64).collect()
}

fn check(log: &Log, batches: u64) {
    for wanted in [ONE, OTHER, &[0b0011, 0b1100], &[0b10000], &[]] {
        assert_eq!(offsets(log, wanted), expected(batches, wanted), "{wanted:?}");
    }
    assert_eq!(read_all(log, PARTITION.0).len() as u64, batches, "a reader without a filter is given everything");
}

/// Lets the housekeeping work until nothing has changed for a while.
fn tidy(log: &Log, disk: &SimDisk) {
    let mut quiet = 0;
    for _ in 0..3000 {
        let before = disk.changes();
        log.house_step(TimestampMs(NOW.0 + 1)).unwrap();
        quiet = if disk.changes() == before { quiet + 1 } else { 0 };
        if quiet == 60 {
            return;
        }
    }
    panic!("tidying finds no end");
}

fn files(disk: &SimDisk, extension: &str) -> usize {
    disk.files().iter().filter(|path| path.extension().is_some_and(|found| found == extension)).count()
}

#[test]
fn a_filter_gives_what_may_match_from_memory_and_from_files_of_every_kind() {
    let disk = SimDisk::new(1);
    let log = open_two(&disk, &eager());
    append_tagged(&log, 0..2);
    assert!(matches!(read(&log, 0, i64::MAX, ONE).parts[..], [ReadPart::Memory(_)]));
    check_prefix_in_memory(&log);
    for number in 2..100 {
        append_tagged(&log, number..number + 1);
        settle(&log);
    }
    check(&log, 100);
    log.house_step(NOW).unwrap();
    assert!(files(&disk, "queues") > 4);
    check(&log, 100);
    tidy(&log, &disk);
    assert!(files(&disk, "tidied") > 4 && files(&disk, "queues") == 1);
    check(&log, 100);
    drop(log);
    disk.kill();
    check(&open_two(&disk, &eager()), 100);
}

fn check_prefix_in_memory(log: &Log) {
    assert_eq!(offsets(log, ONE), [0]);
    assert_eq!(offsets(log, OTHER), [2]);
    settle(log);
}

#[test]
fn compaction_keeps_the_words_of_the_batches_it_rewrites() {
    let disk = SimDisk::new(1);
    let log = open_two(&disk, &eager());
    let policy = CleaningPolicy { min_dirty_ratio: 0.1, ..CleaningPolicy::default() };
    log.set_cleaning(&BTreeMap::from([(PARTITION, policy)]));
    for number in 0..100 {
        append_tagged(&log, number..number + 1);
        settle(&log);
    }
    let before = log.partition_bytes(PARTITION);
    tidy(&log, &disk);
    assert!(log.partition_bytes(PARTITION) < before * 3 / 4, "batches have been rewritten");
    check(&log, 100);
    drop(log);
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let stored = frames(disk, dir()).unwrap().filter_map(|item| match item.unwrap() {
        Item::Frame(frame) if frame.kind == Kind::Batch => Some((frame.offset.0 as u64 / 2, frame.tag_filter)),
        _ => None,
    });
    let stored: Vec<_> = stored.collect();
    assert_eq!(stored.len(), 200);
    assert_eq!(stored.iter().find(|(number, word)| *word != word_of(*number)), None);
}

#[test]
fn batches_left_out_are_behind_the_reader_but_never_beyond_the_bound() {
    let disk = SimDisk::new(1);
    let log = open_two(&disk, &eager());
    append_tagged(&log, 0..5);
    settle(&log);
    let nothing = read(&log, 6, 8, ONE);
    assert_eq!((nothing.parts.len(), nothing.next), (0, Offset(8)), "batch 3 is left out, batch 4 is beyond the bound");
    let halfway = read(&log, 6, 7, ONE);
    assert_eq!((halfway.parts.len(), halfway.next), (0, Offset(6)), "the end of batch 3 is beyond the bound");
}

#[test]
fn one_read_leaves_out_a_bounded_number_of_batches() {
    let disk = SimDisk::new(1);
    let big = LogOptions { file_bytes: 16 << 20, unsealed_entries: 100_000, queue_bytes: 32 << 20, ..options() };
    let log = open_two(&disk, &big);
    // Of five batches four are known to have no such tag.
    let wanted = &[1 << 40];
    append_tagged(&log, (0..3 * MAX_LEFT_OUT as u64).filter(|number| word_of(*number) != 0));
    settle(&log);
    let mut next = 0;
    for reads in 1..=2 {
        let plan = read(&log, next, i64::MAX, wanted);
        assert!(plan.parts.is_empty());
        next = plan.next.0;
        assert_eq!(next, 2 * reads * MAX_LEFT_OUT as i64);
    }
    let plan = read(&log, next, i64::MAX, wanted);
    assert_eq!((plan.parts.len(), plan.next), (0, log.ends(PARTITION).unwrap().end));
}
