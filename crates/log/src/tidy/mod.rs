//! Tidying: sealed files are written anew, sorted by partition, without what is dead.
//!
//! The commit log is freed oldest file first, so without this one partition with a long retention would keep everybody's data,
//! and whoever reads a partition from the beginning would jump through all of it. A tidied file covers the positions of the files
//! it was made of and takes their place with one rename. The newest sealed file is never tidied: its state is where a
//! recovery begins.
//!
//! Done in steps of the housekeeping with a budget of bytes each. Lock order: `tidier`, `house`, `fill`, `state`.

mod choose;
mod compact;
mod job;
mod output;
mod rebuild;
mod source;
mod sweep;

use crate::LogFailure;
use crate::clean::CleanerCheckpoint;
use crate::cuts::Cuts;
use crate::files::{remove_if_there, tidied_path, unfinished_tidied_path};
use crate::format::file_header::FILE_HEADER_BYTES;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::house::House;
use crate::log::Log;
use crate::sealed::{Sealed, SealedProblem};
use choose::{Rules, Share, choose, grow};
use compact::SweepStep;
use duolog_base::{PartitionNumber, TimestampMs};
use hashbrown::{HashMap, HashSet};
use job::{Budget, Job, JobProblem, Published};
pub(crate) use rebuild::rebuild_tidied;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use sweep::{Passes, Sweep};

/// Partitions looked at in one go under the lock.
const CHUNK_PARTITIONS: usize = 256;
/// What a frame takes beside its batch, padding included, on average.
const FRAME_OVERHEAD_BYTES: u64 = FRAME_HEADER_BYTES as u64 + 4;

/// When and how fast files are tidied.
#[derive(Clone, Copy, Debug)]
pub struct TidyOptions {
    /// Bytes that tidying may read and write in one [`Log::house_step`], which comes about once a second.
    pub step_bytes: u64,
    /// How often a look is taken at what is due.
    pub check_every_ms: i64,
    /// Dead part of a file, in hundredths, above which it is written anew.
    pub dead_percent: u64,
    /// Age above which a file that is still in order of arrival is sorted; `None` sorts only what is written anew anyway.
    pub sort_after_ms: Option<i64>,
    /// Memory for the keys of partitions that are being compacted: 24 bytes and a third a key.
    pub key_memory_bytes: usize,
}

impl Default for TidyOptions {
    fn default() -> Self {
        TidyOptions {
            step_bytes: 32 << 20,
            check_every_ms: 10_000,
            dead_percent: 50,
            sort_after_ms: Some(60 * 60 * 1000),
            key_memory_bytes: 32 << 20,
        }
    }
}

/// What tidying owns.
#[derive(Default)]
pub(crate) struct Tidier {
    job: Option<Job>,
    checked_at: Option<TimestampMs>,
    /// Files that are damaged and stay as they are.
    refused: Vec<u64>,
    /// The compaction under way; its passes are known once the keys are.
    sweep: Option<Sweep>,
    passes: Passes,
    swept_at: Option<TimestampMs>,
    /// How far partitions are compacted, once it was read.
    cleaned: Option<CleanerCheckpoint>,
    /// Partitions that cannot be compacted because of damage.
    uncleanable: HashSet<u32>,
}

impl Log {
    /// Goes on tidying as far as the budget of one step allows.
    pub(crate) fn tidy_step(&self, now: TimestampMs) -> Result<(), LogFailure> {
        let mut tidier = self.tidier.lock();
        if tidier.job.is_none() {
            self.repair_tidied(&mut tidier)?;
        }
        let mut budget = Budget { bytes: self.options.tidy.step_bytes };
        while !budget.is_spent() && !self.is_closed()? {
            let mut job = match tidier.job.take() {
                Some(job) => job,
                None => match self.next_job(&mut tidier, &mut budget, now)? {
                    Some(job) => job,
                    None => return Ok(()),
                },
            };
            match job.copy(self, &tidier.passes, &mut budget) {
                Ok(false) => tidier.job = Some(job),
                Ok(true) if self.state.lock().progress.durable < job.killed_before => {
                    tidier.job = Some(job);
                    return Ok(());
                }
                Ok(true) => {
                    let end = job.end;
                    if !self.finish(job)? {
                        return Ok(());
                    }
                    // What was made may join others at once.
                    tidier.checked_at = None;
                    if let Some(sweep) = &mut tidier.sweep {
                        sweep.at = sweep.at.max(end);
                    }
                }
                Err(problem) => return self.give_up(&mut tidier, job, problem),
            }
        }
        Ok(())
    }

