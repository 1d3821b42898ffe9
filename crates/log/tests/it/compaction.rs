//! Compaction by key while the shared log is tidied: of each key at least the newest record stays, at its offset.

use crate::scenario::*;
use bytes::BytesMut;
use duolog_base::{Disk, Offset, PartitionNumber, TimestampMs};
use duolog_log::clean::CleaningPolicy;
use duolog_log::inspect::verify;
use duolog_log::{Log, LogOptions};
use duolog_sim::{Random, SimDisk};
use duolog_wire::record::{BatchBuilder, Compression, DecompressLimits, NewRecord, decode_batch};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const COMPACTED: PartitionNumber = PartitionNumber(1);
/// Tombstones are kept for so long.
const TOMBSTONE_MS: i64 = 1000;

fn policy() -> CleaningPolicy {
    CleaningPolicy { min_dirty_ratio: 0.1, delete_retention_ms: TOMBSTONE_MS, ..CleaningPolicy::default() }
}

fn eager() -> LogOptions {
    LogOptions { file_bytes: 4 << 10, tail_cache_bytes: 0, recycled_files: 0, tidy: eager_tidying(), ..options() }
}

fn open_compacting(disk: &SimDisk, options: &LogOptions) -> Result<Arc<Log>, duolog_log::OpenError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = open(&shared, Path::new("/data/shared"), options.clone())?;
    (0..2).for_each(|number| log.open_partition(PartitionNumber(number)));
    log.set_cleaning(&BTreeMap::from([(COMPACTED, policy())]));
    Ok(log)
}

