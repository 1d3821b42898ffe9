//! The simulated disk: what is synced never goes, what is not does go, for some seed.

use duolog_base::{Clock, Disk, DiskFile, OpenMode, RealDisk, TimestampMs};
use duolog_sim::{Failure, Operation, PAGE_BYTES, Random, SECTOR_BYTES, SimClock, SimDisk};
use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;

const SEEDS: u64 = 200;
const PATH: &str = "/data/file";

fn path() -> &'static Path {
    Path::new(PATH)
}

/// A disk with `/data`, durable.
fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    assert!(disk.is_durable());
    disk
}

fn write(file: &Arc<dyn DiskFile>, bytes: &[u8], position: u64) {
    file.write_at(&[IoSlice::new(bytes)], position).unwrap();
}

/// A durable file of `content`.
fn durable_file(disk: &SimDisk, content: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(path(), OpenMode::CreateNew).unwrap();
    write(&file, content, 0);
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    assert!(disk.is_durable());
    file
}

/// What crashes with many seeds leave of the file, each outcome once.
fn outcomes(disk: &SimDisk) -> Vec<Option<Vec<u8>>> {
    let mut found = Vec::new();
    for seed in 0..SEEDS {
        let outcome = disk.crash(seed).read_file(path()).ok();
        if !found.contains(&outcome) {
            found.push(outcome);
        }
    }
    found
}

#[test]
fn synced_data_survives_every_crash() {
    let disk = disk();
    let content: Vec<u8> = (0..3 * PAGE_BYTES + 100).map(|n| n as u8).collect();
    durable_file(&disk, &content);
    assert_eq!(outcomes(&disk), [Some(content)]);
}

#[test]
fn unsynced_data_is_lost_kept_and_torn() {
    let disk = disk();
    let file = durable_file(&disk, &vec![1; 2 * PAGE_BYTES]);
    write(&file, &vec![2; 2 * PAGE_BYTES], 0);
    let outcomes: Vec<Vec<u8>> = outcomes(&disk).into_iter().map(|outcome| outcome.expect("the name is durable")).collect();
    assert!(outcomes.contains(&vec![1; 2 * PAGE_BYTES]));
    assert!(outcomes.contains(&vec![2; 2 * PAGE_BYTES]));
    let pages_apart = |content: &Vec<u8>| content[..PAGE_BYTES] == [2; PAGE_BYTES] && content[PAGE_BYTES..] == [1; PAGE_BYTES];
    assert!(outcomes.iter().any(pages_apart));
    let torn = |content: &Vec<u8>| content[..PAGE_BYTES].contains(&1) && content[..PAGE_BYTES].contains(&2);
    assert!(outcomes.iter().any(torn));
    for content in &outcomes {
        assert!(content.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "sectors never tear");
    }
    // The disk that went on has lost nothing.
    assert_eq!(disk.read_file(path()).unwrap(), vec![2; 2 * PAGE_BYTES]);
}

#[test]
fn the_length_survives_apart_from_the_data() {
    let disk = disk();
    let file = durable_file(&disk, b"");
    write(&file, b"unsynced", 0);
    let outcomes = outcomes(&disk);
    assert!(outcomes.contains(&Some(b"".to_vec())));
    assert!(outcomes.contains(&Some(b"unsynced".to_vec())));
    assert!(outcomes.contains(&Some(vec![0; 8])), "the length without the data");
    assert!(outcomes.contains(&Some(b"unsy".to_vec())), "a length in between");
}

#[test]
fn a_truncation_is_lost_or_kept_as_a_whole() {
    let disk = disk();
    let file = durable_file(&disk, &vec![1; 2 * PAGE_BYTES]);
    file.set_len(10).unwrap();
    assert_eq!(outcomes(&disk).len(), 2, "{:?}", outcomes(&disk).iter().flatten().map(Vec::len).collect::<Vec<_>>());
    assert!(outcomes(&disk).contains(&Some(vec![1; 10])));
    assert!(outcomes(&disk).contains(&Some(vec![1; 2 * PAGE_BYTES])));

    file.set_len(PAGE_BYTES as u64).unwrap();
    let regrown = [vec![1; 10], vec![0; PAGE_BYTES - 10]].concat();
    assert_eq!(disk.read_file(path()).unwrap(), regrown);
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk), [Some(regrown)]);
}

