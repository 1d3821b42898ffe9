//! What a follower does to its log: batches of the leader, truncations, a beginning anew.

use crate::scenario::*;
use bytes::Bytes;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, TimestampMs};
use duolog_log::inspect::{Item, Kind, frames, verify};
use duolog_log::{AppendBatch, AppendOrigin, Log, LogOptions, PartitionError, ReadError, ReplicaAppendError, TruncateError};
use duolog_sim::SimDisk;
use std::path::Path;
use std::sync::Arc;

const ONE: PartitionNumber = PartitionNumber(1);

fn dir() -> &'static Path {
    Path::new("/data/shared")
}

fn start_with(disk: &SimDisk, options: LogOptions) -> Arc<Log> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, report) = open(&shared, dir(), options).unwrap();
    assert_eq!(report.quarantined, []);
    (1..4).for_each(|number| log.open_partition(PartitionNumber(number)));
    log
}

fn start(disk: &SimDisk) -> Arc<Log> {
    start_with(disk, options())
}

/// A leader's batch.
fn led(seed: u64, base_offset: i64, records: usize, epoch: i32) -> Bytes {
    stored(&batch(seed, records, 100), base_offset, epoch)
}

fn take(log: &Log, batches: &[Bytes]) {
    let request: Vec<(u32, Bytes)> = batches.iter().map(|batch| (1, batch.clone())).collect();
    replicate(log, &request).results.into_iter().for_each(|result| _ = result.unwrap());
}

fn refusal(log: &Log, batch: Bytes) -> ReplicaAppendError {
    replicate(log, &[(1, batch)]).results.remove(0).unwrap_err()
}

/// The batches that are read, by their first offset.
fn offsets(log: &Log) -> Vec<i64> {
    read_all(log, 1).into_iter().map(|(offset, _)| offset).collect()
}

fn ends(log: &Log) -> (i64, i64, i64) {
    let ends = log.ends(ONE).unwrap();
    (ends.start.0, ends.durable.0, ends.end.0)
}

/// Full files that are sealed, and some behind them that are not.
fn fill(log: &Log, batches: i64) {
    for offset in 0..batches {
        take(log, &[led(offset as u64, offset, 1, 3)]);
        settle(log);
    }
    log.house_step(NOW).unwrap();
}

fn sealed_files(disk: &SimDisk) -> usize {
    disk.files().iter().filter(|path| path.extension().is_some_and(|name| name == "queues")).count()
}

fn is_sound(disk: &SimDisk) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let report = verify(shared, dir()).unwrap();
    assert_eq!((report.problem_count, report.problems), (0, vec![]));
}

#[test]
fn a_leaders_batches_keep_offsets_and_epochs_and_may_have_gaps() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    let batches = [led(1, 3, 2, 4), led(2, 5, 1, 4), led(3, 10, 3, 7)];
    take(&log, &batches);
    let check = |log: &Log| {
        let found: Vec<Bytes> = read_all(log, 1).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(found, batches);
        let ends = log.ends(ONE).unwrap();
        assert_eq!((ends.end, ends.last_epoch, ends.epoch), (Offset(13), LeaderEpoch(7), LeaderEpoch(7)));
        let end_of = |epoch| log.epoch_end(ONE, LeaderEpoch(epoch)).unwrap().map(|end| (end.epoch.0, end.end.0));
        assert_eq!([3, 4, 6, 7, 9].map(end_of), [(3, 3), (4, 10), (4, 10), (7, 13), (7, 13)].map(Some));
    };
    check(&log);
    settle(&log);
    check(&log);
    drop(log);
    disk.reboot(1);
    check(&start(&disk));
    assert_eq!(start(&disk).ends(PartitionNumber(2)).unwrap().last_epoch, LeaderEpoch::NONE);
}

#[test]
fn what_does_not_continue_the_log_is_refused() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    take(&log, &[led(1, 0, 2, 4)]);
    assert_eq!(refusal(&log, led(2, 1, 2, 4)), ReplicaAppendError::Overlaps { end: Offset(2), got: Offset(1) });
    let older = ReplicaAppendError::OlderEpoch { last: LeaderEpoch(4), got: LeaderEpoch(3) };
    assert_eq!(refusal(&log, led(2, 2, 2, 3)), older);
    let nowhere = replicate(&log, &[(9, led(2, 0, 1, 4))]).results.remove(0).unwrap_err();
    assert_eq!(nowhere, ReplicaAppendError::UnknownPartition(PartitionNumber(9)));
    // Of several batches only those that continue it are taken.
    let receipt = replicate(&log, &[(1, led(3, 2, 1, 4)), (1, led(4, 2, 1, 4)), (1, led(5, 3, 1, 5))]);
    assert_eq!(receipt.results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(offsets(&log), [0, 2, 3]);
}

