//! The syncer: makes what is written durable, and publishes how far it got.
//!
//! One at a time (the `syncer` lock), at the same time as the writer's next write.

use crate::files::log_path;
use crate::log::Log;
use crate::{Advance, LogFailure, SyncOutcome};
use duolog_base::{DiskFile, PartitionNumber, Position};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.written == state.durable {
                return Ok(SyncOutcome::Idle);
            }
            let (durable, target) = (state.durable, state.written);
            std::mem::swap(&mut state.unsynced, &mut syncer.partitions);
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
            if state.failure.is_some() {
                return;
            }
            state.durable = target;
            state.durable_waiters.take_reached(Position(target), &mut syncer.reached);
            self.durable.store(target, Ordering::Release);
            let due = target >= state.checkpoint_at;
            state.house_wanted |= due;
            due
        };
        if checkpoint {
            self.house_signal.notify_one();
        }
        self.writer_signal.notify_one();
        syncer.partitions.sort_unstable();
        syncer.partitions.dedup();
        if !syncer.partitions.is_empty() {
            self.observer.advanced(&syncer.partitions, Advance::Durable);
        }
        syncer.partitions.clear();
        for waiter in syncer.reached.drain(..) {
            // Whoever gave up waiting needs no answer.
            let _ = waiter.send(());
        }
    }
}
