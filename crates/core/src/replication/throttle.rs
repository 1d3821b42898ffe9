//! How fast a node replicates to replicas that are not in sync: a token bucket for what it serves as a leader, and one for what it asks
//! for as a follower. (KIP-73)
//!
//! Pure: the rate and the time are parameters. A grant may take more than there is, since a batch goes as a whole; nothing more goes
//! before that is made up for, so that the rate holds over time. Who is in sync is neither limited nor counted.

/// Of the rate, so much may gather while nobody takes it, in milliseconds.
const BURST_MS: u64 = 1_000;
/// After a wait there must be so much of the rate, in milliseconds, so that it does not go by the byte.
const PORTION_MS: u64 = 100;
/// The rate may change while somebody waits: he looks again after so long at most, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 500;
/// Thousandths of a byte in a byte: what a rate of one byte a second brings in a second.
const BYTE: i128 = 1_000;

/// What may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Nobody limits it.
    Free,
    /// So many bytes, at least one, but a whole batch.
    Bytes(u64),
    /// Nothing; look again after so many milliseconds.
    None { pause_ms: u64 },
}

/// The bucket of one direction.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// In bytes a second; `None` as long as there is no limit.
    rate: Option<u64>,
    /// What may still go, in thousandths of a byte; negative after more has gone.
    credit: i128,
    as_of_ms: u64,
    /// All of it was used, and there is no portion yet.
    exhausted: bool,
}

impl Throttle {
    /// What may go at this rate. With another rate than before all is forgotten, debts too.
    pub(super) fn room(&mut self, rate: Option<u64>, now_ms: u64) -> Room {
        let Some(bytes_a_second) = rate else {
            self.rate = None;
            return Room::Free;
        };
        let portion = i128::from(bytes_a_second) * i128::from(PORTION_MS);
        let portion = portion.max(BYTE);
        if self.rate != rate {
            *self = Throttle { rate, credit: portion, as_of_ms: now_ms, exhausted: bytes_a_second == 0 };
        }
        let elapsed = i128::from(now_ms.saturating_sub(self.as_of_ms));
        self.as_of_ms = self.as_of_ms.max(now_ms);
        let most = (i128::from(bytes_a_second) * i128::from(BURST_MS)).max(portion);
        self.credit = self.credit.saturating_add(elapsed.saturating_mul(i128::from(bytes_a_second))).min(most);
        self.exhausted = bytes_a_second == 0 || self.credit < if self.exhausted { portion } else { BYTE };
        match self.exhausted {
            false => Room::Bytes((self.credit / BYTE) as u64),
            true => Room::None { pause_ms: pause(portion - self.credit, bytes_a_second) },
        }
    }

    /// So many bytes have gone.
    pub(super) fn spend(&mut self, bytes: usize) {
        if self.rate.is_some() {
            self.credit = self.credit.saturating_sub(bytes as i128 * BYTE);
        }
    }
}

fn pause(missing: i128, bytes_a_second: u64) -> u64 {
    let needed = u64::try_from(missing.max(0)).unwrap_or(u64::MAX).checked_div(bytes_a_second).unwrap_or(u64::MAX);
    needed.saturating_add(1).min(LONGEST_PAUSE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_rate_there_is_no_limit_and_nothing_is_owed() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.room(None, 5), Room::Free);
        throttle.spend(1 << 40);
        assert_eq!(throttle.room(Some(1_000), 5), Room::Bytes(100));
        throttle.spend(1 << 40);
        assert!(matches!(throttle.room(Some(1_000), 6), Room::None { .. }));
        assert_eq!(throttle.room(Some(2_000), 6), Room::Bytes(200), "another rate begins anew");
        throttle.spend(1 << 40);
        assert_eq!(throttle.room(None, 7), Room::Free);
    }

    #[test]
    fn a_batch_that_is_too_large_is_made_up_for() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.room(Some(1_000), 0), Room::Bytes(100));
        throttle.spend(1_100);
        assert_eq!(throttle.room(Some(1_000), 10), Room::None { pause_ms: 500 }, "he looks again in case the rate changes");
        assert_eq!(throttle.room(Some(1_000), 1_000), Room::None { pause_ms: 101 });
        assert_eq!(throttle.room(Some(1_000), 1_099), Room::None { pause_ms: 2 }, "not by the byte");
        assert_eq!(throttle.room(Some(1_000), 1_100), Room::Bytes(100));
        throttle.spend(50);
        assert_eq!(throttle.room(Some(1_000), 1_100), Room::Bytes(50), "it was not exhausted");
    }

    #[test]
    fn what_nobody_takes_gathers_for_a_second_only() {
        let mut throttle = Throttle::default();
        throttle.room(Some(1_000), 0);
        assert_eq!(throttle.room(Some(1_000), 3_600_000), Room::Bytes(1_000));
    }

    #[test]
    fn the_smallest_rate_lets_one_batch_through_and_a_rate_of_nothing_none() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.room(Some(1), 0), Room::Bytes(1));
        throttle.spend(100);
        assert!(matches!(throttle.room(Some(1), 99_000), Room::None { .. }));
        assert_eq!(throttle.room(Some(1), 100_000), Room::Bytes(1));
        assert_eq!(throttle.room(Some(0), 100_000), Room::None { pause_ms: 500 });
        assert_eq!(throttle.room(Some(0), u64::MAX), Room::None { pause_ms: 500 });
    }

    #[test]
    fn the_largest_rate_is_a_rate() {
        let mut throttle = Throttle::default();
        assert!(matches!(throttle.room(Some(u64::MAX), 0), Room::Bytes(_)));
        throttle.spend(usize::MAX);
        throttle.spend(usize::MAX);
        assert!(matches!(throttle.room(Some(u64::MAX), 1), Room::None { .. }));
        assert!(matches!(throttle.room(Some(u64::MAX), u64::MAX), Room::Bytes(_)));
    }

    proptest! {
        /// Whatever is taken whenever it may be: never more than the rate brings, a burst, and what one grant takes too much.
        #[test]
        fn no_more_goes_than_the_rate_allows(
            rate in 1_u64..10_000_000,
            steps in prop::collection::vec((0_u64..5_000, 1_usize..2_000_000), 1..200),
        ) {
            let (mut throttle, mut now_ms, mut gone, mut largest) = (Throttle::default(), 0, 0, 0);
            for (pause_ms, wanted) in steps {
                now_ms += pause_ms;
                if let Room::Bytes(bytes) = throttle.room(Some(rate), now_ms) {
                    prop_assert!(bytes > 0);
                    throttle.spend(wanted);
                    gone += wanted as u64;
                    largest = largest.max(wanted as u64);
                }
                prop_assert!(gone <= (rate * (now_ms + BURST_MS)).div_ceil(1_000) + largest + 1);
            }
        }

        /// Who looks again when he is told to gets something in the end.
        #[test]
        fn there_is_room_again_after_a_while(rate in 1_u64..10_000_000, debt_ms in 0_u64..100_000) {
            let (mut throttle, mut now_ms) = (Throttle::default(), 7);
            throttle.room(Some(rate), now_ms);
            throttle.spend((rate * debt_ms / 1_000) as usize);
            let enough_ms = now_ms + debt_ms + PORTION_MS + 1_000 + LONGEST_PAUSE_MS;
            while let Room::None { pause_ms } = throttle.room(Some(rate), now_ms) {
                prop_assert!(pause_ms > 0);
                now_ms += pause_ms;
                prop_assert!(now_ms <= enough_ms);
            }
        }
    }
}
