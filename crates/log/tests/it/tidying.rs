//! Sealed files written anew: sorted, without what is dead, and the same to every reader.

use crate::model::{Model, PARTITIONS, start};
use crate::scenario::*;
use duolog_base::{Disk, Offset, PartitionNumber, RealDisk, TimestampMs};
use duolog_log::inspect::{Item, frames, verify};
use duolog_log::{Log, LogOptions, RetentionPolicy};
use duolog_sim::{Operation, Random, SimDisk};
use std::path::Path;
use std::sync::Arc;

fn dir() -> &'static Path {
    Path::new("/data/shared")
}

fn eager() -> LogOptions {
    LogOptions { file_bytes: 4 << 10, tail_cache_bytes: 0, recycled_files: 0, tidy: eager_tidying(), ..options() }
}

fn names(disk: &SimDisk, extension: &str) -> Vec<String> {
    let files = disk.files();
    let wanted = files.iter().filter(|path| path.extension().is_some_and(|found| found == extension));
    wanted.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

fn open_with(disk: &SimDisk, options: &LogOptions) -> Arc<Log> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, report) = open(&shared, dir(), options.clone()).unwrap();
    assert_eq!(report.quarantined, []);
    (0..PARTITIONS).for_each(|number| log.open_partition(PartitionNumber(number)));
    log
}

/// One batch after the other to all partitions in turn, each in its own second.
fn fill(log: &Log, batches: u32) {
    for seed in 0..batches {
        let time = NOW.0 - 1_000_000 + i64::from(seed) * 1000;
        append(log, seed % PARTITIONS, batch_at(seed.into(), 2, 100, NOBODY, time)).unwrap();
        settle(log);
    }
}

/// Lets the housekeeping work until it changes nothing any more.
fn tidy(log: &Log, disk: &SimDisk) {
    for _ in 0..500 {
        let before = disk.changes();
        log.house_step(NOW).unwrap();
        settle(log);
        if disk.changes() == before {
            return;
        }
    }
    panic!("tidying finds no end");
}

fn all(log: &Log) -> Vec<Vec<(i64, bytes::Bytes)>> {
    (0..PARTITIONS).map(|number| read_all(log, number)).collect()
}

#[test]
fn tidied_files_hold_the_same_in_order_of_partitions() {
    let disk = SimDisk::new(1);
    let log = open_with(&disk, &eager());
    fill(&log, 100);
    let before = all(&log);
    tidy(&log, &disk);
    let tidied = names(&disk, "tidied");
    assert!(tidied.len() >= 4, "{tidied:?}");
    assert_eq!(names(&disk, "queues").len(), 1, "the newest sealed file stays as it is");
    assert_eq!(names(&disk, "log").len(), 2);
    assert_eq!(all(&log), before);
    for from in 0..50 {
        let plan = plan(&log, 2, from, 300).unwrap();
        assert!(plan.next.0 > from && plan.materialize().is_ok());
    }
    drop(log);
    disk.reboot(5);
    let log = open_with(&disk, &eager());
    assert_eq!(all(&log), before);
    assert_eq!(names(&disk, "tidied"), tidied);

    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let report = verify(shared.clone(), dir()).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.batches, 100);
    let first: Vec<u32> = frames(shared, dir())
        .unwrap()
        .filter_map(|item| match item.unwrap() {
            Item::Frame(frame) if frame.file.to_string_lossy().ends_with(&format!("{}.tidied", tidied[0])) => {
                Some(frame.partition.0)
            }
            _ => None,
        })
        .collect();
    assert!(first.len() > 5 && first.is_sorted(), "{first:?}");
}

#[test]
fn frames_of_several_generations_are_sound_in_whatever_order_they_lie() {
    let disk = SimDisk::new(1);
    for _ in 0..20 {
        let log = open_with(&disk, &eager());
        fill(&log, 7);
        drop(log);
        disk.kill();
    }
    let log = open_with(&disk, &eager());
    let before = all(&log);
    tidy(&log, &disk);
    assert!(names(&disk, "tidied").len() > 2);
    assert_eq!(all(&log), before);
    log.close().unwrap();
    let report = verify(Arc::new(disk.clone()), dir()).unwrap();
    assert_eq!((report.problems, report.batches), (Vec::new(), 140));
}

