//! A log directory with something of everything in it, and the memory of what was appended.

use crate::scenario::*;
use bytes::{Bytes, BytesMut};
use duolog_base::{Disk, Offset, PartitionNumber};
use duolog_log::clean::CleaningPolicy;
use duolog_log::{Log, LogOptions};
use duolog_sim::{Random, SimDisk};
use duolog_wire::record::{BatchBuilder, Compression, NewRecord};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const PARTITIONS: u32 = 4;
const COMPACTED: PartitionNumber = PartitionNumber(PARTITIONS);
/// Steps that only read change nothing; no pass takes more of them in a row.
const QUIET_STEPS: usize = 30;
/// Batches of each part of the history.
const BATCHES: u64 = 45;
/// Few sizes, so that there are frames of the same length to swap.
const VALUE_BYTES: [usize; 4] = [90, 90, 300, 1_100];

/// How the history ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Closed in order: the last link of the checkpoint reflects the end.
    Closed,
    /// Everything is durable, full files are sealed, and a checkpoint lies somewhere before the end.
    Lost,
    /// As `Lost`, but no file has been sealed and no checkpoint written since the last opening.
    Unkept,
    /// Closed after the full files were tidied, twice, and a partition compacted.
    Tidied,
}

pub fn dir() -> &'static Path {
    Path::new("/data/shared")
}

pub fn matrix_options() -> LogOptions {
    LogOptions { file_bytes: 12 << 10, zero_ahead_bytes: 12 << 10, tail_cache_bytes: 0, checkpoint_bytes: 4 << 10, ..options() }
}

/// A batch of one record with a key.
fn keyed(key: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    let record = NewRecord { timestamp: NOW, key: Some(&key.to_le_bytes()), value: Some(&[7; 60]), ..NewRecord::default() };
    builder.push(record).unwrap();
    let mut out = BytesMut::new();
    builder.build(&mut out).unwrap();
    out.to_vec()
}

#[derive(Clone, Debug)]
pub struct Written {
    pub offset: i64,
    pub bytes: Bytes,
}

/// The files, and what they must be read as.
#[derive(Clone)]
pub struct History {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// The files as they were some time before the end.
    pub older: BTreeMap<PathBuf, Vec<u8>>,
    pub written: BTreeMap<u32, Vec<Written>>,
    pub starts: BTreeMap<u32, i64>,
}

fn copy(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    disk.contents().into_iter().collect()
}

fn start(disk: &SimDisk) -> Arc<Log> {
    start_with(disk, matrix_options())
}

fn start_with(disk: &SimDisk, options: LogOptions) -> Arc<Log> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = open(&shared, dir(), options).unwrap();
    (0..PARTITIONS).for_each(|number| log.open_partition(PartitionNumber(number)));
    log
}

/// Compacts a partition that is in no history: what is left of it is other batches.
pub fn compact(log: &Log) {
    log.open_partition(COMPACTED);
    let policy = CleaningPolicy { min_dirty_ratio: 0.1, ..CleaningPolicy::default() };
    log.set_cleaning(&BTreeMap::from([(COMPACTED, policy)]));
}

/// Lets the housekeeping work until it changes nothing any more.
fn tidy(log: &Log, disk: &SimDisk) {
    let mut quiet = 0;
    for _ in 0..3000 {
        let before = disk.changes();
        log.house_step(NOW).unwrap();
        settle(log);
        quiet = if disk.changes() == before { quiet + 1 } else { 0 };
        if quiet == QUIET_STEPS {
            return;
        }
    }
    panic!("tidying finds no end");
}

impl History {
    pub fn new(ending: Ending, seed: u64) -> History {
        let disk = SimDisk::new(seed);
        let mut random = Random::new(seed);
        let (files, older) = (BTreeMap::new(), BTreeMap::new());
        let mut history = History { files, older, written: BTreeMap::new(), starts: BTreeMap::new() };

        // Files that die, and become spares.
        let log = start(&disk);
        history.append(&log, &mut random, BATCHES, true);
        for number in 0..PARTITIONS {
            let end = log.ends(PartitionNumber(number)).unwrap().end;
            log.set_log_start(PartitionNumber(number), end).unwrap();
            history.starts.insert(number, end.0);
        }
        history.append(&log, &mut random, BATCHES / 2, true);
        log.house_step(NOW).unwrap();
        log.close().unwrap();
        disk.reboot(seed);

        let log = start(&disk);
        history.append(&log, &mut random, BATCHES, true);
        history.older = copy(&disk);
        history.append(&log, &mut random, 3, true);
        let raised = history.written[&1][history.written[&1].len() / 2].offset;
        log.set_log_start(PartitionNumber(1), Offset(raised)).unwrap();
        history.starts.insert(1, raised);
        history.cut(&log, 3);
        settle(&log);
        drop(log);
        disk.reboot(seed + 1);

        let log = start(&disk);
        history.append(&log, &mut random, BATCHES, ending != Ending::Unkept);
        if ending == Ending::Closed {
            log.close().unwrap();
        }
        drop(log);
        disk.reboot(seed + 2);
        if ending == Ending::Tidied {
            history.tidy_twice(&disk, &mut random);
        }
        history.files = copy(&disk);
        history
    }

    fn tidy_twice(&mut self, disk: &SimDisk, random: &mut Random) {
        let log = start_with(disk, LogOptions { tidy: eager_tidying(), ..matrix_options() });
        compact(&log);
        for number in [0, 2] {
            for _ in 0..20 {
                append(&log, COMPACTED.0, keyed(random.below(3))).unwrap();
            }
            self.append(&log, random, BATCHES, true);
            tidy(&log, disk);
            self.older = copy(disk);
            let raised = self.written[&number][self.written[&number].len() / 2].offset;
            log.set_log_start(PartitionNumber(number), Offset(raised)).unwrap();
            self.starts.insert(number, raised);
            self.append(&log, random, 5, true);
            tidy(&log, disk);
        }
        log.close().unwrap();
        drop(log);
        disk.reboot(3);
    }

    /// Cuts off the newer half of what a partition has had since its log start.
    fn cut(&mut self, log: &Log, number: u32) {
        let start = self.starts.get(&number).copied().unwrap_or(0);
        let written = self.written.get_mut(&number).unwrap();
        let first = written.partition_point(|batch| batch.offset < start);
        let to = written[first + (written.len() - first) / 2].offset;
        log.truncate(PartitionNumber(number), Offset(to)).unwrap();
        written.retain(|batch| batch.offset < to);
    }

    fn append(&mut self, log: &Log, random: &mut Random, batches: u64, keep_house: bool) {
        for _ in 0..batches {
            let number = random.below(PARTITIONS.into()) as u32;
            let bytes = batch(random.next_u64(), 1 + random.below(2) as usize, random.pick(&VALUE_BYTES));
            let offset = append(log, number, bytes.clone()).unwrap().base_offset.0;
            self.written.entry(number).or_default().push(Written { offset, bytes: stored(&bytes, offset, 0) });
            settle(log);
            if keep_house && random.chance(1, 4) {
                log.house_step(NOW).unwrap();
            }
        }
    }

    /// The log file that was being written to.
    pub fn active_log(&self) -> PathBuf {
        let logs = self.files.keys().filter(|path| path.extension().is_some_and(|name| name == "log"));
        logs.max().expect("there is a log file").clone()
    }
}
