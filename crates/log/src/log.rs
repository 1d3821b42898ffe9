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
use crate::progress::Progress;
use crate::recover::{Recovered, recover};
use crate::sealed::SealedFiles;
use crate::shell::{Driven, Shell};
use crate::snapshot::Snapshot;
use crate::statistics::Counters;
use crate::sync::Syncer;
use crate::tail_cache::TailCache;
use crate::tidy::Tidier;
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
use tokio::sync::oneshot;

/// One commit log. All methods may be called from any thread; none of them waits for the disk unless it says so.
pub struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) state: Mutex<State>,
    pub(crate) shell: Shell,
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
    pub(crate) counters: Counters,
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
    pub progress: Progress,
    pub append_limits: AppendLimits,
    /// Files without a sealed index, oldest first; the last one is written to.
    pub files: VecDeque<OpenFile>,
    pub tail: TailCache,
    /// The housekeeping goes on with the checkpoint once this is durable.
    pub checkpoint_at: u64,
    /// A copy of all partitions on its way.
    pub snapshot: Option<Snapshot>,
    /// Dead files that may be used again.
    pub spares: Vec<PathBuf>,
    /// The key index may have gaps that can be filled.
    pub keys_wanted: bool,
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
}

impl Driven for State {
    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn has_queued(&self) -> bool {
        !self.queue.is_empty()
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
        if damaged {
            log.write_checkpoint()?;
        }
        log.check_space()?;
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
            progress: Progress::new(from.end),
            append_limits: AppendLimits::default(),
            files: VecDeque::from([active]),
            tail: TailCache::new(options.tail_cache_bytes),
            checkpoint_at: from.chain.end + options.checkpoint_bytes,
            snapshot: None,
            spares: Vec::new(),
            keys_wanted: keys.is_some(),
        };
        Log {
            state: Mutex::new(state),
            shell: Shell::new(observer, from.end),
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
            counters: Counters::default(),
            disk,
            dir,
            options,
        }
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

    /// Flushes everything, writes the checkpoint of the active file, stops the threads.
    pub fn close(&self) -> Result<(), LogFailure> {
        if !self.state.lock().progress.close() {
            return Ok(());
        }
        let flushed = self.flush().and_then(|()| self.seal_full_files());
        self.shell.stop(&self.state);
        self.keys_signal.notify_all();
        self.shell.join();
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

    /// Stops the log; see [`Shell::fail`].
    pub(crate) fn fail(&self, operation: &'static str, path: &Path, error: std::io::Error) -> LogFailure {
        let first = self.shell.fail(&self.state, operation, path, error);
        self.keys_signal.notify_all();
        first
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("dir", &self.dir).field("durable", &self.durable_position()).finish_non_exhaustive()
    }
}
