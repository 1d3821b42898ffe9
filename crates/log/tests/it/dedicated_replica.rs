//! What a follower does to its log in the dedicated layout.

use crate::dedicated::{dir, home, open_with, plan, read_all, settle};
use crate::scenario::{NOBODY, NOW, Producer, batch_at, options, replica_request, stored};
use bytes::Bytes;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, TimestampMs};
use duolog_log::dedicated::DedicatedLog;
use duolog_log::dedicated::inspect::verify;
use duolog_log::{LogOptions, ReadError, ReplicaAppendError, TruncateError};
use duolog_sim::SimDisk;
use std::sync::Arc;

const ONE: PartitionNumber = PartitionNumber(1);

fn start(disk: &SimDisk) -> Arc<DedicatedLog> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    // Everything is read from the files.
    let (log, report) = open_with(&shared, &dir(), LogOptions { tail_cache_bytes: 0, ..options() }).unwrap();
    assert_eq!(report.quarantined, []);
    (1..3).for_each(|number| log.open_partition(PartitionNumber(number), home(number)).unwrap());
    log
}

fn reopen(log: Arc<DedicatedLog>, disk: &SimDisk, close: bool) -> Arc<DedicatedLog> {
    if close {
        log.close().unwrap();
    }
    drop(log);
    disk.reboot(1);
    start(disk)
}

/// A leader's batch.
fn led(seed: u64, base_offset: i64, records: usize, epoch: i32) -> Bytes {
    stored(&batch_at(seed, records, 60, NOBODY, NOW.0), base_offset, epoch)
}

fn take(log: &DedicatedLog, batches: &[Bytes]) {
    let request: Vec<(u32, Bytes)> = batches.iter().map(|batch| (1, batch.clone())).collect();
    let (buffer, list) = replica_request(&request);
    log.append_replica(buffer, &list, NOW).results.into_iter().for_each(|result| _ = result.unwrap());
}

fn refusal(log: &DedicatedLog, batch: Bytes) -> ReplicaAppendError {
    let (buffer, list) = replica_request(&[(1, batch)]);
    log.append_replica(buffer, &list, NOW).results.remove(0).unwrap_err()
}

/// Batches of one record each, some in segments that are sealed, some in the one that is written to.
fn fill(log: &DedicatedLog, upto: i64) {
    for offset in 0..upto {
        take(log, &[led(offset as u64, offset, 1, 3)]);
        settle(log);
    }
    log.house_step(NOW).unwrap();
}

fn ends(log: &DedicatedLog) -> (i64, i64, i64) {
    let ends = log.ends(ONE).unwrap();
    (ends.start.0, ends.durable.0, ends.end.0)
}

fn is_sound(disk: &SimDisk) {
    let report = verify(Arc::new(disk.clone()), &dir().join("orders-1")).unwrap();
    assert_eq!((report.problem_count, report.problems), (0, vec![]));
}

#[test]
fn a_leaders_batches_keep_offsets_and_epochs_and_may_have_gaps() {
    for (close, synced_before) in [(false, false), (false, true), (true, true)] {
        let disk = SimDisk::new(1);
        let log = start(&disk);
        let all = [led(0, 0, 3, 4), led(1, 3, 2, 4), led(2, 5, 1, 4), led(3, 10, 3, 7), led(4, 20, 1, 7)];
        // With the first one, the directory is there when the first gap comes.
        let batches = if synced_before { &all[..] } else { &all[1..] };
        if synced_before {
            take(&log, &batches[..1]);
            settle(&log);
            take(&log, &batches[1..]);
        } else {
            take(&log, batches);
        }
        settle(&log);
        let check = |log: &DedicatedLog| {
            let found: Vec<Bytes> = read_all(log, 1).into_iter().map(|(_, bytes)| bytes).collect();
            assert_eq!(found, batches);
            assert_eq!((ends(log), log.ends(ONE).unwrap().last_epoch), ((0, 21, 21), LeaderEpoch(7)));
            assert_eq!(plan(log, 1, 6, 1).unwrap().materialize().unwrap(), all[3]);
        };
        check(&log);
        let log = reopen(log, &disk, close);
        check(&log);
        is_sound(&disk);
    }
}

#[test]
fn what_does_not_continue_the_log_is_refused() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    take(&log, &[led(1, 0, 2, 4)]);
    assert_eq!(refusal(&log, led(2, 1, 2, 4)), ReplicaAppendError::Overlaps { end: Offset(2), got: Offset(1) });
    let older = ReplicaAppendError::OlderEpoch { last: LeaderEpoch(4), got: LeaderEpoch(3) };
    assert_eq!(refusal(&log, led(2, 2, 2, 3)), older);
    assert!(matches!(log.truncate(PartitionNumber(9), Offset(0)), Err(TruncateError::UnknownPartition(_))));
    log.set_log_start(ONE, Offset(1)).unwrap();
    assert!(matches!(log.truncate(ONE, Offset(0)), Err(TruncateError::BelowStart { .. })));
}

