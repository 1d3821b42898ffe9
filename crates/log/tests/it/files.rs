//! Files as they are born, sealed, freed and used again.

use crate::scenario::*;
use duolog_base::{Disk, Offset, PartitionNumber};
use duolog_log::{Log, LogOptions, ReadPart};
use duolog_sim::{Operation, SimDisk};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const ONE: PartitionNumber = PartitionNumber(1);

fn start(disk: &SimDisk, options: &LogOptions) -> Arc<Log> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = open(&shared, Path::new("/data/shared"), options.clone()).unwrap();
    log.open_partition(ONE);
    log
}

fn names(disk: &SimDisk, extension: &str) -> Vec<String> {
    let files = disk.files();
    let wanted = files.iter().filter(|path| path.extension().is_some_and(|found| found == extension));
    wanted.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

fn fill(log: &Log, batches: u64) {
    for seed in 0..batches {
        append(log, 1, batch(seed, 1, 500)).unwrap();
        settle(log);
    }
}

#[test]
fn a_full_file_is_sealed_with_its_index_and_the_next_begins_where_it_ends() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &options());
    fill(&log, 30);
    assert_eq!(names(&disk, "queues"), Vec::<String>::new(), "sealing is the housekeeping's");
    let before = read_all(&log, 1);
    log.house_step(NOW).unwrap();
    let logs = names(&disk, "log");
    assert!(logs.len() >= 3);
    assert_eq!(names(&disk, "queues"), logs[..logs.len() - 1]);
    assert_eq!(read_all(&log, 1), before, "sealed entries are read as unsealed ones were");
}

#[test]
fn files_roll_when_they_hold_too_many_batches() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &LogOptions { unsealed_entries: 5, ..options() });
    fill(&log, 11);
    assert_eq!(names(&disk, "log").len(), 3);
}

#[test]
fn a_batch_larger_than_a_file_gets_a_file_of_its_own() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &options());
    fill(&log, 1);
    let large = batch(7, 1, 20_000);
    append(&log, 1, large.clone()).unwrap();
    fill(&log, 1);
    log.house_step(NOW).unwrap();
    assert_eq!(names(&disk, "log").len(), 3);
    let log = start(&disk, &options());
    assert_eq!(read_all(&log, 1)[1], (1, stored(&large, 1, 0)));
}

#[test]
fn dead_files_are_freed_oldest_first_and_their_bytes_never_come_back() {
    let disk = SimDisk::new(1);
    let options = LogOptions { recycled_files: 1, tail_cache_bytes: 0, ..options() };
    let log = start(&disk, &options);
    fill(&log, 60);
    log.house_step(NOW).unwrap();
    let logs = names(&disk, "log");
    log.set_log_start(ONE, Offset(40)).unwrap();
    log.house_step(NOW).unwrap();
    assert_eq!(names(&disk, "log"), logs, "the log start is not durable yet");
    settle(&log);
    log.house_step(NOW).unwrap();
    let left = names(&disk, "log");
    assert!(left.len() < logs.len() && logs.ends_with(&left), "{left:?} of {logs:?}");
    assert_eq!(names(&disk, "queues").len(), left.len() - 1);
    assert_eq!(names(&disk, "spare").len(), 1, "one is kept, the others are gone");

    let kept = read_all(&log, 1);
    assert_eq!(kept[0].0, 40);
    fill(&log, 20);
    assert_eq!(names(&disk, "spare").len(), 0, "the spare is in use again");
    let now = read_all(&log, 1);
    assert_eq!(now[..kept.len()], kept);
    // The recycled file holds intact frames of its former life; a crash must not find them.
    disk.kill();
    let log = start(&disk, &options);
    assert_eq!(read_all(&log, 1), now);
}

/// All files but two are dead, and one of them is kept.
fn with_a_dead_file(disk: &SimDisk) -> (Arc<Log>, LogOptions) {
    let options = LogOptions { tail_cache_bytes: 0, recycled_files: 1, ..options() };
    let log = start(disk, &options);
    fill(&log, 30);
    log.house_step(NOW).unwrap();
    log.set_log_start(ONE, Offset(25)).unwrap();
    settle(&log);
    (log, options)
}

