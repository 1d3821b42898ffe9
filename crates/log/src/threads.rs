//! The production shell: three threads that repeat the log's steps and sleep when there is nothing to do.
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
        Ok(())
    }

    fn start_thread(self: &Arc<Self>, name: &str, role: fn(&Log)) -> io::Result<JoinHandle<()>> {
        let log = self.clone();
        thread::Builder::new().name(name.into()).spawn(move || {
            let _alarm = Alarm { log: &log };
            role(&log);
        })
    }

    fn repeat_writes(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.stopping && (state.queue.is_empty() || is_far_ahead(&state)) {
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
            while !state.stopping && state.written == state.durable {
                if state.failure.is_some() {
                    return;
                }
                self.syncer_signal.wait(&mut state);
            }
            if state.written == state.durable || state.failure.is_some() {
                return;
            }
            self.wait_for_company(&mut state);
            drop(state);
            // A failure has been told to everybody by the step itself, and ends the loop above.
            let _ = self.sync_step();
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

fn is_far_ahead(state: &State) -> bool {
    state.written - state.durable > MAX_UNSYNCED_BYTES
}
