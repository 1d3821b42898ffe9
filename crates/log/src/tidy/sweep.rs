//! Compaction by key, carried out by tidying.
//!
//! A sweep takes all partitions that are due (and for whose keys there is memory), notes the newest offset of each of their keys in
//! the part that was never compacted, then goes through the files from the oldest on and has those written anew in which something
//! goes. The order matters: a tombstone goes only after everything older has gone. When the last file is done, the partitions are
//! clean up to where their keys are known.

use super::job::Budget;
use super::source::SourceReader;
use crate::clean::{
    Backlog, Cleaned, Cleaner, CleaningPolicy, DirtyPiece, HashKey, KeyScan, OffsetMap, PassBounds, ProducerEnds, ScanState,
    first_dirty_offset, first_uncleanable_offset, is_cleanable,
};
use crate::cuts::Cuts;
use crate::format::index::DirectoryRecord;
use crate::sealed::{Sealed, runs_from};
use duolog_base::{Offset, TimestampMs};
use duolog_wire::record::{BatchHeader, DecompressLimits};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

/// A map smaller than this is not begun: what is left of the memory is for another sweep.
const LEAST_MAP_BYTES: usize = 64 << 10;

/// A partition that is due.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub partition: u32,
    pub policy: CleaningPolicy,
    pub bounds: PassBounds,
    /// Its truncations so far: keys of batches that are cut later must not remove anything.
    pub cuts: Cuts,
}

/// What is decided about the batches of one partition.
struct Pass {
    map: OffsetMap,
    cuts: Cuts,
    bounds: PassBounds,
    policy: CleaningPolicy,
}

/// A sweep on its way.
pub(crate) struct Sweep {
    /// Partitions whose keys are not known yet.
    due: VecDeque<Due>,
    scan: Option<(Due, KeyScan, Offset)>,
    free_memory_bytes: usize,
    reader: SourceReader,
    gathered: Passes,
    /// Partitions whose first dirty batch cannot be read.
    pub stuck: Vec<u32>,
    /// Files before this position are done.
    pub at: u64,
    /// Files from here on came later.
    pub until: u64,
}

/// The passes that are carried out, by partition number.
#[derive(Default)]
pub(crate) struct Passes {
    passes: HashMap<u32, Pass>,
    /// Producer windows are kept in the state of the log, not in its batches: none must stay because of them.
    no_producers: ProducerEnds,
}

impl Passes {
    /// Decides about the batches of a partition, if it is being compacted and was not truncated since.
    pub fn cleaner(&self, partition: u32, cuts: &Cuts) -> Option<BatchCleaner<'_>> {
        let pass = self.passes.get(&partition).filter(|pass| pass.cuts == *cuts)?;
        let limits = DecompressLimits::default();
        Some(BatchCleaner { cleaner: Cleaner::new(&pass.map, pass.bounds, &pass.policy, &self.no_producers, [], limits) })
    }

    /// How far each partition is clean when all is done.
    pub fn ends(&self) -> impl Iterator<Item = (u32, Offset)> + '_ {
        self.passes.iter().map(|(partition, pass)| (*partition, pass.map.end()))
    }

    pub fn is_empty(&self) -> bool {
        self.passes.is_empty()
    }

    /// Whether something in the file goes. One that cannot be read is left to the job, which gives up.
    pub fn concern(&self, file: &Sealed, budget: &mut Budget) -> bool {
        let mut reader = SourceReader::default();
        let concerned = self.passes.iter().any(|(partition, pass)| {
            let Some(record) = file.live_run(*partition, &pass.cuts) else { return false };
            let (Ok(entries), Some(mut cleaner)) = (file.run_entries(&record, i64::MIN), self.cleaner(*partition, &pass.cuts))
            else {
                return true;
            };
            let covered = entries.take_while(|entry| entry.base_offset < pass.map.end().0);
            let mut changes = covered.map(|entry| match reader.frame(file, *partition, &entry) {
                Ok((_, batch)) => cleaner.decide(batch) != Cleaned::Keep,
                Err(_) => true,
            });
            changes.any(|changes| changes)
        });
        budget.spend(reader.read_bytes);
        concerned
    }
}

pub(crate) struct BatchCleaner<'a> {
    cleaner: Cleaner<'a>,
}

impl BatchCleaner<'_> {
    /// What becomes of a batch. One that cannot be unpacked stays. So do marks of transactions: whether they may go depends on all
    /// batches before them, and a job sees some of them only.
    pub fn decide(&mut self, batch: &[u8]) -> Cleaned {
        let control = BatchHeader::parse(batch).is_ok_and(|header| header.attributes.is_control());
        if control { Cleaned::Keep } else { self.cleaner.clean(batch).unwrap_or(Cleaned::Keep) }
    }
}

/// What of a partition is there to be compacted.
pub(crate) struct LiveRange {
    pub log_start: Offset,
    /// What lies behind may still be cut off.
    pub stable_end: Offset,
    pub cuts: Cuts,
}

