//! Every kind of file of a dedicated partition, damaged in every way: found, confined to the partition, never served; what can be
//! built again is.

use crate::dedicated::{append, append_all, dir, fill, home, open_log, plan, read_all, settle, start};
use crate::scenario::{NOBODY, NOW, Producer, batch, batch_at, stored};
use bytes::Bytes;
use duolog_base::{Disk, Offset, PartitionNumber, RealDisk, TimestampMs, TopicId};
use duolog_log::dedicated::import::{ImportError, ImportOptions, import};
use duolog_log::dedicated::inspect::{self, Item};
use duolog_log::dedicated::{DedicatedLog, PartitionHome, PartitionName};
use duolog_log::{AppendError, OpenError, ReadError, ReadPart};
use duolog_sim::{Random, SimDisk};
use duolog_wire::record::{batches, verify_crc};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VICTIM: PartitionNumber = PartitionNumber(0);
const LOG_START: i64 = 10;

/// A log that was closed once, went on, and stopped orderly or not; with what its files were at the first stop.
struct Scene {
    disk: SimDisk,
    before: BTreeMap<PathBuf, Vec<u8>>,
    victim: Vec<(i64, Bytes)>,
    bystander: Vec<(i64, Bytes)>,
}

fn shared(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn contents(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    disk.contents().into_iter().collect()
}

fn idempotent(log: &DedicatedLog, from: i32, count: i32) -> Vec<(i64, Bytes)> {
    let mut all = Vec::new();
    for sequence in from..from + count {
        let batch = batch_at(sequence as u64, 1, 80, Producer { id: 5, epoch: 0, sequence }, NOW.0 + i64::from(sequence));
        let offset = append(log, VICTIM.0, batch.clone()).unwrap().base_offset.0;
        all.push((offset, stored(&batch, offset, 0)));
        settle(log);
    }
    all
}

fn scene(clean: bool) -> Scene {
    let disk = SimDisk::new(1);
    let (log, _) = start(&shared(&disk), &dir(), 2);
    let mut victim = idempotent(&log, 0, 40);
    let mut bystander = fill(&log, 1, 20);
    log.close().unwrap();
    let before = contents(&disk);
    let (log, _) = start(&shared(&disk), &dir(), 2);
    victim.extend(idempotent(&log, 40, 50));
    bystander.extend(fill(&log, 1, 20));
    log.set_log_start(VICTIM, Offset(LOG_START)).unwrap();
    settle(&log);
    log.house_step(NOW).unwrap();
    if clean {
        log.close().unwrap();
    }
    Scene { disk, before, victim, bystander }
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip {
        seed: u64,
    },
    Zero {
        seed: u64,
    },
    Truncate {
        seed: u64,
    },
    Stale,
    Gone,
    /// The file of the same name of the other partition instead.
    Foreign,
}

/// A copy of the disk with one file damaged; `None` if the damage changes nothing.
fn damaged(scene: &Scene, path: &Path, damage: Damage) -> Option<SimDisk> {
    let disk = scene.disk.crash(7);
    let content = disk.read_file(path).ok()?;
    let mut bytes = content.clone();
    let place = |seed, bytes: &[u8]| Random::new(seed).below(bytes.len() as u64) as usize;
    match damage {
        _ if bytes.is_empty() => {}
        Damage::Flip { seed } => {
            let at = place(seed, &bytes);
            bytes[at] ^= 1 << (seed % 8);
        }
        Damage::Zero { seed } => {
            let at = place(seed, &bytes);
            let end = (at + 512).min(bytes.len());
            bytes[at..end].fill(0);
        }
        Damage::Truncate { seed } => bytes.truncate(place(seed, &content)),
        Damage::Stale => bytes = scene.before.get(path)?.clone(),
        Damage::Gone => disk.remove(path).unwrap(),
        // The format of batches does not say whose they are.
        Damage::Foreign if path.extension().is_some_and(|extension| extension == "log") => {}
        Damage::Foreign => {
            let name = path.file_name()?;
            bytes = disk.read_file(&dir().join(home(1).name.to_string()).join(name)).ok()?;
        }
    }
    if !matches!(damage, Damage::Gone) {
        if bytes == content {
            return None;
        }
        disk.remove(path).unwrap();
        disk.write_file(path, &bytes);
    }
    Some(disk)
}

/// Everything that is served is what was appended; answers how many batches were not served.
fn check_served(log: &DedicatedLog, expected: &[(i64, Bytes)], what: &str) -> usize {
    let ends = log.ends(VICTIM).unwrap();
    let mut refused = 0;
    for (offset, truth) in expected.iter().filter(|(offset, _)| *offset >= ends.start.0) {
        let served = plan(log, VICTIM.0, *offset, 1).and_then(|plan| plan.materialize());
        let Ok(bytes) = served else {
            refused += 1;
            continue;
        };
        let intact = batches(&bytes).next().is_some_and(|found| found.is_ok()) && verify_crc(&bytes).is_ok();
        if !intact {
            // A flip within a sealed segment is found by the reader, by the batch's own checksum.
            refused += 1;
            continue;
        }
        // In a segment that is read after a crash, nothing tells a leader epoch that has become greater from one that was.
        let without_epoch = |batch: &[u8]| [&batch[..12], &batch[16..]].concat();
        assert_eq!(without_epoch(&bytes), without_epoch(truth), "{what}: another batch at offset {offset}");
    }
    refused
}

#[test]
fn no_damaged_file_is_ever_served() {
    let mut found = 0;
    for clean in [true, false] {
        let scene = scene(clean);
        let end = scene.victim.last().unwrap().0 + 1;
        let of_bystander = home(1).name.to_string();
        let files: Vec<PathBuf> =
            scene.disk.files().into_iter().filter(|path| !path.to_string_lossy().contains(&of_bystander)).collect();
        assert!(files.len() > 20);
        let damages = (0..6).map(|seed| Damage::Flip { seed }).chain((0..2).map(|seed| Damage::Zero { seed }));
        let damages: Vec<Damage> = damages
            .chain((0..3).map(|seed| Damage::Truncate { seed }))
            .chain([Damage::Stale, Damage::Gone, Damage::Foreign])
            .collect();
        let of_manifest: Vec<Damage> = (6..30).map(|seed| Damage::Flip { seed }).chain(damages.iter().copied()).collect();
        let damages_of = |path: &Path| if path.ends_with("duolog.manifest") { &of_manifest } else { &damages };
        for (path, damage) in files.iter().flat_map(|path| damages_of(path).iter().map(move |damage| (path, *damage))) {
            let Some(disk) = damaged(&scene, path, damage) else { continue };
            let what = format!("clean {clean}, {}, {damage:?}", path.display());
            if path.ends_with("duolog.manifest") && matches!(damage, Damage::Foreign) {
                let opened = open_log(&shared(&disk), &dir()).map(|_| ());
                assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{what}: {opened:?}");
                continue;
            }
            let (log, _) = start(&shared(&disk), &dir(), 2);
            assert_eq!(read_all(&log, 1), scene.bystander, "{what}: the other partition");
            let refused = check_served(&log, &scene.victim, &what);
            let quarantined = matches!(append(&log, 0, batch(1, 1, 1)), Err(AppendError::Quarantined(_)));
            let ends = log.ends(VICTIM).unwrap();
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            let is_start = path.ends_with("log-start-offset-checkpoint");
            // A flipped leader epoch is not covered either: it fences the append.
            assert!(quarantined || ends.end.0 >= end, "{what}: the end is {} of {end}", ends.end);
            assert!(is_log || is_start || quarantined || refused == 0, "{what}: {refused} refused though nothing is lost");
            if !is_log && !is_start && !quarantined {
                assert_eq!(ends.start.0, LOG_START, "{what}");
                assert_eq!(log.producers(VICTIM)[0].last_sequence, 89, "{what}: the producer is known");
                check_times(&log, &what);
            }
            found += usize::from(refused > 0 || quarantined);
        }
    }
    assert!(found > 50, "the damage hit something: {found}");
}

/// Where the batches of a partition lie, by their offsets.
fn places(disk: &SimDisk, partition: &str) -> BTreeMap<i64, (PathBuf, u64)> {
    let items = inspect::items(shared(disk), &dir().join(partition)).unwrap();
    let place = |item| match item {
        Item::Batch { file, position, header, .. } => (header.base_offset.0, (file, position)),
        Item::Damage { file, position, .. } => panic!("{} at {position}", file.display()),
    };
    items.map(|item| place(item.unwrap())).collect()
}

/// Bytes of the base offset and of the leader epoch, of which a batch's checksum knows nothing, and bits of them.
const UNCOVERED: [(u64, u8); 6] = [(7, 0), (7, 2), (6, 0), (0, 7), (15, 0), (12, 7)];
/// Offsets around a damaged one that are asked for.
const NEAR: i64 = 6;

#[test]
fn a_batch_with_another_offset_or_epoch_is_never_served() {
    let scene = scene(true);
    let (mut refused, mut all) = (0, 0);
    for (offset, (path, position)) in places(&scene.disk, "orders-0").split_off(&LOG_START) {
        for (byte, bit) in [UNCOVERED[offset as usize % 6], UNCOVERED[(offset as usize * 5 + 3) % 6]] {
            let disk = scene.disk.crash(7);
            disk.flip(&path, position + byte, bit).unwrap();
            let (log, _) = start(&shared(&disk), &dir(), 2);
            let what = format!("byte {byte} bit {bit} of the batch at {offset}");
            let near = (offset - NEAR).max(LOG_START)..offset + NEAR;
            for (asked, truth) in scene.victim.iter().filter(|(asked, _)| near.contains(asked)) {
                all += 1;
                match plan(&log, VICTIM.0, *asked, 1).and_then(|plan| plan.materialize()) {
                    Ok(bytes) => assert_eq!(bytes, *truth, "{what}: offset {asked}"),
                    Err(_) => {
                        assert!((asked - offset).abs() <= 4, "{what}: the batch at {asked} is not concerned");
                        refused += 1;
                    }
                }
            }
            assert!(plan(&log, VICTIM.0, offset, 1).and_then(|plan| plan.materialize()).is_err(), "{what}: it is told");
            // A longer read ends before it, or fails: it is not given either.
            let first = (offset - NEAR).max(LOG_START);
            let Ok(long) = plan(&log, VICTIM.0, first, 1 << 20) else {
                assert!(offset < first + 4, "{what}: a read begins far before it");
                continue;
            };
            let mut checked = long.clone();
            let mut check = checked.run_check().unwrap();
            let [ReadPart::File { file, .. }] = long.parts.as_slice() else { panic!("{what}: a plan of one range") };
            while let Some(wanted) = check.wants() {
                let mut bytes = vec![0; (wanted.end - wanted.start) as usize];
                file.read_exact_at(&mut bytes, wanted.start).unwrap();
                check.take(&bytes);
            }
            if long.next.0 > offset {
                let told = checked.keep_checked(&check).is_err();
                assert!(told || checked.next.0 <= offset, "{what}: read up to {}", checked.next);
                assert!(!told || offset < first + 4, "{what}: nothing is left of what is before it");
                assert!(told || checked.materialize().is_ok(), "{what}: the batches before it are served");
                assert!(long.materialize().is_err(), "{what}");
            }
            assert!(inspect::verify(shared(&disk), &dir().join("orders-0")).unwrap().problem_count > 0, "{what}: verify");
        }
    }
    assert!(refused > 0 && refused * 2 < all, "{refused} of {all} refused");
}

/// The batches were appended in order of time, one offset and one millisecond each.
fn check_times(log: &DedicatedLog, what: &str) {
    for offset in [LOG_START, 33, 57, 89] {
        let time = TimestampMs(NOW.0 + offset);
        let found = log.find_by_time(VICTIM, time, Offset(0), Offset(90)).unwrap().expect("there is one");
        assert_eq!(found.base_offset, Offset(offset), "{what}: found by time");
    }
}

#[test]
fn damaged_indexes_are_built_again() {
    let scene = scene(true);
    let sealed: Vec<PathBuf> = scene
        .disk
        .files()
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("orders-0/") && path.to_string_lossy().ends_with("index"))
        .filter(|path| !scene.disk.read_file(path).unwrap().is_empty())
        .collect();
    assert!(sealed.len() > 8);
    for path in &sealed {
        let disk = scene.disk.crash(3);
        let truth = disk.read_file(path).unwrap();
        disk.flip(path, truth.len() as u64 / 2, 4).unwrap();
        let damaged = disk.read_file(path).unwrap();
        let (log, _) = start(&shared(&disk), &dir(), 2);
        let expected: Vec<_> = scene.victim.iter().filter(|(offset, _)| *offset >= LOG_START).cloned().collect();
        assert_eq!(read_all(&log, 0), expected);
        check_times(&log, "built again");
        append(&log, 0, batch(1, 1, 1)).unwrap();
        log.close().unwrap();
        assert_ne!(disk.read_file(path).unwrap(), damaged, "{}", path.display());
        let report = inspect::verify(shared(&disk), &dir().join("orders-0")).unwrap();
        let contradictions = report.problems.iter().filter(|problem| problem.problem.contains("entry")).count();
        assert_eq!(contradictions, 0, "{}: {:?}", path.display(), report.problems);
    }
}