#[test]
fn one_partition_that_keeps_everything_no_longer_keeps_the_others() {
    let disk = SimDisk::new(1);
    let log = open_with(&disk, &LogOptions { file_bytes: 8 << 10, ..eager() });
    fill(&log, 400);
    let space = || -> u64 { disk.contents().iter().map(|(_, content)| content.len() as u64).sum() };
    let before = space();
    let kept = read_all(&log, 0);
    for number in 1..3 {
        let end = log.ends(PartitionNumber(number)).unwrap().end;
        log.set_log_start(PartitionNumber(number), end).unwrap();
    }
    log.drop_partition(PartitionNumber(3)).unwrap();
    settle(&log);
    tidy(&log, &disk);
    assert!(space() < before / 2, "{} of {before}", space());
    let files = names(&disk, "tidied").len();
    assert!(files < 8, "{files} files for what fits into four");
    assert_eq!(read_all(&log, 0), kept);
    drop(log);
    disk.reboot(1);
    let log = open_with(&disk, &eager());
    assert_eq!(read_all(&log, 0), kept);
    assert_eq!(log.ends(PartitionNumber(1)).unwrap().start, log.ends(PartitionNumber(1)).unwrap().end);
}

#[test]
fn what_died_goes_only_when_its_death_is_durable() {
    let disk = SimDisk::new(1);
    let log = open_with(&disk, &eager());
    fill(&log, 60);
    log.house_step(NOW).unwrap();
    let end = log.ends(PartitionNumber(1)).unwrap().end;
    log.set_log_start(PartitionNumber(1), end).unwrap();
    for _ in 0..50 {
        log.house_step(NOW).unwrap();
    }
    let log = open_with(&disk.crash(1), &eager());
    let first = read_all(&log, 1).first().map(|(offset, _)| *offset);
    assert_eq!(first, Some(0), "the log start was lost, what it gave up was not");
}

#[test]
fn times_are_found_in_tidied_files() {
    let disk = SimDisk::new(1);
    let log = open_with(&disk, &eager());
    fill(&log, 80);
    let find = |log: &Log, time: i64| {
        log.find_by_time(PartitionNumber(2), TimestampMs(time), Offset(0), Offset(i64::MAX))
            .unwrap()
            .map(|found| found.base_offset)
    };
    let times: Vec<i64> = (0..90).map(|step| NOW.0 - 1_000_000 + step * 1000 - 500).collect();
    let before: Vec<_> = times.iter().map(|time| find(&log, *time)).collect();
    let newest = log.find_max_timestamp(PartitionNumber(2), Offset(i64::MAX)).unwrap();
    tidy(&log, &disk);
    assert_eq!(times.iter().map(|time| find(&log, *time)).collect::<Vec<_>>(), before);
    assert_eq!(log.find_max_timestamp(PartitionNumber(2), Offset(i64::MAX)).unwrap(), newest);
    assert!(log.partition_bytes(PartitionNumber(2)) > 0);
}

#[test]
fn retention_gives_up_tidied_batches_one_by_one() {
    let disk = SimDisk::new(1);
    let log = open_with(&disk, &eager());
    fill(&log, 100);
    tidy(&log, &disk);
    // Partition 0 has a batch of two records every four seconds.
    for batches in 1..15 {
        let now = TimestampMs(NOW.0 - 1_000_000 + 4000 * batches + 60_000 - 3999);
        let policy = RetentionPolicy { max_age_ms: Some(60_000), max_bytes: None };
        assert_eq!(log.retention_target(PartitionNumber(0), policy, now), Some(Offset(2 * batches)));
    }
    let bytes = log.partition_bytes(PartitionNumber(0));
    let one = bytes / 25;
    let policy = RetentionPolicy { max_age_ms: None, max_bytes: Some(bytes - 3 * one) };
    assert_eq!(log.retention_target(PartitionNumber(0), policy, NOW), Some(Offset(6)));
}

