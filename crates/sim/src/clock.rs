//! A clock that moves only when told.

use duolog_base::{Clock, TimestampMs};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Wall-clock and monotonic time in the hands of a test.
#[derive(Debug)]
pub struct SimClock {
    wall_ms: AtomicI64,
    monotonic_ms: AtomicU64,
}

impl SimClock {
    pub fn new(now: TimestampMs) -> SimClock {
        SimClock { wall_ms: AtomicI64::new(now.0), monotonic_ms: AtomicU64::new(0) }
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, milliseconds: u64) {
        self.wall_ms.fetch_add(milliseconds as i64, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(milliseconds, Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator does: no time passes.
    pub fn set_wall(&self, now: TimestampMs) {
        self.wall_ms.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.wall_ms.load(Ordering::SeqCst))
    }

    fn monotonic_ms(&self) -> u64 {
        self.monotonic_ms.load(Ordering::SeqCst)
    }
}
