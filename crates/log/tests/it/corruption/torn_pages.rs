//! Torn writes of whole pages: the writer writes the last page again with what follows, so a loss of power may leave each sector of
//! it as any of the writes since the last sync left it. The durable frames are the same in all of them.

use crate::scenario::*;
use bytes::Bytes;
use duolog_base::{Disk, PartitionNumber};
use duolog_log::inspect::verify;
use duolog_log::{Log, LogOptions};
use duolog_sim::{PAGE_BYTES, Random, SECTOR_BYTES, SimDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MIXTURES: u64 = 1_500;
/// Batches that are durable, and those that are only written.
const DURABLE: u64 = 3;
const UNSYNCED: u64 = 5;

fn dir() -> &'static Path {
    Path::new("/data/shared")
}

fn log_path() -> PathBuf {
    dir().join(format!("{:020}.log", 0))
}

fn start(disk: &SimDisk) -> Arc<Log> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = LogOptions { file_bytes: 64 << 10, zero_ahead_bytes: 0, tail_cache_bytes: 0, ..options() };
    let (log, report) = open(&shared, dir(), options).unwrap();
    assert_eq!(report.quarantined, []);
    log.open_partition(PartitionNumber(1));
    log
}

/// The file after the last sync and after each write since, all of the same length, and the batches in order.
fn versions() -> (Vec<Vec<u8>>, Vec<Bytes>) {
    let disk = SimDisk::new(1);
    let log = start(&disk);
    let mut batches = Vec::new();
    let mut versions = Vec::new();
    for seed in 0..DURABLE + UNSYNCED {
        let bytes = batch(seed, 1, 800 + 90 * seed as usize);
        let offset = append(&log, 1, bytes.clone()).unwrap().base_offset.0;
        batches.push(stored(&bytes, offset, 0));
        match seed < DURABLE {
            true => settle(&log),
            false => _ = log.write_step().unwrap(),
        }
        if seed + 1 >= DURABLE {
            versions.push(disk.read_file(&log_path()).unwrap());
        }
    }
    let length = versions.iter().map(Vec::len).max().unwrap();
    assert!(length > 2 * PAGE_BYTES, "several pages are concerned");
    // What lies behind the last written page is what a file that is used again held: intact frames of other positions.
    for version in &mut versions {
        while version.len() < length {
            version.extend_from_within(..PAGE_BYTES);
        }
    }
    (versions, batches)
}

#[test]
fn a_page_that_tears_between_several_writes_keeps_its_durable_frames() {
    let (versions, batches) = versions();
    let mut survived = vec![0; batches.len() + 1];
    for seed in 0..MIXTURES {
        let mut random = Random::new(seed);
        let mut mixture = versions[0].clone();
        for (number, sector) in mixture.chunks_mut(SECTOR_BYTES).enumerate() {
            let version = &versions[random.below(versions.len() as u64) as usize];
            sector.copy_from_slice(&version[number * SECTOR_BYTES..][..sector.len()]);
        }
        let disk = SimDisk::new(0);
        disk.write_file(&log_path(), &mixture);
        let log = start(&disk);
        let found = read_all(&log, 1);
        assert!(found.len() as u64 >= DURABLE, "seed {seed}: a durable batch is lost");
        assert!(found.iter().map(|(_, bytes)| bytes).eq(&batches[..found.len()]), "seed {seed}: not a prefix");
        survived[found.len()] += 1;

        // What is written over the remains is not mistaken for them, nor they for it.
        let next = batch(seed + 100, 1, random.below(2_500) as usize);
        append(&log, 1, next.clone()).unwrap();
        settle(&log);
        drop(log);
        disk.reboot(seed);
        let log = start(&disk);
        let again = read_all(&log, 1);
        assert_eq!(again[..found.len()], found, "seed {seed}");
        assert_eq!(again[found.len()..], [(found.len() as i64, stored(&next, found.len() as i64, 0))], "seed {seed}");
        log.close().unwrap();
        let report = verify(Arc::new(disk.clone()), dir()).unwrap();
        assert_eq!(report.problems, [], "seed {seed}");
    }
    assert!(survived.iter().filter(|count| **count > 0).count() > 2, "mixtures differ in what survives: {survived:?}");
}