    /// Rebuilds tidied files whose entries readers have found damaged.
    fn repair_tidied(&self, tidier: &mut Tidier) -> Result<(), LogFailure> {
        let mut house = self.house.lock();
        if self.is_closed()? {
            return Ok(());
        }
        let files = self.sealed.load_full();
        let damaged = files.iter().enumerate().filter(|(_, file)| file.is_tidied() && file.is_damaged());
        for (at, file) in damaged {
            if house.beyond_repair.contains(&file.base) {
                continue;
            }
            let path = tidied_path(&self.dir, file.base);
            match rebuild_tidied(self.disk.as_ref(), &self.dir, file.base) {
                Ok(Some(rebuilt)) => {
                    tracing::warn!(path = %path.display(), "a damaged index was rebuilt");
                    let mut files = self.sealed.load().as_ref().clone();
                    files[at] = Arc::new(rebuilt);
                    self.sealed.store(Arc::new(files));
                    tidier.refused.retain(|base| *base != file.base);
                }
                Ok(None) => {
                    tracing::error!(path = %path.display(), "a damaged index cannot be rebuilt: more of the file is damaged");
                    house.beyond_repair.push(file.base);
                }
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    tracing::warn!(path = %path.display(), "no space to rebuild an index");
                }
                Err(error) => return Err(self.fail("rebuild", &path, error)),
            }
        }
        Ok(())
    }

    /// Ends what is under way, because the log is closed.
    pub(crate) fn stop_tidying(&self) -> Result<(), LogFailure> {
        let Some(job) = self.tidier.lock().job.take() else { return Ok(()) };
        let path = tidied_path(&self.dir, job.base);
        job.abandon(self).map_err(|error| self.fail("remove", &path, error))
    }

    fn give_up(&self, tidier: &mut Tidier, job: Job, problem: JobProblem) -> Result<(), LogFailure> {
        let path = tidied_path(&self.dir, job.base);
        match problem {
            JobProblem::Damaged { base, batch_of } => {
                tracing::error!(base, "a file is damaged and stays as it is");
                batch_of.into_iter().for_each(|partition| self.shell.damaged(partition));
                tidier.refused.push(base);
                tidier.abandon_sweep();
            }
            JobProblem::Io(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(path = %path.display(), "no space for tidying");
            }
            JobProblem::Io(error) => return Err(self.fail("tidy", &path, error)),
        }
        job.abandon(self).map_err(|error| self.fail("remove", &path, error))
    }

    /// Begins what is due, if there is room for it.
    fn next_job(&self, tidier: &mut Tidier, budget: &mut Budget, now: TimestampMs) -> Result<Option<Job>, LogFailure> {
        match self.sweep_step(tidier, budget, now)? {
            SweepStep::Idle => {}
            SweepStep::Wait => return Ok(None),
            SweepStep::Job(job) => return Ok(Some(*job)),
        }
        let waited = |at: TimestampMs| now.0.saturating_sub(at.0) >= self.options.tidy.check_every_ms;
        if !tidier.checked_at.is_none_or(waited) {
            return Ok(None);
        }
        tidier.checked_at = Some(now);
        let sealed = self.sealed.load_full();
        let Some((_newest, files)) = sealed.split_last() else { return Ok(None) };
        let shares = self.shares(tidier, files);
        let Some(range) = choose(&shares, &self.rules(), now) else { return Ok(None) };
        let needed: u64 = shares[range.clone()].iter().map(|share| share.live_bytes).sum();
        if self.check_space()? < needed {
            return Ok(None);
        }
        let base = files[range.start].base;
        match Job::begin(self, files[range].to_vec()) {
            Ok(job) => Ok(Some(job)),
            Err(error) => begin_failed(self, base, error).map(|()| None),
        }
    }

    /// The file at `first` and those that are written anew with it.
    fn grow_from(&self, tidier: &Tidier, files: &[Arc<Sealed>], first: usize, now: TimestampMs) -> Range<usize> {
        grow(&self.shares(tidier, files), first, &self.rules(), now)
    }

    fn rules(&self) -> Rules {
        Rules {
            dead_percent: self.options.tidy.dead_percent,
            sort_after_ms: self.options.tidy.sort_after_ms,
            file_bytes: self.options.file_bytes,
        }
    }

    fn shares(&self, tidier: &Tidier, files: &[Arc<Sealed>]) -> Vec<Share> {
        let live = self.live_ranges();
        files.iter().map(|file| share(file, &live, &tidier.refused)).collect()
    }

    fn live_ranges(&self) -> HashMap<u32, (i64, Cuts)> {
        let numbers = self.partitions();
        let mut live = HashMap::with_capacity(numbers.len());
        for chunk in numbers.chunks(CHUNK_PARTITIONS) {
            let state = self.state.lock();
            let known = |number: &PartitionNumber| {
                let known = state.partitions.get(number)?;
                Some((number.0, (known.log_start(), known.cuts().clone())))
            };
            live.extend(chunk.iter().filter_map(known));
        }
        live
    }

    /// Puts the new file in the place of its sources, if they are still there and the disk has room.
    fn finish(&self, job: Job) -> Result<bool, LogFailure> {
        let mut house = self.house.lock();
        let path = tidied_path(&self.dir, job.base);
        let failed = |error| self.fail("tidy", &path, error);
        let files = self.sealed.load_full();
        let at = files.iter().position(|file| Arc::ptr_eq(file, &job.sources[0])).filter(|at| {
            let rest = files[*at..].iter();
            rest.len() > job.sources.len() && rest.zip(&job.sources).all(|(file, source)| Arc::ptr_eq(file, source))
        });
        // The oldest ones may have been freed meanwhile, or an index was repaired.
        let Some(at) = at else { return job.abandon(self).map(|()| false).map_err(failed) };
        let base = job.base;
        let Published { sources, bytes } = match job.publish(self) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let unfinished = unfinished_tidied_path(&self.dir, base);
                return remove_if_there(self.disk.as_ref(), &unfinished).map(|()| false).map_err(failed);
            }
            result => result.map_err(failed)?,
        };
        let tidied = match Sealed::open_tidied(self.disk.as_ref(), &self.dir, base) {
            Ok(tidied) => Arc::new(tidied),
            Err(SealedProblem::Io(error)) => return Err(failed(error)),
            Err(SealedProblem::Index(problem)) => {
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, problem.describe())));
            }
        };
        let mut list = files.as_ref().clone();
        list.splice(at..at + sources.len(), [tidied]);
        self.sealed.store(Arc::new(list));
        drop(files);
        self.counters.files_tidied.add(sources.len() as u64);
        self.counters.tidied_bytes.add(bytes);
        self.remove_sources(&mut house, base, sources).map(|()| true).map_err(failed)
    }

    fn remove_sources(&self, house: &mut House, base: u64, sources: Vec<Arc<Sealed>>) -> io::Result<()> {
        house.forget_condemned();
        let new = tidied_path(&self.dir, base);
        for source in sources {
            self.retire(house, source, Some(&new))?;
        }
        self.disk.sync_dir(&self.dir)
    }
}