#[test]
fn producers_of_a_leaders_batches_are_known_and_never_refused() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    let of = |sequence| Producer { id: 5, epoch: 0, sequence };
    let sent = |sequence| batch_at(9, 1, 50, of(sequence), NOW.0);
    // The leader's window had expired in between.
    take(&log, &[stored(&sent(3), 0, 1), stored(&sent(70), 1, 1)]);
    log.set_leader_epoch(ONE, LeaderEpoch(2));
    let append = |batch: Vec<u8>| {
        let list = [AppendBatch { partition: ONE, range: 0..batch.len(), leader_epoch: LeaderEpoch(2), tag_filter: 0 }];
        log.append(batch.as_slice().into(), &list, AppendOrigin::Client, NOW).results.remove(0)
    };
    let again = append(sent(70)).unwrap();
    assert!(again.duplicate && again.base_offset == Offset(1));
    assert_eq!(append(sent(71)).unwrap().base_offset, Offset(2));
    assert!(append(sent(80)).is_err());
}

#[test]
fn a_cut_takes_whole_batches_and_their_offsets_are_given_again() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    take(&log, &[led(1, 0, 3, 1), led(2, 3, 3, 1), led(3, 6, 3, 2)]);
    settle(&log);
    assert_eq!(ends(&log), (0, 9, 9));
    log.truncate(ONE, Offset(4)).unwrap();
    assert_eq!((ends(&log), offsets(&log)), ((0, 3, 3), vec![0]), "the batch that holds the offset goes as a whole");
    assert_eq!(log.ends(ONE).unwrap().last_epoch, LeaderEpoch(1));
    assert!(matches!(plan(&log, 1, 4, 100), Err(ReadError::OutOfRange { .. })));
    let other = led(77, 3, 2, 5);
    take(&log, std::slice::from_ref(&other));
    assert_eq!(ends(&log), (0, 3, 5), "what is new is not durable yet");
    settle(&log);
    let check = |log: &Log| {
        assert_eq!(ends(log), (0, 5, 5));
        assert_eq!(read_all(log, 1)[1], (3, other.clone()));
        assert_eq!(log.epoch_end(ONE, LeaderEpoch(2)).unwrap().map(|end| (end.epoch.0, end.end.0)), Some((1, 3)));
    };
    check(&log);
    drop(log);
    disk.reboot(1);
    check(&start(&disk));
    is_sound(&disk);
}

#[test]
fn a_cut_that_a_crash_drops_leaves_the_old_end() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    take(&log, &[led(1, 0, 3, 1), led(2, 3, 3, 1)]);
    settle(&log);
    log.truncate(ONE, Offset(3)).unwrap();
    take(&log, &[led(3, 3, 1, 2)]);
    drop(log);
    disk.reboot(1);
    let log = start(&disk);
    assert_eq!((ends(&log), offsets(&log)), ((0, 6, 6), vec![0, 3]));
}

#[test]
fn nothing_is_cut_below_the_log_start_or_behind_the_end() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    take(&log, &[led(1, 0, 3, 1), led(2, 3, 3, 1)]);
    log.set_log_start(ONE, Offset(2)).unwrap();
    let refused = log.truncate(ONE, Offset(1)).unwrap_err();
    assert!(matches!(refused, TruncateError::BelowStart { asked: Offset(1), start: Offset(2) }), "{refused}");
    assert!(matches!(log.truncate(PartitionNumber(9), Offset(0)), Err(TruncateError::UnknownPartition(_))));
    settle(&log);
    let position = log.truncate(ONE, Offset(8)).unwrap();
    assert_eq!((position, ends(&log)), (log.durable_position(), (2, 6, 6)));
    // In the middle of the batch in which the log begins: all of it goes.
    log.truncate(ONE, Offset(2)).unwrap();
    assert_eq!(ends(&log), (2, 2, 2));
    take(&log, &[led(4, 2, 2, 1)]);
    settle(&log);
    drop(log);
    disk.reboot(1);
    let log = start(&disk);
    assert_eq!((ends(&log), read_all(&log, 1)), ((2, 4, 4), vec![(2, led(4, 2, 2, 1))]));
    assert!(matches!(log.set_log_start(ONE, Offset(5)), Err(PartitionError::OutOfRange { .. })));
}