#[test]
fn unsynced_names_come_and_go() {
    let disk = disk();
    durable_file(&disk, b"old");
    let new = disk.open(Path::new("/data/new"), OpenMode::CreateNew).unwrap();
    write(&new, b"new", 0);
    new.sync_data().unwrap();
    disk.rename(Path::new("/data/new"), path()).unwrap();
    let found = outcomes(&disk);
    assert!(found.contains(&Some(b"old".to_vec())) && found.contains(&Some(b"new".to_vec())));
    assert!(!found.contains(&None), "a rename replaces at once");

    disk.sync_dir(Path::new("/data")).unwrap();
    assert_eq!(outcomes(&disk), [Some(b"new".to_vec())]);

    disk.remove(path()).unwrap();
    assert_eq!(disk.open(path(), OpenMode::Read).err().unwrap().kind(), ErrorKind::NotFound);
    let found = outcomes(&disk);
    assert!(found.contains(&None) && found.contains(&Some(b"new".to_vec())));
    disk.sync_dir(Path::new("/data")).unwrap();
    assert_eq!(outcomes(&disk), [None]);
}

#[test]
fn a_synced_file_whose_name_is_not_can_vanish() {
    let disk = disk();
    let file = disk.open(path(), OpenMode::CreateNew).unwrap();
    write(&file, b"x", 0);
    file.sync_data().unwrap();
    assert!(outcomes(&disk).contains(&None));
    disk.sync_dir(Path::new("/data")).unwrap();
    assert_eq!(outcomes(&disk), [Some(b"x".to_vec())]);
}

#[test]
fn syncing_a_directory_keeps_the_directory_itself() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/a/b")).unwrap();
    assert!((0..SEEDS).any(|seed| disk.crash(seed).list(Path::new("/a/b")).is_err()));
    disk.open(Path::new("/a/b/c"), OpenMode::CreateNew).unwrap();
    disk.sync_dir(Path::new("/a/b")).unwrap();
    assert!((0..SEEDS).all(|seed| disk.crash(seed).list(Path::new("/a/b")).unwrap() == ["c"]));
}

