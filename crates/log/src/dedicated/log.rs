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
use crate::statistics::Counters;
use crate::tail_cache::TailCache;
use crate::waiters::Waiters;
use crate::{AppendOrigin, LogFailure, LogObserver, LogOptions, OpenError, RecoveryReport, SyncOutcome};
use duolog_base::{Disk, Offset, PartitionNumber, Position, TimestampMs};
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// All dedicated partitions of one data directory. All methods may be called from any thread; none of them waits for the disk
/// unless it says so.
pub struct DedicatedLog {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: LogOptions,
    pub(super) observer: Arc<dyn LogObserver>,
    pub(super) state: Mutex<State>,
    /// Something was queued, the log is closing, or (for a writer that is far ahead) something became durable.
    pub(super) writer_signal: Condvar,
    /// Something was written, somebody waits for it, or the log is closing.
    pub(super) syncer_signal: Condvar,
    /// A segment is full, or the log is closing.
    pub(super) house_signal: Condvar,
    pub(super) writer: Mutex<Writer>,
    pub(super) syncer: Mutex<Syncer>,
    pub(super) house: Mutex<House>,
    /// Partitions that are compacted by key, and how.
    pub(super) cleaning: Mutex<BTreeMap<PartitionNumber, CleaningPolicy>>,
    pub(super) checkpoints: Mutex<Checkpoints>,
    pub(super) segments: OpenSegments,
    pub(super) counters: Counters,
    /// A copy of the state's durable position for readers without the lock.
    pub(super) durable: AtomicU64,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
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
    /// Payload bytes that are not written yet, those the writer is busy with included.
    pub queued_bytes: usize,
    pub written: u64,
    pub durable: u64,
    /// Somebody waits for durability up to here, so that the syncer need not wait for company.
    pub sync_wanted: u64,
    pub space: Space,
    /// Partitions with batches between `durable` and `written`; may name one twice.
    pub unsynced: Vec<PartitionNumber>,
    /// What is written and not synced.
    pub dirty: Dirty,
    pub written_waiters: Waiters,
    pub durable_waiters: Waiters,
    pub tail: TailCache,
    /// Partitions with full segments; may name one twice.
    pub rolled: Vec<PartitionNumber>,
    /// Directories whose files are to be removed.
    pub removed: Vec<PathBuf>,
    pub house_wanted: bool,
    /// No new appends.
    pub closing: bool,
    /// The threads shall end.
    pub stopping: bool,
    pub failure: Option<LogFailure>,
}

/// The free space when it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Space {
    pub at: u64,
    pub free_bytes: u64,
}

impl State {
    pub fn is_stopped(&self) -> bool {
        self.closing || self.failure.is_some()
    }

    /// Position beyond which an append may not reach, lest the file system's reserve be used.
    pub fn append_limit(&self, options: &LogOptions, origin: AppendOrigin) -> u64 {
        match self.space.free_bytes.saturating_sub(options.reserve_for(origin)) {
            0 => 0,
            spendable => self.space.at.saturating_add(spendable),
        }
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
        let failed = |failure: LogFailure| OpenError::Io { path: failure.path, error: copy_of(&failure.error) };
        log.counters.recovered_frames.add(report.scanned_frames);
        log.check_space().map_err(failed)?;
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
            queued_bytes: 0,
            written: 0,
            durable: 0,
            sync_wanted: 0,
            space: Space::default(),
            unsynced: Vec::new(),
            dirty: Dirty::default(),
            written_waiters: Waiters::default(),
            durable_waiters: Waiters::default(),
            tail: TailCache::new(options.tail_cache_bytes),
            rolled: from.rolled,
            removed: from.removed,
            house_wanted: false,
            closing: false,
            stopping: false,
            failure: None,
        };
        DedicatedLog {
            state: Mutex::new(state),
            writer_signal: Condvar::new(),
            syncer_signal: Condvar::new(),
            house_signal: Condvar::new(),
            writer: Mutex::new(Writer::default()),
            syncer: Mutex::new(Syncer::default()),
            house: Mutex::new(House::default()),
            cleaning: Mutex::default(),
            checkpoints: Mutex::new(from.checkpoints),
            segments: OpenSegments::default(),
            counters: Counters::default(),
            durable: AtomicU64::new(0),
            threads: Mutex::new(Vec::new()),
            disk,
            dir,
            options,
            observer,
        }
    }

    /// The directory of a partition.
    pub(super) fn directory(&self, name: &PartitionName) -> PathBuf {
        self.dir.join(name.to_string())
    }

    /// Resolves when everything before `position` is written to the page cache; the receiver errs if the log stops.
    pub fn wait_written(&self, position: Position) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if state.failure.is_some() {
            return receiver;
        }
        if position.0 <= state.written {
            // The receiver is in our hands: it cannot be gone.
            let _ = sender.send(());
        } else {
            state.written_waiters.push(position, sender);
        }
        receiver
    }

    /// Resolves when everything before `position` is durable; the receiver errs if the log stops.
    pub fn wait_durable(&self, position: Position) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if state.failure.is_some() {
            return receiver;
        }
        if position.0 <= state.durable {
            // The receiver is in our hands: it cannot be gone.
            let _ = sender.send(());
            return receiver;
        }
        state.durable_waiters.push(position, sender);
        state.sync_wanted = state.sync_wanted.max(position.0);
        drop(state);
        self.syncer_signal.notify_one();
        receiver
    }

    /// Asks for everything before `position` to be synced without waiting for company, for callers that learn of it through
    /// the observer.
    pub fn want_durable(&self, position: Position) {
        let mut state = self.state.lock();
        if position.0 <= state.durable || position.0 <= state.sync_wanted {
            return;
        }
        state.sync_wanted = position.0;
        drop(state);
        self.syncer_signal.notify_one();
    }

    pub fn durable_position(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// Sealed segments that are open now.
    pub fn open_segments(&self) -> usize {
        self.segments.count()
    }

    /// Flushes everything, writes what the next opening needs, stops the threads.
    pub fn close(&self) -> Result<(), LogFailure> {
        {
            let mut state = self.state.lock();
            if state.stopping {
                return Ok(());
            }
            state.closing = true;
        }
        let flushed = self.flush().and_then(|()| self.prepare_step());
        self.state.lock().stopping = true;
        self.writer_signal.notify_all();
        self.syncer_signal.notify_all();
        self.house_signal.notify_all();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log has panicked");
            }
        }
        flushed?;
        self.write_closed()
    }

    fn flush(&self) -> Result<(), LogFailure> {
        while self.write_step()? == SyncOutcome::Progressed {}
        while self.sync_step()? == SyncOutcome::Progressed {}
        Ok(())
    }

    /// Stops the log: a failed write or sync is never repeated, because its outcome is unknown.
    pub(super) fn fail(&self, operation: &'static str, path: &Path, error: io::Error) -> LogFailure {
        let failure = LogFailure { operation, path: path.to_owned(), error: Arc::new(error) };
        let mut state = self.state.lock();
        if let Some(first) = &state.failure {
            return first.clone();
        }
        state.failure = Some(failure.clone());
        state.written_waiters.clear();
        state.durable_waiters.clear();
        drop(state);
        self.writer_signal.notify_all();
        self.syncer_signal.notify_all();
        self.house_signal.notify_all();
        tracing::error!(%failure, "the log has stopped");
        self.observer.failed(&failure);
        failure
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
        Offset(partition.log.end_at(state.durable))
    }
}

impl std::fmt::Debug for DedicatedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DedicatedLog").field("dir", &self.dir).field("durable", &self.durable).finish_non_exhaustive()
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error.kind().into(),
    }
}