#[test]
fn a_file_that_is_being_read_is_used_again_only_when_its_reader_is_done() {
    for planned_before_sealing in [true, false] {
        let disk = SimDisk::new(1);
        let log = start(&disk, &LogOptions { tail_cache_bytes: 0, recycled_files: 1, ..options() });
        fill(&log, 30);
        if !planned_before_sealing {
            log.house_step(NOW).unwrap();
        }
        let slow_reader = plan(&log, 1, 0, 5000).unwrap();
        assert!(slow_reader.parts.iter().all(|part| matches!(part, ReadPart::File { .. })));
        let expected = slow_reader.materialize().unwrap();
        log.house_step(NOW).unwrap();
        log.set_log_start(ONE, Offset(30)).unwrap();
        settle(&log);
        log.house_step(NOW).unwrap();
        let kept = names(&disk, "spare");
        assert_eq!(kept.len(), 1);
        fill(&log, 30);
        log.house_step(NOW).unwrap();
        assert_eq!((names(&disk, "spare"), log.statistics().files_recycled), (kept, 0));
        assert_eq!(slow_reader.materialize().unwrap(), expected);
        drop(slow_reader);
        log.house_step(NOW).unwrap();
        assert_eq!(log.statistics().files_recycled, 1);
        fill(&log, 20);
        assert_eq!(names(&disk, "spare").len(), 0);
    }
}

#[test]
fn a_file_whose_pages_a_socket_refers_to_is_not_used_again() {
    let disk = SimDisk::new(1);
    let (log, options) = with_a_dead_file(&disk);
    disk.set_pages_in_use(true);
    log.house_step(NOW).unwrap();
    let waiting = names(&disk, "spare");
    assert_eq!(waiting.len(), 1);
    fill(&log, 20);
    log.house_step(NOW).unwrap();
    assert_eq!(names(&disk, "spare"), waiting, "new files were made instead");
    drop(log);
    disk.kill();
    let log = start(&disk, &options);
    log.house_step(NOW).unwrap();
    fill(&log, 20);
    assert_eq!((names(&disk, "spare"), log.statistics().files_recycled), (waiting, 0), "a new process knows no more");
    disk.set_pages_in_use(false);
    log.house_step(NOW).unwrap();
    assert_eq!(log.statistics().files_recycled, 1);
    fill(&log, 20);
    assert_eq!(names(&disk, "spare").len(), 0);
}

#[test]
fn a_spare_gives_its_space_back_when_the_disk_is_full() {
    let disk = SimDisk::new(1);
    let (log, _) = with_a_dead_file(&disk);
    log.house_step(NOW).unwrap();
    assert_eq!(names(&disk, "spare").len(), 1);
    disk.set_capacity(0);
    log.house_step(NOW).unwrap();
    assert_eq!(names(&disk, "spare").len(), 0);
}

#[test]
fn dropped_partitions_free_their_files() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &options());
    fill(&log, 30);
    log.house_step(NOW).unwrap();
    log.drop_partition(ONE).unwrap();
    settle(&log);
    log.house_step(NOW).unwrap();
    assert_eq!(names(&disk, "log").len(), 2, "the file that is written to, and the state at its beginning");
    assert_eq!(log.partitions(), []);
}

#[test]
fn offsets_and_producers_are_known_after_a_crash_when_all_they_wrote_was_freed() {
    const PRODUCER: Producer = Producer { id: 5, epoch: 0, sequence: 0 };
    let disk = SimDisk::new(1);
    let log = start(&disk, &options());
    let original = batch_at(1, 3, 500, PRODUCER, NOW.0);
    append(&log, 1, original.clone()).unwrap();
    settle(&log);
    log.set_log_start(ONE, Offset(3)).unwrap();
    settle(&log);
    // Others write on until the files in which the first partition stands are full, and are given up, too.
    log.open_partition(PartitionNumber(2));
    for seed in 0..60 {
        let end = append(&log, 2, batch(seed, 1, 500)).unwrap().last_offset.plus(1);
        settle(&log);
        log.set_log_start(PartitionNumber(2), end).unwrap();
        settle(&log);
        log.house_step(NOW).unwrap();
    }
    assert!(!names(&disk, "log").contains(&format!("{:020}", 0)), "the first file is freed");
    drop(log);
    let log = start(&disk.crash(1), &options());
    let again = append(&log, 1, original).unwrap();
    assert_eq!((again.base_offset, again.duplicate), (Offset(0), true));
    assert_eq!(append(&log, 1, batch(2, 1, 10)).unwrap().base_offset, Offset(3));
}

#[test]
fn a_repeat_that_does_not_fit_into_the_file_begins_no_new_one() {
    const PRODUCER: Producer = Producer { id: 5, epoch: 0, sequence: 0 };
    let disk = SimDisk::new(1);
    let log = start(&disk, &options());
    let original = batch_at(1, 1, 6000, PRODUCER, NOW.0);
    append(&log, 1, original.clone()).unwrap();
    settle(&log);
    let durable = log.durable_position();
    let again = append_all(&log, &[(1, original.clone())]);
    assert!(again.results[0].as_ref().unwrap().duplicate);
    assert_eq!(again.end, durable, "it is durable already, and nobody waits for what will not be written");
    settle(&log);
    log.close().unwrap();
    let log = start(&disk, &options());
    assert_eq!(append_all(&log, &[(1, original)]).end, log.durable_position());
    settle(&log);
    assert_eq!(log.ends(ONE).unwrap().durable, Offset(1));
}

