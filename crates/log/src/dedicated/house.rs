//! Housekeeping: seals full segments, removes dead ones and dropped directories, writes recovery points, has segments compacted,
//! watches the free space.
//!
//! One at a time (the `house` lock), in small portions, never on the way of an append.

use super::append::{CONTROL_BYTES, open_segment};
use super::cleaning::Cleaning;
use super::files::replace;
use super::format::manifest::SegmentRecord;
use super::log::{DedicatedLog, Space, State};
use super::names::MANIFEST;
use super::segments::remove_segment;
use crate::LogFailure;
use duolog_base::{PartitionNumber, TimestampMs};
use std::io;
use std::path::Path;

/// How often the durable ends are written down, if they have moved. What is damaged below them is not taken for a torn tail.
const RECOVERY_POINT_INTERVAL_MS: i64 = 5000;
/// Partitions looked at in one go under the lock.
const CHUNK_PARTITIONS: usize = 256;

/// What the housekeeping owns.
#[derive(Default)]
pub(super) struct House {
    checkpointed_at: Option<TimestampMs>,
    checkpointed_durable: u64,
    pub(super) cleaning: Cleaning,
}

impl DedicatedLog {
    /// Background work in small portions: sealing, removing what is dead, recovery points, compaction, free space. Called every
    /// second or so by core's housekeeping, may do disk I/O.
    pub fn house_step(&self, now: TimestampMs) -> Result<(), LogFailure> {
        self.prepare_step()?;
        let mut house = self.house.lock();
        if self.is_closed()? {
            return Ok(());
        }
        for chunk in self.partitions().chunks(CHUNK_PARTITIONS) {
            self.look_at(chunk, now);
        }
        self.remove_dead()?;
        self.checkpoint(&mut house, now)?;
        self.clean_step(&mut house, now)?;
        self.check_space()
    }

    /// The part of the housekeeping that the writer and the syncer ask for.
    pub(super) fn prepare_step(&self) -> Result<(), LogFailure> {
        let mut house = self.house.lock();
        if self.is_closed()? {
            return Ok(());
        }
        self.seal_rolled(&mut house)?;
        self.remove_directories()
    }

    /// Whether the files may belong to somebody else by now.
    fn is_closed(&self) -> Result<bool, LogFailure> {
        self.state.lock().progress.is_closed()
    }

    pub(super) fn check_space(&self) -> Result<(), LogFailure> {
        let free = self.disk.free_bytes(&self.dir).map_err(|error| self.fail("look at free space", &self.dir, error))?;
        let mut state = self.state.lock();
        state.space = Space { at: state.progress.written, free_bytes: free };
        Ok(())
    }

    /// Gives up entries of partitions nobody writes to, and ends segments all of which is dead.
    fn look_at(&self, partitions: &[PartitionNumber], now: TimestampMs) {
        let mut queued = false;
        {
            let mut state = self.state.lock();
            for number in partitions {
                state.give_up_entries(*number);
                queued |= !state.progress.is_stopped() && state.end_dead_segment(*number, now);
            }
        }
        if queued {
            self.shell.wake_syncer();
        }
    }

    fn checkpoint(&self, house: &mut House, now: TimestampMs) -> Result<(), LogFailure> {
        let durable = self.durable_position().0;
        let due = house.checkpointed_at.is_none_or(|at| now.0.saturating_sub(at.0) >= RECOVERY_POINT_INTERVAL_MS);
        if !due || house.checkpointed_durable == durable {
            return Ok(());
        }
        (house.checkpointed_at, house.checkpointed_durable) = (Some(now), durable);
        self.counters.checkpoints.add(1);
        self.write_recovery_points()
    }

    /// Removes the sealed segments that lie below durable log starts.
    fn remove_dead(&self) -> Result<(), LogFailure> {
        for number in self.partitions() {
            let (dir, dead, manifest) = {
                let mut state = self.state.lock();
                let Some(known) = state.partitions.get_mut(&number) else { continue };
                let count = known.sealed.iter().take_while(|segment| segment.end <= known.durable_start).count();
                if count == 0 || known.quarantine.is_some() {
                    continue;
                }
                let dead: Vec<SegmentRecord> = known.sealed.drain(..count).collect();
                known.touched = true;
                (self.directory(&known.name), dead, known.manifest(number, false))
            };
            self.segments.forget(number, dead.last().map_or(0, |last| last.end));
            self.remove_segments(&dir, &dead, &manifest.encode())?;
        }
        Ok(())
    }

    /// Takes segments out of the manifest, then removes their files.
    fn remove_segments(&self, dir: &Path, dead: &[SegmentRecord], manifest: &[u8]) -> Result<(), LogFailure> {
        let disk = self.disk.as_ref();
        match replace(disk, &dir.join(MANIFEST), manifest).and_then(|()| disk.sync_dir(dir)) {
            // Space is what is wanted: recovery knows from the log start that they may be missing.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            // Dropped meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(|error| self.fail("free", dir, error))?,
        }
        for segment in dead {
            self.counters.files_freed.add(1);
            remove_segment(disk, dir, segment.base).map_err(|error| self.fail("free", dir, error))?;
        }
        Ok(())
    }

    /// Removes the files of dropped partitions.
    fn remove_directories(&self) -> Result<(), LogFailure> {
        let removed = std::mem::take(&mut self.state.lock().removed);
        for dir in removed {
            remove_directory(self, &dir).map_err(|error| self.fail("remove", &dir, error))?;
        }
        Ok(())
    }
}

fn remove_directory(log: &DedicatedLog, dir: &Path) -> io::Result<()> {
    let names = match log.disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names?,
    };
    names.iter().try_for_each(|name| log.disk.remove(&dir.join(name)))?;
    // So that the directory does not go before its files.
    log.disk.sync_dir(dir)?;
    log.disk.remove_dir(dir)
}

impl State {
    /// Ends the active segment if all of it lies below the log start, so that it can be removed.
    fn end_dead_segment(&mut self, number: PartitionNumber, now: TimestampMs) -> bool {
        let durable = self.progress.durable;
        let State { partitions, queue, next, rolled, .. } = self;
        let Some(known) = partitions.get_mut(&number) else { return false };
        let end = known.log.next_offset();
        let dead = known.durable_start >= end && known.quarantine.is_none();
        let has_bytes = known.active.as_ref().is_some_and(|active| active.growing.bytes > 0);
        if !dead || !has_bytes || known.log.end_at(durable) < end {
            return false;
        }
        known.roll(*next);
        open_segment(known, number, end, queue, now);
        *next += CONTROL_BYTES;
        rolled.push(number);
        true
    }
}
