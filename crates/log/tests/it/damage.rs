//! Flipped bits below the durable position: found, confined to the partitions concerned, never served.

use crate::model::{Model, PARTITIONS, start};
use crate::scenario::*;
use duolog_base::{Disk, PartitionNumber};
use duolog_log::{AppendError, Log, LogOptions, OpenError, ReadError};
use duolog_sim::{Random, SimDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn log_file(base: u64) -> PathBuf {
    PathBuf::from(format!("/data/shared/{base:020}.log"))
}

/// Three partitions with three batches each, one after the other, all durable; positions of the frames.
fn nine_batches(disk: &SimDisk) -> Vec<u64> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = open(&shared, Path::new("/data/shared"), options()).unwrap();
    (0..3).for_each(|number| log.open_partition(PartitionNumber(number)));
    let mut positions = Vec::new();
    for seed in 0..9 {
        positions.push(log.durable_position().0);
        append(&log, seed % 3, batch(seed.into(), 1, 100)).unwrap();
        settle(&log);
    }
    positions
}

fn reopen(disk: &SimDisk) -> (Arc<Log>, Vec<u32>) {
    disk.reboot(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, report) = open(&shared, Path::new("/data/shared"), options()).unwrap();
    (log, report.quarantined.iter().map(|number| number.0).collect())
}

fn readable(log: &Log) -> Vec<u32> {
    (0..3).filter(|number| plan(log, *number, 0, 10_000).is_ok()).collect()
}

#[test]
fn a_damaged_body_quarantines_its_partition_and_serves_the_rest() {
    let disk = SimDisk::new(1);
    let positions = nine_batches(&disk);
    disk.flip(&log_file(0), positions[4] + 64 + 70, 3).unwrap();
    let (log, quarantined) = reopen(&disk);
    assert_eq!(quarantined, [1]);
    assert!(matches!(plan(&log, 1, 0, 100), Err(ReadError::Quarantined(_))));
    assert!(matches!(append(&log, 1, batch(1, 1, 1)), Err(AppendError::Quarantined(_))));
    assert_eq!(read_all(&log, 0).len(), 3);
    assert_eq!(read_all(&log, 2).len(), 3);
    append(&log, 0, batch(1, 1, 1)).unwrap();
    settle(&log);
    log.close().unwrap();
    let (log, quarantined) = reopen(&disk);
    assert_eq!(quarantined, [1], "a clean restart does not forget");
    assert_eq!(read_all(&log, 0).len(), 4);
}

#[test]
fn a_damaged_header_is_traced_to_its_partition_by_the_batch_behind_it() {
    let disk = SimDisk::new(1);
    let positions = nine_batches(&disk);
    disk.flip(&log_file(0), positions[4] + 36, 0).unwrap();
    let (log, quarantined) = reopen(&disk);
    assert_eq!(quarantined, [1], "its next batch does not follow");
    assert_eq!(readable(&log), [0, 2]);
}

#[test]
fn damage_that_no_later_frame_explains_quarantines_whoever_it_may_concern() {
    let disk = SimDisk::new(1);
    let positions = nine_batches(&disk);
    // Header and body of the last batch of partition 1; partition 2 goes on behind it, partition 0 does not.
    disk.flip(&log_file(0), positions[7] + 36, 0).unwrap();
    disk.flip(&log_file(0), positions[7] + 64 + 80, 0).unwrap();
    let (log, quarantined) = reopen(&disk);
    assert_eq!(quarantined, [0, 1]);
    assert_eq!(readable(&log), [2]);
}

