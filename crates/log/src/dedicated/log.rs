//! The dedicated log as its callers hold it, and the state behind its one lock.
//!
//! Locks are taken in this order: the owner's lock of a step (`house`, `writer`, `syncer`), then `checkpoints`, then `state`. Only
//! `state` is ever taken by callers that append or read, and no disk operation happens under it.
//!
//! A position counts bytes appended since the log was opened (with 64 bytes for each batch, so that an entry is the same as in the shared
//! layout): the log has no one file in which it would be a place, but everything before it is written, or durable, at once.

use super::append::Queued;
use super::format::checkpoints::Offsets;
use super::house::House;
use super::names::PartitionName;
use super::partition::Dedicated;
use super::recover::{Recovered, recover};
use super::segments::OpenSegments;
use super::sync::{Dirty, Syncer};
use super::writer::Writer;
use crate::clean::CleaningPolicy;
use crate::progress::Progress;
use crate::shell::{Driven, Shell};
use crate::statistics::Counters;
use crate::tail_cache::TailCache;
use crate::{AppendOrigin, LogFailure, LogObserver, LogOptions, OpenError, RecoveryReport, SyncOutcome};
use duolog_base::{Disk, Offset, PartitionNumber, Position, TimestampMs};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;

/// All dedicated partitions of one data directory. All methods may be called from any thread; none of them waits for the disk
/// unless it says so.
pub struct DedicatedLog {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: LogOptions,
    pub(super) state: Mutex<State>,
    pub(super) shell: Shell,
    pub(super) writer: Mutex<Writer>,
    pub(super) syncer: Mutex<Syncer>,
    pub(super) house: Mutex<House>,
    /// Partitions that are compacted by key, and how.
    pub(super) cleaning: Mutex<BTreeMap<PartitionNumber, CleaningPolicy>>,
    pub(super) checkpoints: Mutex<Checkpoints>,
    pub(super) segments: OpenSegments,
    pub(super) counters: Counters,
}

/// What the checkpoints in the root say.
#[derive(Default)]
pub(super) struct Checkpoints {
    pub starts: Offsets,
    pub recovery_points: Offsets,
    /// First offsets that were not compacted yet.
    pub cleaned: Offsets,
}

/// Everything that changes.
pub(super) struct State {
    pub partitions: HashMap<PartitionNumber, Dedicated>,
    /// The same by name.
    pub names: HashMap<Arc<PartitionName>, PartitionNumber>,
    /// Directories that do not say whose they are: Kafka's, or with a lost manifest.
    pub unclaimed: HashMap<PartitionName, Dedicated>,
    /// Where the next batch goes.
    pub next: u64,
    /// What the writer has not taken yet, in order of position.
    pub queue: Vec<Queued>,
    pub progress: Progress,
    pub space: Space,
    /// What is written and not synced.
    pub dirty: Dirty,
    pub tail: TailCache,
    /// Partitions with full segments; may name one twice.
    pub rolled: Vec<PartitionNumber>,
    /// Directories whose files are to be removed.
    pub removed: Vec<PathBuf>,
}

/// The free space when it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Space {
    pub at: u64,
    pub free_bytes: u64,
}

impl State {
    /// Position beyond which an append may not reach, lest the file system's reserve be used.
    pub fn append_limit(&self, options: &LogOptions, origin: AppendOrigin) -> u64 {
        match self.space.free_bytes.saturating_sub(options.reserve_for(origin)) {
            0 => 0,
            spendable => self.space.at.saturating_add(spendable),
        }
    }
}

impl Driven for State {
    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }
}