#[test]
fn a_directory_is_renamed_with_what_is_in_it_and_removed_when_it_is_empty() {
    let disk = disk();
    let (old, new) = (Path::new("/data/old"), Path::new("/data/new"));
    disk.create_dir_all(old).unwrap();
    let file = disk.open(&old.join("file"), OpenMode::CreateNew).unwrap();
    write(&file, b"content", 0);
    file.sync_data().unwrap();
    disk.rename(old, new).unwrap();
    assert_eq!(disk.list(new).unwrap(), ["file"]);
    assert_eq!(disk.remove_dir(new).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    disk.sync_dir(Path::new("/data")).unwrap();
    for seed in 0..SEEDS {
        let after = disk.crash(seed);
        assert_eq!(after.read_file(&new.join("file")).unwrap(), b"content", "what was in it goes with it");
        assert!(after.list(old).is_err());
    }
    disk.remove(&new.join("file")).unwrap();
    disk.remove_dir(new).unwrap();
    assert_eq!(disk.list(Path::new("/data")).unwrap(), Vec::<String>::new());
    for seed in 0..SEEDS {
        let after = disk.crash(seed);
        let listed = after.list(new);
        assert!(listed.is_ok() || after.read_file(&new.join("file")).is_err(), "a directory goes after its files");
    }
}

#[test]
fn one_call_makes_all_files_and_names_durable() {
    let disk = disk();
    disk.create_dir_all(Path::new("/data/deep/er")).unwrap();
    for name in ["/data/one", "/data/deep/two", "/data/deep/er/three"] {
        write(&disk.open(Path::new(name), OpenMode::CreateNew).unwrap(), name.as_bytes(), 0);
    }
    assert!(!disk.is_durable());
    disk.sync_all(Path::new("/data")).unwrap();
    assert!(disk.is_durable());
    assert_eq!(disk.crash(1).read_file(Path::new("/data/deep/two")).unwrap(), b"/data/deep/two");
}

#[test]
fn a_killed_process_loses_its_files_but_not_its_writes() {
    let disk = disk();
    let file = durable_file(&disk, b"old");
    write(&file, b"new", 0);
    disk.kill();
    assert!(file.sync_data().is_err() && file.read_at(&mut [0], 0).is_err() && file.length().is_err());
    assert_eq!(disk.read_file(path()).unwrap(), b"new");
    assert!(outcomes(&disk).contains(&Some(b"old".to_vec())), "a kill does not sync");
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let disk = disk();
    let file = durable_file(&disk, &[1; 100]);
    write(&file, &[2; 100], 0);
    disk.fail_next(Operation::Sync, 0, Failure::Io);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    file.sync_data().unwrap();
    assert_eq!(disk.read_file(path()).unwrap(), [2; 100], "the cache still shows it");
    let lost = (0..SEEDS).any(|seed| {
        let disk = SimDisk::new(seed);
        disk.write_file(path(), &[1; 100]);
        let file = disk.open(path(), OpenMode::Write).unwrap();
        write(&file, &[2; 100], 0);
        disk.fail_next(Operation::Sync, 0, Failure::Io);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        disk.reboot(seed);
        disk.read_file(path()).unwrap() == [1; 100]
    });
    assert!(lost);
    write(&file, &[3; 100], 0);
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk), [Some(vec![3; 100])], "written again, it is dirty again");
}

#[test]
fn planned_errors_strike_once_and_in_their_turn() {
    let disk = disk();
    let file = durable_file(&disk, &[0; 10]);
    disk.fail_next(Operation::Read, 1, Failure::Io);
    disk.fail_next(Operation::Write, 0, Failure::NoSpace);
    assert_eq!(file.read_at(&mut [0; 4], 8).unwrap(), 2);
    assert_eq!(file.read_at(&mut [0; 4], 0).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 4);
    assert_eq!(file.write_at(&[IoSlice::new(&[1; 10])], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    write(&file, &[1; 10], 0);
    for (operation, outcome) in [
        (Operation::Open, disk.open(path(), OpenMode::Read).map(drop)),
        (Operation::Create, disk.open(Path::new("/data/x"), OpenMode::CreateNew).map(drop)),
        (Operation::List, disk.list(Path::new("/data")).map(drop)),
        (Operation::FreeBytes, disk.free_bytes(Path::new("/data")).map(drop)),
        (Operation::SyncDir, disk.sync_dir(Path::new("/data"))),
    ] {
        outcome.unwrap();
        assert!(disk.count(operation) > 0, "{operation:?}");
    }
    disk.fail_next(Operation::SyncDir, 0, Failure::Io);
    disk.fail_next(Operation::Rename, 0, Failure::Io);
    assert!(disk.sync_dir(Path::new("/data")).is_err());
    assert!(disk.rename(path(), Path::new("/data/y")).is_err());
    assert!(disk.read_file(path()).is_ok());
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = disk();
    disk.set_capacity(4 * PAGE_BYTES as u64);
    let file = durable_file(&disk, &vec![1; 3 * PAGE_BYTES]);
    assert_eq!(disk.free_bytes(Path::new("/data")).unwrap(), PAGE_BYTES as u64);
    let error = file.write_at(&[IoSlice::new(&vec![2; 2 * PAGE_BYTES])], 3 * PAGE_BYTES as u64).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.free_bytes(Path::new("/data")).unwrap(), 0);
    write(&file, &vec![3; 4 * PAGE_BYTES], 0);
    file.set_len(PAGE_BYTES as u64).unwrap();
    assert_eq!(disk.free_bytes(Path::new("/data")).unwrap(), 3 * PAGE_BYTES as u64);
    disk.remove(path()).unwrap();
    assert_eq!(disk.free_bytes(Path::new("/data")).unwrap(), 4 * PAGE_BYTES as u64);
}

#[test]
fn one_directory_may_be_full_and_another_not() {
    let disk = disk();
    let (full, other) = (Path::new("/data/full"), Path::new("/data/other"));
    for dir in [full, other] {
        disk.create_dir_all(dir).unwrap();
        disk.open(&dir.join("old"), OpenMode::CreateNew).unwrap();
    }
    disk.set_full(|path| path.starts_with("/data/full"));
    assert_eq!(disk.free_bytes(full).unwrap(), 0);
    let error = disk.open(&full.join("new"), OpenMode::CreateNew).err().expect("there is no room");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.list(full).unwrap(), ["old"]);
    assert!(disk.open(&full.join("old"), OpenMode::Write).is_ok(), "what is there can be opened");
    assert!(disk.free_bytes(other).unwrap() > 0 && disk.open(&other.join("new"), OpenMode::CreateNew).is_ok());
    disk.set_full(|_| false);
    assert!(disk.free_bytes(full).unwrap() > 0 && disk.open(&full.join("new"), OpenMode::CreateNew).is_ok());
}

