//! A checker that has never found anything is not trusted: each planted bug must be found within 1,000 seeds.

use duolog_replica::{MUTANTS, Mutant, plant};
use duolog_simulator::{Cast, Failure, Logs, Setting, run, run_in};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const SEEDS: u64 = 1_000;

/// How many seeds it takes to find the bug, and what is found.
fn hunt(mutant: Mutant) -> Option<(u64, Failure)> {
    let _planted = plant(Some(mutant));
    let setting = setting(mutant);
    (0..SEEDS).find_map(|seed| run_in(setting, seed, None).err().map(|failure| (seed + 1, failure)))
}

/// Bugs in the production log show there only, and those of delivery only where it is played: these hunts do not wait for another seed.
fn setting(mutant: Mutant) -> Setting {
    match mutant {
        Mutant::TornTailTrusted | Mutant::RecoveredPrefixUnsynced | Mutant::TruncationFramesSkipped => {
            Setting { logs: Logs::Production, cast: Cast::Groups }
        }
        _ if mutant > Mutant::TruncationFramesSkipped => Setting::DELIVERY,
        _ => Setting::GROUPS,
    }
}

#[test]
fn every_planted_bug_is_found() {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mutant) = MUTANTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = hunt(*mutant);
                    found.lock().unwrap().push((*mutant, result));
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|(mutant, _)| *mutant);
    for (mutant, result) in &found {
        match result {
            Some((seeds, failure)) => println!("{mutant:?}: {seeds} seeds, {:?}", failure.violation),
            None => println!("{mutant:?}: NOT FOUND"),
        }
    }
    let survivors: Vec<_> = found.iter().filter(|(_, result)| result.is_none()).map(|(mutant, _)| mutant).collect();
    assert!(survivors.is_empty(), "not found in {SEEDS} seeds: {survivors:?}");
}

#[test]
fn a_bug_is_planted_in_one_thread_and_gone_afterwards() {
    let found = hunt(Mutant::LeaderCountsUnsynced);
    let (seeds, failure) = found.expect("found");
    assert_eq!(run(seeds - 1, None).err(), None, "without it the seed {} passes", failure.seed);
}
