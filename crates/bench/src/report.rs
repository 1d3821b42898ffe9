//! What one measurement found, as text or JSON. `cargo xtask bench` reads the JSON: its names are an interface.

use crate::latency::Latency;
use serde::Serialize;
use std::fmt;

/// What went through.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages: u64,
    /// Refused or lost.
    pub(crate) failed: u64,
    /// Bytes of a message's value.
    pub(crate) size: usize,
}

/// What the broker used.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_seconds_per_million: Option<f64>,
    pub(crate) rss_bytes: u64,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) open_files: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    mode: String,
    messages: u64,
    failed: u64,
    seconds: f64,
    messages_per_second: f64,
    megabytes_per_second: f64,
    latency: Option<Latency>,
    broker: Option<Usage>,
    generator_cpu_seconds: f64,
    /// What was read of another topic meanwhile.
    beside_megabytes_per_second: Option<f64>,
}

impl Report {
    pub(crate) fn new(
        mode: &str,
        traffic: Traffic,
        seconds: f64,
        latency: Option<Latency>,
        broker: Option<Usage>,
        generator_cpu_seconds: f64,
    ) -> Report {
        let messages_per_second = traffic.messages as f64 / seconds;
        Report {
            mode: mode.to_owned(),
            messages: traffic.messages,
            failed: traffic.failed,
            seconds,
            messages_per_second,
            megabytes_per_second: messages_per_second * traffic.size as f64 / 1e6,
            latency,
            broker,
            generator_cpu_seconds,
            beside_megabytes_per_second: None,
        }
    }

    /// Adds how many bytes of another topic were read in the same time.
    pub(crate) fn beside(self, bytes: u64) -> Report {
        Report { beside_megabytes_per_second: Some(bytes as f64 / 1e6 / self.seconds), ..self }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} messages in {:.2} s, {} failed", self.mode, self.messages, self.seconds, self.failed)?;
        if self.messages > 0 {
            writeln!(f, "  {:.0} messages/s, {:.1} MB/s", self.messages_per_second, self.megabytes_per_second)?;
        }
        if let Some(Latency { p50_us, p90_us, p99_us, p999_us, max_us }) = self.latency {
            let shown = [("p50", p50_us), ("p90", p90_us), ("p99", p99_us), ("p99.9", p999_us), ("max", max_us)];
            let shown: Vec<String> = shown.iter().map(|(name, us)| format!("{name} {:.3} ms", us / 1e3)).collect();
            writeln!(f, "  {}", shown.join(", "))?;
        }
        if let Some(usage) = self.broker {
            write!(f, "  broker: {:.2} CPU-s", usage.cpu_seconds)?;
            if let Some(per_million) = usage.cpu_seconds_per_million {
                write!(f, " ({per_million:.3} per million messages)")?;
            }
            let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
            let (now, peak) = (mib(usage.rss_bytes), mib(usage.peak_rss_bytes));
            writeln!(f, ", {now:.0} MiB resident (peak {peak:.0}), {} open files", usage.open_files)?;
        }
        if let Some(rate) = self.beside_megabytes_per_second {
            writeln!(f, "  read beside: {rate:.1} MB/s")?;
        }
        writeln!(f, "  generator: {:.2} CPU-s", self.generator_cpu_seconds)
    }
}