/// Writes a file the careful way: under another name first. Answers whether that was acknowledged.
fn replace_carefully(disk: &SimDisk, content: &[u8]) -> std::io::Result<()> {
    let temporary = Path::new("/data/temporary");
    let file = disk.open(temporary, OpenMode::CreateNew)?;
    file.write_at(&[IoSlice::new(content)], 0)?;
    file.sync_data()?;
    disk.rename(temporary, path())?;
    disk.sync_dir(Path::new("/data"))
}

#[test]
fn a_crash_at_every_operation_spares_a_careful_writer() {
    let rehearsal = disk();
    durable_file(&rehearsal, b"old");
    let before = rehearsal.changes();
    replace_carefully(&rehearsal, b"new").unwrap();
    let changes = rehearsal.changes() - before;
    assert_eq!(changes, 5);
    let mut seen = Vec::new();
    for point in 0..=changes {
        for seed in 0..SEEDS {
            let disk = disk();
            durable_file(&disk, b"old");
            disk.crash_after(point);
            let acknowledged = replace_carefully(&disk, b"new").is_ok();
            assert_eq!((acknowledged, disk.is_off()), (point == changes, point < changes));
            if disk.is_off() {
                assert!(disk.list(Path::new("/data")).is_err(), "everything fails while the machine is off");
            }
            disk.reboot(seed);
            let content = disk.read_file(path()).unwrap();
            assert!(content == b"new" || (content == b"old" && !acknowledged), "{content:?} at {point}");
            seen.push(content);
        }
    }
    assert!(seen.contains(&b"old".to_vec()) && seen.contains(&b"new".to_vec()));
}

#[test]
fn the_same_seed_leaves_the_same_disk() {
    let disk = disk();
    let file = durable_file(&disk, &vec![1; 8 * PAGE_BYTES]);
    write(&file, &vec![2; 8 * PAGE_BYTES], 0);
    for seed in 0..20 {
        assert_eq!(disk.crash(seed).read_file(path()).unwrap(), disk.crash(seed).read_file(path()).unwrap());
    }
}

#[test]
fn corruption_is_seen_at_once_and_after_a_crash() {
    let disk = disk();
    let file = durable_file(&disk, &[0; 10]);
    disk.flip(path(), 3, 7).unwrap();
    assert_eq!(disk.read_file(path()).unwrap()[3], 0x80);
    assert_eq!(outcomes(&disk), [Some(vec![0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0])]);
    assert!(disk.flip(path(), 10, 0).is_err());
    disk.write_file(path(), b"other");
    let mut buffer = [0; 5];
    file.read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!((&buffer, disk.files()), (b"other", vec![path().to_owned()]));
    assert!(file.read_exact_at(&mut buffer, 1).is_err());
}

