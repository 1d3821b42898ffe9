//! The syncer: makes what is written durable, all segments of all partitions together, and publishes how far it got.
//!
//! One at a time (the `syncer` lock), at the same time as the writer's next write. A few files are synced one by one, many with
//! one call for the whole file system.

use super::log::{DedicatedLog, State};
use super::names::{LOG_STARTS, PartitionName};
use crate::{LogFailure, SyncOutcome};
use duolog_base::{DiskFile, PartitionNumber};
use hashbrown::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Files and directories above which the whole file system is synced instead of each of them.
pub(super) const SYNC_ALL_ABOVE: usize = 16;

/// Buffers that live from sync to sync.
#[derive(Default)]
pub(super) struct Syncer {
    partitions: Vec<PartitionNumber>,
    reached: Vec<oneshot::Sender<()>>,
}

/// What was written and is not synced.
#[derive(Default)]
pub(super) struct Dirty {
    files: HashMap<(PartitionNumber, i64), Arc<dyn DiskFile>>,
    /// Directories with new names in them.
    directories: HashMap<PartitionNumber, PathBuf>,
    /// Log starts that are not in the checkpoint.
    starts: HashMap<PartitionNumber, (Arc<PartitionName>, i64)>,
}

impl Dirty {
    pub fn add_file(&mut self, partition: PartitionNumber, base: i64, file: Arc<dyn DiskFile>) {
        self.files.entry((partition, base)).or_insert(file);
    }

    pub fn add_directory(&mut self, partition: PartitionNumber, dir: PathBuf) {
        self.directories.insert(partition, dir);
    }

    pub fn add_start(&mut self, partition: PartitionNumber, name: Arc<PartitionName>, start: i64) {
        self.starts.insert(partition, (name, start));
    }

    /// Whether something of a partition is not synced.
    pub fn concerns(&self, partition: PartitionNumber) -> bool {
        self.files.keys().any(|(number, _)| *number == partition)
            || self.directories.contains_key(&partition)
            || self.starts.contains_key(&partition)
    }

    /// Forgets a partition that is gone.
    pub fn forget(&mut self, partition: PartitionNumber) {
        self.files.retain(|(number, _), _| *number != partition);
        self.directories.remove(&partition);
        self.starts.remove(&partition);
    }
}

impl DedicatedLog {
    /// Makes what is written durable, once; what the syncer thread repeats.
    pub fn sync_step(&self) -> Result<SyncOutcome, LogFailure> {
        let mut syncer = self.syncer.lock();
        let syncer = &mut *syncer;
        let (target, dirty) = {
            let mut state = self.state.lock();
            state.progress.check()?;
            if state.progress.is_synced() {
                return Ok(SyncOutcome::Idle);
            }
            std::mem::swap(&mut state.progress.unsynced, &mut syncer.partitions);
            (state.progress.written, std::mem::take(&mut state.dirty))
        };
        self.sync_dirty(&dirty)?;
        self.write_starts(&dirty)?;
        self.counters.syncs.add(1);
        self.publish_durable(syncer, target, dirty);
        Ok(SyncOutcome::Progressed)
    }

    fn sync_dirty(&self, dirty: &Dirty) -> Result<(), LogFailure> {
        if dirty.files.len() + dirty.directories.len() > SYNC_ALL_ABOVE {
            return self.disk.sync_all(&self.dir).map_err(|error| self.fail("sync", &self.dir, error));
        }
        for ((partition, base), file) in &dirty.files {
            file.sync_data().map_err(|error| {
                tracing::error!(%partition, base, "a segment cannot be synced");
                self.fail("sync", &self.dir, error)
            })?;
        }
        for dir in dirty.directories.values() {
            match self.disk.sync_dir(dir) {
                // Dropped meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(|error| self.fail("sync", dir, error))?,
            }
        }
        Ok(())
    }

    /// Writes log starts down once the records before them are durable, so that a start is never above the end.
    fn write_starts(&self, dirty: &Dirty) -> Result<(), LogFailure> {
        if dirty.starts.is_empty() {
            return Ok(());
        }
        let mut checkpoints = self.checkpoints.lock();
        {
            let state = self.state.lock();
            // A dropped partition's must not come back: another one may have its name.
            let alive = dirty.starts.iter().filter(|(partition, _)| state.partitions.contains_key(*partition));
            for (_, (name, start)) in alive {
                checkpoints.starts.insert(name.as_ref().clone(), *start);
            }
        }
        self.write_offsets(LOG_STARTS, &checkpoints.starts)
    }

    fn publish_durable(&self, syncer: &mut Syncer, target: u64, dirty: Dirty) {
        syncer.partitions.sort_unstable();
        syncer.partitions.dedup();
        let house = {
            let mut state = self.state.lock();
            // The kernel reports a failed write-back once: another sync of the same file may have taken the report.
            if state.progress.has_failed() {
                return;
            }
            self.shell.set_durable(&mut state.progress, target, &mut syncer.reached);
            for (partition, (_, start)) in &dirty.starts {
                if let Some(known) = state.partitions.get_mut(partition) {
                    known.durable_start = *start;
                }
            }
            let mut house = !dirty.starts.is_empty();
            for partition in &syncer.partitions {
                state.give_up_entries(*partition);
                house |= state.partitions.get(partition).is_some_and(|known| !known.rolled.is_empty());
            }
            state.progress.house_wanted |= house;
            house
        };
        if house {
            self.shell.wake_house();
        }
        self.shell.synced(&syncer.partitions, &mut syncer.reached);
        syncer.partitions.clear();
    }
}

impl State {
    /// Gives up the entries of batches that are durable and not in memory any more.
    pub fn give_up_entries(&mut self, partition: PartitionNumber) {
        let durable = self.progress.durable;
        let State { partitions, tail, .. } = self;
        let Some(known) = partitions.get_mut(&partition) else { return };
        let kept =
            known.log.unsealed().iter().find(|entry| entry.end_position() > durable || tail.find(entry.position).is_some());
        let before = kept.map_or(durable, |entry| entry.position);
        drop(known.log.seal_before(before));
    }
}