#[test]
fn what_is_cut_of_sealed_files_is_hidden_for_good() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    fill(&log, 120);
    assert!(sealed_files(&disk) >= 2);
    let cut = 7;
    log.truncate(ONE, Offset(cut)).unwrap();
    let before: Vec<i64> = (0..cut).collect();
    assert_eq!((ends(&log), offsets(&log)), ((0, cut, cut), before.clone()));
    let found = log.find_by_time(ONE, NOW, Offset(5), Offset(i64::MAX)).unwrap().map(|found| found.base_offset);
    assert_eq!(found, Some(Offset(5)));
    let later = log.find_by_time(ONE, TimestampMs(NOW.0 + 1), Offset(0), Offset(i64::MAX)).unwrap();
    assert_eq!(later, None);
    let bytes = log.partition_bytes(ONE);
    assert_eq!(bytes, read_all(&log, 1).iter().map(|(_, batch)| batch.len() as u64).sum::<u64>());
    // The same offsets once more, of another leader, up to and over the old end.
    let second: Vec<Bytes> = (cut..130).map(|offset| led(1000 + offset as u64, offset, 1, 4)).collect();
    for batch in &second {
        take(&log, std::slice::from_ref(batch));
        settle(&log);
        log.house_step(NOW).unwrap();
    }
    let check = |log: &Log| {
        let found = read_all(log, 1);
        assert_eq!(found.len(), 130);
        assert!((0..cut).all(|at| found[at as usize].1 == led(at as u64, at, 1, 3)));
        assert!((cut..130).all(|at| found[at as usize].1 == second[(at - cut) as usize]));
        for from in 0..130 {
            let read = plan(log, 1, from, 1).unwrap().materialize().unwrap();
            assert!(read == found[from as usize].1, "at {from}");
        }
    };
    check(&log);
    drop(log);
    disk.reboot(1);
    check(&start(&disk));
    let log = start(&disk);
    log.close().unwrap();
    drop(log);
    check(&start(&disk));
    is_sound(&disk);
    // Tidied, nothing of it is left, and what verifies and reads the files need not know.
    let log = start_with(&disk, LogOptions { tidy: eager_tidying(), ..options() });
    for _ in 0..600 {
        log.house_step(NOW).unwrap();
        settle(&log);
    }
    assert!(disk.files().iter().any(|path| path.extension().is_some_and(|name| name == "tidied")));
    check(&log);
    // A cut into what was tidied.
    log.truncate(ONE, Offset(3)).unwrap();
    take(&log, &[led(7, 3, 1, 9)]);
    settle(&log);
    assert_eq!(offsets(&log), [0, 1, 2, 3]);
    log.close().unwrap();
    drop(log);
    is_sound(&disk);
    let log = start(&disk);
    assert_eq!(read_all(&log, 1)[3].1, led(7, 3, 1, 9));
}

#[test]
fn a_file_that_is_sealed_before_the_cut_is_durable_still_tells_the_old_end() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    let mut offset = 0;
    // The second file is begun, so that the first can be sealed.
    while disk.files().iter().filter(|path| path.extension().is_some_and(|name| name == "log")).count() < 2 {
        take(&log, &[led(offset as u64, offset, 1, 3)]);
        settle(&log);
        offset += 1;
    }
    assert_eq!(sealed_files(&disk), 0);
    log.truncate(ONE, Offset(5)).unwrap();
    log.house_step(NOW).unwrap();
    assert_eq!((sealed_files(&disk), ends(&log)), (1, (0, 5, 5)));
    assert_eq!(offsets(&log), (0..5).collect::<Vec<_>>());
    drop(log);
    disk.reboot(1);
    let log = start(&disk);
    assert_eq!((ends(&log), offsets(&log)), ((0, offset, offset), (0..offset).collect()), "the cut was lost");
    is_sound(&disk);
}

