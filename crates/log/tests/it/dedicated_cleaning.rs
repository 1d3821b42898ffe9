//! Compaction by key of the dedicated layout: of each key at least the newest record stays, at its offset, whenever the power fails.

use crate::dedicated::{append, dir, home, open_with, plan, read_all, settle};
use crate::scenario::{NOW, eager_tidying, options};
use bytes::BytesMut;
use duolog_base::{Disk, Offset, PartitionNumber, ProducerEpoch, ProducerId, RealDisk, TimestampMs};
use duolog_log::clean::CleaningPolicy;
use duolog_log::dedicated::{DedicatedLog, inspect};
use duolog_log::{LogOptions, OpenError, RetentionPolicy, TidyOptions};
use duolog_sim::{Failure, Operation, Random, SimDisk};
use duolog_wire::record::{
    BatchBuilder, BatchHeader, Compression, DecompressLimits, NewRecord, TransactionOutcome, decode_batch, encode_end_transaction,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const COMPACTED: PartitionNumber = PartitionNumber(1);
/// Tombstones are kept for so long.
const TOMBSTONE_MS: i64 = 1000;

fn policy() -> CleaningPolicy {
    CleaningPolicy { min_dirty_ratio: 0.1, delete_retention_ms: TOMBSTONE_MS, ..CleaningPolicy::default() }
}

fn eager() -> LogOptions {
    LogOptions { tail_cache_bytes: 0, tidy: eager_tidying(), ..options() }
}

fn open_compacting(disk: &SimDisk, options: LogOptions, policy: CleaningPolicy) -> Result<Arc<DedicatedLog>, OpenError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, report) = open_with(&shared, &dir(), options)?;
    assert_eq!(report.quarantined, []);
    for number in 0..2 {
        let opened = log.open_partition(PartitionNumber(number), home(number));
        opened.map_err(|failure| OpenError::Io { path: failure.path, error: std::io::ErrorKind::Other.into() })?;
    }
    log.set_cleaning(&BTreeMap::from([(COMPACTED, policy)]));
    Ok(log)
}

fn open_eager(disk: &SimDisk) -> Arc<DedicatedLog> {
    open_compacting(disk, eager(), policy()).unwrap()
}

/// A batch of records, each a key and perhaps a value.
fn keyed_at(records: &[(u64, Option<u64>)], timestamp: TimestampMs) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for (key, value) in records {
        let (key, value) = (key.to_le_bytes(), value.map(|value| format!("{value:040}")));
        let value = value.as_ref().map(|value| value.as_bytes());
        builder.push(NewRecord { timestamp, key: Some(&key), value, ..NewRecord::default() }).unwrap();
    }
    let mut out = BytesMut::new();
    builder.build(&mut out).unwrap();
    out.to_vec()
}

fn keyed(records: &[(u64, Option<u64>)]) -> Vec<u8> {
    keyed_at(records, NOW)
}

type Found = Vec<(i64, u64, Option<u64>)>;

/// Offset, key and value of each record, without marks of transactions.
fn records(log: &DedicatedLog) -> Found {
    let mut all = Vec::new();
    for (_, batch) in read_all(log, COMPACTED.0) {
        if BatchHeader::parse(&batch).unwrap().attributes.is_control() {
            continue;
        }
        let decoded = decode_batch(&batch, DecompressLimits::default()).unwrap();
        for record in decoded.records().map(Result::unwrap) {
            let key = u64::from_le_bytes(record.key.unwrap().try_into().unwrap());
            let value = record.value.map(|value| std::str::from_utf8(value).unwrap().parse().unwrap());
            all.push((record.offset.0, key, value));
        }
    }
    all
}

/// What a reader from the beginning to the end knows.
fn table(records: &Found) -> BTreeMap<u64, u64> {
    let mut table = BTreeMap::new();
    for (_, key, value) in records {
        match value {
            Some(value) => _ = table.insert(*key, *value),
            None => _ = table.remove(key),
        }
    }
    table
}

/// Appends batches of a few keys each, and others to another partition.
fn fill(log: &DedicatedLog, random: &mut Random, batches: u64, keys: u64) {
    for _ in 0..batches {
        let records: Vec<(u64, Option<u64>)> = (0..1 + random.below(4))
            .map(|_| (random.below(keys), (!random.chance(1, 8)).then(|| random.below(1 << 40))))
            .collect();
        append(log, COMPACTED.0, keyed(&records)).unwrap();
        append(log, 0, keyed(&[(1, Some(1))])).unwrap();
        settle(log);
    }
}