impl DedicatedLog {
    /// Opens or creates the log in `dir`, recovering every partition in it. Starts no thread: see [`DedicatedLog::write_step`]
    /// and [`DedicatedLog::start_threads`]. May read much after a crash.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: LogOptions,
        observer: Arc<dyn LogObserver>,
        now: TimestampMs,
    ) -> Result<(Arc<DedicatedLog>, RecoveryReport), OpenError> {
        let recovered = recover(disk.as_ref(), &dir, now)?;
        let report = recovered.report.clone();
        let log = Arc::new(DedicatedLog::new(disk, dir, options, observer, recovered));
        log.counters.recovered_frames.add(report.scanned_frames);
        log.check_space()?;
        Ok((log, report))
    }

    fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: LogOptions,
        observer: Arc<dyn LogObserver>,
        from: Recovered,
    ) -> DedicatedLog {
        let names = from.partitions.iter().map(|(number, partition)| (partition.name.clone(), *number)).collect();
        let state = State {
            names,
            partitions: from.partitions,
            unclaimed: from.unclaimed,
            next: 0,
            queue: Vec::new(),
            progress: Progress::new(0),
            space: Space::default(),
            dirty: Dirty::default(),
            tail: TailCache::new(options.tail_cache_bytes),
            rolled: from.rolled,
            removed: from.removed,
        };
        DedicatedLog {
            state: Mutex::new(state),
            shell: Shell::new(observer, 0),
            writer: Mutex::new(Writer::default()),
            syncer: Mutex::new(Syncer::default()),
            house: Mutex::new(House::default()),
            cleaning: Mutex::default(),
            checkpoints: Mutex::new(from.checkpoints),
            segments: OpenSegments::default(),
            counters: Counters::default(),
            disk,
            dir,
            options,
        }
    }

    /// The directory of a partition.
    pub(super) fn directory(&self, name: &PartitionName) -> PathBuf {
        self.dir.join(name.to_string())
    }

    /// Resolves when everything before `position` is written to the page cache; the receiver errs if the log stops.
    pub fn wait_written(&self, position: Position) -> oneshot::Receiver<()> {
        self.shell.wait_written(&self.state, position)
    }

    /// Resolves when everything before `position` is durable; the receiver errs if the log stops.
    pub fn wait_durable(&self, position: Position) -> oneshot::Receiver<()> {
        self.shell.wait_durable(&self.state, position)
    }

    /// Asks for everything before `position` to be synced without waiting for company, for callers that learn of it through
    /// the observer.
    pub fn want_durable(&self, position: Position) {
        self.shell.want_durable(&self.state, position);
    }

    pub fn durable_position(&self) -> Position {
        self.shell.durable_position()
    }

    /// Sealed segments that are open now.
    pub fn open_segments(&self) -> usize {
        self.segments.count()
    }

    /// Flushes everything, writes what the next opening needs, stops the threads.
    pub fn close(&self) -> Result<(), LogFailure> {
        if !self.state.lock().progress.close() {
            return Ok(());
        }
        let flushed = self.flush().and_then(|()| self.prepare_step());
        self.shell.stop(&self.state);
        self.shell.join();
        flushed?;
        self.write_closed()
    }

    fn flush(&self) -> Result<(), LogFailure> {
        while self.write_step()? == SyncOutcome::Progressed {}
        while self.sync_step()? == SyncOutcome::Progressed {}
        Ok(())
    }

    /// Stops the log; see [`Shell::fail`].
    pub(super) fn fail(&self, operation: &'static str, path: &Path, error: io::Error) -> LogFailure {
        self.shell.fail(&self.state, operation, path, error)
    }

    /// Partitions the log holds directories of or was told of; whoever knows the metadata drops those that should not be there.
    pub fn partitions(&self) -> Vec<PartitionNumber> {
        let mut numbers: Vec<_> = self.state.lock().partitions.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// Directories that nobody has opened a partition for: copied here, or adopted.
    pub fn unclaimed(&self) -> Vec<PartitionName> {
        let mut names: Vec<_> = self.state.lock().unclaimed.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Offset before which everything of a partition is durable, as a checkpoint would say.
    pub(super) fn durable_end(state: &State, partition: &Dedicated) -> Offset {
        Offset(partition.log.end_at(state.progress.durable))
    }
}

impl std::fmt::Debug for DedicatedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DedicatedLog").field("dir", &self.dir).field("durable", &self.durable_position()).finish_non_exhaustive()
    }
}
