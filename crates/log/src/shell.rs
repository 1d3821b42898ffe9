//! The production shell of a log: what its callers and its threads wait with, and the threads that repeat its steps. The same for
//! both layouts.
//!
//! The threads hold no state; an idle log wakes none of them. What is to be synced is written by the syncer itself: one thread to wake
//! instead of two, and one larger write. The writer serves those who wait for the page cache only, and writes beside a sync under
//! way when a lot is queued.
//!
//! The log keeps its state and the lock of it, and hands it to the functions here.

use crate::progress::{BESIDE_SYNC_BYTES, Progress};
use crate::{Advance, LogFailure, LogObserver, SyncOutcome};
use duolog_base::{PartitionNumber, Position};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a sync that nobody waits for may wait for more to sync.
const COMPANY: Duration = Duration::from_millis(1);

/// A log's state, as far as its shell knows it.
pub(crate) trait Driven {
    fn progress(&mut self) -> &mut Progress;
    /// Whether the writer has something to take.
    fn has_queued(&self) -> bool;
}

/// What a thread does.
pub(crate) struct Role<L> {
    pub name: &'static str,
    pub run: fn(&L),
}

pub(crate) struct Shell {
    observer: Arc<dyn LogObserver>,
    /// Somebody waits for the page cache, a lot is queued, the log is closing, or (for a writer that is far ahead) something
    /// became durable.
    writer_signal: Condvar,
    /// Something was queued or written, somebody waits for it, or the log is closing.
    syncer_signal: Condvar,
    /// A sync that waits for company shall not any longer. A signal of its own: each append that comes as company would wake the syncer
    /// for nothing, which took a twelfth of the broker's CPU.
    hurry_signal: Condvar,
    /// The housekeeping is wanted, or the log is closing.
    house_signal: Condvar,
    /// A copy of the durable position for readers without the lock.
    durable: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shell {
    /// Of a log that is on disk up to `end`.
    pub fn new(observer: Arc<dyn LogObserver>, end: u64) -> Shell {
        Shell {
            observer,
            writer_signal: Condvar::new(),
            syncer_signal: Condvar::new(),
            hurry_signal: Condvar::new(),
            house_signal: Condvar::new(),
            durable: AtomicU64::new(end),
            threads: Mutex::default(),
        }
    }

    /// Resolves when everything before `position` is written to the page cache; the receiver errs if the log stops.
    pub fn wait_written(&self, state: &Mutex<impl Driven>, position: Position) -> oneshot::Receiver<()> {
        let (waiter, receiver) = oneshot::channel();
        if state.lock().progress().wait_written(position, waiter) {
            self.writer_signal.notify_one();
        }
        receiver
    }

    /// Resolves when everything before `position` is durable; the receiver errs if the log stops.
    pub fn wait_durable(&self, state: &Mutex<impl Driven>, position: Position) -> oneshot::Receiver<()> {
        let (waiter, receiver) = oneshot::channel();
        if state.lock().progress().wait_durable(position, waiter) {
            self.hurry();
        }
        receiver
    }

    /// Asks for everything before `position` to be synced without waiting for company.
    pub fn want_durable(&self, state: &Mutex<impl Driven>, position: Position) {
        if state.lock().progress().want_durable(position) {
            self.hurry();
        }
    }

    fn hurry(&self) {
        self.syncer_signal.notify_one();
        self.hurry_signal.notify_one();
    }

    pub fn durable_position(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// Something was queued that nobody need write before the syncer does.
    pub fn wake_syncer(&self) {
        self.syncer_signal.notify_one();
    }

    /// Batches were queued; so many bytes are now.
    pub fn queued(&self, queued_bytes: usize) {
        self.wake_syncer();
        if queued_bytes >= BESIDE_SYNC_BYTES {
            self.writer_signal.notify_one();
        }
    }

    /// The writer has published what it wrote; `reached` are those who waited for it.
    pub fn wrote(&self, partitions: &[PartitionNumber], reached: &mut Vec<oneshot::Sender<()>>) {
        self.syncer_signal.notify_one();
        self.tell(partitions, Advance::Written, reached);
    }

    /// What is before `target` is durable. With the lock of the state held.
    pub fn set_durable(&self, progress: &mut Progress, target: u64, reached: &mut Vec<oneshot::Sender<()>>) {
        progress.synced(target, reached);
        self.durable.store(target, Ordering::Release);
    }

    /// The syncer has published what is durable; `reached` are those who waited for it.
    pub fn synced(&self, partitions: &[PartitionNumber], reached: &mut Vec<oneshot::Sender<()>>) {
        self.writer_signal.notify_one();
        self.tell(partitions, Advance::Durable, reached);
    }

    fn tell(&self, partitions: &[PartitionNumber], what: Advance, reached: &mut Vec<oneshot::Sender<()>>) {
        if !partitions.is_empty() {
            self.observer.advanced(partitions, what);
        }
        for waiter in reached.drain(..) {
            // Whoever gave up waiting needs no answer.
            let _ = waiter.send(());
        }
    }

    /// What is stored of a partition was found damaged.
    pub fn damaged(&self, partition: PartitionNumber) {
        self.observer.damaged(partition);
    }

    /// The state says that the housekeeping is wanted.
    pub fn wake_house(&self) {
        self.house_signal.notify_one();
    }

    pub fn want_house(&self, state: &Mutex<impl Driven>) {
        state.lock().progress().house_wanted = true;
        self.wake_house();
    }

    /// Stops the log: a failed write or sync is never repeated, because its outcome is unknown. Answers with the first failure.
    pub fn fail(&self, state: &Mutex<impl Driven>, operation: &'static str, path: &Path, error: io::Error) -> LogFailure {
        let failure = LogFailure { operation, path: path.to_owned(), error: Arc::new(error) };
        {
            let mut state = state.lock();
            if let Err(first) = state.progress().check() {
                return first;
            }
            state.progress().fail(failure.clone());
        }
        self.wake_all();
        tracing::error!(%failure, "the log has stopped");
        self.observer.failed(&failure);
        failure
    }

    fn wake_all(&self) {
        self.writer_signal.notify_all();
        self.syncer_signal.notify_all();
        self.hurry_signal.notify_all();
        self.house_signal.notify_all();
    }

    /// Starts a thread for each role, unless they run already. `panicked` is called if one of them panics: otherwise those who wait
    /// for it would wait for ever.
    pub fn start<L: Send + Sync + 'static>(
        &self,
        log: &Arc<L>,
        roles: &[Role<L>],
        panicked: fn(&L, io::Error),
    ) -> io::Result<()> {
        let mut threads = self.threads.lock();
        if !threads.is_empty() {
            return Ok(());
        }
        for Role { name, run } in roles {
            let (log, run) = (log.clone(), *run);
            threads.push(thread::Builder::new().name((*name).to_owned()).spawn(move || {
                let _alarm = Alarm { log: &*log, panicked };
                run(&log);
            })?);
        }
        Ok(())
    }

    /// Has the threads end.
    pub fn stop(&self, state: &Mutex<impl Driven>) {
        state.lock().progress().stop();
        self.wake_all();
    }

    /// Waits until the threads have ended.
    pub fn join(&self) {
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log has panicked");
            }
        }
    }

    /// What the writer thread does, with steps that write what is queued.
    pub fn repeat_writes(&self, state: &Mutex<impl Driven>, step: impl Fn() -> Result<SyncOutcome, LogFailure>) {
        loop {
            let mut state = state.lock();
            while !may_write(&mut *state) {
                if state.progress().has_failed() {
                    return;
                }
                self.writer_signal.wait(&mut state);
            }
            if !state.has_queued() || state.progress().has_failed() {
                return;
            }
            drop(state);
            // A failure has been told to everybody by the step itself, and ends the loop above.
            let _ = step();
        }
    }

    /// What the syncer thread does, with steps that write what is queued, and that sync what is written.
    pub fn repeat_syncs(
        &self,
        state: &Mutex<impl Driven>,
        write: impl Fn() -> Result<SyncOutcome, LogFailure>,
        sync: impl Fn() -> Result<SyncOutcome, LogFailure>,
    ) {
        loop {
            let mut state = state.lock();
            while !state.progress().is_stopping() && is_idle(&mut *state) {
                if state.progress().has_failed() {
                    return;
                }
                self.syncer_signal.wait(&mut state);
            }
            if is_idle(&mut *state) || state.progress().has_failed() {
                return;
            }
            self.wait_for_company(&mut state);
            drop(state);
            // A failure has been told to everybody by the step itself, and ends the loop above.
            let _ = write().and_then(|_| sync());
        }
    }

    fn wait_for_company(&self, state: &mut MutexGuard<'_, impl Driven>) {
        let until = Instant::now() + COMPANY;
        while state.progress().has_time_for_company() {
            if self.hurry_signal.wait_until(state, until).timed_out() {
                return;
            }
        }
    }

    /// What the housekeeping thread does.
    pub fn repeat_house(&self, state: &Mutex<impl Driven>, step: impl Fn() -> Result<(), LogFailure>) {
        // A failure has been told to everybody by the step itself, and ends the loop.
        repeat_when(state, &self.house_signal, |state| &mut state.progress().house_wanted, || _ = step());
    }
}