/// A job that finds no room is begun another time.
fn begin_failed(log: &Log, base: u64, error: io::Error) -> Result<(), LogFailure> {
    match error.kind() {
        io::ErrorKind::StorageFull => Ok(()),
        _ => Err(log.fail("tidy", &tidied_path(&log.dir, base), error)),
    }
}

/// How much of a file can still be read, given log starts and truncations. A run of which a part is dead is counted by its entries only if
/// the index is sound.
fn share(file: &Sealed, live: &HashMap<u32, (i64, Cuts)>, refused: &[u64]) -> Share {
    let (mut live_bytes, mut partitions, mut newest) = (0, 0, -1);
    for record in file.index().records().filter(|record| record.entries > 0) {
        partitions += 1;
        newest = newest.max(record.max_timestamp);
        let Some((start, cuts)) = live.get(&record.partition) else { continue };
        let Some(run) = file.live_run(record.partition, cuts).filter(|run| *start < run.end_offset) else { continue };
        let whole = (u64::from(record.entries), record.bytes);
        let (entries, bytes) = match file.run_entries(&run, *start) {
            Ok(live) if *start > run.base_offset || run.end_offset < record.end_offset => {
                live.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + u64::from(entry.batch_bytes)))
            }
            _ => whole,
        };
        live_bytes += bytes + entries * FRAME_OVERHEAD_BYTES;
    }
    Share {
        total_bytes: file.frames_bytes - FILE_HEADER_BYTES as u64,
        live_bytes,
        tidied: file.is_tidied(),
        mixed: partitions > 1,
        newest: TimestampMs(newest),
        refused: refused.contains(&file.base),
    }
}
