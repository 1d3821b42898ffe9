//! The syncer: makes what is written durable, and publishes how far it got.
//!
//! One at a time (the `syncer` lock), at the same time as the writer's next write.

use crate::files::log_path;
use crate::log::Log;
use crate::{LogFailure, SyncOutcome};
use duolog_base::{DiskFile, PartitionNumber};
use smallvec::SmallVec;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Buffers that live from sync to sync.
#[derive(Default)]
pub(crate) struct Syncer {
    partitions: Vec<PartitionNumber>,
    reached: Vec<oneshot::Sender<()>>,
}

/// The files with unsynced bytes: one, or two around the beginning of a file.
type DirtyFiles = SmallVec<[(u64, Arc<dyn DiskFile>); 2]>;

impl Log {
    /// Makes what is written durable, once (one `fdatasync`); what the syncer thread repeats.
    pub fn sync_step(&self) -> Result<SyncOutcome, LogFailure> {
        let mut syncer = self.syncer.lock();
        let syncer = &mut *syncer;
        let (target, files) = {
            let mut state = self.state.lock();
            state.progress.check()?;
            if state.progress.is_synced() {
                return Ok(SyncOutcome::Idle);
            }
            let (durable, target) = (state.progress.durable, state.progress.written);
            std::mem::swap(&mut state.progress.unsynced, &mut syncer.partitions);
            let dirty = |end: Option<u64>| end.is_none_or(|end| end > durable);
            let files: DirtyFiles = state
                .files
                .iter()
                .filter(|file| file.base < target && dirty(file.full.as_ref().map(|full| full.end)))
                .map(|file| (file.base, file.handle.clone()))
                .collect();
            (target, files)
        };
        for (base, file) in files {
            file.sync_data().map_err(|error| self.fail("sync", &log_path(&self.dir, base), error))?;
        }
        self.counters.syncs.add(1);
        self.publish_durable(syncer, target);
        Ok(SyncOutcome::Progressed)
    }

    fn publish_durable(&self, syncer: &mut Syncer, target: u64) {
        let checkpoint = {
            let mut state = self.state.lock();
            // The kernel reports a failed write-back once: another sync of the same file may have taken the report.
            if state.progress.has_failed() {
                return;
            }
            self.shell.set_durable(&mut state.progress, target, &mut syncer.reached);
            let due = target >= state.checkpoint_at;
            state.progress.house_wanted |= due;
            due
        };
        if checkpoint {
            self.shell.wake_house();
        }
        syncer.partitions.sort_unstable();
        syncer.partitions.dedup();
        self.shell.synced(&syncer.partitions, &mut syncer.reached);
        syncer.partitions.clear();
    }
}