/// Steps that only read change nothing on the disk; no pass of these tests takes more of them in a row.
const QUIET_STEPS: usize = 30;

/// Lets the housekeeping work until it changes nothing any more.
fn clean(log: &DedicatedLog, disk: &SimDisk, now: TimestampMs) {
    let mut quiet = 0;
    for _ in 0..3000 {
        let before = disk.changes();
        log.house_step(now).unwrap();
        settle(log);
        quiet = if disk.changes() == before { quiet + 1 } else { 0 };
        if quiet == QUIET_STEPS {
            return;
        }
    }
    panic!("compaction finds no end");
}

/// Nothing in the directory is out of order, and nothing unfinished is left.
fn verify(disk: &SimDisk) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let dir = dir().join("orders-1");
    assert_eq!(inspect::verify(shared, &dir).unwrap().problems, []);
    let names: Vec<String> = disk.list(&dir).unwrap();
    let unfinished = |name: &&String| [".cleaned", ".swap", ".deleted", ".tmp"].iter().any(|end| name.ends_with(end));
    assert_eq!(names.iter().find(unfinished), None);
}

fn segments(disk: &SimDisk) -> usize {
    inspect::segments(disk, &dir().join("orders-1")).unwrap().len()
}

#[test]
fn of_each_key_the_newest_record_stays_where_it_was() {
    for seed in 0..4 {
        let disk = SimDisk::new(seed);
        let log = open_eager(&disk);
        let mut random = Random::new(seed);
        fill(&log, &mut random, 150, 5 + seed * 20);
        log.house_step(NOW).unwrap();
        let (before, others, pieces) = (records(&log), read_all(&log, 0), segments(&disk));
        let ends = log.ends(COMPACTED).unwrap();
        clean(&log, &disk, NOW);
        let after = records(&log);
        assert!(after.len() < before.len() * 3 / 4, "{} of {} are left", after.len(), before.len());
        assert!(after.iter().all(|record| before.contains(record)), "offsets and values stay");
        assert!(after.is_sorted_by_key(|(offset, _, _)| *offset));
        assert_eq!(table(&after), table(&before));
        assert_eq!(read_all(&log, 0), others, "other partitions are not touched");
        assert_eq!(log.ends(COMPACTED).unwrap(), ends);
        verify(&disk);
        // Every offset can be asked for, whether its record is there or not.
        for offset in 0..ends.end.0 {
            assert!(plan(&log, COMPACTED.0, offset, 100).unwrap().next.0 > offset, "offset {offset}");
        }
        // Nothing is dirty: no more passes.
        let passes = log.statistics().compactions;
        assert!(passes > 0);
        clean(&log, &disk, NOW);
        assert_eq!(log.statistics().compactions, passes);

        match seed % 2 {
            0 => drop(log),
            _ => log.close().unwrap(),
        }
        disk.reboot(seed + 3);
        let log = open_eager(&disk);
        assert_eq!((records(&log), log.ends(COMPACTED).unwrap()), (after, ends));
        clean(&log, &disk, NOW);
        assert_eq!(log.statistics().compactions, 0, "it is remembered what is clean");
        fill(&log, &mut random, 30, 5);
        let before = records(&log);
        clean(&log, &disk, NOW);
        assert!(log.statistics().compactions > 0);
        assert_eq!(table(&records(&log)), table(&before));
        assert!(segments(&disk) < pieces * 3 / 4, "what has become small is put together");
        verify(&disk);
    }
}

#[test]
fn what_is_compacted_is_read_without_its_manifest() {
    let disk = SimDisk::new(1);
    let log = open_eager(&disk);
    fill(&log, &mut Random::new(4), 100, 10);
    clean(&log, &disk, NOW);
    let (after, ends) = (records(&log), log.ends(COMPACTED).unwrap());
    drop(log);
    disk.kill();
    disk.remove(&dir().join("orders-1/duolog.manifest")).unwrap();
    let log = open_eager(&disk);
    assert_eq!(records(&log), after);
    assert_eq!(log.ends(COMPACTED).unwrap().end, ends.end);
}