#[test]
fn a_damaged_frame_at_the_very_end_is_a_torn_tail_only_if_nothing_says_it_was_durable() {
    let disk = SimDisk::new(1);
    let positions = nine_batches(&disk);
    disk.flip(&log_file(0), positions[8] + 70, 0).unwrap();
    let (log, quarantined) = reopen(&disk);
    // It was durable, but no later frame exists to say so: this is the one case a single node cannot tell.
    assert_eq!(quarantined, Vec::<u32>::new());
    assert_eq!(read_all(&log, 2).len(), 2);
    drop(log);
    // The generation begun behind the cut does say so for what is before it.
    disk.flip(&log_file(0), positions[5] + 70, 0).unwrap();
    let (_, quarantined) = reopen(&disk);
    assert_eq!(quarantined, [2]);
}

#[test]
fn a_quarantine_outlives_the_sealing_of_the_damaged_file_and_any_number_of_crashes() {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let small = || LogOptions { file_bytes: 2 << 10, ..options() };
    let dir = Path::new("/data/shared");
    let (log, _) = open(&shared, dir, small()).unwrap();
    (0..3).for_each(|number| log.open_partition(PartitionNumber(number)));
    for seed in 0..30 {
        append(&log, seed % 3, batch(seed.into(), 1, 100)).unwrap();
        settle(&log);
    }
    // The second batch, in a file that is full but not sealed.
    disk.flip(&log_file(0), 64 + 64 + 264 + 36, 0).unwrap();
    for changes in (0..30).chain([u64::MAX; 2]) {
        disk.reboot(changes);
        disk.crash_after(changes);
        let Ok((log, report)) = open(&shared, dir, small()) else { continue };
        assert_eq!(report.quarantined, [PartitionNumber(1)], "{changes} changes");
        assert!(matches!(plan(&log, 1, 0, 100), Err(ReadError::Quarantined(_))));
        assert_eq!((read_all(&log, 0).len(), read_all(&log, 2).len()), (10, 10));
    }
}

/// Sealed files of a log, and the place of the entries in the index of the first.
fn with_a_damaged_index(disk: &SimDisk) -> (Arc<Log>, Vec<(i64, bytes::Bytes)>, PathBuf) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let no_cache = || LogOptions { tail_cache_bytes: 0, ..options() };
    let (log, _) = open(&shared, Path::new("/data/shared"), no_cache()).unwrap();
    (0..3).for_each(|number| log.open_partition(PartitionNumber(number)));
    for seed in 0..90 {
        append(&log, seed % 3, batch(seed.into(), 1, 200)).unwrap();
        settle(&log);
    }
    log.house_step(NOW).unwrap();
    let expected = read_all(&log, 1);
    log.close().unwrap();
    let index = PathBuf::from(format!("/data/shared/{:020}.queues", 0));
    disk.flip(&index, 64 + 3 * 48 + 40 + 9, 3).unwrap();
    disk.reboot(1);
    let (log, _) = open(&shared, Path::new("/data/shared"), no_cache()).unwrap();
    (log, expected, index)
}

#[test]
fn entries_found_damaged_are_rebuilt_from_the_log_file_while_the_log_runs() {
    let disk = SimDisk::new(1);
    let (log, expected, index) = with_a_damaged_index(&disk);
    assert!(matches!(plan(&log, 1, 0, 100), Err(ReadError::Io(_))));
    log.house_step(NOW).unwrap();
    assert_eq!(read_all(&log, 1), expected);
    let rebuilt = disk.read_file(&index).unwrap();
    log.close().unwrap();
    drop(log);
    let (log, _) = reopen(&disk);
    assert_eq!(read_all(&log, 1), expected);
    assert_eq!(disk.read_file(&index).unwrap(), rebuilt);
}

#[test]
fn entries_are_not_rebuilt_without_a_batch_that_the_log_file_has_lost() {
    let disk = SimDisk::new(1);
    let (log, _, index) = with_a_damaged_index(&disk);
    let damaged = disk.read_file(&index).unwrap();
    disk.flip(&log_file(0), 64 + 64 + 70, 3).unwrap();
    assert!(plan(&log, 1, 0, 100).is_err());
    for _ in 0..2 {
        log.house_step(NOW).unwrap();
        assert!(plan(&log, 1, 0, 100).is_err(), "a batch would be missing");
    }
    assert_eq!(disk.read_file(&index).unwrap(), damaged);
    assert!(plan(&log, 1, 25, 100).is_ok(), "other files are read");
}

