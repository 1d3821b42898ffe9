//! How much is put and got a second, from counters that are looked at every few seconds; and the counts of the days (UTC).
//!
//! Time is given by the caller.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;

/// The spans that rates are told for: 10 s, 1 min and 10 min.
const SPANS_MS: [u64; 3] = [10_000, 60_000, 600_000];
/// Samples kept: those of the longest span, taken every 5 s, and one more.
const SAMPLES: usize = 121;

/// What has been counted since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Messages from all clients.
    pub put: u64,
    /// Messages given to RocketMQ's clients.
    pub got: u64,
}

/// Rates over the three spans, as tools read them: with blanks between.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Triple(pub [f64; 3]);

impl fmt::Display for Triple {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [short, middle, long] = self.0;
        write!(formatter, "{short:?} {middle:?} {long:?}")
    }
}

/// The counts when days began, as far as they began in this process's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Days {
    pub yesterday: Counted,
    pub today: Counted,
}

#[derive(Debug, Default)]
pub struct Rates {
    /// Guards the samples; held for a look.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When, in milliseconds of a clock that never goes back, and what; the oldest first.
    samples: VecDeque<(u64, Counted)>,
    day: Option<i64>,
    days: Days,
}

impl Rates {
    /// Notes what has been counted. `day` is the number of the day.
    pub fn sample(&self, now_ms: u64, day: i64, counted: Counted) {
        let mut state = self.state.lock();
        if state.samples.len() == SAMPLES {
            state.samples.pop_front();
        }
        state.samples.push_back((now_ms, counted));
        if state.day.replace(day).is_some_and(|before| before != day) {
            state.days = Days { yesterday: state.days.today, today: counted };
        }
    }

    pub fn days(&self) -> Days {
        self.state.lock().days
    }

    /// Messages put, a second.
    pub fn put(&self) -> Triple {
        self.rates(|counted| counted.put)
    }

    /// Messages got, a second.
    pub fn got(&self) -> Triple {
        self.rates(|counted| counted.got)
    }

    /// Zeros as long as there is only one sample.
    fn rates(&self, of: fn(&Counted) -> u64) -> Triple {
        let state = self.state.lock();
        let Some((now_ms, last)) = state.samples.back() else { return Triple::default() };
        Triple(SPANS_MS.map(|span_ms| {
            let first = state.samples.iter().find(|(at_ms, _)| at_ms + span_ms >= *now_ms);
            match first {
                Some((at_ms, first)) if at_ms < now_ms => {
                    rounded((of(last) - of(first)) as f64 * 1000.0 / (now_ms - at_ms) as f64)
                }
                _ => 0.0,
            }
        }))
    }
}

/// To hundredths, so that people can read it.
fn rounded(rate: f64) -> f64 {
    (rate * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_over_its_span_or_over_what_there_is() {
        let rates = Rates::default();
        assert_eq!(rates.put().to_string(), "0.0 0.0 0.0");
        rates.sample(0, 1, Counted { put: 100, got: 0 });
        assert_eq!(rates.put().to_string(), "0.0 0.0 0.0");
        rates.sample(5_000, 1, Counted { put: 200, got: 50 });
        assert_eq!(
            (rates.put().to_string(), rates.got().to_string()),
            ("20.0 20.0 20.0".to_owned(), "10.0 10.0 10.0".to_owned())
        );
        for at in 2..200 {
            rates.sample(at * 5_000, 1, Counted { put: 200, got: 50 });
        }
        rates.sample(1_000_000, 1, Counted { put: 1_400, got: 50 });
        assert_eq!(rates.put().to_string(), "120.0 20.0 2.0");
        assert_eq!(rates.state.lock().samples.len(), SAMPLES);
    }

    #[test]
    fn counts_of_a_day_begin_at_its_first_sample() {
        let rates = Rates::default();
        let counted = |put| Counted { put, got: 0 };
        rates.sample(0, 7, counted(5));
        assert_eq!(rates.days(), Days::default());
        rates.sample(5_000, 8, counted(9));
        rates.sample(10_000, 8, counted(10));
        assert_eq!(rates.days(), Days { yesterday: counted(0), today: counted(9) });
        rates.sample(15_000, 9, counted(12));
        assert_eq!(rates.days(), Days { yesterday: counted(9), today: counted(12) });
    }
}
