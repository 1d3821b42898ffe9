//! Compaction by key of sealed segments, as Kafka's log cleaner does it.
//!
//! One pass at a time, over the filthiest partition that is due: learn the newest offset of each key in the part that was never
//! compacted, then write the sealed segments anew from the oldest on, in groups that fit into one segment. A new segment takes
//! the place of its group before the next group is begun, so that a tombstone goes only after everything older has gone. The
//! segment that is written to is never touched; it is rolled early if `max.compaction.lag.ms` asks for it.
//!
//! Done in steps of the housekeeping with a budget of bytes each, under its lock. What is decided about records is in
//! [`crate::clean`]; `plan` says what is due, `pass` walks, `output` writes, `swap` replaces, `recover` finishes what a crash
//! interrupted.

mod output;
mod pass;
mod plan;
mod recover;
mod swap;

use super::append::{CONTROL_BYTES, open_segment};
use super::files::replace;
use super::format::checkpoints::encode_offsets;
use super::house::House;
use super::log::{DedicatedLog, State};
use super::names::CLEANER;
use crate::LogFailure;
use crate::clean::{Backlog, CleaningPolicy, PassBounds, filthiest};
use duolog_base::{Offset, PartitionNumber, TimestampMs};
use hashbrown::HashSet;
use pass::{Pass, Progress};
pub(super) use recover::settle_directory;
use std::collections::BTreeMap;
use std::io;

/// What cleaning owns, a part of the housekeeping.
#[derive(Default)]
pub(super) struct Cleaning {
    pass: Option<Box<Pass>>,
    checked_at: Option<TimestampMs>,
    /// Partitions that cannot be compacted because of damage, until the log is opened again.
    uncleanable: HashSet<PartitionNumber>,
    /// A partition whose manifest still speaks of a replacement that is complete: it is told before anything else is replaced.
    unsettled: Option<PartitionNumber>,
}

/// Why a pass is given up.
#[derive(Debug)]
pub(super) enum Problem {
    Io(io::Error),
    /// A segment does not hold what the manifest says.
    Damaged,
    /// The partition, or a segment of the pass, is not there any more.
    Gone,
    /// There is no room for what is written anew.
    Full,
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull => Problem::Full,
            io::ErrorKind::NotFound => Problem::Gone,
            _ => Problem::Io(error),
        }
    }
}