#[test]
fn a_quarantine_survives_any_number_of_restarts_and_harms_nobody_else() {
    let scene = scene(false);
    let path = dir().join("orders-0").join(format!("{:020}.log", last_base(&scene.disk)));
    scene.disk.flip(&path, 30, 0).unwrap();
    for round in 0..4 {
        let (log, report) = start(&shared(&scene.disk), &dir(), 2);
        assert_eq!(report.quarantined, [VICTIM], "round {round}");
        assert!(matches!(plan(&log, 0, 50, 100), Err(ReadError::Quarantined(_))));
        assert!(matches!(append(&log, 0, batch(1, 1, 1)), Err(AppendError::Quarantined(_))));
        assert_eq!(read_all(&log, 1).len(), scene.bystander.len() + round);
        append(&log, 1, batch(1, 1, 1)).unwrap();
        log.close().unwrap();
    }
}

fn last_base(disk: &SimDisk) -> i64 {
    *inspect::segments(disk, &dir().join("orders-0")).unwrap().last().unwrap()
}

#[test]
fn the_offline_verification_finds_what_is_damaged() {
    let scene = scene(true);
    let victim = dir().join("orders-0");
    let report = inspect::verify(shared(&scene.disk), &victim).unwrap();
    assert_eq!((report.problem_count, report.batches), (0, 90), "{:?}", report.problems);
    assert!(report.entries > 20 && report.segments > 3);
    let listed: Vec<i64> = inspect::items(shared(&scene.disk), &victim)
        .unwrap()
        .map(|item| match item.unwrap() {
            Item::Batch { header, .. } => header.base_offset.0,
            Item::Damage { file, position, .. } => panic!("{} at {position}", file.display()),
        })
        .collect();
    assert_eq!(listed, (0..90).collect::<Vec<i64>>());
    let names = inspect::partitions(&scene.disk, &dir()).unwrap();
    assert_eq!(names, [home(0).name, home(1).name]);
    for path in scene.disk.files().iter().filter(|path| path.starts_with(&victim)) {
        let derived = path.ends_with("partition.metadata") || path.ends_with("leader-epoch-checkpoint");
        let Some(disk) = damaged(&scene, path, Damage::Flip { seed: 5 }).filter(|_| !derived) else { continue };
        // The indexes of the active segment have no checksum that is always right, so only what contradicts the batches is found.
        let active = path.to_string_lossy().contains(&format!("{:020}.", last_base(&disk)));
        let report = inspect::verify(shared(&disk), &victim).unwrap();
        assert!(report.problem_count > 0 || active, "{}", path.display());
    }
}

