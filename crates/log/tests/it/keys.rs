//! Messages are found by their keys: while the log is open, after every kind of stop, and after the index was lost or damaged.

use crate::model::{PARTITIONS, dir};
use crate::scenario::*;
use bytes::BytesMut;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, Position};
use duolog_log::inspect::verify;
use duolog_log::{AppendBatch, AppendError, AppendOrigin, KeyOptions, KeyPlaces, Log, LogOptions, TAGS_KNOWN};
use duolog_sim::{Random, SimDisk};
use duolog_wire::record::{BatchBuilder, Compression, DecompressLimits, NewRecord, decode_batch};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Keys of which there are many messages.
const COMMON_KEYS: u64 = 20;
const FIRST_OWN_KEY: u64 = 1000;

/// A record's key is hashes of eight bytes.
fn extract(batch: &[u8], found: &mut dyn FnMut(i32, u64)) {
    let Ok(batch) = decode_batch(batch, DecompressLimits::default()) else { return };
    for record in batch.records() {
        let record = record.unwrap();
        let delta = (record.offset.0 - batch.header.base_offset.0) as i32;
        for word in record.key.unwrap_or_default().chunks_exact(8) {
            // Spread as the hashes of real keys are.
            found(delta, spread(u64::from_le_bytes(word.try_into().unwrap())));
        }
    }
}

fn spread(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn indexed() -> LogOptions {
    LogOptions {
        file_bytes: 4 << 10,
        tail_cache_bytes: 0,
        keys: Some(KeyOptions { extractor: extract, in_memory: 50 }),
        ..options()
    }
}

fn keyed_batch(keys: &[Vec<u64>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    for keys in keys {
        let key: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        builder.push(NewRecord { timestamp: NOW, key: Some(&key), ..NewRecord::default() }).unwrap();
    }
    let mut out = BytesMut::new();
    builder.build(&mut out).unwrap();
    out.to_vec()
}

/// One message a known key.
#[derive(Clone, Copy, Debug)]
struct Known {
    key: u64,
    partition: u32,
    offset: i64,
    /// Durable up to here means: it is.
    end: Position,
}

/// What must be found.
#[derive(Default)]
struct Keys {
    known: Vec<Known>,
    own_keys: u64,
}

fn start(disk: &SimDisk, options: &LogOptions) -> Arc<Log> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, report) = open(&shared, &dir(), options.clone()).unwrap();
    assert_eq!(report.quarantined, []);
    (0..PARTITIONS).for_each(|number| log.open_partition(PartitionNumber(number)));
    log
}

fn live(log: &Log) -> BTreeMap<u32, std::ops::Range<i64>> {
    let range = |number| {
        let ends = log.ends(PartitionNumber(number)).unwrap();
        (number, ends.start.0..ends.end.0)
    };
    (0..PARTITIONS).map(range).collect()
}

fn find(log: &Log, key: u64, limit: usize) -> KeyPlaces {
    let live = live(log);
    log.find_key(spread(key), limit, &mut |partition, offset| live[&partition.0].contains(&offset.0))
}

fn rebuild(log: &Log) {
    for _ in 0..1000 {
        if !log.rebuild_keys_step().unwrap() {
            return;
        }
    }
    panic!("rebuilding finds no end");
}

