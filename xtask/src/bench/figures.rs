//! What one measurement found: the load generator's report as far as it is compared, and medians over rounds.

use super::failure::Failure;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The load generator's report. Names are those of its JSON.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Figures {
    pub(super) messages: u64,
    pub(super) failed: u64,
    pub(super) seconds: f64,
    pub(super) messages_per_second: f64,
    pub(super) megabytes_per_second: f64,
    pub(super) latency: Option<Latency>,
    pub(super) broker: Option<Usage>,
    pub(super) generator_cpu_seconds: f64,
    pub(super) beside_megabytes_per_second: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Latency {
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) max_us: f64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) cpu_seconds_per_million: Option<f64>,
    pub(super) rss_bytes: u64,
    pub(super) peak_rss_bytes: u64,
    pub(super) open_files: u64,
}

/// One number of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    Rate,
    CpuPerMillion,
    P50,
    P99,
    P999,
    /// The largest latency: how long nothing went on for somebody.
    Longest,
    Rss,
    OpenFiles,
    Seconds,
    Beside,
}

impl Metric {
    pub(super) fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Metric::Rate => Some(figures.messages_per_second),
            Metric::CpuPerMillion => figures.broker?.cpu_seconds_per_million,
            Metric::P50 => figures.latency.map(|latency| latency.p50_us / 1e3),
            Metric::P99 => figures.latency.map(|latency| latency.p99_us / 1e3),
            Metric::P999 => figures.latency.map(|latency| latency.p999_us / 1e3),
            Metric::Longest => figures.latency.map(|latency| latency.max_us / 1e3),
            Metric::Rss => figures.broker.map(|usage| usage.peak_rss_bytes as f64 / 1_048_576.0),
            Metric::OpenFiles => figures.broker.map(|usage| usage.open_files as f64),
            Metric::Seconds => Some(figures.seconds),
            Metric::Beside => figures.beside_megabytes_per_second,
        }
    }

    /// Its name and unit in tables.
    pub(super) fn title(self) -> &'static str {
        match self {
            Metric::Rate => "messages/s",
            Metric::CpuPerMillion => "CPU-s per million",
            Metric::P50 => "p50, ms",
            Metric::P99 => "p99, ms",
            Metric::P999 => "p99.9, ms",
            Metric::Longest => "longest, ms",
            Metric::Rss => "peak RSS, MiB",
            Metric::OpenFiles => "open files",
            Metric::Seconds => "seconds",
            Metric::Beside => "read beside, MB/s",
        }
    }

    /// Whether a smaller number is the better one.
    pub(super) fn less_is_better(self) -> bool {
        !matches!(self, Metric::Rate | Metric::Beside)
    }
}

impl Figures {
    pub(super) fn parse(text: &str) -> Result<Figures, Failure> {
        serde_json::from_str(text).map_err(|error| Failure::Report { error, text: text.to_owned() })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} msg/s, {:.1} MB/s, {} failed", self.messages_per_second, self.megabytes_per_second, self.failed)?;
        if let Some(latency) = self.latency {
            let ms = [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us].map(|us| us / 1e3);
            write!(f, ", p50 {:.3} p90 {:.3} p99 {:.3} p99.9 {:.3} max {:.3} ms", ms[0], ms[1], ms[2], ms[3], ms[4])?;
        }
        if let Some(usage) = self.broker {
            let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
            write!(f, ", broker {:.2} CPU-s", usage.cpu_seconds)?;
            if let Some(cpu) = usage.cpu_seconds_per_million {
                write!(f, " = {cpu:.3} CPU-s/M")?;
            }
            let (rss, peak, files) = (mib(usage.rss_bytes), mib(usage.peak_rss_bytes), usage.open_files);
            write!(f, ", RSS {rss:.0} (peak {peak:.0}) MiB, {files} files")?;
        }
        if let Some(rate) = self.beside_megabytes_per_second {
            write!(f, ", {rate:.1} MB/s read beside")?;
        }
        write!(f, ", generator {:.2} CPU-s, {:.3} s", self.generator_cpu_seconds, self.seconds)
    }
}

/// The middle of some numbers and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Median {
    pub(super) middle: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
}

pub(super) fn median(metric: Metric, rounds: &[Figures]) -> Option<Median> {
    let mut values: Vec<f64> = rounds.iter().filter_map(|figures| metric.of(figures)).collect();
    values.sort_by(f64::total_cmp);
    let (lowest, highest) = (*values.first()?, *values.last()?);
    let half = values.len() / 2;
    let middle = if values.len().is_multiple_of(2) { (values[half - 1] + values[half]) / 2.0 } else { values[half] };
    Some(Median { middle, lowest, highest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(messages_per_second: f64) -> Figures {
        Figures { messages_per_second, ..Figures::default() }
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        let three = median(Metric::Rate, &[rate(9.0), rate(1.0), rate(2.0)]).unwrap();
        assert_eq!(three, Median { middle: 2.0, lowest: 1.0, highest: 9.0 });
        assert_eq!(median(Metric::Rate, &[rate(1.0), rate(2.0)]).unwrap().middle, 1.5);
        assert_eq!(median(Metric::P99, &[rate(1.0)]), None);
    }
}