#[test]
fn a_directory_is_taken_over_with_its_offsets_and_checked_on_the_way() {
    let scene = scene(true);
    let (from, root) = (dir().join("orders-0"), PathBuf::from("/other/dedicated"));
    let name = PartitionName { topic: "taken".into(), ..home(0).name };
    let options = || ImportOptions { name: Some(name.clone()), topic_id: Some(TopicId(9)) };
    let imported = import(&scene.disk, &from, &root, options()).unwrap();
    assert_eq!((imported.start, imported.end, imported.batches), (Offset(LOG_START), Offset(90), 90));
    assert!(matches!(import(&scene.disk, &from, &root, options()), Err(ImportError::Exists { .. })));
    let (log, report) = open_log(&shared(&scene.disk), &root).unwrap();
    assert_eq!((log.unclaimed(), report.scanned_frames), (vec![name.clone()], 90));
    log.open_partition(PartitionNumber(3), PartitionHome { name: name.clone(), topic_id: TopicId(9), ..home(0) }).unwrap();
    let expected: Vec<_> = scene.victim.iter().filter(|(offset, _)| *offset >= LOG_START).cloned().collect();
    assert_eq!(read_all(&log, 3), expected);
    assert_eq!(append(&log, 3, batch(1, 1, 1)).unwrap().base_offset, Offset(90));
    settle(&log);
    drop(log);
    let (log, report) = open_log(&shared(&scene.disk), &root).unwrap();
    assert_eq!((log.partitions(), log.unclaimed(), report.quarantined), (vec![PartitionNumber(3)], vec![], vec![]));
    assert_eq!(read_all(&log, 3).len(), expected.len() + 1);

    // One that belongs to another topic is set aside and not lost.
    let other = PartitionName { topic: "other".into(), ..home(0).name };
    import(&scene.disk, &from, &root, ImportOptions { name: Some(other.clone()), topic_id: Some(TopicId(9)) }).unwrap();
    let (log, _) = open_log(&shared(&scene.disk), &root).unwrap();
    log.open_partition(PartitionNumber(4), PartitionHome { name: other, topic_id: TopicId(10), ..home(0) }).unwrap();
    assert_eq!(log.ends(PartitionNumber(4)).unwrap().end, Offset(0));
    assert!(scene.disk.list(&root).unwrap().contains(&"other-0.4-stray".to_owned()));

    // Damage in the middle is refused; half a batch at the very end is left out.
    let segments = inspect::segments(&scene.disk, &from).unwrap();
    let log_of = |base: i64| from.join(format!("{base:020}.log"));
    let third = PartitionName { topic: "third".into(), ..home(0).name };
    let options = || ImportOptions { name: Some(third.clone()), topic_id: None };
    let last = log_of(*segments.last().unwrap());
    let bytes = scene.disk.read_file(&last).unwrap();
    scene.disk.write_file(&last, &bytes[..bytes.len() - 5]);
    let imported = import(&scene.disk, &from, &root, options()).unwrap();
    assert_eq!((imported.end, imported.torn_bytes > 0, imported.topic_id), (Offset(89), true, Some(TopicId(7))));
    scene.disk.flip(&log_of(segments[0]), 90, 1).unwrap();
    let fourth = ImportOptions { name: Some(PartitionName { topic: "fourth".into(), ..third }), topic_id: None };
    assert!(matches!(import(&scene.disk, &from, &root, fourth), Err(ImportError::Damaged { .. })));
    let (log, _) = open_log(&shared(&scene.disk), &root).unwrap();
    assert!(!log.unclaimed().iter().any(|name| name.topic == "fourth"), "nothing half imported is found");
}

