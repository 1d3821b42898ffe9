//! Power loss and death of the process at every operation of a dedicated log, over the simulated disk.

use crate::dedicated_model::{Model, PARTITIONS, start};
use duolog_base::PartitionNumber;
use duolog_sim::{Failure, Operation, Random, SimDisk};

const STEPS: usize = 60;

/// Works until the power fails after `changes` operations, starts again, and checks; several times over on the same disk.
fn crash_at(seed: u64, changes: u64, rounds: u64) {
    let mut random = Random::new(seed);
    let disk = SimDisk::new(seed);
    let mut model = Model::default();
    for round in 0..rounds {
        let what = format!("seed {seed}, {changes} changes, round {round}");
        disk.crash_after(changes + round * 3);
        let opened = start(&disk);
        if let Ok((log, _)) = opened {
            if round > 0 {
                model.check(&log, &what);
            }
            if model.work(&log, &mut random, STEPS) && random.chance(1, 2) && log.close().is_ok() {
                model.closed(&log);
            }
        } else {
            assert!(disk.is_off(), "{what}: {}", opened.unwrap_err());
        }
        disk.reboot(seed * 1000 + changes * 10 + round);
        // A second opening finds what the first one left.
        let (log, first) = start(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(first.quarantined, [], "{what}");
        model.check(&log, &what);
        drop(log);
        disk.reboot(seed * 1000 + changes * 10 + round + 5);
        let (log, second) = start(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        model.check(&log, &format!("{what}, opened twice"));
        assert_eq!((second.quarantined, second.torn_bytes), (vec![], 0), "{what}");
    }
}

#[test]
fn power_loss_at_every_operation_loses_nothing_durable() {
    for seed in 0..3 {
        for changes in 0..160 {
            crash_at(seed, changes, 2);
        }
    }
}

#[test]
fn many_power_losses_of_one_disk_lose_nothing_durable() {
    for seed in 100..130 {
        crash_at(seed, seed % 90 + 10, 6);
    }
}

#[test]
fn a_process_that_dies_loses_nothing_written() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        for round in 0..4 {
            let (log, _) = start(&disk).unwrap();
            model.check(&log, &format!("seed {seed}, round {round}"));
            assert!(model.work(&log, &mut random, STEPS));
            let written: Vec<_> = (0..PARTITIONS).map(|number| log.ends(PartitionNumber(number)).unwrap().written).collect();
            disk.kill();
            let (log, _) = start(&disk).unwrap();
            model.check(&log, &format!("seed {seed}, killed in round {round}"));
            for (number, written) in written.into_iter().enumerate() {
                assert!(log.ends(PartitionNumber(number as u32)).unwrap().end >= written);
            }
        }
    }
}

#[test]
fn what_a_killed_process_left_in_the_page_cache_is_durable_once_it_is_shown() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        let (log, _) = start(&disk).unwrap();
        model.work(&log, &mut random, STEPS);
        disk.kill();
        let (log, _) = start(&disk).unwrap();
        let shown: Vec<_> = (0..PARTITIONS).map(|number| log.ends(PartitionNumber(number)).unwrap().durable).collect();
        disk.reboot(seed);
        let (log, _) = start(&disk).unwrap();
        model.check(&log, &format!("seed {seed}"));
        for (number, shown) in shown.into_iter().enumerate() {
            assert!(log.ends(PartitionNumber(number as u32)).unwrap().end >= shown, "seed {seed}, partition {number}");
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_not_shown_after_a_restart() {
    for seed in 0..120 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        let (log, _) = start(&disk).unwrap();
        disk.fail_next(random.pick(&[Operation::Sync, Operation::SyncAll]), seed % 20, Failure::Io);
        model.work(&log, &mut random, STEPS);
        disk.kill();
        // A failure that has not come yet comes now: then it does not start.
        let (log, _) = start(&disk).or_else(|_| start(&disk)).unwrap();
        let shown: Vec<_> = (0..PARTITIONS).map(|number| log.ends(PartitionNumber(number)).unwrap().durable).collect();
        disk.reboot(seed);
        let (log, _) = start(&disk).or_else(|_| start(&disk)).unwrap();
        model.check(&log, &format!("seed {seed}"));
        for (number, shown) in shown.into_iter().enumerate() {
            assert!(log.ends(PartitionNumber(number as u32)).unwrap().end >= shown, "seed {seed}, partition {number}");
        }
    }
}

#[test]
fn closing_and_opening_at_random_moments_keeps_everything() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        for round in 0..5 {
            let (log, report) = start(&disk).unwrap();
            model.check(&log, &format!("seed {seed}, round {round}"));
            assert_eq!((report.clean_shutdown, report.scanned_frames), (round > 0, 0));
            assert!(model.work(&log, &mut random, STEPS));
            log.close().unwrap();
            model.closed(&log);
            disk.reboot(seed * 10 + round);
        }
    }
}

#[test]
fn power_loss_while_a_killed_process_is_recovered_loses_and_damages_nothing() {
    for seed in 0..40 {
        for changes in 0..12 {
            let what = format!("seed {seed}, {changes} changes");
            let mut random = Random::new(seed);
            let disk = SimDisk::new(seed);
            let mut model = Model::default();
            let (log, _) = start(&disk).unwrap();
            model.work(&log, &mut random, STEPS / 3);
            model.leave_unsynced(&log, &mut random);
            disk.kill();
            disk.crash_after(changes);
            let interrupted = start(&disk).is_err();
            disk.reboot(seed);
            let (log, report) = start(&disk).unwrap();
            assert_eq!(report.quarantined, [], "{what}, interrupted: {interrupted}");
            model.check(&log, &what);
        }
    }
}