#[test]
fn a_newer_format_is_refused() {
    let disk = SimDisk::new(1);
    nine_batches(&disk);
    let mut bytes = disk.read_file(&log_file(0)).unwrap();
    bytes[8] = 200;
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[..60]) as u32;
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    disk.write_file(&log_file(0), &bytes);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let refused = open(&shared, Path::new("/data/shared"), options()).map(|_| ());
    assert!(matches!(refused, Err(OpenError::NewerFormat { found: 200, supported: 1, .. })));
}

#[test]
fn a_missing_file_in_the_middle_is_refused() {
    let disk = SimDisk::new(1);
    let mut model = Model::default();
    let (log, _) = start(&disk, &options()).unwrap();
    model.work(&log, &mut Random::new(1), 400);
    settle(&log);
    log.house_step(NOW).unwrap();
    log.close().unwrap();
    let mut logs: Vec<_> = disk.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    logs.sort();
    assert!(logs.len() >= 3);
    disk.remove(&logs[1]).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let refused = open(&shared, Path::new("/data/shared"), options()).map(|_| ());
    assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "{refused:?}");
}

/// Whatever bit flips wherever: the log opens or says why not, and what it serves is what was appended.
#[test]
fn no_flipped_bit_is_ever_served() {
    let mut found = 0;
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        let small = duolog_log::LogOptions { file_bytes: 4 << 10, recycled_files: 0, ..options() };
        let mut written = Vec::new();
        {
            let (log, _) = start(&disk, &small).unwrap();
            for seed in 0..40 {
                let number = random.below(PARTITIONS.into()) as u32;
                let bytes = batch(seed, 1, random.below(300) as usize);
                let offset = append(&log, number, bytes.clone()).unwrap().base_offset.0;
                written.push((number, offset, stored(&bytes, offset, 0)));
                settle(&log);
            }
            if random.chance(1, 2) {
                log.house_step(NOW).unwrap();
            }
            if random.chance(1, 3) {
                log.close().unwrap();
            }
        }
        disk.reboot(seed);
        let files = disk.files();
        let path = &files[random.below(files.len() as u64) as usize];
        let bytes = disk.read_file(path).unwrap().len() as u64;
        if bytes == 0 {
            continue;
        }
        disk.flip(path, random.below(bytes), random.below(8) as u8).unwrap();
        let Ok((log, report)) = start(&disk, &small) else {
            found += 1;
            continue;
        };
        found += usize::from(!report.quarantined.is_empty());
        for number in (0..PARTITIONS).map(PartitionNumber) {
            check_served(&log, number, &written, &format!("seed {seed}, {}", path.display()));
        }
    }
    assert!(found > 10, "the flips hit something");
}

/// A partition serves what was appended, or an error.
fn check_served(log: &Log, number: PartitionNumber, written: &[(u32, i64, bytes::Bytes)], what: &str) {
    let end = log.ends(number).unwrap().end.0;
    let mine: Vec<_> = written.iter().filter(|(of, _, _)| *of == number.0).collect();
    for (_, offset, expected) in &mine {
        let Ok(plan) = plan(log, number.0, *offset, 1) else { continue };
        let Ok(bytes) = plan.materialize() else { continue };
        if bytes.is_empty() {
            assert!(*offset >= end, "{what}: offset {offset} of {number} is neither served nor refused");
            continue;
        }
        // A flip in a sealed file is not looked for at start; readers find it by the batch's own checksum.
        let served = duolog_wire::record::verify_crc(&bytes).is_ok() && bytes.len() == expected.len();
        if served && bytes != *expected {
            assert_eq!(bytes[17..], expected[17..], "{what}: another batch at offset {offset} of {number}");
        }
    }
}