#[test]
fn a_lost_or_damaged_index_is_rebuilt_from_the_file() {
    for damage in ["removed", "header", "directory", "state"] {
        let disk = SimDisk::new(1);
        let log = start(&disk, &options());
        fill(&log, 60);
        log.house_step(NOW).unwrap();
        let expected = read_all(&log, 1);
        settle(&log);
        let index = format!("/data/shared/{}.queues", names(&disk, "queues")[1]);
        let index = Path::new(&index);
        let bytes = disk.read_file(index).unwrap().len() as u64;
        match damage {
            "removed" => disk.remove(index).unwrap(),
            "header" => disk.flip(index, 20, 1).unwrap(),
            "directory" => disk.flip(index, 70, 1).unwrap(),
            _ => disk.flip(index, bytes - 1, 1).unwrap(),
        }
        disk.kill();
        let log = start(&disk, &options());
        assert_eq!(read_all(&log, 1), expected, "{damage}");
        assert_eq!(log.ends(ONE).unwrap().end, Offset(60));
    }
}

#[test]
fn a_damaged_checkpoint_is_ignored() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &options());
    fill(&log, 5);
    let expected = read_all(&log, 1);
    log.close().unwrap();
    let checkpoint = format!("/data/shared/{}.checkpoint", names(&disk, "checkpoint")[0]);
    disk.flip(Path::new(&checkpoint), 80, 1).unwrap();
    let log = start(&disk, &options());
    assert_eq!(read_all(&log, 1), expected);
}

fn one_large_file() -> LogOptions {
    LogOptions { file_bytes: 1 << 20, ..options() }
}

/// Kills the process and opens the log again, which must hold what it held; answers how many frames that took.
fn frames_read_after_a_kill(disk: &SimDisk, options: &LogOptions, log: Arc<Log>) -> u64 {
    let expected = read_all(&log, 1);
    drop(log);
    disk.kill();
    let log = start(disk, options);
    assert_eq!(read_all(&log, 1), expected);
    log.statistics().recovered_frames
}

#[test]
fn checkpoints_on_the_way_bound_what_a_killed_process_leaves_to_be_read() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &one_large_file());
    for round in 0..20 {
        fill(&log, 5);
        log.house_step(NOW).unwrap();
        let links = names(&disk, "checkpoint").len() as u64;
        assert_eq!(links, log.statistics().checkpoints, "round {round}");
    }
    let checkpoints = log.statistics().checkpoints;
    assert!((15..=20).contains(&checkpoints), "{checkpoints}");
    let bytes: usize = disk
        .files()
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "checkpoint"))
        .map(|path| disk.read_file(path).unwrap().len())
        .sum();
    assert!(bytes < 100 * 40 + 20 * 300, "each entry is written once: {bytes}");
    assert!(frames_read_after_a_kill(&disk, &one_large_file(), log) <= 10);
    // The next run goes on with the same chain.
    let log = start(&disk, &one_large_file());
    fill(&log, 5);
    log.house_step(NOW).unwrap();
    assert!(frames_read_after_a_kill(&disk, &one_large_file(), log) <= 10);
}

#[test]
fn a_damaged_link_costs_reading_and_nothing_else() {
    for damaged in [0, 3, 7] {
        let disk = SimDisk::new(1);
        let log = start(&disk, &one_large_file());
        for _ in 0..8 {
            fill(&log, 5);
            log.house_step(NOW).unwrap();
        }
        let links = names(&disk, "checkpoint");
        disk.flip(Path::new(&format!("/data/shared/{}.checkpoint", links[damaged])), 130, 1).unwrap();
        let frames = frames_read_after_a_kill(&disk, &one_large_file(), log);
        let behind = (8 - damaged as u64) * 5;
        assert!((behind..=behind + 5).contains(&frames), "link {damaged}: {frames} frames");
        assert_eq!(names(&disk, "checkpoint"), links[..damaged], "links behind the damage are removed");
    }
}

#[test]
fn a_full_file_that_is_not_sealed_yet_is_read_from_its_checkpoint_on() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &options());
    fill(&log, 10);
    log.house_step(NOW).unwrap();
    assert_eq!(names(&disk, "checkpoint").len(), 1);
    fill(&log, 20);
    assert!(names(&disk, "log").len() > 2 && names(&disk, "queues").is_empty());
    let frames = frames_read_after_a_kill(&disk, &options(), log);
    assert!((20..=22).contains(&frames), "{frames}");
    assert_eq!(names(&disk, "checkpoint"), Vec::<String>::new(), "the sealed index has taken its place");
}

