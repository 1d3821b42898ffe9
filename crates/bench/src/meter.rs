//! What processes use: CPU time, memory and open files, read from `/proc` at the beginning and the end of a measurement.
//!
//! The broker's figures include the processes it started. The kernel gives CPU time in ticks of 10 ms.

use crate::failure::Failure;
use crate::latency::Latency;
use crate::report::{Report, Traffic, Usage};
use std::time::Instant;

/// Said when a measurement begins.
const MEASURING: &str = "measuring";

/// A measurement that has begun.
pub(crate) struct Meter {
    pids: Vec<u32>,
    start: Instant,
    broker_cpu: f64,
    own_cpu: f64,
}

impl Meter {
    pub(crate) fn start(pids: &[u32]) -> Result<Meter, Failure> {
        let broker_cpu = all_cpu_seconds(pids)?;
        let own_cpu = cpu_seconds(std::process::id())?;
        // For those who want to do something to the broker meanwhile.
        eprintln!("{MEASURING}");
        Ok(Meter { pids: pids.to_vec(), start: Instant::now(), broker_cpu, own_cpu })
    }

    pub(crate) fn elapsed_seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Ends the measurement now.
    pub(crate) fn stop(self, mode: &str, traffic: Traffic, latency: Option<Latency>) -> Result<Report, Failure> {
        let seconds = self.elapsed_seconds();
        let generator_cpu_seconds = cpu_seconds(std::process::id())? - self.own_cpu;
        // One that has ended meanwhile takes its CPU time with it, so nothing is said of the others either.
        let alive = self.pids.iter().all(|pid| read(*pid, "stat").is_ok());
        let broker = match self.pids.is_empty() || !alive {
            true => None,
            false => Some(usage(&self.pids, all_cpu_seconds(&self.pids)? - self.broker_cpu, traffic.messages)?),
        };
        Ok(Report::new(mode, traffic, seconds, latency, broker, generator_cpu_seconds))
    }
}

fn usage(pids: &[u32], cpu_seconds: f64, messages: u64) -> Result<Usage, Failure> {
    let cpu_seconds_per_million = (messages > 0).then(|| cpu_seconds * 1e6 / messages as f64);
    let mut used = Usage { cpu_seconds, cpu_seconds_per_million, rss_bytes: 0, peak_rss_bytes: 0, open_files: 0 };
    for pid in pids.iter().copied() {
        let status = read(pid, "status")?;
        let kilobytes = |key| value(&status, key).ok_or(Failure::ProcessFormat { pid });
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_err(|error| Failure::Process { pid, error })?.count();
        used.rss_bytes += kilobytes("VmRSS:")? * 1024;
        used.peak_rss_bytes += kilobytes("VmHWM:")? * 1024;
        used.open_files += files as u64;
    }
    Ok(used)
}

fn all_cpu_seconds(pids: &[u32]) -> Result<f64, Failure> {
    pids.iter().map(|pid| family_cpu_seconds(*pid)).sum()
}

/// The number behind a key of `/proc/PID/status`.
fn value(status: &str, key: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

/// CPU time of a process and of those it started.
fn family_cpu_seconds(pid: u32) -> Result<f64, Failure> {
    let mut sum = cpu_seconds(pid)?;
    for child in children(pid) {
        // It may have ended meanwhile; its parent's figure then includes it.
        sum += family_cpu_seconds(child).unwrap_or(0.0);
    }
    Ok(sum)
}

/// CPU time of a process and of its children that have ended.
fn cpu_seconds(pid: u32) -> Result<f64, Failure> {
    let stat = read(pid, "stat")?;
    let ticks = ticks(&stat).ok_or(Failure::ProcessFormat { pid })?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The four CPU fields of `/proc/PID/stat`, 14 to 17, summed. The name in field 2 may contain spaces.
fn ticks(stat: &str) -> Option<u64> {
    const FIRST_AFTER_NAME: usize = 3;
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    (14..=17).map(|field| fields.get(field - FIRST_AFTER_NAME)?.parse::<u64>().ok()).sum()
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

fn read(pid: u32, file: &str) -> Result<String, Failure> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|error| Failure::Process { pid, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_fields_are_found_behind_a_name_with_spaces() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 9";
        assert_eq!(ticks(stat), Some(124));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_uses_memory_and_files() {
        let used = usage(&[std::process::id()], 2.0, 4_000_000).unwrap();
        assert_eq!(used.cpu_seconds_per_million, Some(0.5));
        assert!(used.rss_bytes > 0 && used.peak_rss_bytes >= used.rss_bytes && used.open_files > 2);
    }
}
