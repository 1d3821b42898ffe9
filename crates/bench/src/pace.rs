//! When messages are due. A message's time is fixed before it is sent, so a stall makes the messages behind it late
//! instead of fewer: latencies counted from here are free of coordinated omission.

use std::time::{Duration, Instant};

/// A sleep may end this much late; what is left before a due time is spun away.
const SPIN: Duration = Duration::from_micros(60);
/// Shortest sleep between two messages of a high rate: a wake-up for each would take the broker's CPU.
const TICK: Duration = Duration::from_micros(500);

/// Evenly spaced due times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    per_second: f64,
}

impl Schedule {
    pub(crate) fn new(start: Instant, per_second: f64) -> Schedule {
        Schedule { start, per_second }
    }

    /// When the message with this number is due.
    pub(crate) fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// How many messages are due within this time.
    pub(crate) fn count(&self, seconds: f64) -> u64 {
        (self.per_second * seconds).ceil() as u64
    }
}

/// Sleeps until a due time or one tick longer. For high rates, where several messages become due in a tick.
pub(crate) fn rest_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left.max(TICK));
    }
}

/// Waits for a due time exactly; returns at once when it has passed. For low rates: it spins at the end.
pub(crate) fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > SPIN {
        std::thread::sleep(left - SPIN);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_do_not_depend_on_when_they_are_asked_for() {
        let schedule = Schedule::new(Instant::now(), 1000.0);
        assert_eq!(schedule.due(2500) - schedule.due(0), Duration::from_millis(2500));
        assert_eq!(schedule.count(2.5), 2500);
    }
}
