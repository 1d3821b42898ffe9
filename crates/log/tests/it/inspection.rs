//! What the dump and verify tools see.

use crate::scenario::*;
use duolog_base::{Disk, Offset, PartitionNumber};
use duolog_log::inspect::{Item, Kind, frames, verify};
use duolog_sim::SimDisk;
use std::path::Path;
use std::sync::Arc;

fn dir() -> &'static Path {
    Path::new("/data/shared")
}

/// Several files, a log start, a drop, a restart.
fn eventful(disk: &SimDisk) -> Arc<dyn Disk> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    for first in [1, 11] {
        let (log, _) = open(&shared, dir(), options()).unwrap();
        (first..first + 3).for_each(|number| log.open_partition(PartitionNumber(number)));
        for seed in 0..60 {
            append(&log, first + seed % 3, batch(seed.into(), 2, 150)).unwrap();
            settle(&log);
        }
        log.house_step(NOW).unwrap();
        log.set_log_start(PartitionNumber(first), Offset(7)).unwrap();
        log.truncate(PartitionNumber(first + 1), Offset(9)).unwrap();
        append(&log, first + 1, batch(7, 1, 30)).unwrap();
        log.drop_partition(PartitionNumber(first + 2)).unwrap();
        log.close().unwrap();
    }
    shared
}

#[test]
fn a_sound_directory_verifies_and_lists_every_frame() {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    {
        let (log, _) = open(&shared, dir(), options()).unwrap();
        log.open_partition(PartitionNumber(1));
        for seed in 0..50 {
            append(&log, 1, batch(seed, 2, 150)).unwrap();
            settle(&log);
        }
        log.set_log_start(PartitionNumber(1), Offset(7)).unwrap();
        log.house_step(NOW).unwrap();
        log.close().unwrap();
    }
    let report = verify(shared.clone(), dir()).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.batches, report.frames), (50, 52));
    assert_eq!(report.entries, 50, "sealed files and the checkpoint index every batch once");
    let all: Vec<Item> = frames(shared, dir()).unwrap().map(Result::unwrap).collect();
    let kinds = all.iter().map(|item| match item {
        Item::Frame(frame) => frame.kind,
        Item::Hole { .. } => panic!("there are no holes"),
    });
    let kinds: Vec<Kind> = kinds.collect();
    assert_eq!(kinds[0], Kind::GenerationStart);
    assert_eq!(*kinds.last().unwrap(), Kind::LogStart);
    assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Batch).count(), 50);
}

#[test]
fn every_flipped_bit_of_a_used_region_is_reported() {
    let disk = SimDisk::new(1);
    let shared = eventful(&disk);
    let sound = verify(shared.clone(), dir()).unwrap();
    assert_eq!(sound.problem_count, 0, "{:?}", sound.problems);
    let first_log = dir().join("00000000000000000000.log");
    let first_index = dir().join("00000000000000000000.queues");
    let index_bytes = disk.read_file(&first_index).unwrap().len() as u64;
    for (path, byte) in
        [(&first_log, 300), (&first_log, 400), (&first_index, 5), (&first_index, 100), (&first_index, index_bytes - 1)]
    {
        disk.flip(path, byte, 2).unwrap();
        let report = verify(shared.clone(), dir()).unwrap();
        assert!(report.problem_count > 0, "{} byte {byte}", path.display());
        disk.flip(path, byte, 2).unwrap();
    }
    assert_eq!(verify(shared, dir()).unwrap().problem_count, 0);
}
