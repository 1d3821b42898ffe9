//! The log as its callers hold it, and the state behind its one lock.
//!
//! Three kinds of locks, always taken in this order: the owner's lock of a step (`writer`, `syncer`, `tidier` before `house`), then
//! `fill`, then `changing` of the key index, then `state`, then `memory` of the key index. Only `state` and `memory` are ever
//! taken by callers of the log, and no disk operation happens under them.

use crate::append::Queued;
use crate::clean::CleaningPolicy;
use crate::files::log_path;
use crate::house::House;
use crate::keys::KeyIndex;
use crate::recover::{Recovered, recover};
use crate::sealed::SealedFiles;
use crate::snapshot::Snapshot;
use crate::statistics::Counters;
use crate::sync::Syncer;
use crate::tail_cache::TailCache;
use crate::tidy::Tidier;
use crate::waiters::Waiters;
use crate::writer::Writer;
use crate::zero::Fill;
use crate::{AppendOrigin, LogFailure, LogObserver, LogOptions, OpenError, RecoveryReport, SyncOutcome};
use arc_swap::ArcSwap;
use duolog_base::{Disk, DiskFile, PartitionNumber, Position, TimestampMs};
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// One commit log. All methods may be called from any thread; none of them waits for the disk unless it says so.
pub struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) observer: Arc<dyn LogObserver>,
    pub(crate) state: Mutex<State>,
    /// Somebody waits for the page cache, a lot is queued, the log is closing, or (for a writer that is far ahead) something
    /// became durable.
    pub(crate) writer_signal: Condvar,
    /// Something was queued or written, somebody waits for it, or the log is closing.
    pub(crate) syncer_signal: Condvar,
    /// The file's zeros run out, a file is full, or the log is closing.
    pub(crate) house_signal: Condvar,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) syncer: Mutex<Syncer>,
    pub(crate) house: Mutex<House>,
    pub(crate) tidier: Mutex<Tidier>,
    /// Partitions that are compacted by key. Taken for a look-up only, never together with another lock.
    pub(crate) cleaning: Mutex<BTreeMap<PartitionNumber, CleaningPolicy>>,
    pub(crate) fill: Mutex<Fill>,
    /// There is something to rebuild in the key index, or the log is closing.
    pub(crate) keys_signal: Condvar,
    pub(crate) keys: Option<KeyIndex>,
    /// A portion of zeros is written.
    pub(crate) fill_signal: Condvar,
    pub(crate) sealed: ArcSwap<SealedFiles>,
    /// A copy of the state's durable position for readers without the lock.
    pub(crate) durable: AtomicU64,
    pub(crate) counters: Counters,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Everything that changes.
pub(crate) struct State {
    pub partitions: HashMap<PartitionNumber, crate::partition::Partition>,
    pub generation: u32,
    /// Where the next frame goes, and the base of the file it goes into.
    pub next: u64,
    pub file_base: u64,
    /// Batches in the file at `file_base`.
    pub file_entries: usize,
    /// What the writer has not taken yet, in order of position.
    pub queue: Vec<Queued>,
    /// Payload bytes that are not written yet, those the writer is busy with included.
    pub queued_bytes: usize,
    pub written: u64,
    pub durable: u64,
    /// Somebody waits for the page cache up to here, so that the writer does not leave it to the syncer.
    pub write_wanted: u64,
    /// Somebody waits for durability up to here, so that the syncer need not wait for company.
    pub sync_wanted: u64,
    pub append_limits: AppendLimits,
    /// Partitions with batches between `durable` and `written`; may name one twice.
    pub unsynced: Vec<PartitionNumber>,
    /// Files without a sealed index, oldest first; the last one is written to.
    pub files: VecDeque<OpenFile>,
    pub written_waiters: Waiters,
    pub durable_waiters: Waiters,
    pub tail: TailCache,
    /// The housekeeping goes on with the checkpoint once this is durable.
    pub checkpoint_at: u64,
    /// A copy of all partitions on its way.
    pub snapshot: Option<Snapshot>,
    /// Dead files that may be used again.
    pub spares: Vec<PathBuf>,
    /// The housekeeping thread has something to do.
    pub house_wanted: bool,
    /// The key index may have gaps that can be filled.
    pub keys_wanted: bool,
    /// No new appends.
    pub closing: bool,
    /// The threads shall end.
    pub stopping: bool,
    pub failure: Option<LogFailure>,
}

/// Positions beyond which appends may not reach, lest the file system's reserve be used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AppendLimits {
    pub client: u64,
    pub internal: u64,
}

impl AppendLimits {
    pub fn of(&self, origin: AppendOrigin) -> u64 {
        match origin {
            AppendOrigin::Client => self.client,
            AppendOrigin::Internal => self.internal,
        }
    }
}

/// A file that has no sealed index yet.
#[derive(Clone)]
pub(crate) struct OpenFile {
    pub base: u64,
    pub generation: u32,
    pub handle: Arc<dyn DiskFile>,
    pub full: Option<FullFile>,
}

/// What is known of an open file once the next one is begun.
#[derive(Clone)]
pub(crate) struct FullFile {
    pub end: u64,
    /// The state section that belongs to `end`.
    pub state: Arc<Vec<u8>>,
}

impl State {
    /// The open file that holds `position`, if the writer has begun it.
    pub fn file_of(&self, position: u64) -> Option<&OpenFile> {
        self.files.iter().rev().find(|file| file.base <= position)
    }