#[test]
fn a_reader_of_a_file_that_is_tidied_away_reads_on() {
    let disk = SimDisk::new(1);
    let log = open_with(&disk, &LogOptions { recycled_files: 1, ..eager() });
    fill(&log, 100);
    log.house_step(NOW).unwrap();
    let slow_reader = plan(&log, 1, 0, 3000).unwrap();
    let expected = slow_reader.materialize().unwrap();
    tidy(&log, &disk);
    fill(&log, 100);
    tidy(&log, &disk);
    assert_eq!(slow_reader.materialize().unwrap(), expected);
}

#[test]
fn a_damaged_file_is_never_written_anew() {
    let disk = SimDisk::new(1);
    let log = open_with(&disk, &LogOptions { tidy: options().tidy, ..eager() });
    fill(&log, 60);
    log.house_step(NOW).unwrap();
    log.close().unwrap();
    let file = dir().join(format!("{:020}.log", 0));
    disk.flip(&file, 64 + 64 + 80, 1).unwrap();
    let damaged = disk.read_file(&file).unwrap();
    disk.reboot(1);
    let log = open_with(&disk, &eager());
    tidy(&log, &disk);
    assert_eq!(disk.read_file(&file).unwrap(), damaged);
    assert!(!names(&disk, "tidied").is_empty(), "the others are tidied");
}

#[test]
fn the_operating_systems_disk_does_the_same() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("shared");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let options = LogOptions { recycled_files: 1, reserve_bytes: 0, ..eager() };
    let start = || {
        let (log, _) = open(&disk, &dir, options.clone()).unwrap();
        (0..PARTITIONS).for_each(|number| log.open_partition(PartitionNumber(number)));
        log
    };
    let log = start();
    fill(&log, 100);
    let expected = all(&log);
    (0..40).for_each(|_| log.house_step(NOW).unwrap());
    assert!(log.statistics().files_tidied > 4);
    assert_eq!(all(&log), expected);
    fill(&log, 20);
    let expected = all(&log);
    log.close().unwrap();
    drop(log);
    assert_eq!(all(&start()), expected);
    assert_eq!(verify(disk.clone(), &dir).unwrap().problems, []);
}

/// Flips a bit in each region of a tidied file: it is found by the verification, and overcome by an opening or by the housekeeping
/// if the frames are sound.
#[test]
fn damage_of_a_tidied_file_is_found_and_overcome_if_its_frames_are_sound() {
    let disk = SimDisk::new(1);
    let log = open_with(&disk, &eager());
    fill(&log, 100);
    tidy(&log, &disk);
    let expected = all(&log);
    log.close().unwrap();
    drop(log);
    let path = dir().join(format!("{}.tidied", names(&disk, "tidied")[1]));
    let sound = disk.read_file(&path).unwrap();
    let index_at = sound.windows(8).rposition(|bytes| bytes == b"DUOLOGti").unwrap();
    let directory_end = index_at + 64 + 4 * 48;
    let end = sound.len();
    let regions = [
        ("directory", index_at + 80, true),
        ("entries", directory_end + 9, true),
        ("state", end - 40, true),
        ("end", end - 10, true),
        ("index header", index_at + 20, false),
    ];
    for (region, byte, overcome) in regions {
        disk.write_file(&path, &sound);
        disk.flip(&path, byte as u64, 3).unwrap();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        assert!(verify(shared.clone(), dir()).unwrap().problem_count > 0, "{region}");
        disk.reboot(1);
        let opened = open(&shared, dir(), eager()).map(|(log, _)| log);
        if !overcome {
            assert!(matches!(opened, Err(duolog_log::OpenError::Corrupt { .. })), "{region}");
            continue;
        }
        let log = opened.unwrap_or_else(|error| panic!("{region}: {error}"));
        // Entries are looked at when they are first used.
        let served = |number| plan(&log, number, 0, 1 << 20).is_ok();
        let damaged = (0..PARTITIONS).filter(|number| !served(*number)).count();
        assert_eq!(damaged > 0, region == "entries", "{region}");
        log.house_step(NOW).unwrap();
        assert!(all(&log) == expected, "{region}");
        log.close().unwrap();
        assert_eq!(verify(shared, dir()).unwrap().problems, [], "{region}");
    }
    disk.write_file(&path, &sound);
    disk.flip(&path, 20, 0).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    assert!(verify(shared, dir()).unwrap().problem_count > 0, "file header");
}

