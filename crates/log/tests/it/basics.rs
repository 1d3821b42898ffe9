//! Appending, reading, rolling, restarting: the everyday work, over the operating system's disk.

use crate::scenario::*;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, RealDisk};
use duolog_log::{Advance, AppendBatch, AppendError, AppendOrigin, Appended, Log, PartitionError, ReadError, ReadPart};
use std::path::PathBuf;
use std::sync::Arc;

fn real() -> (tempfile::TempDir, Arc<dyn Disk>, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shared");
    (dir, Arc::new(RealDisk), path)
}

#[test]
fn batches_are_read_back_as_they_came_with_their_offsets() {
    let (_keep, disk, dir) = real();
    let (log, report) = open(&disk, &dir, options()).unwrap();
    assert_eq!(report.files, 0);
    log.open_partition(PartitionNumber(1));
    log.open_partition(PartitionNumber(2));
    let (a, b, c) = (batch(1, 3, 20), batch(2, 1, 50), batch(3, 2, 10));
    let receipt = append_all(&log, &[(1, a.clone()), (2, b.clone()), (1, c.clone()), (9, a.clone())]);
    let given = |at: usize| receipt.results[at].clone().map(|appended| (appended.base_offset.0, appended.last_offset.0));
    assert_eq!(given(0), Ok((0, 2)));
    assert_eq!(given(1), Ok((0, 0)));
    assert_eq!(given(2), Ok((3, 4)));
    assert_eq!(given(3), Err(AppendError::UnknownPartition(PartitionNumber(9))));

    let ends = log.ends(PartitionNumber(1)).unwrap();
    assert_eq!((ends.durable, ends.written, ends.end), (Offset(0), Offset(0), Offset(5)));
    log.write_step().unwrap();
    let ends = log.ends(PartitionNumber(1)).unwrap();
    assert_eq!((ends.durable, ends.written, ends.end), (Offset(0), Offset(5), Offset(5)));
    log.sync_step().unwrap();
    assert_eq!(log.ends(PartitionNumber(1)).unwrap().durable, Offset(5));
    assert_eq!(log.durable_position(), receipt.end);

    assert_eq!(read_all(&log, 1), [(0, stored(&a, 0, 0)), (3, stored(&c, 3, 0))]);
    assert_eq!(read_all(&log, 2), [(0, stored(&b, 0, 0))]);
    let from_the_middle = plan(&log, 1, 1, 1).unwrap();
    assert_eq!(from_the_middle.next, Offset(3), "the batch that holds the offset is given whole");
    assert!(matches!(plan(&log, 1, 6, 10), Err(ReadError::OutOfRange { asked: Offset(6), .. })));
    assert!(matches!(plan(&log, 7, 0, 10), Err(ReadError::UnknownPartition(_))));
}

#[test]
fn a_clean_restart_reads_no_frames_and_knows_everything() {
    let (_keep, disk, dir) = real();
    let mut expected = Vec::new();
    {
        let (log, _) = open(&disk, &dir, options()).unwrap();
        log.open_partition(PartitionNumber(1));
        for seed in 0..200 {
            let batch = batch(seed, 2, 100);
            let appended = append(&log, 1, batch.clone()).unwrap();
            expected.push((appended.base_offset.0, stored(&batch, appended.base_offset.0, 0)));
            settle(&log);
        }
        assert_eq!(read_all(&log, 1), expected);
        log.close().unwrap();
        assert_eq!(append(&log, 1, batch(1, 1, 1)), Err(AppendError::Stopped));
    }
    for _ in 0..2 {
        let (log, report) = open(&disk, &dir, options()).unwrap();
        assert!(report.clean_shutdown);
        assert_eq!(report.scanned_frames, 0);
        assert_eq!(report.torn_bytes, 0);
        assert!(report.files > 3, "the files are small enough to roll");
        assert_eq!(read_all(&log, 1), expected);
        assert_eq!(log.partition_bytes(PartitionNumber(1)), expected.iter().map(|(_, batch)| batch.len() as u64).sum::<u64>());
        log.close().unwrap();
    }
}

#[test]
fn a_restart_without_close_scans_and_knows_everything() {
    let (_keep, disk, dir) = real();
    let mut expected = Vec::new();
    for round in 0..4 {
        let (log, report) = open(&disk, &dir, options()).unwrap();
        assert!(!report.clean_shutdown);
        log.open_partition(PartitionNumber(1));
        if round > 0 {
            assert_eq!(read_all(&log, 1), expected);
        }
        for seed in 0..40 {
            let batch = batch(seed, 1, 200);
            let appended = append(&log, 1, batch.clone()).unwrap();
            expected.push((appended.base_offset.0, stored(&batch, appended.base_offset.0, 0)));
        }
        settle(&log);
    }
}

#[test]
fn the_tail_cache_and_the_files_give_the_same_bytes() {
    let (_keep, disk, dir) = real();
    let mut wide = options();
    wide.tail_cache_bytes = 1 << 20;
    wide.file_bytes = 1 << 20;
    let (log, _) = open(&disk, &dir, wide.clone()).unwrap();
    log.open_partition(PartitionNumber(1));
    for seed in 0..50 {
        append(&log, 1, batch(seed, 1, 100 * (seed as usize % 60))).unwrap();
    }
    let queued = plan(&log, 1, 0, 1 << 20).unwrap();
    assert!(queued.parts.iter().all(|part| matches!(part, ReadPart::Memory(_))));
    let from_memory = queued.materialize().unwrap();
    settle(&log);
    log.close().unwrap();
    let (log, _) = open(&disk, &dir, wide).unwrap();
    let cold = plan(&log, 1, 0, 1 << 20).unwrap();
    assert!(cold.parts.iter().all(|part| matches!(part, ReadPart::File { .. })));
    assert_eq!(cold.materialize().unwrap(), from_memory);
}