    pub fn is_stopped(&self) -> bool {
        self.closing || self.failure.is_some()
    }
}

impl Log {
    /// Opens or creates the log in `dir`, recovering it: reads the disk, cuts a torn tail, makes the recovered
    /// prefix and a new generation durable. Starts no thread: see [`Log::write_step`] and [`Log::start_threads`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: LogOptions,
        observer: Arc<dyn LogObserver>,
        now: TimestampMs,
    ) -> Result<(Arc<Log>, RecoveryReport), OpenError> {
        let recovered = recover(disk.as_ref(), &dir, &options, now)?;
        let report = recovered.report.clone();
        let damaged = recovered.damaged;
        let writer = Writer::open(disk.as_ref(), &dir, recovered.file_base, recovered.end)
            .map_err(|error| OpenError::Io { path: log_path(&dir, recovered.file_base), error })?;
        let keys = options.keys.map(|keys| {
            let oldest = recovered.sealed.first().map_or(recovered.file_base, |file| file.base);
            KeyIndex::open(disk.as_ref(), &dir, keys, oldest..recovered.end, recovered.file_base)
        });
        let keys = keys.transpose().map_err(|error| OpenError::Io { path: dir.clone(), error })?;
        let log = Arc::new(Log::new(disk, dir, options, observer, recovered, writer, keys));
        log.counters.recovered_frames.add(report.scanned_frames);
        let failed = |failure: LogFailure| OpenError::Io { path: failure.path, error: copy_of(&failure.error) };
        if damaged {
            log.write_checkpoint().map_err(failed)?;
        }
        log.check_space().map_err(failed)?;
        Ok((log, report))
    }

    fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: LogOptions,
        observer: Arc<dyn LogObserver>,
        from: Recovered,
        writer: Writer,
        keys: Option<KeyIndex>,
    ) -> Log {
        let active = OpenFile { base: from.file_base, generation: from.generation, handle: from.file.clone(), full: None };
        let state = State {
            partitions: from.partitions,
            generation: from.generation,
            next: from.end,
            file_base: from.file_base,
            file_entries: from.file_entries,
            queue: Vec::new(),
            queued_bytes: 0,
            written: from.end,
            durable: from.end,
            write_wanted: 0,
            sync_wanted: 0,
            append_limits: AppendLimits::default(),
            unsynced: Vec::new(),
            files: VecDeque::from([active]),
            written_waiters: Waiters::default(),
            durable_waiters: Waiters::default(),
            tail: TailCache::new(options.tail_cache_bytes),
            checkpoint_at: from.chain.end + options.checkpoint_bytes,
            snapshot: None,
            spares: Vec::new(),
            house_wanted: false,
            keys_wanted: keys.is_some(),
            closing: false,
            stopping: false,
            failure: None,
        };
        Log {
            state: Mutex::new(state),
            writer_signal: Condvar::new(),
            syncer_signal: Condvar::new(),
            house_signal: Condvar::new(),
            keys_signal: Condvar::new(),
            keys,
            writer: Mutex::new(writer),
            syncer: Mutex::new(Syncer::default()),
            tidier: Mutex::default(),
            cleaning: Mutex::default(),
            house: Mutex::new(House::new(from.chain, from.spares)),
            fill: Mutex::new(Fill::new(from.file_base, from.file, from.file_bytes, from.end - from.file_base)),
            fill_signal: Condvar::new(),
            sealed: ArcSwap::from_pointee(from.sealed),
            durable: AtomicU64::new(from.end),
            counters: Counters::default(),
            threads: Mutex::new(Vec::new()),
            disk,
            dir,
            options,
            observer,
        }
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
            return receiver;
        }
        state.written_waiters.push(position, sender);
        state.write_wanted = state.write_wanted.max(position.0);
        drop(state);
        self.writer_signal.notify_one();
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

    /// Flushes everything, writes the checkpoint of the active file, stops the threads.
    pub fn close(&self) -> Result<(), LogFailure> {
        {
            let mut state = self.state.lock();
            if state.stopping {
                return Ok(());
            }
            state.closing = true;
        }
        let flushed = self.flush().and_then(|()| self.seal_full_files());
        self.state.lock().stopping = true;
        self.writer_signal.notify_all();
        self.syncer_signal.notify_all();
        self.house_signal.notify_all();
        self.keys_signal.notify_all();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log has panicked");
            }
        }
        flushed?;
        self.stop_tidying()?;
        self.close_keys()?;
        self.write_checkpoint()
    }

    fn flush(&self) -> Result<(), LogFailure> {
        while self.write_step()? == SyncOutcome::Progressed {}
        while self.sync_step()? == SyncOutcome::Progressed {}
        Ok(())
    }

    /// Stops the log: a failed write or sync is never repeated, because its outcome is unknown.
    pub(crate) fn fail(&self, operation: &'static str, path: &Path, error: std::io::Error) -> LogFailure {
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
        self.keys_signal.notify_all();
        tracing::error!(%failure, "the log has stopped");
        self.observer.failed(&failure);
        failure
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("dir", &self.dir).field("durable", &self.durable).finish_non_exhaustive()
    }
}

fn copy_of(error: &std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(number) => std::io::Error::from_raw_os_error(number),
        None => error.kind().into(),
    }
}
