//! Clusters under faults, one a seed. What fails is played again with `cargo run -p duolog-simulator --release -- --seed N --trace`.

use duolog_simulator::{Report, Setting, run, run_in};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Seeds that are played in every run.
const FIXED: u64 = 300;
/// Seeds that nobody has played before.
const FRESH: u64 = 1_000;
/// The same with delivery in place of groups.
const FIXED_DELIVERY: u64 = 60;
const FRESH_DELIVERY: u64 = 140;

/// Plays seeds on all processors; the reports in no particular order.
fn play(setting: Setting, first: u64, count: u64) -> Vec<Report> {
    let (next, reports) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let report = run_in(setting, seed, None).unwrap_or_else(|failure| panic!("{failure:?}"));
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    reports.into_inner().unwrap()
}

#[test]
fn the_same_seeds_as_ever_lose_nothing() {
    let reports = play(Setting::GROUPS, 0, FIXED);
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    assert!(sum(|report| report.acked) > FIXED * 50, "a cluster that does nothing loses nothing: {}", sum(|report| report.acked));
    assert!(sum(|report| report.commits) > FIXED * 20, "nor do groups that commit nothing: {}", sum(|report| report.commits));
    assert!(sum(|report| report.faults) > FIXED * 10);
}

#[test]
fn fresh_seeds_lose_nothing() {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("a clock behind 1970");
    play(Setting::GROUPS, since.as_millis() as u64 * 1_000, FRESH);
}

#[test]
fn delivery_in_the_same_seeds_as_ever_keeps_its_promises() {
    let reports = play(Setting::DELIVERY, 0, FIXED_DELIVERY);
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    assert!(sum(|report| report.delivered) > FIXED_DELIVERY * 100, "done with: {}", sum(|report| report.delivered));
    assert!(sum(|report| report.came) > FIXED_DELIVERY * 20, "delayed records: {}", sum(|report| report.came));
}

#[test]
fn delivery_in_fresh_seeds_keeps_its_promises() {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("a clock behind 1970");
    play(Setting::DELIVERY, since.as_millis() as u64 * 1_000, FRESH_DELIVERY);
}

#[test]
fn the_same_seed_is_the_same_run() {
    // Some of them with the production log.
    for seed in 0..20 {
        let traced = || {
            let mut lines = Vec::new();
            let mut note = |at_ms: u64, text: &str| lines.push(format!("{at_ms} {text}"));
            let setting = if seed % 4 == 0 { Setting::DELIVERY } else { Setting::GROUPS };
            (run_in(setting, seed, Some(&mut note)), lines)
        };
        let (first, second) = (traced(), traced());
        assert!(first == second, "seed {seed}");
        assert!(first.1.len() > 1_000);
        assert_ne!(first.0.unwrap().fingerprint, run(seed + 1, None).unwrap().fingerprint);
    }
}