/// Bytes that may still be read and written in this step.
pub(super) struct Budget {
    bytes: u64,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.bytes == 0
    }

    fn spend(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl DedicatedLog {
    /// Compacts these partitions by key from now on, and no others. Those the log does not know do no harm. Not remembered: to be
    /// said again after an opening.
    pub fn set_cleaning(&self, policies: &BTreeMap<PartitionNumber, CleaningPolicy>) {
        self.cleaning.lock().clone_from(policies);
    }

    /// Goes on compacting as far as the budget of one step allows.
    pub(super) fn clean_step(&self, house: &mut House, now: TimestampMs) -> Result<(), LogFailure> {
        let policies = self.cleaning.lock().clone();
        self.roll_aged(&policies, now);
        let cleaning = &mut house.cleaning;
        let mut budget = Budget { bytes: self.options.tidy.step_bytes };
        while !budget.is_spent() && self.settle(cleaning)? {
            let Some(mut pass) = self.current_pass(cleaning, &policies, now)? else { return Ok(()) };
            match pass.advance(self, cleaning, &mut budget) {
                Ok(Progress::More) => cleaning.pass = Some(pass),
                Ok(Progress::Wait) => {
                    cleaning.pass = Some(pass);
                    return Ok(());
                }
                Ok(Progress::Done(end)) => {
                    self.remember_cleaned(&pass, end)?;
                    cleaning.checked_at = None;
                }
                Err(problem) => {
                    cleaning.checked_at = Some(now);
                    return self.give_up(cleaning, *pass, problem);
                }
            }
        }
        Ok(())
    }

    /// The pass under way, or the one that is due now.
    fn current_pass(
        &self,
        cleaning: &mut Cleaning,
        policies: &BTreeMap<PartitionNumber, CleaningPolicy>,
        now: TimestampMs,
    ) -> Result<Option<Box<Pass>>, LogFailure> {
        if let Some(pass) = cleaning.pass.take() {
            if policies.contains_key(&pass.number) {
                return Ok(Some(pass));
            }
            self.discard(*pass)?;
        }
        let waited = |at: TimestampMs| now.0.saturating_sub(at.0) >= self.options.tidy.check_every_ms;
        if !cleaning.checked_at.is_none_or(waited) {
            return Ok(None);
        }
        let Some((number, policy, bounds)) = self.due(cleaning, policies, now) else {
            cleaning.checked_at = Some(now);
            return Ok(None);
        };
        match Pass::begin(self, number, policy, bounds) {
            Ok(pass) => Ok(Some(Box::new(pass))),
            Err(problem) => {
                cleaning.checked_at = Some(now);
                self.note_problem(cleaning, number, problem).map(|()| None)
            }
        }
    }

    /// The filthiest partition that is due.
    fn due(
        &self,
        cleaning: &Cleaning,
        policies: &BTreeMap<PartitionNumber, CleaningPolicy>,
        now: TimestampMs,
    ) -> Option<(PartitionNumber, CleaningPolicy, PassBounds)> {
        let checkpoints = self.checkpoints.lock();
        let assessed = |(number, policy): (&PartitionNumber, &CleaningPolicy)| {
            let state = self.state.lock();
            let known = state.partitions.get(number).filter(|known| known.quarantine.is_none())?;
            let remembered = checkpoints.cleaned.get(known.name.as_ref()).copied().map(Offset);
            let (backlog, bounds) = plan::assess(known, policy, remembered, now)?;
            Some((*number, *policy, bounds, backlog))
        };
        let able = policies.iter().filter(|(number, _)| !cleaning.uncleanable.contains(*number));
        let all: Vec<(PartitionNumber, CleaningPolicy, PassBounds, Backlog)> = able.filter_map(assessed).collect();
        let best = filthiest(all.iter().map(|(_, policy, _, backlog)| (backlog, policy)), now)?;
        let (number, policy, bounds, _) = all[best];
        Some((number, policy, bounds))
    }

    /// Ends segments whose first record has waited as long as it may, so that it can be compacted.
    fn roll_aged(&self, policies: &BTreeMap<PartitionNumber, CleaningPolicy>, now: TimestampMs) {
        let bounded = policies.iter().filter(|(_, policy)| policy.max_compaction_lag_ms < i64::MAX);
        let mut rolled = false;
        for (number, policy) in bounded {
            rolled |= self.state.lock().roll_aged(*number, policy.max_compaction_lag_ms, now);
        }
        if rolled {
            self.shell.wake_syncer();
        }
    }

    /// Writes down how far the partition is compacted. Forgetting it would cost time only.
    fn remember_cleaned(&self, pass: &Pass, end: Offset) -> Result<(), LogFailure> {
        let mut checkpoints = self.checkpoints.lock();
        if !self.state.lock().partitions.contains_key(&pass.number) {
            return Ok(());
        }
        checkpoints.cleaned.insert(pass.name.as_ref().clone(), end.0);
        self.counters.compactions.add(1);
        let path = self.dir.join(CLEANER);
        let written = replace(self.disk.as_ref(), &path, &encode_offsets(&checkpoints.cleaned));
        match written.and_then(|()| self.disk.sync_dir(&self.dir)) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            result => result.map_err(|error| self.fail("checkpoint", &path, error)),
        }
    }

    /// Ends what is under way for a partition whose end is cut off: a key that goes must not have removed anything.
    pub(super) fn abandon_pass(&self, house: &mut House, number: PartitionNumber) -> Result<(), LogFailure> {
        match house.cleaning.pass.take_if(|pass| pass.number == number) {
            Some(pass) => self.discard(*pass),
            None => Ok(()),
        }
    }

    /// Ends what is under way, because the log is closed.
    pub(super) fn stop_cleaning(&self, house: &mut House) -> Result<(), LogFailure> {
        match house.cleaning.pass.take() {
            Some(pass) => self.discard(*pass),
            None => Ok(()),
        }
    }

    fn give_up(&self, cleaning: &mut Cleaning, pass: Pass, problem: Problem) -> Result<(), LogFailure> {
        let number = pass.number;
        self.note_problem(cleaning, number, problem)?;
        self.discard(pass)
    }

    fn note_problem(&self, cleaning: &mut Cleaning, partition: PartitionNumber, problem: Problem) -> Result<(), LogFailure> {
        match problem {
            Problem::Io(error) => return Err(self.fail("compact", &self.dir, error)),
            Problem::Full => tracing::warn!(%partition, "no space for compaction"),
            Problem::Gone => tracing::info!(%partition, "compaction begins anew: segments were removed meanwhile"),
            Problem::Damaged => {
                tracing::error!(%partition, "a partition is not compacted any more: a segment of it is damaged");
                cleaning.uncleanable.insert(partition);
                self.shell.damaged(partition);
            }
        }
        Ok(())
    }

    fn discard(&self, pass: Pass) -> Result<(), LogFailure> {
        pass.discard(self.disk.as_ref()).map_err(|error| self.fail("remove", &self.dir, error))
    }
}

impl Cleaning {
    /// What was damaged of the partition is gone.
    pub(super) fn is_sound(&mut self, partition: PartitionNumber) {
        self.uncleanable.remove(&partition);
    }
}

impl State {
    /// Ends the active segment if its first record is older than `max_lag_ms`.
    fn roll_aged(&mut self, number: PartitionNumber, max_lag_ms: i64, now: TimestampMs) -> bool {
        if self.progress.is_stopped() {
            return false;
        }
        let State { partitions, queue, next, rolled, .. } = self;
        let Some(known) = partitions.get_mut(&number).filter(|known| known.quarantine.is_none()) else { return false };
        let Some(bounds) = known.active.as_ref().map(|active| active.growing.bounds()) else { return false };
        let first = bounds.first_timestamp;
        if bounds.bytes == 0 || first <= 0 || now.0.saturating_sub(first) <= max_lag_ms.max(0) {
            return false;
        }
        known.roll(*next);
        open_segment(known, number, bounds.end, queue, now);
        *next += CONTROL_BYTES;
        rolled.push(number);
        true
    }
}
