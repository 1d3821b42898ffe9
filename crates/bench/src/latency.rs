//! Latencies of many messages and the percentiles that are reported.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

const LONGEST: Duration = Duration::from_secs(600);
const SIGNIFICANT_DIGITS: u8 = 3;

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

/// Latencies as they come in.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Latencies {
        let highest = u64::try_from(LONGEST.as_nanos()).expect("minutes in nanoseconds fit");
        Latencies(Histogram::new_with_bounds(1, highest, SIGNIFICANT_DIGITS).expect("the bounds are in order"))
    }

    /// A longer one than the histogram holds counts as the longest.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    pub(crate) fn summary(&self) -> Option<Latency> {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        (!self.0.is_empty()).then(|| Latency {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64 / 1e3,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_recorded() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|us| latencies.record(Duration::from_micros(us)));
        let summary = latencies.summary().unwrap();
        assert!((summary.p50_us - 500.0).abs() < 2.0 && (summary.p99_us - 990.0).abs() < 2.0, "{summary:?}");
        assert!((summary.max_us - 1000.0).abs() < 2.0);
    }

    #[test]
    fn nothing_recorded_has_no_percentiles_and_the_endless_counts_as_the_longest() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.summary(), None);
        latencies.record(Duration::MAX);
        assert!(latencies.summary().unwrap().max_us >= LONGEST.as_micros() as f64);
    }
}
