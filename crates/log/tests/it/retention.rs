//! Which offset a policy asks for, by age and by size, over sealed and unsealed batches; lookups by time.

use crate::scenario::*;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, TimestampMs};
use duolog_log::{BatchLocation, Log, RetentionPolicy};
use duolog_sim::SimDisk;
use std::path::Path;
use std::sync::Arc;

const ONE: PartitionNumber = PartitionNumber(1);

/// Batches of one record at times 1000, 1010, 1020 ..., the first of them in sealed files.
fn log_of(batches: u64) -> Arc<Log> {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let (log, _) = open(&disk, Path::new("/data/shared"), options()).unwrap();
    log.open_partition(ONE);
    for seed in 0..batches {
        append(&log, 1, batch_at(seed, 1, 500, NOBODY, 1000 + 10 * seed as i64)).unwrap();
        settle(&log);
    }
    log.house_step(NOW).unwrap();
    log
}

fn by_age(max_age_ms: i64) -> RetentionPolicy {
    RetentionPolicy { max_age_ms: Some(max_age_ms), max_bytes: None }
}

fn by_size(max_bytes: u64) -> RetentionPolicy {
    RetentionPolicy { max_age_ms: None, max_bytes: Some(max_bytes) }
}

#[test]
fn age_gives_up_sealed_runs_as_a_whole_and_unsealed_batches_one_by_one() {
    let log = log_of(30);
    let target = |now| log.retention_target(ONE, by_age(100), TimestampMs(now));
    assert_eq!(target(1100), None, "nothing is older than 100 ms");
    assert_eq!(target(1101), None, "a run goes when its newest batch is too old");
    let Some(Offset(first_run)) = target(1100 + 10 * 15) else { panic!("a file holds fewer than 15 batches") };
    assert!((5..=15).contains(&first_run), "{first_run}");
    assert_eq!(target(1100 + 10 * 29), Some(Offset(29)), "the newest batch is in the active file");
    assert_eq!(target(1101 + 10 * 29), Some(Offset(30)));
    assert_eq!(log.retention_target(ONE, RetentionPolicy::default(), TimestampMs(i64::MAX)), None);
}

#[test]
fn size_gives_up_the_oldest_but_keeps_at_least_what_was_asked() {
    let log = log_of(30);
    let all = log.partition_bytes(ONE);
    assert_eq!(log.retention_target(ONE, by_size(all), NOW), None);
    let Some(start) = log.retention_target(ONE, by_size(all / 2), NOW) else { panic!("half must go") };
    log.set_log_start(ONE, start).unwrap();
    let left = log.partition_bytes(ONE);
    assert!(left >= all / 2 && left < all, "{left} of {all}");
    assert_eq!(log.retention_target(ONE, by_size(all / 2), NOW), None, "nothing more to do");
    assert_eq!(read_all(&log, 1).iter().map(|(_, batch)| batch.len() as u64).sum::<u64>(), left);
}

#[test]
fn retention_never_reaches_beyond_what_is_durable() {
    let log = log_of(10);
    append(&log, 1, batch_at(1, 1, 10, NOBODY, 1000)).unwrap();
    log.write_step().unwrap();
    assert_eq!(log.retention_target(ONE, by_size(0), NOW), Some(Offset(10)));
}

#[test]
fn batches_without_a_time_do_not_age() {
    let log = log_of(0);
    append(&log, 1, batch_at(1, 1, 10, NOBODY, -1)).unwrap();
    settle(&log);
    assert_eq!(log.retention_target(ONE, by_age(0), NOW), None);
    assert_eq!(log.retention_target(ONE, by_size(0), NOW), Some(Offset(1)));
}

#[test]
fn batches_are_found_by_time_in_sealed_and_unsealed_files() {
    let log = log_of(30);
    let everything = Offset(i64::MAX);
    let find = |time| log.find_by_time(ONE, TimestampMs(time), Offset(0), everything).unwrap().map(|found| found.base_offset.0);
    assert_eq!(find(0), Some(0));
    for batch in 0..30 {
        assert_eq!(find(1000 + 10 * batch), Some(batch));
        assert_eq!(find(991 + 10 * batch), Some(batch));
    }
    assert_eq!(find(1291), None);
    assert_eq!(log.find_by_time(ONE, TimestampMs(1200), Offset(0), Offset(20)).unwrap(), None, "above the bound");
    append(&log, 1, batch_at(1, 2, 10, NOBODY, 1005)).unwrap();
    let newest = log.find_max_timestamp(ONE, everything).unwrap().unwrap();
    let location = BatchLocation {
        base_offset: Offset(29),
        last_offset: Offset(29),
        max_timestamp: TimestampMs(1290),
        leader_epoch: LeaderEpoch(0),
    };
    assert_eq!(newest, location);
    assert_eq!(log.find_max_timestamp(ONE, Offset(7)).unwrap().unwrap().base_offset, Offset(6));
    log.set_log_start(ONE, Offset(12)).unwrap();
    assert_eq!(find(0), Some(12), "what is below the log start is not found");
}
