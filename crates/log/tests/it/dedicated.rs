//! The dedicated layout: shared pieces of its scenarios, and the everyday work.

use crate::scenario::{NOBODY, NOW, Producer, Remembering, batch, batch_at, options, stored};
use bytes::{Bytes, BytesMut};
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionIndex, PartitionNumber, RealDisk, TimestampMs, TopicId};
use duolog_log::dedicated::{DedicatedLog, PartitionHome, PartitionName, SegmentPolicy};
use duolog_log::{
    Advance, AppendBatch, AppendError, AppendOrigin, AppendReceipt, Appended, LogOptions, OpenError, PartitionError, ReadError,
    ReadLimits, ReadPart, ReadPlan, RecoveryReport, RetentionPolicy, SyncOutcome,
};
use duolog_wire::record::{batches, verify_crc};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Segments of about ten small batches, with an index entry for every third.
pub const POLICY: SegmentPolicy = SegmentPolicy {
    segment_bytes: 2048,
    segment_ms: 3_600_000,
    segment_jitter_ms: 0,
    index_interval_bytes: 300,
    index_bytes: 4096,
};

pub fn dir() -> PathBuf {
    PathBuf::from("/data/dedicated")
}

pub fn home(number: u32) -> PartitionHome {
    let name = PartitionName { topic: "orders".into(), index: PartitionIndex(number as i32) };
    PartitionHome { name, topic_id: TopicId(7), policy: POLICY }
}