#[test]
fn log_start_and_drop_survive_a_restart() {
    let (_keep, disk, dir) = real();
    let (one, two) = (PartitionNumber(1), PartitionNumber(2));
    let (log, _) = open(&disk, &dir, options()).unwrap();
    log.open_partition(one);
    log.open_partition(two);
    for seed in 0..10 {
        append_all(&log, &[(1, batch(seed, 1, 30)), (2, batch(seed, 1, 30))]);
    }
    log.set_log_start(one, Offset(4)).unwrap();
    assert!(matches!(log.set_log_start(one, Offset(11)), Err(PartitionError::OutOfRange { .. })));
    let before = log.set_log_start(one, Offset(2)).unwrap();
    assert_eq!(log.ends(one).unwrap().start, Offset(4), "the log start never goes back");
    assert!(log.drop_partition(two).unwrap() > before);
    assert_eq!(append(&log, 2, batch(1, 1, 1)), Err(AppendError::UnknownPartition(two)));
    settle(&log);
    for clean in [false, true] {
        let (log, report) = open(&disk, &dir, options()).unwrap();
        assert!(!report.clean_shutdown, "the last opening was not closed, or wrote the frame of its generation");
        assert_eq!(log.partitions(), [one]);
        assert_eq!(log.ends(one).unwrap().start, Offset(4));
        assert_eq!(log.ends(one).unwrap().end, Offset(10));
        assert!(matches!(plan(&log, 1, 3, 100), Err(ReadError::OutOfRange { .. })));
        if clean {
            log.close().unwrap();
        }
    }
    let (log, report) = open(&disk, &dir, options()).unwrap();
    assert!(report.clean_shutdown);
    assert_eq!(log.ends(one).unwrap().start, Offset(4));
}

#[test]
fn older_leaders_are_refused_and_epochs_answered() {
    let (_keep, disk, dir) = real();
    let (log, _) = open(&disk, &dir, options()).unwrap();
    let one = PartitionNumber(1);
    log.set_leader_epoch(one, LeaderEpoch(0));
    append(&log, 1, batch(1, 2, 10)).unwrap();
    log.set_leader_epoch(one, LeaderEpoch(3));
    let refused = append(&log, 1, batch(1, 1, 10));
    assert_eq!(refused, Err(AppendError::FencedLeader { current: LeaderEpoch(3), got: LeaderEpoch(0) }));
    let bytes = batch(2, 1, 10);
    let range = 0..bytes.len();
    let request = [AppendBatch { partition: one, range, leader_epoch: LeaderEpoch(3), tag_filter: 7 }];
    let receipt = log.append(bytes.as_slice().into(), &request, AppendOrigin::Client, NOW);
    assert!(matches!(receipt.results[0], Ok(Appended { base_offset: Offset(2), .. })));
    let end_of = |epoch| log.epoch_end(one, LeaderEpoch(epoch)).unwrap().map(|end| (end.epoch.0, end.end.0));
    assert_eq!(end_of(0), Some((0, 2)));
    assert_eq!(end_of(2), Some((0, 2)));
    assert_eq!(end_of(3), Some((3, 3)));
    assert_eq!(end_of(4), Some((3, 3)), "the newest one not above it");
    assert_eq!(log.epoch_at(one, Offset(1)), Some(LeaderEpoch(0)));
    assert_eq!(log.epoch_at(one, Offset(2)), Some(LeaderEpoch(3)));
    settle(&log);
    drop(log);
    let (log, _) = open(&disk, &dir, options()).unwrap();
    assert_eq!(log.epoch_at(one, Offset(1)), Some(LeaderEpoch(0)));
    assert_eq!(log.ends(one).unwrap().epoch, LeaderEpoch(3));
}

#[test]
fn threads_write_and_sync_and_wake_those_who_wait() {
    let (_keep, disk, dir) = real();
    let observer = Arc::new(Remembering::default());
    let (log, _) = Log::open(disk, dir, options(), observer.clone(), NOW).unwrap();
    log.start_threads().unwrap();
    log.open_partition(PartitionNumber(1));
    let receipts: Vec<_> = (0..100).map(|seed| append_all(&log, &[(1, batch(seed, 1, 100))])).collect();
    for receipt in &receipts {
        log.wait_durable(receipt.end).blocking_recv().unwrap();
        assert!(log.durable_position() >= receipt.end);
    }
    let unwaited = append_all(&log, &[(1, batch(0, 1, 100))]);
    log.wait_written(unwaited.end).blocking_recv().unwrap();
    log.close().unwrap();
    assert_eq!(log.durable_position(), unwaited.end, "closing syncs what nobody waits for");
    assert!(observer.failures.lock().unwrap().is_empty());
    let advances = observer.advances.lock().unwrap();
    for what in [Advance::Written, Advance::Durable] {
        assert!(advances.iter().any(|(advance, partitions)| *advance == what && partitions == &[PartitionNumber(1)]));
    }
}