#[test]
fn many_partitions_are_one_group_commit() {
    use duolog_sim::Operation;
    const MANY: u32 = 100;
    let disk = SimDisk::new(1);
    let (log, _) = start(&shared(&disk), &dir(), MANY);
    for turn in 0..3 {
        let counts = || [Operation::Write, Operation::Sync, Operation::SyncDir, Operation::SyncAll].map(|kind| disk.count(kind));
        let before = counts();
        let receipt = append_all(&log, &one_each(MANY, turn));
        assert!(receipt.results.iter().all(Result::is_ok));
        settle(&log);
        assert_eq!(log.durable_position(), receipt.end);
        let [writes, syncs, dirs, alls] = std::array::from_fn(|kind| counts()[kind] - before[kind]);
        // The first time the directories are made, with two small files each.
        let expected = if turn == 0 { (3 * u64::from(MANY), 2) } else { (u64::from(MANY), 1) };
        assert_eq!(((writes, alls), syncs, dirs), (expected, 0, 0), "turn {turn}");
    }
}

fn one_each(partitions: u32, turn: u64) -> Vec<(u32, Vec<u8>)> {
    (0..partitions).map(|number| (number, batch_at(u64::from(number) + turn, 1, 20, NOBODY, NOW.0))).collect()
}

#[test]
fn thousands_of_partitions_survive_both_ways_of_stopping() {
    const MANY: u32 = 2000;
    let keep = tempfile::tempdir().unwrap();
    let (disk, root): (Arc<dyn Disk>, _) = (Arc::new(RealDisk), keep.path().join("dedicated"));
    let (log, _) = start(&disk, &root, MANY);
    (0..3).for_each(|turn| assert!(append_all(&log, &one_each(MANY, turn)).results.iter().all(Result::is_ok)));
    settle(&log);
    drop(log);
    for clean in [false, true] {
        let (log, report) = start(&disk, &root, MANY);
        assert_eq!((report.clean_shutdown, report.quarantined, report.files), (clean, vec![], MANY as usize));
        for number in 0..MANY {
            let truth = (0..3).map(|turn| (turn, stored(&one_each(MANY, turn as u64)[number as usize].1, turn, 0)));
            assert!(number % 500 > 0 || read_all(&log, number).into_iter().eq(truth));
            assert_eq!(log.ends(PartitionNumber(number)).unwrap().end, Offset(3));
        }
        log.close().unwrap();
    }
}

#[test]
fn open_files_are_bounded_by_the_partitions_written_to_and_a_limit() {
    let disk = SimDisk::new(1);
    let (log, _) = start(&shared(&disk), &dir(), 60);
    for number in 0..60 {
        fill(&log, number, 60);
    }
    log.house_step(NOW).unwrap();
    for number in 0..60 {
        assert_eq!(read_all(&log, number).len(), 60);
    }
    assert_eq!(log.open_segments(), 256, "more segments were read than are kept open");
}
