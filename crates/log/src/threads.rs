//! The production shell: three threads (a fourth one with an index of keys) that repeat the log's steps and sleep when there is nothing to do.
//!
//! They hold no state. An idle log wakes none of them.

use crate::log::{Log, State};
use parking_lot::MutexGuard;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a sync that nobody waits for may wait for more to sync.
pub(crate) const COMPANY: Duration = Duration::from_millis(1);
/// Queued bytes that are written while a sync is under way; less waits for the end of the sync.
pub(crate) const BESIDE_SYNC_BYTES: usize = 256 << 10;
/// How far the writer may be ahead of the syncer. Recovery relies on it: evidence that a damaged byte was durable lies within this
/// distance of it.
pub(crate) const MAX_UNSYNCED_BYTES: u64 = 64 << 20;

impl Log {
    /// Starts the writer, syncer and housekeeping threads of the production shell; [`Log::close`] stops and joins them.
    pub fn start_threads(self: &Arc<Self>) -> io::Result<()> {
        let mut threads = self.threads.lock();
        if !threads.is_empty() {
            return Ok(());
        }
        threads.push(self.start_thread("log-writer", Log::repeat_writes)?);
        threads.push(self.start_thread("log-syncer", Log::repeat_syncs)?);
        threads.push(self.start_thread("log-house", Log::repeat_house)?);
        if self.keys.is_some() {
            threads.push(self.start_thread("log-keys", Log::repeat_key_rebuilding)?);
        }
        Ok(())
    }

    fn start_thread(self: &Arc<Self>, name: &str, role: fn(&Log)) -> io::Result<JoinHandle<()>> {
        let log = self.clone();
        thread::Builder::new().name(name.into()).spawn(move || {
            let _alarm = Alarm { log: &log };
            role(&log);
        })
    }

    /// Writes for those who wait for the page cache only, and beside a sync under way when a lot is queued. What is to be synced is
    /// written by the syncer itself: one thread to wake instead of two, and one larger write.
    fn repeat_writes(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.stopping && (!writer_is_wanted(&state) || is_far_ahead(&state)) {
                if state.failure.is_some() {
                    return;
                }
                self.writer_signal.wait(&mut state);
            }
            if state.queue.is_empty() || state.failure.is_some() {
                return;
            }
            drop(state);
            // A failure has been told to everybody by the step itself, and ends the loop above.
            let _ = self.write_step();
        }
    }

    fn repeat_syncs(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.stopping && state.queue.is_empty() && state.written == state.durable {
                if state.failure.is_some() {
                    return;
                }
                self.syncer_signal.wait(&mut state);
            }
            if state.queue.is_empty() && state.written == state.durable || state.failure.is_some() {
                return;
            }
            self.wait_for_company(&mut state);
            drop(state);
            // A failure has been told to everybody by the step itself, and ends the loop above.
            let _ = self.write_step().and_then(|_| self.sync_step());
        }
    }

    fn wait_for_company(&self, state: &mut MutexGuard<'_, State>) {
        let until = Instant::now() + COMPANY;
        while state.sync_wanted <= state.durable && !state.stopping && !state.closing && state.failure.is_none() {
            if self.syncer_signal.wait_until(state, until).timed_out() {
                return;
            }
        }
    }

    fn repeat_house(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.stopping && !state.house_wanted {
                if state.failure.is_some() {
                    return;
                }
                self.house_signal.wait(&mut state);
            }
            if state.stopping || state.failure.is_some() {
                return;
            }
            state.house_wanted = false;
            drop(state);
            // A failure has been told to everybody by the step itself, and ends the loop above.
            let _ = self.prepare_step();
        }
    }

    fn repeat_key_rebuilding(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.stopping && !state.keys_wanted {
                if state.failure.is_some() {
                    return;
                }
                self.keys_signal.wait(&mut state);
            }
            if state.stopping || state.failure.is_some() {
                return;
            }
            state.keys_wanted = false;
            drop(state);
            // A failure has been told to everybody by the step itself, and ends the loop above.
            while self.rebuild_keys_step().unwrap_or(false) {}
        }
    }
}

/// Stops the log if its thread panics: otherwise those who wait for the thread would wait for ever.
struct Alarm<'a> {
    log: &'a Log,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.log.fail("a step", &self.log.dir, io::Error::other("a thread of the log has panicked"));
        }
    }
}

/// Whether somebody waits for the page cache only, or so much is queued that it is better written beside a sync.
fn writer_is_wanted(state: &State) -> bool {
    !state.queue.is_empty() && (state.write_wanted > state.written || state.queued_bytes >= BESIDE_SYNC_BYTES)
}

fn is_far_ahead(state: &State) -> bool {
    state.written - state.durable > MAX_UNSYNCED_BYTES
}
