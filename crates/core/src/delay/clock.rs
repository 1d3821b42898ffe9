//! The time that timers go by: the system's clock, without its slips forward.
//!
//! A message is due once this clock has reached its time. The rule:
//! * It shows what the system's clock shows, also when that is set back: then messages are late, never early.
//! * A step forward, by which the system's clock gets ahead of the monotonic one by more than [`STEP_MS`], counts only once it has lasted
//!   for [`PROOF_MS`]. Until then this clock goes on from where it was with the monotonic one. So a clock that is set wrong for a moment
//!   fires nothing, and one that is put right is believed soon.
//!
//! Pure: both readings are parameters. [`super::Delays`] keeps one a node.

use duolog_base::TimestampMs;
use duolog_replica::{Mutant, planted};

/// By how many milliseconds the system's clock may get ahead of the monotonic one between two looks.
pub const STEP_MS: i64 = 1_000;
/// How many milliseconds a step forward must last.
pub const PROOF_MS: u64 = 10_000;

#[derive(Clone, Copy, Debug, Default)]
pub struct TimerClock {
    /// The last look: what this clock showed, and the monotonic one.
    last: Option<(i64, u64)>,
    /// When a step forward was noticed that has not proved itself, by the monotonic clock.
    stepped: Option<u64>,
}

impl TimerClock {
    pub fn now(&mut self, wall: TimestampMs, monotonic_ms: u64) -> TimestampMs {
        let shown = match self.last {
            None => wall.0,
            Some((last, at)) => {
                let expected = last.saturating_add(monotonic_ms.saturating_sub(at) as i64);
                match wall.0.saturating_sub(expected) > STEP_MS && !planted(Mutant::ClockSlipBelieved) {
                    true => {
                        let since = *self.stepped.get_or_insert(monotonic_ms);
                        if monotonic_ms.saturating_sub(since) >= PROOF_MS { wall.0 } else { expected }
                    }
                    false => wall.0,
                }
            }
        };
        if shown == wall.0 {
            self.stepped = None;
        }
        self.last = Some((shown, monotonic_ms));
        TimestampMs(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: i64 = 1_000_000;

    fn looks(looks: &[(i64, u64)]) -> Vec<i64> {
        let mut clock = TimerClock::default();
        looks.iter().map(|(wall, monotonic)| clock.now(TimestampMs(START + wall), *monotonic).0 - START).collect()
    }

    #[test]
    fn it_goes_with_the_system_and_back_with_it() {
        assert_eq!(looks(&[(0, 0), (500, 500), (1_700, 1_000), (900, 1_100), (1_000, 1_200)]), [0, 500, 1_700, 900, 1_000]);
    }

    #[test]
    fn a_slip_forward_is_not_followed() {
        let hour = 3_600_000;
        assert_eq!(looks(&[(0, 0), (hour + 10, 10), (hour + 5_000, 5_000), (6_000, 6_000)]), [0, 10, 5_000, 6_000]);
    }

    #[test]
    fn a_step_forward_that_lasts_is_the_truth() {
        let hour = 3_600_000;
        let shown = looks(&[(0, 0), (hour, 1), (hour + 9_000, 9_001), (hour + 10_000, 10_001), (hour + 10_100, 10_101)]);
        assert_eq!(shown, [0, 1, 9_001, hour + 10_000, hour + 10_100]);
    }

    #[test]
    fn each_step_has_to_prove_itself() {
        let hour = 3_600_000;
        let shown = looks(&[(0, 0), (hour, 1), (9_000, 9_000), (hour + 9_001, 9_001), (hour + 12_000, 12_000)]);
        assert_eq!(shown, [0, 1, 9_000, 9_001, 12_000]);
    }

    proptest! {
        #[test]
        fn it_is_never_ahead_of_the_system_and_a_small_step(
            steps in prop::collection::vec((-10_000i64..10_000, 0u64..5_000), 1..100)
        ) {
            let (mut clock, mut wall, mut monotonic) = (TimerClock::default(), START, 0);
            for (jump, elapsed) in steps {
                monotonic += elapsed;
                wall += jump;
                prop_assert!(clock.now(TimestampMs(wall), monotonic).0 <= wall);
            }
        }
    }
}