#[test]
fn a_cut_goes_through_active_full_and_sealed_segments() {
    for (cut, close) in [(59, false), (52, true), (30, false), (9, true), (1, false), (0, true)] {
        let disk = SimDisk::new(1);
        let log = start(&disk);
        fill(&log, 60);
        log.truncate(ONE, Offset(cut)).unwrap();
        let expected: Vec<(i64, Bytes)> = (0..cut).map(|offset| (offset, led(offset as u64, offset, 1, 3))).collect();
        assert_eq!((ends(&log), read_all(&log, 1)), ((0, cut, cut), expected.clone()));
        assert!(matches!(plan(&log, 1, cut + 1, 100), Err(ReadError::OutOfRange { .. })));
        let log = reopen(log, &disk, close);
        assert_eq!((ends(&log), read_all(&log, 1)), ((0, cut, cut), expected.clone()), "{cut} reopened");
        is_sound(&disk);
        // The same offsets once more, of another leader.
        let second: Vec<Bytes> = (cut..70).map(|offset| led(1000 + offset as u64, offset, 1, 5)).collect();
        for batch in &second {
            take(&log, std::slice::from_ref(batch));
        }
        settle(&log);
        log.house_step(NOW).unwrap();
        let all: Vec<Bytes> = expected.iter().map(|(_, batch)| batch.clone()).chain(second).collect();
        let check = |log: &DedicatedLog| {
            let found: Vec<Bytes> = read_all(log, 1).into_iter().map(|(_, batch)| batch).collect();
            assert!(found == all, "{cut}");
            let kept = log.epoch_end(ONE, LeaderEpoch(3)).unwrap().map(|end| end.end.0);
            assert_eq!(kept, Some(cut));
            let by_time = log.find_by_time(ONE, NOW, Offset(5), Offset(i64::MAX)).unwrap().map(|found| found.base_offset.0);
            assert_eq!(by_time, Some(5));
            assert_eq!(log.find_by_time(ONE, TimestampMs(NOW.0 + 1), Offset(0), Offset(i64::MAX)).unwrap(), None);
        };
        check(&log);
        let log = reopen(log, &disk, !close);
        check(&log);
        is_sound(&disk);
    }
}

#[test]
fn a_batch_goes_as_a_whole() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    take(&log, &[led(1, 0, 3, 1), led(2, 3, 3, 1), led(3, 6, 3, 2)]);
    log.truncate(ONE, Offset(4)).unwrap();
    assert_eq!((ends(&log), log.ends(ONE).unwrap().last_epoch), ((0, 3, 3), LeaderEpoch(1)));
    log.set_log_start(ONE, Offset(2)).unwrap();
    log.truncate(ONE, Offset(2)).unwrap();
    assert_eq!(ends(&log), (2, 2, 2));
    take(&log, &[led(4, 2, 2, 1)]);
    settle(&log);
    let log = reopen(log, &disk, false);
    assert_eq!((ends(&log), read_all(&log, 1)), ((2, 4, 4), vec![(2, led(4, 2, 2, 1))]));
}

#[test]
fn producers_are_what_they_were_where_the_log_is_cut() {
    for cut in [3, 25, 44] {
        let disk = SimDisk::new(1);
        let log = start(&disk);
        // One producer has a batch at the beginning, another one all others.
        let sent = |id: i64, sequence: i32| batch_at(9, 1, 60, Producer { id, epoch: 0, sequence }, NOW.0);
        for offset in 0..50 {
            let batch = match offset {
                1 => sent(1, 17),
                _ => sent(2, offset as i32),
            };
            take(&log, &[stored(&batch, offset, 3)]);
        }
        settle(&log);
        log.house_step(NOW).unwrap();
        log.truncate(ONE, Offset(cut)).unwrap();
        let known = |log: &DedicatedLog| -> Vec<(i64, i32)> {
            log.producers(ONE).iter().map(|producer| (producer.id.0, producer.last_sequence)).collect()
        };
        let expected = vec![(1, 17), (2, cut as i32 - 1)];
        assert_eq!(known(&log), expected, "{cut}");
        let log = reopen(log, &disk, false);
        assert_eq!(known(&log), expected, "{cut}, after a crash");
    }
}

#[test]
fn a_partition_begins_anew_at_any_offset() {
    for (at, close) in [(0, false), (5, true), (200, false), (200, true)] {
        let disk = SimDisk::new(1);
        let log = start(&disk);
        fill(&log, 60);
        log.restart_at(ONE, Offset(at)).unwrap();
        assert_eq!((ends(&log), read_all(&log, 1)), ((at, at, at), vec![]));
        let log = reopen(log, &disk, close);
        assert_eq!((ends(&log), read_all(&log, 1)), ((at, at, at), vec![]), "{at} reopened");
        assert_eq!(log.ends(ONE).unwrap().last_epoch, LeaderEpoch::NONE);
        take(&log, &[led(1, at, 2, 1)]);
        settle(&log);
        let log = reopen(log, &disk, !close);
        assert_eq!(read_all(&log, 1), [(at, led(1, at, 2, 1))]);
        is_sound(&disk);
    }
}

#[test]
fn a_partition_nobody_wrote_to_begins_anew_without_files() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    log.restart_at(ONE, Offset(7)).unwrap();
    assert_eq!(ends(&log), (7, 7, 7));
    take(&log, &[led(1, 7, 2, 1)]);
    settle(&log);
    let log = reopen(log, &disk, false);
    assert_eq!((ends(&log), read_all(&log, 1)), ((7, 9, 9), vec![(7, led(1, 7, 2, 1))]));
}