impl Keys {
    /// One append to up to three partitions; false if the log has stopped.
    fn append(&mut self, log: &Log, random: &mut Random) -> bool {
        let mut buffer = BytesMut::new();
        let mut batches = Vec::new();
        let mut keys_of = Vec::new();
        for _ in 0..1 + random.below(3) {
            let mut message = || {
                self.own_keys += 1;
                let own = FIRST_OWN_KEY + self.own_keys;
                if random.chance(1, 3) { vec![own, random.below(COMMON_KEYS)] } else { vec![own] }
            };
            let keys = [message(), message()];
            let start = buffer.len();
            buffer.extend_from_slice(&keyed_batch(&keys));
            let tag_filter = if random.chance(1, 4) { 0 } else { TAGS_KNOWN };
            let partition = PartitionNumber(random.below(PARTITIONS.into()) as u32);
            batches.push(AppendBatch { partition, range: start..buffer.len(), leader_epoch: LeaderEpoch(0), tag_filter });
            keys_of.push(keys);
        }
        let receipt = log.append(buffer, &batches, AppendOrigin::Client, NOW);
        for ((result, batch), keys) in receipt.results.into_iter().zip(&batches).zip(keys_of) {
            let appended = match result {
                Ok(appended) => appended,
                Err(AppendError::Stopped) => return false,
                Err(error) => panic!("the workload is legal: {error}"),
            };
            for (delta, keys) in keys.iter().enumerate().filter(|_| batch.tag_filter != 0) {
                let (partition, offset) = (batch.partition.0, appended.base_offset.0 + delta as i64);
                self.known.extend(keys.iter().map(|key| Known { key: *key, partition, offset, end: receipt.end }));
            }
        }
        true
    }

    fn work(&mut self, log: &Log, random: &mut Random, steps: usize) {
        for _ in 0..steps {
            match random.below(16) {
                0..=7 => assert!(self.append(log, random)),
                8..=10 => drop(log.write_step().unwrap()),
                11..=12 => drop(log.sync_step().unwrap()),
                13 => log.house_step(NOW).unwrap(),
                14 => drop(log.rebuild_keys_step().unwrap()),
                _ => {
                    let number = PartitionNumber(random.below(PARTITIONS.into()) as u32);
                    let durable = log.ends(number).unwrap().durable.0;
                    log.set_log_start(number, Offset(random.below(durable as u64 + 1) as i64)).unwrap();
                }
            }
        }
    }

    /// What a crash has cut off is no message any more.
    fn forget_lost(&mut self, log: &Log) {
        let live = live(log);
        self.known.retain(|known| known.offset < live[&known.partition].end);
    }

    /// Every live message is found by each of its keys, and nothing else is.
    fn check(&self, log: &Log, what: &str) {
        let live = live(log);
        let mut expected: BTreeMap<u64, BTreeSet<(u32, i64)>> = (0..COMMON_KEYS).map(|key| (key, BTreeSet::new())).collect();
        for known in &self.known {
            let places = expected.entry(known.key).or_default();
            if known.offset >= live[&known.partition].start {
                places.insert((known.partition, known.offset));
            }
        }
        for (key, expected) in expected {
            let found = find(log, key, usize::MAX);
            assert!(found.complete, "{what}");
            let places: BTreeSet<_> = found.places.iter().map(|(partition, offset)| (partition.0, offset.0)).collect();
            assert_eq!(places.len(), found.places.len(), "{what}: nothing is found twice");
            assert_eq!(places, expected, "{what}: key {key}");
        }
    }
}

fn parts(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "keys")).collect()
}

/// Appends `count` times, with everything durable, sealed and looked after.
fn fill(keys: &mut Keys, log: &Log, count: usize) {
    let mut random = Random::new(count as u64);
    for _ in 0..count {
        keys.append(log, &mut random);
        settle(log);
        log.house_step(NOW).unwrap();
    }
}

#[test]
fn every_live_message_is_found_after_crashes_and_stops_at_random_moments() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        let mut keys = Keys::default();
        let tidy = if seed % 2 == 0 { eager_tidying() } else { options().tidy };
        let options = LogOptions { tidy, ..indexed() };
        for round in 0..6 {
            let what = format!("seed {seed}, round {round}");
            let log = start(&disk, &options);
            keys.forget_lost(&log);
            if random.chance(1, 2) {
                rebuild(&log);
                keys.check(&log, &what);
            }
            let steps = random.below(150) as usize;
            keys.work(&log, &mut random, steps);
            if random.chance(1, 2) {
                settle(&log);
                rebuild(&log);
                keys.check(&log, &format!("{what}, still open"));
            }
            match random.below(3) {
                0 => log.close().unwrap(),
                1 => disk.kill(),
                _ => disk.reboot(seed * 10 + round),
            }
        }
        let log = start(&disk, &options);
        keys.forget_lost(&log);
        rebuild(&log);
        keys.check(&log, &format!("seed {seed}"));
        assert!(keys.known.len() > 50);
        log.close().unwrap();
        assert_eq!(verify(Arc::new(disk.clone()), &dir()).unwrap().problems, []);
    }
}