#[test]
fn a_checkpoint_before_the_cut_and_one_behind_it_agree_with_it() {
    let disk = SimDisk::new(1);
    let often = || LogOptions { file_bytes: 1 << 20, checkpoint_bytes: 500, ..options() };
    let log = start_with(&disk, often());
    for offset in 0..30 {
        take(&log, &[led(offset as u64, offset, 1, 3)]);
        settle(&log);
        log.house_step(NOW).unwrap();
    }
    log.truncate(ONE, Offset(10)).unwrap();
    for offset in 10..20 {
        take(&log, &[led(100 + offset as u64, offset, 1, 4)]);
        settle(&log);
        log.house_step(NOW).unwrap();
    }
    drop(log);
    disk.reboot(1);
    let log = start_with(&disk, often());
    let found = read_all(&log, 1);
    assert_eq!(found.len(), 20);
    assert!((0..10).all(|at| found[at as usize].1 == led(at as u64, at, 1, 3)));
    assert!((10..20).all(|at| found[at as usize].1 == led(100 + at as u64, at, 1, 4)));
    is_sound(&disk);
}

#[test]
fn a_damaged_index_of_a_file_with_a_truncation_is_rebuilt() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    fill(&log, 10);
    log.truncate(ONE, Offset(6)).unwrap();
    for offset in 6..60 {
        take(&log, &[led(500 + offset as u64, offset, 1, 4)]);
        settle(&log);
    }
    log.close().unwrap();
    drop(log);
    let index = dir().join("00000000000000000000.queues");
    let bytes = disk.read_file(&index).unwrap();
    // An entry: what is behind the header and the directory.
    disk.flip(&index, 64 + 3 * 48 + 10, 1).unwrap();
    assert!(bytes != disk.read_file(&index).unwrap());
    let log = start_with(&disk, LogOptions { tail_cache_bytes: 0, ..options() });
    assert!(plan(&log, 1, 0, 1).is_err());
    log.house_step(NOW).unwrap();
    assert_eq!(offsets(&log), (0..60).collect::<Vec<_>>());
}

#[test]
fn producers_are_what_they_were_where_the_log_is_cut() {
    for (sealed, cut) in [(false, 3), (true, 3), (true, 40)] {
        let disk = SimDisk::new(1);
        let log = start(&disk);
        // One producer has a batch at the beginning, another one all others.
        let sent = |id: i64, sequence: i32| batch_at(9, 1, 100, Producer { id, epoch: 0, sequence }, NOW.0);
        for offset in 0..80 {
            let batch = match offset {
                1 => sent(1, 17),
                _ => sent(2, offset as i32),
            };
            take(&log, &[stored(&batch, offset, 3)]);
            if sealed {
                settle(&log);
                log.house_step(NOW).unwrap();
            }
        }
        log.truncate(ONE, Offset(cut)).unwrap();
        let known = |log: &Log| -> Vec<(i64, i32)> {
            log.producers(ONE).iter().map(|producer| (producer.id.0, producer.last_sequence)).collect()
        };
        let expected = vec![(1, 17), (2, cut as i32 - 1)];
        assert_eq!(known(&log), expected, "sealed: {sealed}");
        settle(&log);
        drop(log);
        disk.reboot(1);
        assert_eq!(known(&start(&disk)), expected, "sealed: {sealed}, after a crash");
    }
}

#[test]
fn a_partition_begins_anew_at_any_offset() {
    for at in [0, 5, 200] {
        let disk = SimDisk::new(1);
        let log = start(&disk);
        fill(&log, 100);
        let position = log.restart_at(ONE, Offset(at)).unwrap();
        assert_eq!((ends(&log), offsets(&log)), ((at, at, at), vec![]));
        assert_eq!((log.ends(ONE).unwrap().last_epoch, log.epoch_end(ONE, LeaderEpoch(3)).unwrap()), (LeaderEpoch::NONE, None));
        take(&log, &[led(1, at, 2, 1)]);
        settle(&log);
        assert!(log.durable_position() >= position);
        let check = |log: &Log| assert_eq!(read_all(log, 1), [(at, led(1, at, 2, 1))]);
        check(&log);
        drop(log);
        disk.reboot(1);
        let log = start(&disk);
        check(&log);
        log.close().unwrap();
        drop(log);
        check(&start(&disk));
        is_sound(&disk);
    }
}

