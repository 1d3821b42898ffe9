//! One pass over a partition: first its keys are learned, then its segments are written anew.

use super::output::{Output, open_source};
use super::plan::group;
use super::{Budget, Cleaning, Problem};
use crate::AppendOrigin;
use crate::clean::{
    AbortedTransaction, Cleaner, CleanerWalk, CleaningPolicy, HashKey, KeyScan, OffsetMap, PassBounds, ProducerEnd, ProducerEnds,
    ScanState,
};
use crate::dedicated::SegmentPolicy;
use crate::dedicated::cursor::{Batches, Found};
use crate::dedicated::files::read_if_there;
use crate::dedicated::format::checksum;
use crate::dedicated::format::manifest::SegmentRecord;
use crate::dedicated::format::transactions::{self, decode_aborted};
use crate::dedicated::log::DedicatedLog;
use crate::dedicated::names::{PartitionName, SegmentFile};
use crate::dedicated::partition::Dedicated;
use duolog_base::{Disk, Offset, PartitionNumber, ProducerId};
use duolog_wire::record::DecompressLimits;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How far a step has come.
pub enum Progress {
    /// There is more to do.
    More,
    /// There is, but not now: the disk has no room.
    Wait,
    /// The partition is compacted up to here.
    Done(Offset),
}

/// A pass on its way.
pub struct Pass {
    pub number: PartitionNumber,
    pub name: Arc<PartitionName>,
    dir: PathBuf,
    policy: CleaningPolicy,
    segments: SegmentPolicy,
    bounds: PassBounds,
    /// All aborted transactions that are known.
    aborted: Vec<AbortedTransaction>,
    producers: ProducerEnds,
    stage: Stage,
}

enum Stage {
    /// Learning keys, from the segments that hold dirty records.
    Scan {
        scan: Option<KeyScan>,
        sources: VecDeque<SegmentRecord>,
        reader: Option<Batches>,
    },
    Rewrite {
        map: OffsetMap,
        walk: CleanerWalk,
        groups: VecDeque<Vec<SegmentRecord>>,
        output: Option<Box<Output>>,
    },
}

impl Pass {
    pub fn begin(
        log: &DedicatedLog,
        number: PartitionNumber,
        policy: CleaningPolicy,
        bounds: PassBounds,
    ) -> Result<Pass, Problem> {
        let state = log.state.lock();
        let known = state.partitions.get(&number).ok_or(Problem::Gone)?;
        let (name, segments, producers) = (known.name.clone(), known.policy, producer_ends(known));
        let sealed = known.sealed.clone();
        let unsealed: Vec<u8> = known.unsealed().flat_map(|segment| segment.growing.aborted.iter().copied()).collect();
        drop(state);
        let dir = log.directory(&name);
        let mut aborted = decode_aborted(&unsealed).ok_or(Problem::Damaged)?;
        for segment in &sealed {
            aborted.extend(aborted_of(log.disk.as_ref(), &dir, segment)?);
        }
        let aborted: Vec<AbortedTransaction> = aborted.into_iter().map(decoded).collect();
        let random = || RandomState::new().build_hasher().finish();
        let offsets = (bounds.first_uncleanable.0 - bounds.first_dirty.0) as u64;
        let map = OffsetMap::new(log.options.tidy.key_memory_bytes, offsets, HashKey([random(), random()]));
        let limits = DecompressLimits::default();
        let scan = KeyScan::new(map, bounds.first_dirty, bounds.first_uncleanable, aborted.iter().copied(), limits);
        let dirty = sealed.into_iter().filter(|one| one.end > bounds.first_dirty.0 && one.base < bounds.first_uncleanable.0);
        let stage = Stage::Scan { scan: Some(scan), sources: dirty.collect(), reader: None };
        Ok(Pass { number, name, dir, policy, segments, bounds, aborted, producers, stage })
    }

    /// Goes on as far as the budget reaches.
    pub fn advance(&mut self, log: &DedicatedLog, cleaning: &mut Cleaning, budget: &mut Budget) -> Result<Progress, Problem> {
        self.check_sources(log)?;
        match &mut self.stage {
            Stage::Scan { .. } => self.learn(log, budget),
            Stage::Rewrite { .. } => self.rewrite(log, cleaning, budget),
        }
    }

    /// Removes what is not complete.
    pub fn discard(self, disk: &dyn Disk) -> io::Result<()> {
        match self.stage {
            Stage::Rewrite { output: Some(output), .. } => output.discard(disk, &self.dir),
            _ => Ok(()),
        }
    }

    /// Segments may have been removed meanwhile, because the log start was raised.
    fn check_sources(&self, log: &DedicatedLog) -> Result<(), Problem> {
        let state = log.state.lock();
        let known = state.partitions.get(&self.number).filter(|known| known.quarantine.is_none()).ok_or(Problem::Gone)?;
        let next = match &self.stage {
            Stage::Scan { sources, .. } => sources.front(),
            Stage::Rewrite { output: Some(output), .. } => output.sources.first(),
            Stage::Rewrite { groups, .. } => groups.front().and_then(|group| group.first()),
        };
        match next {
            Some(next) if !known.sealed.contains(next) => Err(Problem::Gone),
            _ => Ok(()),
        }
    }