#[test]
fn a_step_does_as_much_as_its_budget_allows() {
    let disk = SimDisk::new(1);
    let options = LogOptions { file_bytes: 64 << 10, ..eager() };
    let log = open_with(&disk, &options);
    fill(&log, 600);
    log.house_step(NOW).unwrap();
    let syncs = disk.count(Operation::Sync);
    let mut steps = 0;
    while log.statistics().files_tidied == 0 {
        log.house_step(NOW).unwrap();
        steps += 1;
    }
    assert!((10..60).contains(&steps), "64 KiB read and written by 3 KiB a step: {steps}");
    assert!(disk.count(Operation::Sync) > syncs + 10, "what is written is synced on the way");
}

/// The model's workload with tidying in it, crashed at every operation.
#[test]
fn power_loss_at_every_operation_of_tidying_loses_nothing_durable() {
    for seed in 200..202 {
        for changes in (0..150).map(|step| step * 3 / 2 + seed % 2) {
            let what = format!("seed {seed}, {changes} changes");
            let mut random = Random::new(seed);
            let disk = SimDisk::new(seed);
            let mut model = Model::default();
            let options = LogOptions { file_bytes: 2 << 10, ..eager() };
            let (log, _) = start(&disk, &options).unwrap();
            assert!(model.work(&log, &mut random, 80));
            disk.crash_after(changes);
            while model.work(&log, &mut random, 10) && log.house_step(NOW).is_ok() && !disk.is_off() {}
            drop(log);
            disk.reboot(seed * 1000 + changes);
            let (log, report) = start(&disk, &options).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(report.quarantined, [], "{what}");
            model.check(&log, &what);
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            assert_eq!(verify(shared, dir()).unwrap().problems, [], "{what}");
        }
    }
}

#[test]
fn power_loss_while_a_killed_process_that_tidied_is_recovered_loses_nothing() {
    for seed in 300..320 {
        for changes in 0..10 {
            let what = format!("seed {seed}, {changes} changes");
            let mut random = Random::new(seed);
            let disk = SimDisk::new(seed);
            let mut model = Model::default();
            let options = LogOptions { file_bytes: 2 << 10, ..eager() };
            let (log, _) = start(&disk, &options).unwrap();
            assert!(model.work(&log, &mut random, 100 + 5 * seed as usize % 17));
            disk.kill();
            disk.crash_after(changes);
            let _ = start(&disk, &options).is_err();
            disk.reboot(seed);
            let (log, report) = start(&disk, &options).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(report.quarantined, [], "{what}");
            model.check(&log, &what);
        }
    }
}

/// Whatever the order of appends, log starts, tidying and restarts: what is read is what was appended, from the log start on.
#[test]
fn reads_are_the_same_whatever_was_tidied_when() {
    for seed in 400..430 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        for round in 0..6 {
            let options = LogOptions { file_bytes: 2 << 10 << random.below(3), ..eager() };
            let (log, _) = start(&disk, &options).unwrap();
            model.check(&log, &format!("seed {seed}, round {round}"));
            assert!(model.work(&log, &mut random, 150));
            (0..random.below(40)).for_each(|_| log.house_step(NOW).unwrap());
            log.close().unwrap();
            model.closed(&log);
            disk.reboot(seed);
        }
    }
}