/// A batch of records, each a key and perhaps a value.
fn keyed(records: &[(u64, Option<u64>)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for (key, value) in records {
        let (key, value) = (key.to_le_bytes(), value.map(|value| format!("{value:040}")));
        let value = value.as_ref().map(|value| value.as_bytes());
        builder.push(NewRecord { timestamp: NOW, key: Some(&key), value, ..NewRecord::default() }).unwrap();
    }
    let mut out = BytesMut::new();
    builder.build(&mut out).unwrap();
    out.to_vec()
}

/// Offset, key and value of each record.
fn records(log: &Log) -> Vec<(i64, u64, Option<u64>)> {
    let mut all = Vec::new();
    for (_, batch) in read_all(log, COMPACTED.0) {
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
fn table(records: &[(i64, u64, Option<u64>)]) -> BTreeMap<u64, u64> {
    let mut table = BTreeMap::new();
    for (_, key, value) in records {
        match value {
            Some(value) => _ = table.insert(*key, *value),
            None => _ = table.remove(key),
        }
    }
    table
}

/// Appends batches of a few keys each, and others between them.
fn fill(log: &Log, random: &mut Random, batches: u64, keys: u64) -> bool {
    for seed in 0..batches {
        let records: Vec<(u64, Option<u64>)> = (0..1 + random.below(4))
            .map(|_| (random.below(keys), (!random.chance(1, 8)).then(|| random.below(1 << 40))))
            .collect();
        if append(log, COMPACTED.0, keyed(&records)).is_err() || append(log, 0, batch(seed, 1, 50)).is_err() {
            return false;
        }
        if log.write_step().and_then(|_| log.sync_step()).is_err() {
            return false;
        }
    }
    true
}

/// Steps that only read change nothing on the disk; no sweep of these tests takes more of them in a row.
const QUIET_STEPS: usize = 60;

/// Lets the housekeeping work until it changes nothing any more.
fn tidy(log: &Log, disk: &SimDisk, now: TimestampMs) {
    let mut quiet = 0;
    for _ in 0..3000 {
        let before = disk.changes();
        log.house_step(now).unwrap();
        quiet = if disk.changes() == before { quiet + 1 } else { 0 };
        if quiet == QUIET_STEPS {
            return;
        }
    }
    panic!("tidying finds no end");
}

#[test]
fn of_each_key_the_newest_record_stays_where_it_was() {
    let disk = SimDisk::new(1);
    let log = open_compacting(&disk, &eager()).unwrap();
    let mut random = Random::new(7);
    assert!(fill(&log, &mut random, 200, 20));
    let (before, others) = (records(&log), read_all(&log, 0));
    let end = log.ends(COMPACTED).unwrap();
    tidy(&log, &disk, NOW);
    let after = records(&log);
    assert!(after.len() < before.len() / 4, "{} of {} are left", after.len(), before.len());
    assert!(after.iter().all(|record| before.contains(record)), "offsets and values stay");
    assert!(after.is_sorted_by_key(|(offset, _, _)| *offset));
    assert_eq!(table(&after), table(&before));
    assert_eq!(read_all(&log, 0), others, "other partitions are not touched");
    assert_eq!(log.ends(COMPACTED).unwrap(), end);
    assert!(log.statistics().compactions > 0);
    // Nothing is dirty: no more passes.
    let passes = log.statistics().compactions;
    tidy(&log, &disk, NOW);
    assert_eq!(log.statistics().compactions, passes);

    drop(log);
    disk.reboot(3);
    let log = open_compacting(&disk, &eager()).unwrap();
    assert_eq!(records(&log), after);
    tidy(&log, &disk, NOW);
    assert_eq!(log.statistics().compactions, 0, "it is remembered what is clean");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    assert_eq!(verify(shared, Path::new("/data/shared")).unwrap().problems, []);
    // Every offset can be asked for, whether its record is there or not.
    for offset in 0..end.end.0 {
        let plan = plan(&log, COMPACTED.0, offset, 100).unwrap();
        assert!(plan.next.0 > offset);
    }
}

#[test]
fn tombstones_go_when_their_time_is_over_and_nothing_comes_back() {
    let disk = SimDisk::new(1);
    let log = open_compacting(&disk, &eager()).unwrap();
    let mut random = Random::new(9);
    assert!(fill(&log, &mut random, 60, 10));
    let deleted: Vec<_> = (0..10).map(|key| (key, None)).collect();
    append(&log, COMPACTED.0, keyed(&deleted)).unwrap();
    // Others push it out of the files that are not tidied.
    for seed in 0..60 {
        append(&log, 0, batch(seed, 1, 200)).unwrap();
        append(&log, COMPACTED.0, keyed(&[(100 + seed, Some(1))])).unwrap();
        settle(&log);
    }
    tidy(&log, &disk, NOW);
    let tombstones = |log: &Log| records(log).iter().filter(|(_, _, value)| value.is_none()).count();
    assert_eq!(tombstones(&log), 10);
    assert!(records(&log).iter().all(|(_, key, value)| *key >= 100 || value.is_none()));
    assert!(fill(&log, &mut random, 100, 3));
    settle(&log);
    tidy(&log, &disk, TimestampMs(NOW.0 + TOMBSTONE_MS + 1));
    assert!(fill(&log, &mut random, 100, 3));
    tidy(&log, &disk, TimestampMs(NOW.0 + 2 * TOMBSTONE_MS + 2));
    assert!(records(&log).iter().all(|(_, key, value)| !(3..10).contains(key) || value.is_some()), "keys 3 to 9 are gone");
    assert!(!table(&records(&log)).keys().any(|key| (3..10).contains(key)));
}

#[test]
fn keys_that_need_more_memory_than_there_is_are_compacted_part_by_part() {
    let disk = SimDisk::new(1);
    let options = LogOptions { tidy: duolog_log::TidyOptions { key_memory_bytes: 24 * 12, ..eager_tidying() }, ..eager() };
    let log = open_compacting(&disk, &options).unwrap();
    let mut random = Random::new(11);
    assert!(fill(&log, &mut random, 150, 40));
    let before = records(&log);
    tidy(&log, &disk, NOW);
    let after = records(&log);
    assert!(after.len() < before.len() / 2, "{} of {} are left", after.len(), before.len());
    assert_eq!(table(&after), table(&before));
    assert!(log.statistics().compactions > 3);
}

#[test]
fn power_loss_at_every_operation_of_compaction_brings_nothing_back() {
    for seed in 0..2 {
        for changes in 0..30 {
            let what = format!("seed {seed}, {changes} changes");
            let disk = SimDisk::new(seed);
            let mut random = Random::new(seed);
            let tidy_more = duolog_log::TidyOptions { step_bytes: 12 << 10, ..eager_tidying() };
            let options = LogOptions { file_bytes: 2 << 10, tidy: tidy_more, ..eager() };
            let log = open_compacting(&disk, &options).unwrap();
            assert!(fill(&log, &mut random, 40, 8));
            let expected = table(&records(&log));
            let end = log.ends(COMPACTED).unwrap().end;
            disk.crash_after(changes * 6 + seed % 3);
            // Time goes on, so that tombstones are dropped, too.
            for step in 0..100 {
                if log.house_step(TimestampMs(NOW.0 + step * TOMBSTONE_MS / 10)).is_err() {
                    break;
                }
            }
            drop(log);
            disk.reboot(seed * 1000 + changes);
            let log = open_compacting(&disk, &options).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(table(&records(&log)), expected, "{what}");
            assert_eq!(log.ends(COMPACTED).unwrap().end, Offset(end.0), "{what}");
            tidy(&log, &disk, TimestampMs(NOW.0 + 100 * TOMBSTONE_MS));
            assert_eq!(table(&records(&log)), expected, "{what}");
        }
    }
}
