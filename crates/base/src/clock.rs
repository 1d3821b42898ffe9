//! The door to time. Code that decides never reads it: its caller does and passes the value in.

use crate::TimestampMs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock and monotonic time.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time. May jump when the operator sets the clock; use it for timestamps only.
    fn now(&self) -> TimestampMs;

    /// Milliseconds on a clock that never goes back, from an arbitrary start. Use it for every time-out.
    fn monotonic_ms(&self) -> u64;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> TimestampMs {
        // A clock set before 1970 reads as 0 rather than failing.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampMs(since.as_millis() as i64)
    }

    fn monotonic_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}