#[test]
fn opening_follows_the_rules_of_a_real_disk() {
    let disk = disk();
    assert_eq!(disk.open(path(), OpenMode::Write).err().unwrap().kind(), ErrorKind::NotFound);
    disk.open(path(), OpenMode::CreateNew).unwrap();
    assert_eq!(disk.open(path(), OpenMode::CreateNew).err().unwrap().kind(), ErrorKind::AlreadyExists);
    let orphan = Path::new("/nowhere/file");
    assert_eq!(disk.open(orphan, OpenMode::CreateNew).err().unwrap().kind(), ErrorKind::NotFound);
    let reader = disk.open(path(), OpenMode::Read).unwrap();
    assert!(reader.write_at(&[IoSlice::new(b"x")], 0).is_err());
    assert!(disk.list(orphan).is_err() && disk.sync_dir(orphan).is_err() && disk.remove(orphan).is_err());
    assert!(disk.rename(path(), orphan).is_err());
    assert!(disk.open(Path::new("/data"), OpenMode::Read).is_err());
}

#[test]
fn the_clock_moves_when_told() {
    let clock = SimClock::new(TimestampMs(1_000));
    clock.advance(5);
    assert_eq!((clock.now(), clock.monotonic_ms()), (TimestampMs(1_005), 5));
    clock.set_wall(TimestampMs(3));
    assert_eq!((clock.now(), clock.monotonic_ms()), (TimestampMs(3), 5));
}

/// A range of a file, in bytes.
const SPAN: u64 = 5 * PAGE_BYTES as u64;

#[test]
fn reads_see_what_a_real_disk_shows() {
    let directory = tempfile::tempdir().unwrap();
    for seed in 0..20 {
        let real_path = directory.path().join(seed.to_string());
        let real = RealDisk.open(&real_path, OpenMode::CreateNew).unwrap();
        let simulated = disk().open(path(), OpenMode::CreateNew).unwrap();
        let mut random = Random::new(seed);
        for step in 0..300u32 {
            let (position, bytes) = (random.below(SPAN), random.below(SPAN / 2) as usize);
            match random.below(8) {
                0 => {
                    real.set_len(position).unwrap();
                    simulated.set_len(position).unwrap();
                }
                1 => simulated.sync_data().unwrap(),
                2..=4 => {
                    // Zeros now and then: pages of zeros are kept apart.
                    let content = vec![if random.chance(1, 3) { 0 } else { step as u8 }; bytes];
                    let slices = [IoSlice::new(&content[..bytes / 3]), IoSlice::new(&content[bytes / 3..])];
                    real.write_at(&slices, position).unwrap();
                    simulated.write_at(&slices, position).unwrap();
                }
                _ => {
                    let (mut from_real, mut from_simulated) = (vec![7; bytes], vec![7; bytes]);
                    let read = real.read_at(&mut from_real, position).unwrap();
                    assert_eq!(simulated.read_at(&mut from_simulated, position).unwrap(), read);
                    assert!(from_real[..read] == from_simulated[..read], "seed {seed} step {step}");
                }
            }
            assert_eq!(real.length().unwrap(), simulated.length().unwrap());
        }
    }
}

#[test]
fn whatever_happened_before_a_sync_stays_what_it_was() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let disk = disk();
        let file = durable_file(&disk, b"");
        for _ in 0..random.below(20) {
            match random.below(5) {
                0 => file.set_len(random.below(SPAN)).unwrap(),
                1 => file.sync_data().unwrap(),
                _ => write(&file, &vec![random.next_u64() as u8; 1 + random.below(SPAN) as usize], random.below(SPAN)),
            }
        }
        file.sync_data().unwrap();
        assert!(disk.is_durable());
        assert!(disk.crash(seed).read_file(path()).unwrap() == disk.read_file(path()).unwrap(), "seed {seed}");
    }
}