#[test]
fn an_epoch_without_a_batch_gives_way_to_an_older_leaders_batch() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    take(&log, &[led(1, 0, 2, 5)]);
    log.set_leader_epoch(ONE, LeaderEpoch(7));
    let end_of = |epoch| log.epoch_end(ONE, LeaderEpoch(epoch)).unwrap().map(|end| (end.epoch.0, end.end.0));
    assert_eq!([5, 6, 7, 9].map(end_of), [(5, 2), (5, 2), (7, 2), (7, 2)].map(Some));
    assert_eq!(log.ends(ONE).unwrap().last_epoch, LeaderEpoch(5), "an epoch without a batch is not in the log");
    take(&log, &[led(2, 2, 1, 5)]);
    assert_eq!([5, 7].map(end_of), [(5, 3), (5, 3)].map(Some), "another one led in epoch 5 all the time");
    assert_eq!(log.epoch_end(PartitionNumber(2), LeaderEpoch(3)).unwrap(), None);
}

#[test]
fn a_dump_shows_truncations() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    take(&log, &[led(1, 0, 2, 5), led(2, 2, 2, 5)]);
    log.truncate(ONE, Offset(2)).unwrap();
    log.restart_at(ONE, Offset(9)).unwrap();
    settle(&log);
    let all = frames(Arc::new(disk.clone()), dir()).unwrap().map(Result::unwrap);
    let shown: Vec<i64> = all
        .filter_map(|item| match item {
            Item::Frame(frame) if frame.kind == Kind::Truncation => Some(frame.offset.0),
            _ => None,
        })
        .collect();
    assert_eq!(shown, [2, 9]);
}

#[test]
fn a_truncation_that_is_damaged_quarantines_its_partition_only() {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    take(&log, &[led(1, 0, 2, 5), led(2, 2, 2, 5)]);
    replicate(&log, &[(2, led(1, 0, 2, 5))]);
    settle(&log);
    let at = log.durable_position().0;
    log.truncate(ONE, Offset(2)).unwrap();
    replicate(&log, &[(2, led(3, 2, 2, 5))]);
    settle(&log);
    replicate(&log, &[(2, led(4, 4, 2, 5))]);
    settle(&log);
    drop(log);
    disk.reboot(1);
    let file = dir().join("00000000000000000000.log");
    // Its payload, behind the header.
    disk.flip(&file, at + 70, 1).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    assert!(verify(shared.clone(), dir()).unwrap().problem_count > 0);
    let (log, report) = open(&shared, dir(), options()).unwrap();
    assert_eq!(report.quarantined, [ONE]);
    assert!(matches!(log.truncate(ONE, Offset(1)), Err(TruncateError::Quarantined(_))));
    assert_eq!(read_all(&log, 2).len(), 3);
    // A beginning anew is what repairs it.
    log.restart_at(ONE, Offset(4)).unwrap();
    take(&log, &[led(5, 4, 1, 6)]);
    settle(&log);
    drop(log);
    disk.reboot(2);
    let log = start(&disk);
    assert_eq!(offsets(&log), [4]);
}

#[test]
fn a_partition_that_was_dropped_and_comes_back_has_nothing_of_its_former_life() {
    for sealed_between in [false, true] {
        let disk = SimDisk::new(1);
        let log = start(&disk);
        fill(&log, 100);
        log.drop_partition(ONE).unwrap();
        if sealed_between {
            settle(&log);
            log.house_step(NOW).unwrap();
        }
        log.open_partition_anew(ONE);
        assert_eq!((ends(&log), offsets(&log)), ((0, 0, 0), vec![]));
        let new: Vec<(i64, Bytes)> = (0..150).map(|offset| (offset, led(1000 + offset as u64, offset, 1, 4))).collect();
        for (_, batch) in &new {
            take(&log, std::slice::from_ref(batch));
            settle(&log);
        }
        assert!(read_all(&log, 1) == new);
        drop(log);
        disk.kill();
        let log = start(&disk);
        assert!(ends(&log) == (0, 150, 150) && read_all(&log, 1) == new, "sealed between: {sealed_between}");
        log.open_partition_anew(ONE);
        assert!(read_all(&log, 1) == new, "it is known");
    }
}