#[test]
fn a_power_loss_at_every_moment_leaves_an_index_that_can_be_completed() {
    for changes in 0..60 {
        let disk = SimDisk::new(changes);
        let mut keys = Keys::default();
        let log = start(&disk, &indexed());
        fill(&mut keys, &log, 30);
        let durable = log.durable_position();
        disk.crash_after(changes);
        let mut random = Random::new(changes);
        for _ in 0..40 {
            let alive = keys.append(&log, &mut random)
                && log.write_step().is_ok()
                && log.sync_step().is_ok()
                && log.house_step(NOW).is_ok();
            if !alive {
                break;
            }
        }
        drop(log);
        disk.reboot(changes);
        let log = start(&disk, &indexed());
        rebuild(&log);
        let before = keys.known.iter().filter(|known| known.end <= durable).count();
        keys.forget_lost(&log);
        keys.check(&log, &format!("{changes} changes"));
        assert!(keys.known.len() >= before, "what was durable is there");
    }
}

#[test]
fn an_orderly_stop_leaves_nothing_to_read_for_the_index() {
    let disk = SimDisk::new(1);
    let mut keys = Keys::default();
    for round in 0..5 {
        let log = start(&disk, &indexed());
        assert!(find(&log, 1, 1).complete, "round {round}");
        fill(&mut keys, &log, 40);
        keys.check(&log, "open");
        log.close().unwrap();
    }
    let log = start(&disk, &indexed());
    keys.check(&log, "opened again");
    rebuild(&log);
    assert_eq!(log.statistics().key_scan_bytes, 0);
    let few = parts(&disk).len();
    assert!((2..40).contains(&few), "small parts are put together: {few}");
    drop(log);

    // After a crash only what was written since the last part is read.
    disk.kill();
    let log = start(&disk, &indexed());
    fill(&mut keys, &log, 3);
    drop(log);
    disk.kill();
    let log = start(&disk, &indexed());
    assert!(!find(&log, 1, 1).complete);
    rebuild(&log);
    keys.check(&log, "after a crash");
    let read = log.statistics().key_scan_bytes;
    assert!(0 < read && read < 20_000, "{read}");
}

#[test]
fn the_newest_come_first_and_no_more_than_are_asked_for() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &indexed());
    for _ in 0..200 {
        let batch = keyed_batch(&[vec![7]]);
        let place = AppendBatch {
            partition: PartitionNumber(1),
            range: 0..batch.len(),
            leader_epoch: LeaderEpoch(0),
            tag_filter: TAGS_KNOWN,
        };
        log.append(BytesMut::from(&batch[..]), &[place], AppendOrigin::Client, NOW).results.remove(0).unwrap();
        settle(&log);
        log.house_step(NOW).unwrap();
    }
    assert!(parts(&disk).len() >= 3, "in memory and in several parts");
    let places: Vec<i64> = find(&log, 7, 150).places.iter().map(|(_, offset)| offset.0).collect();
    assert_eq!(places, (50..200).rev().collect::<Vec<_>>());
    let even = log.find_key(spread(7), 3, &mut |_, offset| offset.0 % 2 == 0).places;
    assert_eq!(even.iter().map(|(_, offset)| offset.0).collect::<Vec<_>>(), [198, 196, 194]);
    assert_eq!(find(&log, 8, 10).places, []);
}