#[test]
fn a_chain_of_many_links_is_written_anew_as_one() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &one_large_file());
    for _ in 0..40 {
        fill(&log, 5);
        log.house_step(NOW).unwrap();
    }
    assert!(names(&disk, "checkpoint").len() <= 32);
    assert!(frames_read_after_a_kill(&disk, &one_large_file(), log) <= 10);
}

#[test]
fn a_checkpoint_waits_until_all_it_reflects_is_durable() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &one_large_file());
    fill(&log, 10);
    append(&log, 1, batch(7, 1, 500)).unwrap();
    log.house_step(NOW).unwrap();
    assert_eq!(log.statistics().checkpoints, 0);
    settle(&log);
    append(&log, 1, batch(8, 1, 500)).unwrap();
    log.house_step(NOW).unwrap();
    assert_eq!(log.statistics().checkpoints, 1);
    drop(log);
    disk.reboot(3);
    let log = start(&disk, &one_large_file());
    assert_eq!(log.ends(ONE).unwrap().end, Offset(11));
}

#[test]
fn an_idle_log_touches_no_disk() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &options());
    log.house_step(NOW).unwrap();
    let before = disk.changes();
    for _ in 0..3 {
        log.write_step().unwrap();
        log.sync_step().unwrap();
        log.house_step(NOW).unwrap();
    }
    assert_eq!(disk.changes(), before);
    assert_eq!(disk.count(Operation::Rename), 0);
}

#[test]
fn one_drain_of_many_partitions_is_one_write_and_one_sync() {
    let disk = SimDisk::new(1);
    let log = start(&disk, &LogOptions { file_bytes: 1 << 20, ..options() });
    (0..100).for_each(|number| log.open_partition(PartitionNumber(number)));
    let request: Vec<_> = (0..100).map(|number| (number, batch(number.into(), 1, 100))).collect();
    append_all(&log, &request);
    append_all(&log, &request);
    let (writes, syncs) = (disk.count(Operation::Write), disk.count(Operation::Sync));
    settle(&log);
    assert_eq!((disk.count(Operation::Write) - writes, disk.count(Operation::Sync) - syncs), (1, 1));
}

#[test]
fn what_the_log_does_is_counted() {
    let disk = SimDisk::new(1);
    let options = LogOptions { recycled_files: 1, ..options() };
    let log = start(&disk, &options);
    fill(&log, 60);
    log.house_step(NOW).unwrap();
    let files = names(&disk, "log").len() as u64;
    let before = log.statistics();
    assert_eq!((before.writes, before.syncs, before.recovered_frames), (60, 60, 0));
    assert_eq!((before.rolls, before.seals), (files - 1, files - 1));
    assert!(before.written_bytes > 60 * 500 && before.written_bytes < log.durable_position().0);
    log.set_log_start(ONE, Offset(60)).unwrap();
    settle(&log);
    log.house_step(NOW).unwrap();
    let after = log.statistics();
    assert_eq!(after.files_freed + after.files_recycled, files - 2);
    assert_eq!(after.files_recycled, 1);
    drop(log);
    disk.kill();
    let log = start(&disk, &options);
    assert!(log.statistics().recovered_frames > 0);
    let checkpoints = log.statistics().checkpoints;
    log.close().unwrap();
    assert_eq!(log.statistics().checkpoints, checkpoints + 1);
}

#[test]
fn a_writer_as_fast_as_the_filling_does_not_keep_full_files_from_being_sealed() {
    const ROUNDS: u64 = 16;
    let disk = SimDisk::new(1);
    let log = start(&disk, &LogOptions { file_bytes: 4 << 20, zero_ahead_bytes: 16 << 20, ..options() });
    let (rounds, most_waiting) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let batch = batch(1, 1, 640 << 10);
    let writer = {
        let (log, rounds, most_waiting) = (log.clone(), rounds.clone(), most_waiting.clone());
        move |synced: &Path| {
            if synced.extension().is_none_or(|extension| extension != "log") || rounds.load(Ordering::Relaxed) == ROUNDS {
                return;
            }
            rounds.fetch_add(1, Ordering::Relaxed);
            // More than what is filled at a time.
            for _ in 0..8 {
                append(&log, 1, batch.clone()).unwrap();
                settle(&log);
            }
            let statistics = log.statistics();
            most_waiting.fetch_max(statistics.rolls - statistics.seals, Ordering::Relaxed);
        }
    };
    disk.set_meanwhile(writer);
    for _ in 0..ROUNDS {
        log.house_step(NOW).unwrap();
    }
    assert_eq!(rounds.load(Ordering::Relaxed), ROUNDS, "there was always something to fill");
    let most_waiting = most_waiting.load(Ordering::Relaxed);
    assert!(most_waiting < ROUNDS / 2, "{most_waiting} full files waited");
}
