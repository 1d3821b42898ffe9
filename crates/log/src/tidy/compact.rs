//! Beginning, going on with and ending sweeps; see `sweep`.

use super::job::{Budget, Job};
use super::sweep::{LiveRange, Passes, Sweep, assess};
use super::{Tidier, begin_failed};
use crate::LogFailure;
use crate::clean::{CleanerCheckpoint, CleaningPolicy};
use crate::files::{read_whole, write_whole};
use crate::log::Log;
use crate::sealed::Sealed;
use duolog_base::{Offset, OpenMode, PartitionNumber, TimestampMs};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What is to be done for the sweep.
pub(super) enum SweepStep {
    /// Nothing: other tidying may go on.
    Idle,
    /// Nothing in this step any more.
    Wait,
    Job(Box<Job>),
}

impl Log {
    /// Compacts these partitions by key from now on, and no others. Those the log does not know do no harm. Not remembered: to be
    /// said again after an opening.
    pub fn set_cleaning(&self, policies: &BTreeMap<PartitionNumber, CleaningPolicy>) {
        self.cleaning.lock().clone_from(policies);
    }

    pub(super) fn sweep_step(&self, tidier: &mut Tidier, budget: &mut Budget, now: TimestampMs) -> Result<SweepStep, LogFailure> {
        let sealed = self.sealed.load_full();
        let Some((_newest, files)) = sealed.split_last() else { return Ok(SweepStep::Idle) };
        if tidier.sweep.is_none() {
            tidier.sweep = self.plan_sweep(tidier, files, now);
        }
        let Some(sweep) = &mut tidier.sweep else { return Ok(SweepStep::Idle) };
        if tidier.passes.is_empty() {
            let Some(passes) = sweep.scan(&files.to_vec(), budget) else { return Ok(SweepStep::Wait) };
            tidier.uncleanable.extend(sweep.stuck.drain(..));
            tidier.passes = passes;
        }
        let left = sweep.at..sweep.until;
        for (at, file) in files.iter().enumerate().filter(|(_, file)| left.contains(&file.base)) {
            if budget.is_spent() {
                return Ok(SweepStep::Wait);
            }
            if tidier.passes.concern(file, budget) {
                return self.sweep_job(tidier, files, at, now);
            }
            sweep.at = file.end;
        }
        self.end_sweep(tidier)?;
        Ok(SweepStep::Idle)
    }

    fn plan_sweep(&self, tidier: &mut Tidier, files: &[Arc<Sealed>], now: TimestampMs) -> Option<Sweep> {
        let waited = |at: TimestampMs| now.0.saturating_sub(at.0) >= self.options.tidy.check_every_ms;
        if !tidier.swept_at.is_none_or(waited) {
            return None;
        }
        tidier.swept_at = Some(now);
        let mut policies = self.cleaning.lock().clone();
        policies.retain(|number, _| !tidier.uncleanable.contains(&number.0));
        if policies.is_empty() {
            return None;
        }
        let cleaned = tidier.cleaned.get_or_insert_with(|| self.read_cleaner_checkpoint());
        let due: Vec<_> = policies
            .into_iter()
            .filter_map(|(number, policy)| {
                let live = {
                    let state = self.state.lock();
                    let known = state.partitions.get(&number).filter(|known| known.quarantine().is_none())?;
                    let (log_start, stable_end) = (Offset(known.log_start()), Offset(known.stable_end()));
                    LiveRange { log_start, stable_end, cuts: known.cuts().clone() }
                };
                assess(number.0, policy, files, live, cleaned.first_dirty.get(&number).copied(), now)
            })
            .collect();
        let until = files.last()?.end;
        (!due.is_empty()).then(|| Sweep::new(due, self.options.tidy.key_memory_bytes, until))
    }

    fn sweep_job(
        &self,
        tidier: &mut Tidier,
        files: &[Arc<Sealed>],
        at: usize,
        now: TimestampMs,
    ) -> Result<SweepStep, LogFailure> {
        if tidier.refused.contains(&files[at].base) {
            tidier.abandon_sweep();
            return Ok(SweepStep::Idle);
        }
        let range = self.grow_from(tidier, files, at, now);
        let needed: u64 = files[range.clone()].iter().map(|file| file.frames_bytes).sum();
        if self.check_space()? < needed {
            return Ok(SweepStep::Wait);
        }
        match Job::begin(self, files[range].to_vec()) {
            Ok(job) => Ok(SweepStep::Job(Box::new(job))),
            Err(error) => begin_failed(self, files[at].base, error).map(|()| SweepStep::Wait),
        }
    }

    /// All files are done: what was compacted is remembered. Forgetting it would cost time only.
    fn end_sweep(&self, tidier: &mut Tidier) -> Result<(), LogFailure> {
        let passes = std::mem::take(&mut tidier.passes);
        tidier.sweep = None;
        if passes.is_empty() {
            return Ok(());
        }
        let cleaned = tidier.cleaned.get_or_insert_default();
        cleaned.first_dirty.extend(passes.ends().map(|(partition, end)| (PartitionNumber(partition), end)));
        {
            let state = self.state.lock();
            cleaned.first_dirty.retain(|partition, _| state.partitions.contains_key(partition));
        }
        self.counters.compactions.add(passes.ends().count() as u64);
        let path = self.cleaner_checkpoint_path();
        match write_whole(self.disk.as_ref(), &self.dir, &path, &[cleaned.encode()]) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            result => result.map_err(|error| self.fail("write", &path, error)),
        }
    }

    fn cleaner_checkpoint_path(&self) -> PathBuf {
        self.dir.join("cleaner-checkpoint")
    }

    fn read_cleaner_checkpoint(&self) -> CleanerCheckpoint {
        let path = self.cleaner_checkpoint_path();
        let bytes = match self.disk.open(&path, OpenMode::Read).and_then(|file| read_whole(file.as_ref())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return CleanerCheckpoint::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compaction begins anew");
                return CleanerCheckpoint::default();
            }
            Ok(bytes) => bytes,
        };
        CleanerCheckpoint::decode(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "compaction begins anew");
            CleanerCheckpoint::default()
        })
    }
}

impl Tidier {
    /// A file that must be compacted cannot be: what comes after it must not be, or tombstones would go before what they delete.
    pub(super) fn abandon_sweep(&mut self) {
        if self.sweep.take().is_some() {
            self.uncleanable.extend(self.passes.ends().map(|(partition, _)| partition));
            self.passes = Passes::default();
            tracing::error!("partitions are not compacted any more: a file with batches of them is damaged");
        }
    }
}