/// Opens a log whose steps the test takes by hand.
pub fn open_log(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(Arc<DedicatedLog>, RecoveryReport), OpenError> {
    open_with(disk, dir, options())
}

pub fn open_with(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: LogOptions,
) -> Result<(Arc<DedicatedLog>, RecoveryReport), OpenError> {
    DedicatedLog::open(disk.clone(), dir.to_owned(), options, Arc::new(Remembering::default()), NOW)
}

/// Opens a log with its first partitions.
pub fn start(disk: &Arc<dyn Disk>, dir: &Path, partitions: u32) -> (Arc<DedicatedLog>, RecoveryReport) {
    let (log, report) = open_log(disk, dir).unwrap();
    (0..partitions).for_each(|number| log.open_partition(PartitionNumber(number), home(number)).unwrap());
    (log, report)
}

/// Appends batches to partitions as one request under leader epoch 0.
pub fn append_all(log: &DedicatedLog, request: &[(u32, Vec<u8>)]) -> AppendReceipt {
    let mut buffer = BytesMut::from(&b"what comes before the batches"[..]);
    let mut list = Vec::new();
    for (partition, batch) in request {
        let start = buffer.len();
        buffer.extend_from_slice(batch);
        list.push(AppendBatch {
            partition: PartitionNumber(*partition),
            range: start..buffer.len(),
            leader_epoch: LeaderEpoch(0),
            tag_filter: 0,
        });
    }
    log.append(buffer, &list, AppendOrigin::Client, NOW)
}

pub fn append(log: &DedicatedLog, partition: u32, batch: Vec<u8>) -> Result<Appended, AppendError> {
    append_all(log, &[(partition, batch)]).results.remove(0)
}

/// Writes and syncs until nothing is left.
pub fn settle(log: &DedicatedLog) {
    while log.write_step().unwrap() == SyncOutcome::Progressed {}
    while log.sync_step().unwrap() == SyncOutcome::Progressed {}
}

pub fn plan(log: &DedicatedLog, partition: u32, from: i64, max_bytes: usize) -> Result<ReadPlan, ReadError> {
    let limits = ReadLimits { upto: Offset(i64::MAX), max_bytes, at_least_one: true, tags: None };
    log.read(PartitionNumber(partition), Offset(from), limits)
}

/// Everything of a partition from its log start, read in plans of this many bytes.
pub fn read_all_by(log: &DedicatedLog, partition: u32, max_bytes: usize) -> Vec<(i64, Bytes)> {
    let mut next = log.ends(PartitionNumber(partition)).expect("the partition is known").start.0;
    let mut all = Vec::new();
    loop {
        let plan = plan(log, partition, next, max_bytes).expect("the partition is readable");
        let bytes = plan.materialize().expect("the bytes are there");
        assert_eq!(bytes.len(), plan.bytes);
        if bytes.is_empty() {
            return all;
        }
        for found in batches(&bytes) {
            let (header, range) = found.expect("a plan holds whole batches");
            verify_crc(&bytes[range.clone()]).expect("batches are intact");
            all.push((header.base_offset.0, bytes.slice(range)));
        }
        assert!(plan.next.0 > next);
        next = plan.next.0;
    }
}

pub fn read_all(log: &DedicatedLog, partition: u32) -> Vec<(i64, Bytes)> {
    read_all_by(log, partition, 3000)
}

/// Appends `count` small batches to partition 0, each written and synced; what must be read back.
pub fn fill(log: &DedicatedLog, partition: u32, count: u64) -> Vec<(i64, Bytes)> {
    let mut expected = Vec::new();
    for seed in 0..count {
        let batch = batch_at(seed, 1 + seed as usize % 3, 60, NOBODY, NOW.0 + seed as i64);
        let offset = append(log, partition, batch.clone()).unwrap().base_offset.0;
        expected.push((offset, stored(&batch, offset, 0)));
        settle(log);
    }
    expected
}

fn real() -> (tempfile::TempDir, Arc<dyn Disk>, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dedicated");
    (dir, Arc::new(RealDisk), path)
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const ONE: PartitionNumber = PartitionNumber(1);

#[test]
fn batches_are_read_back_as_they_came_with_their_offsets() {
    let (_keep, disk, dir) = real();
    let (log, report) = start(&disk, &dir, 3);
    assert_eq!(report.files, 0);
    let (a, b, c) = (batch(1, 3, 20), batch(2, 1, 50), batch(3, 2, 10));
    let receipt = append_all(&log, &[(1, a.clone()), (2, b.clone()), (1, c.clone()), (9, a.clone())]);
    let given = |at: usize| receipt.results[at].clone().map(|appended| (appended.base_offset.0, appended.last_offset.0));
    assert_eq!((given(0), given(1), given(2)), (Ok((0, 2)), Ok((0, 0)), Ok((3, 4))));
    assert_eq!(given(3), Err(AppendError::UnknownPartition(PartitionNumber(9))));
    let ends = |log: &DedicatedLog| {
        let ends = log.ends(ONE).unwrap();
        (ends.durable.0, ends.written.0, ends.end.0)
    };
    assert_eq!(ends(&log), (0, 0, 5));
    log.write_step().unwrap();
    assert_eq!(ends(&log), (0, 5, 5));
    log.sync_step().unwrap();
    assert_eq!(ends(&log), (5, 5, 5));
    assert_eq!(log.durable_position(), receipt.end);
    assert_eq!(read_all(&log, 1), [(0, stored(&a, 0, 0)), (3, stored(&c, 3, 0))]);
    assert_eq!(read_all(&log, 2), [(0, stored(&b, 0, 0))]);
    assert_eq!(plan(&log, 1, 1, 1).unwrap().next, Offset(3), "the batch that holds the offset is given whole");
    assert!(matches!(plan(&log, 1, 6, 10), Err(ReadError::OutOfRange { asked: Offset(6), .. })));
    assert!(matches!(plan(&log, 7, 0, 10), Err(ReadError::UnknownPartition(_))));
    assert_eq!(files(&dir), ["orders-1", "orders-2"], "a partition nobody wrote to costs no file");
    assert_eq!(files(&dir.join("orders-1")), ["00000000000000000000.log", "duolog.manifest", "partition.metadata"]);
}

#[test]
fn segments_roll_are_sealed_and_read_through_their_indexes() {
    let (_keep, disk, dir) = real();
    let mut small = options();
    small.tail_cache_bytes = 0;
    let (log, _) = open_with(&disk, &dir, small).unwrap();
    log.open_partition(ONE, home(1)).unwrap();
    let expected = fill(&log, 1, 100);
    for max_bytes in [1, 200, 1000, 5000, 1 << 20] {
        assert_eq!(read_all_by(&log, 1, max_bytes), expected, "before sealing, plans of {max_bytes} bytes");
    }
    log.house_step(NOW).unwrap();
    let did = log.statistics();
    assert_eq!((did.writes, did.syncs, did.seals, did.rolls), (100, 100, did.rolls, did.seals));
    let names = files(&dir.join("orders-1"));
    let count = |extension: &str| names.iter().filter(|name| name.ends_with(extension)).count();
    let logs = count(".log");
    assert!(logs > 5);
    assert_eq!((count(".index"), count(".timeindex"), count(".snapshot"), count(".txnindex")), (logs - 1, logs - 1, logs - 1, 0));
    for max_bytes in [1, 200, 1000, 5000, 1 << 20] {
        assert_eq!(read_all_by(&log, 1, max_bytes), expected, "sealed, plans of {max_bytes} bytes");
    }
    for (offset, batch) in &expected {
        let limits = ReadLimits { upto: Offset(offset + 1), max_bytes: 1 << 20, at_least_one: true, tags: None };
        let last = batch_last(batch);
        let plan = log.read(ONE, Offset(*offset), limits).unwrap();
        assert_eq!(plan.bytes > 0, last == *offset, "a batch above the bound is not shown");
    }
    assert_eq!(log.partition_bytes(ONE), expected.iter().map(|(_, batch)| batch.len() as u64).sum::<u64>());
}

fn batch_last(batch: &Bytes) -> i64 {
    duolog_wire::record::BatchHeader::parse(batch).unwrap().last_offset().0
}

#[test]
fn a_clean_restart_reads_no_batches_and_knows_everything() {
    let (_keep, disk, dir) = real();
    let (log, _) = start(&disk, &dir, 2);
    let mut expected = fill(&log, 1, 50);
    log.set_log_start(ONE, Offset(20)).unwrap();
    log.close().unwrap();
    assert_eq!(append(&log, 1, batch(1, 1, 1)), Err(AppendError::Stopped));
    expected.retain(|(_, batch)| batch_last(batch) >= 20);
    for _ in 0..2 {
        let (log, report) = start(&disk, &dir, 2);
        assert!(report.clean_shutdown);
        assert_eq!((report.scanned_frames, report.torn_bytes, report.quarantined), (0, 0, vec![]));
        assert_eq!(log.ends(ONE).unwrap().start, Offset(20));
        assert_eq!(read_all(&log, 1), expected);
        log.close().unwrap();
    }
    let (log, _) = start(&disk, &dir, 2);
    expected.extend(fill(&log, 1, 30));
    drop(log);
    let (log, report) = start(&disk, &dir, 2);
    assert!(!report.clean_shutdown);
    assert_eq!(read_all(&log, 1), expected);
    assert_eq!(log.ends(ONE).unwrap().start, Offset(20));
}

#[test]
fn dropped_partitions_go_with_their_files_and_their_names_can_be_used_again() {
    let (_keep, disk, dir) = real();
    let (log, _) = start(&disk, &dir, 2);
    fill(&log, 1, 30);
    log.set_log_start(ONE, Offset(9)).unwrap();
    settle(&log);
    log.house_step(NOW).unwrap();
    log.drop_partition(ONE).unwrap();
    assert_eq!(append(&log, 1, batch(1, 1, 1)), Err(AppendError::UnknownPartition(ONE)));
    let again = PartitionNumber(11);
    log.open_partition(again, PartitionHome { topic_id: TopicId(8), ..home(1) }).unwrap();
    append(&log, 11, batch(5, 1, 5)).unwrap();
    settle(&log);
    log.house_step(NOW).unwrap();
    assert_eq!(files(&dir).iter().filter(|name| name.starts_with("orders")).collect::<Vec<_>>(), ["orders-1"]);
    drop(log);
    let (log, report) = open_log(&disk, &dir).unwrap();
    assert_eq!((log.partitions(), report.quarantined), (vec![again], vec![]));
    let ends = log.ends(again).unwrap();
    assert_eq!((ends.start, ends.end), (Offset(0), Offset(1)));
    log.open_partition(PartitionNumber(12), PartitionHome { topic_id: TopicId(9), ..home(1) }).unwrap();
    assert_eq!(log.partitions(), [PartitionNumber(12)], "a name has one partition, the newest");
    settle(&log);
    assert_eq!(log.ends(PartitionNumber(12)).unwrap().end, Offset(0));
}

#[test]
fn older_leaders_are_refused_and_epochs_answered() {
    let (_keep, disk, dir) = real();
    let (log, _) = start(&disk, &dir, 2);
    log.set_leader_epoch(ONE, LeaderEpoch(0));
    append(&log, 1, batch(1, 2, 10)).unwrap();
    log.set_leader_epoch(ONE, LeaderEpoch(3));
    let refused = append(&log, 1, batch(1, 1, 10));
    assert_eq!(refused, Err(AppendError::FencedLeader { current: LeaderEpoch(3), got: LeaderEpoch(0) }));
    let bytes = batch(2, 1, 10);
    let request = [AppendBatch { partition: ONE, range: 0..bytes.len(), leader_epoch: LeaderEpoch(3), tag_filter: 7 }];
    log.append(bytes.as_slice().into(), &request, AppendOrigin::Client, NOW);
    let check = |log: &DedicatedLog| {
        let end_of = |epoch| log.epoch_end(ONE, LeaderEpoch(epoch)).unwrap().map(|end| (end.epoch.0, end.end.0));
        assert_eq!([0, 2, 3, 4].map(end_of), [Some((0, 2)), Some((0, 2)), Some((3, 3)), Some((3, 3))]);
        assert_eq!(log.epoch_at(ONE, Offset(1)), Some(LeaderEpoch(0)));
        assert_eq!(log.epoch_at(ONE, Offset(2)), Some(LeaderEpoch(3)));
    };
    check(&log);
    settle(&log);
    drop(log);
    let (log, _) = start(&disk, &dir, 2);
    check(&log);
    log.close().unwrap();
    let checkpoint = std::fs::read_to_string(dir.join("orders-1/leader-epoch-checkpoint")).unwrap();
    assert_eq!(checkpoint, "0\n2\n0 0\n3 2\n");
    check(&start(&disk, &dir, 2).0);
}

#[test]
fn batches_are_found_by_time_wherever_they_are() {
    for (cache, sealed) in [(0, false), (0, true), (1 << 20, true)] {
        let (_keep, disk, dir) = real();
        let (log, _) = open_with(&disk, &dir, LogOptions { tail_cache_bytes: cache, ..options() }).unwrap();
        log.open_partition(ONE, home(1)).unwrap();
        let mut all: Vec<(i64, i64, i64)> = Vec::new();
        for seed in 0..120_u64 {
            // Mostly ascending, with steps back.
            let time = NOW.0 + (seed as i64 * 7) % 90 + (seed as i64 / 12) * 30;
            let appended = append(&log, 1, batch_at(seed, 1 + seed as usize % 2, 40, NOBODY, time)).unwrap();
            all.push((appended.base_offset.0, appended.last_offset.0, time));
            if seed < 110 {
                settle(&log);
            } else if seed < 115 {
                log.write_step().unwrap();
            }
        }
        if sealed {
            log.house_step(NOW).unwrap();
        }
        let end = all.last().unwrap().1 + 1;
        for from in [0, 1, 50, 130, end - 3] {
            for upto in [end, end - 1, 100, 17] {
                for time in (NOW.0 - 5..NOW.0 + 400).step_by(11) {
                    let expected = all.iter().find(|(_, last, at)| *last >= from && (*at >= time || *last >= upto));
                    let expected = expected.filter(|(_, last, _)| *last < upto).map(|(base, _, at)| (*base, *at));
                    let found = log.find_by_time(ONE, TimestampMs(time), Offset(from), Offset(upto)).unwrap();
                    let found = found.map(|found| (found.base_offset.0, found.max_timestamp.0));
                    assert_eq!(found, expected, "cache {cache}, sealed {sealed}, time {time} from {from} to {upto}");
                }
            }
        }
        for upto in (1..=end).step_by(3) {
            let mut expected: Option<(i64, i64)> = None;
            for (base, _, at) in all.iter().filter(|(_, last, _)| *last < upto) {
                if expected.is_none_or(|(_, best)| *at > best) {
                    expected = Some((*base, *at));
                }
            }
            let found = log.find_max_timestamp(ONE, Offset(upto)).unwrap();
            let found = found.map(|found| (found.base_offset.0, found.max_timestamp.0));
            assert_eq!(found, expected, "cache {cache}, sealed {sealed}, upto {upto}");
        }
    }
}

#[test]
fn retention_gives_up_segments_by_size_and_age_and_their_files_go() {
    let (_keep, disk, dir) = real();
    let (log, _) = start(&disk, &dir, 2);
    let expected = fill(&log, 1, 100);
    log.house_step(NOW).unwrap();
    let total = log.partition_bytes(ONE);
    let by_size = RetentionPolicy { max_age_ms: None, max_bytes: Some(total / 2) };
    let target = log.retention_target(ONE, by_size, NOW).unwrap();
    assert!(expected.iter().any(|(offset, _)| *offset == target.0), "a segment's beginning");
    let before = files(&dir.join("orders-1")).len();
    log.set_log_start(ONE, target).unwrap();
    log.house_step(NOW).unwrap();
    assert_eq!(files(&dir.join("orders-1")).len(), before, "nothing goes before the log start is durable");
    settle(&log);
    log.house_step(NOW).unwrap();
    assert!(files(&dir.join("orders-1")).len() < before);
    assert!(log.partition_bytes(ONE) <= total / 2 + POLICY.segment_bytes && log.partition_bytes(ONE) >= total / 2);
    assert_eq!(log.retention_target(ONE, by_size, NOW), None);
    assert!(matches!(plan(&log, 1, 0, 10), Err(ReadError::OutOfRange { .. })));
    assert!(matches!(log.set_log_start(ONE, Offset(9999)), Err(PartitionError::OutOfRange { .. })));

    let by_age = RetentionPolicy { max_age_ms: Some(1000), max_bytes: None };
    assert_eq!(log.retention_target(ONE, by_age, NOW), None);
    let end = log.ends(ONE).unwrap().end;
    assert_eq!(log.retention_target(ONE, by_age, TimestampMs(NOW.0 + 5000)), Some(end), "all of it, when all is old");
    log.set_log_start(ONE, end).unwrap();
    settle(&log);
    log.house_step(NOW).unwrap();
    settle(&log);
    log.house_step(NOW).unwrap();
    assert_eq!(log.partition_bytes(ONE), 0);
    let left = files(&dir.join("orders-1"));
    assert_eq!(left.iter().filter(|name| name.ends_with(".log")).collect::<Vec<_>>(), [&format!("{:020}.log", end.0)]);
    assert_eq!(append(&log, 1, batch(1, 1, 1)).unwrap().base_offset, end);
    settle(&log);
    drop(log);
    let (log, report) = start(&disk, &dir, 2);
    assert_eq!(report.quarantined, []);
    let ends = log.ends(ONE).unwrap();
    assert_eq!((ends.start, ends.end), (end, end.plus(1)));
}

#[test]
fn segments_are_ended_by_time_and_by_full_indexes() {
    let (_keep, disk, dir) = real();
    let (log, _) = open_log(&disk, &dir).unwrap();
    let open = |number: u32, policy: SegmentPolicy| {
        log.open_partition(PartitionNumber(number), PartitionHome { policy, ..home(number) }).unwrap();
    };
    open(1, SegmentPolicy { segment_bytes: 1 << 20, segment_ms: 100, ..POLICY });
    open(2, SegmentPolicy { segment_bytes: 1 << 20, index_bytes: 40, index_interval_bytes: 10, ..POLICY });
    for seed in 0..20 {
        append(&log, 1, batch_at(seed, 1, 10, NOBODY, NOW.0 + 30 * seed as i64)).unwrap();
        append(&log, 2, batch_at(seed, 1, 10, NOBODY, NOW.0 + seed as i64)).unwrap();
    }
    settle(&log);
    let logs = |name: &str| files(&dir.join(name)).iter().filter(|name| name.ends_with(".log")).count();
    assert_eq!(logs("orders-1"), 5, "four batches lie within 100 ms");
    assert!(logs("orders-2") > 4, "five offset entries fit, and two time entries beside the last");
    assert_eq!((read_all(&log, 1).len(), read_all(&log, 2).len()), (20, 20));
}

#[test]
fn the_window_of_a_producer_survives_and_a_repeat_gets_its_first_offset() {
    for clean in [false, true] {
        let (_keep, disk, dir) = real();
        let (log, _) = start(&disk, &dir, 2);
        let send = |log: &DedicatedLog, sequence| {
            append(log, 1, batch_at(1, 1, 300, Producer { id: 7, epoch: 2, sequence }, NOW.0))
                .map(|appended| (appended.base_offset.0, appended.duplicate))
        };
        for sequence in 0..20 {
            assert_eq!(send(&log, sequence), Ok((sequence.into(), false)));
        }
        settle(&log);
        log.house_step(NOW).unwrap();
        if clean {
            log.close().unwrap();
        }
        drop(log);
        let (log, _) = start(&disk, &dir, 2);
        assert_eq!(send(&log, 19), Ok((19, true)));
        assert_eq!(send(&log, 21), Err(AppendError::OutOfOrderSequence { expected: 20, got: 21 }));
        assert_eq!(send(&log, 20), Ok((20, false)));
        log.expire_producers(TimestampMs(NOW.0 + 1001), 1000);
        assert_eq!(log.producers(ONE), []);
    }
}

#[test]
fn the_tail_cache_and_the_files_give_the_same_bytes() {
    let (_keep, disk, dir) = real();
    let (log, _) = open_with(&disk, &dir, LogOptions { tail_cache_bytes: 1 << 20, ..options() }).unwrap();
    log.open_partition(ONE, PartitionHome { policy: SegmentPolicy::default(), ..home(1) }).unwrap();
    (0..50).for_each(|seed| _ = append(&log, 1, batch(seed, 1, 100 * (seed as usize % 60))).unwrap());
    let queued = plan(&log, 1, 0, 1 << 20).unwrap();
    assert!(queued.parts.iter().all(|part| matches!(part, ReadPart::Memory(_))));
    let from_memory = queued.materialize().unwrap();
    settle(&log);
    log.close().unwrap();
    let (log, _) = open_log(&disk, &dir).unwrap();
    log.open_partition(PartitionNumber(1), home(1)).unwrap();
    let cold = plan(&log, 1, 0, 1 << 20).unwrap();
    assert!(matches!(cold.parts.as_slice(), [ReadPart::File { .. }]), "one range for all");
    assert_eq!(cold.materialize().unwrap(), from_memory);
}

#[test]
fn threads_write_and_sync_and_wake_those_who_wait() {
    let (_keep, disk, dir) = real();
    let observer = Arc::new(Remembering::default());
    let (log, _) = DedicatedLog::open(disk, dir, options(), observer.clone(), NOW).unwrap();
    log.start_threads().unwrap();
    log.open_partition(ONE, home(1)).unwrap();
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
        assert!(advances.iter().any(|(advance, partitions)| *advance == what && partitions == &[ONE]));
    }
}