/// Whether a partition is due. `files` are those that may be tidied, `live` and `cleaned_to` its own.
pub(crate) fn assess(
    partition: u32,
    policy: CleaningPolicy,
    files: &[Arc<Sealed>],
    live: LiveRange,
    cleaned_to: Option<Offset>,
    now: TimestampMs,
) -> Option<Due> {
    let LiveRange { log_start, stable_end, cuts } = live;
    let newest = files.last()?;
    let end = Offset(newest.index().find(partition)?.end_offset.min(cuts.end_for(newest.end)));
    let first_dirty = first_dirty_offset(cleaned_to, log_start, end);
    let runs: Vec<DirectoryRecord> = files
        .iter()
        .filter_map(|file| file.live_run(partition, &cuts))
        .filter(|record| record.end_offset > log_start.0)
        .collect();
    let is_dirty = |record: &&DirectoryRecord| record.end_offset > first_dirty.0;
    let pieces = runs.iter().filter(is_dirty).map(|record| DirtyPiece {
        base_offset: Offset(record.base_offset).max(first_dirty),
        largest_timestamp: TimestampMs(record.max_timestamp),
    });
    let bound = first_uncleanable_offset(first_dirty, stable_end, end, pieces, &policy, now);
    let cleanable = |record: &&DirectoryRecord| is_dirty(record) && record.base_offset < bound.0;
    let backlog = Backlog {
        clean_bytes: runs.iter().filter(|record| !is_dirty(record)).map(|record| record.bytes).sum(),
        dirty_bytes: runs.iter().filter(cleanable).map(|record| record.bytes).sum(),
        // The first timestamp of a run is not known; its largest makes the partition due later, never too early.
        oldest_dirty: runs.iter().filter(cleanable).map(|record| TimestampMs(record.max_timestamp)).min(),
    };
    let bounds = PassBounds { first_dirty, first_uncleanable: bound, now };
    (first_dirty < bound && is_cleanable(&backlog, &policy, now)).then_some(Due { partition, policy, bounds, cuts })
}

impl Sweep {
    pub fn new(due: Vec<Due>, memory_bytes: usize, until: u64) -> Sweep {
        Sweep {
            due: due.into(),
            scan: None,
            free_memory_bytes: memory_bytes,
            reader: SourceReader::default(),
            gathered: Passes::default(),
            stuck: Vec::new(),
            at: 0,
            until,
        }
    }

    /// Goes on learning keys; the passes, once all are known.
    pub fn scan(&mut self, files: &Vec<Arc<Sealed>>, budget: &mut Budget) -> Option<Passes> {
        while !budget.is_spent() {
            let Some((due, mut scan, cursor)) = self.scan.take().or_else(|| self.next_scan()) else {
                self.reader = SourceReader::default();
                return Some(std::mem::take(&mut self.gathered));
            };
            match self.feed(&due, &mut scan, cursor, files, budget) {
                Some(cursor) => self.scan = Some((due, scan, cursor)),
                None => {
                    let map = scan.finish();
                    self.free_memory_bytes = self.free_memory_bytes.saturating_sub(map.memory_bytes());
                    match map.end() > due.bounds.first_dirty {
                        true => {
                            _ = self
                                .gathered
                                .passes
                                .insert(due.partition, Pass { map, bounds: due.bounds, policy: due.policy, cuts: due.cuts })
                        }
                        false => self.stuck.push(due.partition),
                    }
                }
            }
        }
        None
    }

    fn next_scan(&mut self) -> Option<(Due, KeyScan, Offset)> {
        if self.free_memory_bytes < LEAST_MAP_BYTES && !self.gathered.is_empty() {
            return None;
        }
        let due = self.due.pop_front()?;
        let PassBounds { first_dirty, first_uncleanable, .. } = due.bounds;
        let random = || RandomState::new().build_hasher().finish();
        let offsets = (first_uncleanable.0 - first_dirty.0) as u64;
        let map = OffsetMap::new(self.free_memory_bytes, offsets, HashKey([random(), random()]));
        let scan = KeyScan::new(map, first_dirty, first_uncleanable, [], DecompressLimits::default());
        Some((due, scan, first_dirty))
    }

    /// Reads batches from `cursor` on; where to go on, or `None` if the scan is complete.
    fn feed(
        &mut self,
        due: &Due,
        scan: &mut KeyScan,
        mut cursor: Offset,
        files: &Vec<Arc<Sealed>>,
        budget: &mut Budget,
    ) -> Option<Offset> {
        for (file, record) in runs_from(files, due.partition, cursor.0, &due.cuts) {
            let Ok(entries) = file.run_entries(&record, cursor.0) else { return closed(scan) };
            for entry in entries {
                if budget.is_spent() {
                    return Some(cursor);
                }
                let before = self.reader.read_bytes;
                let Ok((_, batch)) = self.reader.frame(file, due.partition, &entry) else { return closed(scan) };
                let fed = scan.feed(batch);
                budget.spend((self.reader.read_bytes - before).max(1));
                if !matches!(fed, Ok(ScanState::Open)) {
                    return None;
                }
                cursor = Offset(entry.last_offset() + 1);
            }
        }
        None
    }
}

/// Ends a scan before a batch that cannot be read.
fn closed(scan: &mut KeyScan) -> Option<Offset> {
    // Nothing is no batch: that closes it.
    let refused = scan.feed(&[]);
    assert!(refused.is_err() || matches!(refused, Ok(ScanState::Closed)));
    None
}