#[test]
fn a_batch_behind_a_gap_with_another_offset_or_epoch_is_never_served() {
    let disk = SimDisk::new(1);
    let log = open_eager(&disk);
    fill(&log, &mut Random::new(4), 120, 30);
    clean(&log, &disk, NOW);
    let truth = read_all(&log, COMPACTED.0);
    log.close().unwrap();
    disk.reboot(2);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let items = inspect::items(shared, &dir().join("orders-1")).unwrap();
    let mut gaps = 0;
    let mut expected = 0;
    for item in items.map(Result::unwrap) {
        let inspect::Item::Batch { file, position, header, .. } = item else { panic!("{item:?}") };
        let gap = header.base_offset.0 - expected;
        expected = header.next_offset().0;
        // What remains at the beginning of a segment has neither a batch in front of it nor an entry.
        gaps += u64::from(gap > 0 && position > 0);
        let flips = if position > 0 { [(7, 0), (7, 1), (7, 3), (15, 0)] } else { [(6, 0), (5, 0), (0, 7), (15, 0)] };
        for (byte, bit) in flips {
            let damaged = disk.crash(3);
            damaged.flip(&file, position + byte, bit).unwrap();
            let log = open_compacting(&damaged, LogOptions { tail_cache_bytes: 0, ..options() }, policy()).unwrap();
            let what = format!("byte {byte} bit {bit} of the batch at {}", header.base_offset);
            let asked = plan(&log, COMPACTED.0, header.base_offset.0, 1).and_then(|plan| plan.materialize());
            assert!(asked.is_err(), "{what}: it is told");
            for offset in
                (0..log.ends(COMPACTED).unwrap().end.0).filter(|at| (header.base_offset.0 - at).abs() < 8 || at % 16 == 0)
            {
                if let Ok(served) = plan(&log, COMPACTED.0, offset, 1).and_then(|plan| plan.materialize()) {
                    assert!(served.is_empty() || truth.iter().any(|(_, batch)| *batch == served), "{what}: asked for {offset}");
                }
            }
        }
    }
    assert!(gaps > 3, "{gaps} gaps");
}

#[test]
fn tombstones_go_in_a_second_pass_when_their_time_is_over() {
    let disk = SimDisk::new(1);
    let log = open_eager(&disk);
    let mut random = Random::new(9);
    fill(&log, &mut random, 60, 10);
    let deleted: Vec<_> = (0..10).map(|key| (key, None)).collect();
    append(&log, COMPACTED.0, keyed(&deleted)).unwrap();
    // Others push it out of the active segment.
    let others = |log: &DedicatedLog, from: u64| {
        for key in from..from + 40 {
            append(log, COMPACTED.0, keyed(&[(key, Some(1))])).unwrap();
            settle(log);
        }
    };
    others(&log, 100);
    clean(&log, &disk, NOW);
    let tombstones = |log: &DedicatedLog| records(log).iter().filter(|(_, _, value)| value.is_none()).count();
    assert_eq!(tombstones(&log), 10, "they stay for those who read now");
    assert!(records(&log).iter().all(|(_, key, value)| *key >= 100 || value.is_none()));
    others(&log, 200);
    clean(&log, &disk, TimestampMs(NOW.0 + TOMBSTONE_MS - 1));
    assert_eq!(tombstones(&log), 10, "their time is not over");
    others(&log, 300);
    clean(&log, &disk, TimestampMs(NOW.0 + TOMBSTONE_MS + 1));
    assert_eq!(tombstones(&log), 0);
    assert!(records(&log).iter().all(|(_, key, _)| *key >= 100));
    verify(&disk);
    for offset in 0..log.ends(COMPACTED).unwrap().end.0 {
        assert!(plan(&log, COMPACTED.0, offset, 100).unwrap().next.0 > offset, "offset {offset}");
    }
    drop(log);
    disk.reboot(1);
    let log = open_eager(&disk);
    assert_eq!(log.ends(COMPACTED).unwrap().start, Offset(0), "the log start does not move");
}