#[test]
fn a_lost_or_damaged_part_is_built_again() {
    let disk = SimDisk::new(1);
    let mut keys = Keys::default();
    let log = start(&disk, &indexed());
    fill(&mut keys, &log, 150);
    log.close().unwrap();
    let all = parts(&disk);
    assert!(all.len() >= 4);
    for (at, path) in all.iter().enumerate() {
        // In the header, which is noticed at once, or in the entries, which is noticed by the first who looks.
        let byte = if at % 2 == 0 { 17 } else { 4096 + 5 };
        disk.flip(path, byte, 3).unwrap();
    }
    let problems = verify(Arc::new(disk.clone()), &dir()).unwrap().problems;
    assert_eq!(problems.len(), all.len(), "{problems:?}");
    let log = start(&disk, &indexed());
    assert!(!find(&log, 1, 100).complete);
    for key in 0..2 * keys.own_keys {
        find(&log, FIRST_OWN_KEY + key, 1);
    }
    rebuild(&log);
    keys.check(&log, "built again");
    assert_eq!(verify(Arc::new(disk.clone()), &dir()).unwrap().problems, []);
    log.close().unwrap();

    for path in parts(&disk) {
        disk.remove(&path).unwrap();
    }
    let log = start(&disk, &indexed());
    rebuild(&log);
    keys.check(&log, "built from nothing");
}

#[test]
fn parts_of_what_was_given_up_go_with_it() {
    let disk = SimDisk::new(1);
    let mut keys = Keys::default();
    let log = start(&disk, &indexed());
    fill(&mut keys, &log, 150);
    let before = parts(&disk).len();
    for number in 0..PARTITIONS {
        let end = log.ends(PartitionNumber(number)).unwrap().end;
        log.set_log_start(PartitionNumber(number), end).unwrap();
    }
    for _ in 0..4 {
        settle(&log);
        log.house_step(NOW).unwrap();
    }
    assert!(parts(&disk).len() <= 3 && before > 5, "{} of {before}", parts(&disk).len());
    fill(&mut keys, &log, 20);
    keys.check(&log, "afterwards");
}

#[test]
fn a_full_disk_costs_neither_keys_nor_memory_without_limit() {
    let disk = SimDisk::new(1);
    disk.set_full(|path| path.to_string_lossy().ends_with(".keys.tmp"));
    let log = start(&disk, &indexed());
    let mut keys = Keys::default();
    fill(&mut keys, &log, 10);
    assert!(find(&log, 1, 1).complete, "all is in memory");
    keys.check(&log, "without parts");
    fill(&mut keys, &log, 150);
    assert!(!find(&log, 1, 1).complete, "the oldest keys had to be given up");
    rebuild(&log);
    assert_eq!(parts(&disk), Vec::<PathBuf>::new());

    disk.set_full(|_| false);
    log.house_step(NOW).unwrap();
    rebuild(&log);
    keys.check(&log, "with room again");
}

#[test]
fn nothing_is_read_of_a_log_that_no_client_with_keys_has_written_to() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &LogOptions { keys: None, ..indexed() });
    for seed in 0..100 {
        append(&log, 1, batch(seed, 2, 200)).unwrap();
        settle(&log);
        log.house_step(NOW).unwrap();
    }
    assert_eq!(log.find_key(1, 10, &mut |_, _| true), KeyPlaces::default());
    assert!(!log.rebuild_keys_step().unwrap());
    log.close().unwrap();
    let log = start(&disk, &indexed());
    rebuild(&log);
    assert!(log.statistics().key_scan_bytes <= 8 << 10, "only the file that is not sealed");
    assert!(find(&log, 1, 1).complete);
    log.close().unwrap();
    assert_eq!(parts(&disk).len(), 1, "one part says that there is nothing");
}

#[test]
fn the_threads_write_and_rebuild_by_themselves() {
    let disk = SimDisk::new(1);
    let mut keys = Keys::default();
    let log = start(&disk, &indexed());
    log.start_threads().unwrap();
    let mut random = Random::new(5);
    let mut last = Position(0);
    for _ in 0..200 {
        keys.append(&log, &mut random);
        last = keys.known.last().map_or(last, |known| known.end);
    }
    log.wait_durable(last).blocking_recv().unwrap();
    log.close().unwrap();
    assert!(!parts(&disk).is_empty());
    for path in parts(&disk) {
        disk.remove(&path).unwrap();
    }
    let log = start(&disk, &indexed());
    log.start_threads().unwrap();
    let complete = (0..10_000_000).any(|_| {
        std::thread::yield_now();
        find(&log, 1, 1).complete
    });
    assert!(complete);
    keys.check(&log, "built by the thread");
    log.close().unwrap();
}