    fn learn(&mut self, log: &DedicatedLog, budget: &mut Budget) -> Result<Progress, Problem> {
        let Stage::Scan { scan: Some(scan), sources, reader } = &mut self.stage else { unreachable!("the stage was looked at") };
        while let Some(source) = sources.front() {
            if budget.is_spent() {
                return Ok(Progress::More);
            }
            let batches = match &mut *reader {
                Some(batches) => batches,
                none => none.insert(open_source(log.disk.as_ref(), &self.dir, source)?),
            };
            match batches.next(Offset(source.base))? {
                Found::Damage => return Err(Problem::Damaged),
                Found::End => {
                    *reader = None;
                    sources.pop_front();
                }
                Found::Batch(header, batch) => {
                    budget.spend(batch.len() as u64);
                    if header.next_offset() <= self.bounds.first_dirty {
                        continue;
                    }
                    if scan.feed(batch).map_err(|_| Problem::Damaged)? == ScanState::Closed {
                        sources.clear();
                    }
                }
            }
        }
        self.begin_rewriting(log)
    }

    /// All keys are known, or as many as there is memory for.
    fn begin_rewriting(&mut self, log: &DedicatedLog) -> Result<Progress, Problem> {
        let alive: Vec<SegmentRecord> = {
            let state = log.state.lock();
            let known = state.partitions.get(&self.number).ok_or(Problem::Gone)?;
            known.sealed.iter().copied().filter(|segment| segment.end > known.log.log_start()).collect()
        };
        let Stage::Scan { scan, .. } = &mut self.stage else { unreachable!("the stage was looked at") };
        let map = scan.take().ok_or(Problem::Gone)?.finish();
        if map.end() <= self.bounds.first_dirty {
            return Err(Problem::Damaged);
        }
        let groups = group(alive.into_iter().filter(|segment| segment.base < map.end().0), &self.segments);
        let walk = CleanerWalk::new(self.aborted.iter().copied());
        self.stage = Stage::Rewrite { map, walk, groups, output: None };
        Ok(Progress::More)
    }

    fn rewrite(&mut self, log: &DedicatedLog, cleaning: &mut Cleaning, budget: &mut Budget) -> Result<Progress, Problem> {
        let Stage::Rewrite { map, walk, groups, output } = &mut self.stage else { unreachable!("the stage was looked at") };
        let disk = log.disk.as_ref();
        let current = match &mut *output {
            Some(output) => output,
            none => {
                let Some(sources) = groups.front() else { return Ok(Progress::Done(map.end())) };
                if !has_room(log, sources)? {
                    return Ok(Progress::Wait);
                }
                let interval_bytes = self.segments.index_interval_bytes;
                let begun = Output::begin(disk, &self.dir, sources.clone(), interval_bytes)?;
                groups.pop_front();
                none.insert(Box::new(begun))
            }
        };
        let limits = DecompressLimits::default();
        let going_on = std::mem::take(walk);
        let mut cleaner = Cleaner::resume(map, self.bounds, &self.policy, &self.producers, going_on, limits);
        let copied = current.copy(disk, &self.dir, &mut cleaner, budget);
        let mut retained = if matches!(copied, Ok(true)) { cleaner.take_retained_aborts() } else { Vec::new() };
        *walk = cleaner.pause();
        if !copied? {
            return Ok(Progress::More);
        }
        // What the pass does not cover stays as it is.
        let uncovered = map.end().0.max(current.base())..current.end();
        retained.extend(self.aborted.iter().filter(|aborted| uncovered.contains(&aborted.last_offset.0)));
        retained.sort_by_key(|aborted| aborted.last_offset);
        if current.is_idle() {
            current.discard(disk, &self.dir)?;
        } else {
            let record = current.finish(disk, &self.dir, retained.into_iter().map(encoded))?;
            budget.spend(record.bytes);
            log.replace_segments(cleaning, self.number, &self.dir, &current.sources, record)?;
        }
        *output = None;
        Ok(Progress::More)
    }
}

/// Whether the disk can take a group once more without touching its reserve.
fn has_room(log: &DedicatedLog, sources: &[SegmentRecord]) -> io::Result<bool> {
    let free = log.disk.free_bytes(&log.dir)?.saturating_sub(log.options.reserve_for(AppendOrigin::Client));
    Ok(sources.iter().map(|source| source.bytes).sum::<u64>() <= free)
}

/// The last sequences of the producers that are known: a segment that is read for a lost snapshot must tell them.
fn producer_ends(known: &Dedicated) -> ProducerEnds {
    let ends = known.log.producers().sorted().into_iter().map(|(id, state)| {
        let last_data_offset = state.batches().last().map(|last| Offset(last.base_offset + i64::from(last.last_offset_delta)));
        (id, ProducerEnd { last_data_offset, epoch: state.epoch })
    });
    ends.collect()
}

/// The aborted transactions that end in a sealed segment.
fn aborted_of(disk: &dyn Disk, dir: &Path, segment: &SegmentRecord) -> Result<Vec<transactions::AbortedTransaction>, Problem> {
    let Some(crc) = segment.transaction_crc else { return Ok(Vec::new()) };
    let bytes = read_if_there(disk, &SegmentFile::TransactionIndex.path(dir, segment.base))?;
    bytes.filter(|bytes| checksum(bytes) == crc).and_then(|bytes| decode_aborted(&bytes)).ok_or(Problem::Damaged)
}

fn decoded(aborted: transactions::AbortedTransaction) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: ProducerId(aborted.producer_id),
        first_offset: Offset(aborted.first_offset),
        last_offset: Offset(aborted.last_offset),
        last_stable_offset: Offset(aborted.last_stable_offset),
    }
}

fn encoded(aborted: AbortedTransaction) -> transactions::AbortedTransaction {
    transactions::AbortedTransaction {
        producer_id: aborted.producer_id.0,
        first_offset: aborted.first_offset.0,
        last_offset: aborted.last_offset.0,
        last_stable_offset: aborted.last_stable_offset.0,
    }
}