#[test]
fn keys_that_need_more_memory_than_there_is_are_compacted_part_by_part() {
    let disk = SimDisk::new(1);
    let tidy = TidyOptions { key_memory_bytes: 24 * 12, ..eager_tidying() };
    let log = open_compacting(&disk, LogOptions { tidy, ..eager() }, policy()).unwrap();
    fill(&log, &mut Random::new(11), 100, 40);
    let before = records(&log);
    clean(&log, &disk, NOW);
    let after = records(&log);
    assert!(after.len() < before.len() * 2 / 3, "{} of {} are left", after.len(), before.len());
    assert_eq!(table(&after), table(&before));
    assert!(log.statistics().compactions > 3);
    verify(&disk);
}

#[test]
fn the_lags_say_what_is_compacted_and_when_the_active_segment_ends() {
    let disk = SimDisk::new(1);
    let lagging = CleaningPolicy { min_compaction_lag_ms: 500, ..policy() };
    let log = open_compacting(&disk, eager(), lagging).unwrap();
    fill(&log, &mut Random::new(2), 60, 4);
    let before = records(&log);
    clean(&log, &disk, TimestampMs(NOW.0 + 499));
    assert_eq!(records(&log), before, "everything is too young");
    clean(&log, &disk, TimestampMs(NOW.0 + 501));
    let after = records(&log);
    assert!(after.len() < before.len());
    let passes = log.statistics().compactions;

    // A ratio that is never reached, but a record that waits too long.
    log.set_cleaning(&BTreeMap::from([(
        COMPACTED,
        CleaningPolicy { min_dirty_ratio: 1.0, max_compaction_lag_ms: 5000, ..policy() },
    )]));
    for _ in 0..3 {
        append(&log, COMPACTED.0, keyed(&[(1, Some(77))])).unwrap();
        settle(&log);
    }
    clean(&log, &disk, TimestampMs(NOW.0 + 5000));
    assert_eq!(log.statistics().compactions, passes, "it has not waited for too long");
    clean(&log, &disk, TimestampMs(NOW.0 + 5001));
    assert!(log.statistics().compactions > passes);
    let all = records(&log);
    assert_eq!(all.iter().filter(|(_, key, _)| *key == 1).count(), 1, "the segment that was written to was ended");
    assert_eq!(table(&all)[&1], 77);
    verify(&disk);
}

#[test]
fn a_read_that_was_planned_before_gives_what_was_there() {
    let disk = SimDisk::new(1);
    let log = open_eager(&disk);
    fill(&log, &mut Random::new(5), 100, 5);
    log.house_step(NOW).unwrap();
    let planned = plan(&log, COMPACTED.0, 0, 1500).unwrap();
    let expected = planned.materialize().unwrap();
    clean(&log, &disk, NOW);
    assert_ne!(plan(&log, COMPACTED.0, 0, 1500).unwrap().materialize().unwrap(), expected);
    assert_eq!(planned.materialize().unwrap(), expected);
}

#[test]
fn retention_gives_up_compacted_segments() {
    let disk = SimDisk::new(1);
    let log = open_eager(&disk);
    fill(&log, &mut Random::new(6), 100, 300);
    clean(&log, &disk, NOW);
    let all = records(&log);
    let retention = RetentionPolicy { max_age_ms: None, max_bytes: Some(log.partition_bytes(COMPACTED) / 2) };
    let start = log.retention_target(COMPACTED, retention, NOW).expect("half of it is too much");
    log.set_log_start(COMPACTED, start).unwrap();
    settle(&log);
    fill(&log, &mut Random::new(8), 50, 4);
    clean(&log, &disk, NOW);
    let left = records(&log);
    assert!(left.iter().all(|(offset, _, _)| *offset >= start.0));
    assert!(left.len() < all.len() && log.partition_bytes(COMPACTED) < 2 * retention.max_bytes.unwrap());
    verify(&disk);
    // Dropped in the middle of a pass.
    fill(&log, &mut Random::new(9), 50, 4);
    log.house_step(NOW).unwrap();
    log.house_step(NOW).unwrap();
    log.drop_partition(COMPACTED).unwrap();
    settle(&log);
    clean(&log, &disk, NOW);
    assert!(disk.list(&dir()).unwrap().iter().all(|name| !name.starts_with("orders-1")));
}