/// Repeats a step whenever it is wanted, until the log stops.
pub(crate) fn repeat_when<S: Driven>(state: &Mutex<S>, signal: &Condvar, wanted: fn(&mut S) -> &mut bool, step: impl Fn()) {
    loop {
        let mut state = state.lock();
        while !state.progress().is_stopping() && !*wanted(&mut state) {
            if state.progress().has_failed() {
                return;
            }
            signal.wait(&mut state);
        }
        if state.progress().is_stopping() || state.progress().has_failed() {
            return;
        }
        *wanted(&mut state) = false;
        drop(state);
        step();
    }
}

/// Whether the writer need not wait. At the end it takes whatever there is.
fn may_write(state: &mut impl Driven) -> bool {
    let has_queued = state.has_queued();
    let progress = state.progress();
    progress.is_stopping() || has_queued && progress.wants_writer() && !progress.is_far_ahead()
}

/// Whether there is nothing to write and nothing to sync.
fn is_idle(state: &mut impl Driven) -> bool {
    !state.has_queued() && state.progress().is_synced()
}

/// Tells the log if its thread panics.
struct Alarm<'a, L> {
    log: &'a L,
    panicked: fn(&L, io::Error),
}

impl<L> Drop for Alarm<'_, L> {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.panicked)(self.log, io::Error::other("a thread of the log has panicked"));
        }
    }
}
