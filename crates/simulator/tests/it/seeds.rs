//! Clusters under faults, one a seed. What fails is played again with `cargo run -p duolog-simulator --release -- --seed N --trace`.

use duolog_simulator::{Report, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Seeds that are played in every run.
const FIXED: u64 = 300;
/// Seeds that nobody has played before.
const FRESH: u64 = 1_000;

/// Plays seeds on all processors; the reports in no particular order.
fn play(first: u64, count: u64) -> Vec<Report> {
    let (next, reports) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let report = run(seed, None).unwrap_or_else(|failure| panic!("{failure:?}"));
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    reports.into_inner().unwrap()
}

#[test]
fn the_same_seeds_as_ever_lose_nothing() {
    let reports = play(0, FIXED);
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    assert!(sum(|report| report.acked) > FIXED * 50, "a cluster that does nothing loses nothing: {}", sum(|report| report.acked));
    assert!(sum(|report| report.commits) > FIXED * 20, "nor do groups that commit nothing: {}", sum(|report| report.commits));
    assert!(sum(|report| report.faults) > FIXED * 10);
}

#[test]
fn fresh_seeds_lose_nothing() {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("a clock behind 1970");
    play(since.as_millis() as u64 * 1_000, FRESH);
}

#[test]
fn the_same_seed_is_the_same_run() {
    // Some of them with the production log.
    for seed in 0..20 {
        let traced = || {
            let mut lines = Vec::new();
            let mut note = |at_ms: u64, text: &str| lines.push(format!("{at_ms} {text}"));
            (run(seed, Some(&mut note)), lines)
        };
        let (first, second) = (traced(), traced());
        assert!(first == second, "seed {seed}");
        assert!(first.1.len() > 1_000);
        assert_ne!(first.0.unwrap().fingerprint, run(seed + 1, None).unwrap().fingerprint);
    }
}