#[test]
fn aborted_transactions_go_and_their_marks_later() {
    let disk = SimDisk::new(1);
    let log = open_eager(&disk);
    let transactional = |id: i64, sequence: i32, key: u64| {
        let producer = (ProducerId(id), ProducerEpoch(0));
        let mut builder = BatchBuilder::new(Compression::None).producer(producer.0, producer.1, sequence).transactional();
        let key = key.to_le_bytes();
        let value = format!("{sequence:040}");
        builder
            .push(NewRecord { timestamp: NOW, key: Some(&key), value: Some(value.as_bytes()), ..NewRecord::default() })
            .unwrap();
        let mut out = BytesMut::new();
        builder.build(&mut out).unwrap();
        out.to_vec()
    };
    let mark = |id: i64, outcome| {
        let mut out = BytesMut::new();
        encode_end_transaction((ProducerId(id), ProducerEpoch(0)), outcome, 0, NOW, &mut out).unwrap();
        out.to_vec()
    };
    append(&log, COMPACTED.0, keyed(&[(1, Some(5))])).unwrap();
    append(&log, COMPACTED.0, transactional(7, 0, 1)).unwrap();
    append(&log, COMPACTED.0, mark(7, TransactionOutcome::Abort)).unwrap();
    append(&log, COMPACTED.0, transactional(8, 0, 2)).unwrap();
    append(&log, COMPACTED.0, mark(8, TransactionOutcome::Commit)).unwrap();
    append(&log, COMPACTED.0, transactional(9, 0, 3)).unwrap();
    fill(&log, &mut Random::new(3), 40, 4);
    clean(&log, &disk, NOW);
    let found = records(&log);
    // The last sequence of the aborted producer stays as an empty batch; the record of it does not.
    assert!(found.iter().all(|(offset, _, _)| *offset != 1), "{found:?}");
    assert!(found.iter().any(|(offset, key, _)| (*offset, *key) == (5, 3)), "an open transaction is not touched");
    assert!(found.iter().filter(|(offset, _, _)| *offset > 5).count() > 40, "nor what follows it");
    append(&log, COMPACTED.0, mark(9, TransactionOutcome::Abort)).unwrap();
    fill(&log, &mut Random::new(4), 40, 4);
    clean(&log, &disk, NOW);
    let found = records(&log);
    assert!(found.iter().all(|(offset, _, _)| *offset != 5), "{found:?}");
    verify(&disk);
    let times = inspect::time_entries(&disk, &dir().join("orders-1"), 0).unwrap();
    assert!(times.iter().all(|(_, offset)| offset.0 != 1), "an emptied batch has no time: {times:?}");
    let first = log.find_by_time(COMPACTED, NOW, Offset(0), Offset(i64::MAX)).unwrap().unwrap();
    assert!(first.base_offset.0 > 1, "nor is it found by time");
    let ends = log.ends(COMPACTED).unwrap();
    drop(log);
    disk.kill();
    let log = open_eager(&disk);
    assert_eq!((records(&log), log.ends(COMPACTED).unwrap()), (found, ends));
    assert_eq!(log.producers(COMPACTED).len(), 3);
}

#[test]
fn damage_is_left_where_it_is() {
    let disk = SimDisk::new(1);
    let log = open_eager(&disk);
    fill(&log, &mut Random::new(5), 60, 5);
    let tidy = TidyOptions { step_bytes: 0, ..eager_tidying() };
    drop(log);
    disk.kill();
    let log = open_compacting(&disk, LogOptions { tidy, ..eager() }, policy()).unwrap();
    log.house_step(NOW).unwrap();
    let path = dir().join("orders-1/00000000000000000000.log");
    disk.flip(&path, 300, 2).unwrap();
    drop(log);
    disk.kill();
    let damaged = disk.read_file(&path).unwrap();
    let log = open_eager(&disk);
    clean(&log, &disk, NOW);
    assert_eq!(log.statistics().compactions, 0);
    assert_eq!(disk.read_file(&path).unwrap(), damaged);
}

#[test]
fn who_reads_while_segments_are_replaced_sees_the_newest_of_each_key() {
    let root = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let tidy = TidyOptions { step_bytes: 64 << 10, ..eager_tidying() };
    let (log, _) = open_with(&disk, &root.path().join("dedicated"), LogOptions { tidy, ..eager() }).unwrap();
    (0..2).for_each(|number| log.open_partition(PartitionNumber(number), home(number)).unwrap());
    log.set_cleaning(&BTreeMap::from([(COMPACTED, policy())]));
    let mut random = Random::new(1);
    for _ in 0..8 {
        fill(&log, &mut random, 40, 10);
        let expected = table(&records(&log));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        assert_eq!(table(&records(&log)), expected);
                        log.find_by_time(COMPACTED, NOW, Offset(0), Offset(i64::MAX)).unwrap();
                        log.find_max_timestamp(COMPACTED, Offset(i64::MAX)).unwrap();
                    }
                });
            }
            let cleaned = (0..20).try_for_each(|_| log.house_step(NOW));
            done.store(true, Ordering::Release);
            cleaned.unwrap();
        });
        assert_eq!(table(&records(&log)), expected);
    }
    assert!(log.statistics().compactions >= 8);
}

#[test]
fn a_disk_that_is_full_at_any_write_puts_compaction_off() {
    let full = SimDisk::new(3);
    let log = open_compacting(&full, LogOptions { tidy: TidyOptions { step_bytes: 0, ..eager_tidying() }, ..eager() }, policy())
        .unwrap();
    fill(&log, &mut Random::new(4), 50, 6);
    log.house_step(NOW).unwrap();
    let before = table(&records(&log));
    log.close().unwrap();
    let mut finished = 0;
    for writes in 0..16 {
        let disk = full.crash(writes);
        let log = open_eager(&disk);
        disk.fail_next(Operation::Write, writes, Failure::NoSpace);
        // What is written for other reasons than compaction stops the log, as ever.
        let stopped = (0..30).any(|_| log.house_step(NOW).is_err());
        if !stopped {
            clean(&log, &disk, NOW);
            assert_eq!(table(&records(&log)), before, "{writes} writes");
            assert!(log.statistics().compactions > 0);
            verify(&disk);
            finished += 1;
        }
        drop(log);
        disk.reboot(writes);
        assert_eq!(table(&records(&open_eager(&disk))), before, "{writes} writes");
    }
    assert!(finished > 10, "{finished} of 16");
}

/// More operations than the compaction of the crash test has.
const MANY_CHANGES: u64 = 400;

fn more_a_step() -> LogOptions {
    LogOptions { tidy: TidyOptions { step_bytes: 12 << 10, ..eager_tidying() }, ..eager() }
}

/// Compacts a copy of `full` until the power fails after `changes` operations, starts again, and checks; whether the power did
/// not fail.
fn crash_at(full: &SimDisk, before: &Found, seed: u64, changes: u64) -> bool {
    let what = format!("seed {seed}, {changes} changes");
    let disk = full.crash(seed);
    let open = || open_compacting(&disk, more_a_step(), policy()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (log, expected) = (open(), table(before));
    let end = log.ends(COMPACTED).unwrap().end;
    disk.crash_after(changes);
    // Time goes on, so that tombstones are dropped, too.
    let failed = (0..8).any(|step| log.house_step(TimestampMs(NOW.0 + step * TOMBSTONE_MS / 2)).is_err());
    drop(log);
    disk.reboot(seed * 1000 + changes);
    let log = open();
    let found = records(&log);
    assert_eq!(table(&found), expected, "{what}");
    assert!(found.iter().all(|record| before.contains(record)), "{what}");
    assert_eq!(log.ends(COMPACTED).unwrap().end, end, "{what}");
    // A second opening finds what the first one left.
    drop(log);
    disk.reboot(seed + changes);
    let log = open();
    assert_eq!(records(&log), found, "{what}, opened twice");
    for step in 0..3 {
        log.house_step(TimestampMs(NOW.0 + (100 + step) * TOMBSTONE_MS)).unwrap();
    }
    assert_eq!(table(&records(&log)), expected, "{what}");
    !failed
}

#[test]
fn power_loss_at_every_operation_brings_nothing_back_and_loses_nothing() {
    // Even numbers of operations with one seed, odd ones with the other.
    for seed in 0..2 {
        let full = SimDisk::new(seed);
        let log = open_compacting(&full, more_a_step(), policy()).unwrap();
        fill(&log, &mut Random::new(4), 50, 6);
        let before = records(&log);
        log.close().unwrap();
        let survived = (seed..MANY_CHANGES).step_by(2).find(|changes| crash_at(&full, &before, seed, *changes));
        assert!(survived.is_some_and(|changes| changes > 50), "there are operations, and not more than were tried: {survived:?}");
    }
}
