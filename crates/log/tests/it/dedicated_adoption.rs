//! Directories that do not say whose they are, or say something else than the metadata: what becomes of them at the first opening,
//! and that the next finds the same.

use crate::dedicated::{append, dir, fill, home, open_log, read_all, settle, start};
use crate::scenario::{NOBODY, NOW, batch, batch_at, stored};
use bytes::Bytes;
use duolog_base::{Disk, Offset, PartitionNumber, TopicId};
use duolog_log::LogEnds;
use duolog_log::dedicated::{DedicatedLog, PartitionHome};
use duolog_sim::SimDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ADOPTED: PartitionNumber = PartitionNumber(0);

fn shared(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn segment(base: i64) -> PathBuf {
    dir().join("orders-0").join(format!("{base:020}.log"))
}

fn manifest(partition: u32) -> PathBuf {
    dir().join(format!("orders-{partition}")).join("duolog.manifest")
}

/// Segments with batches of one record at these offsets, as compaction leaves them; what is to be read.
fn adopted(disk: &SimDisk, segments: &[(i64, &[i64])]) -> Vec<(i64, Bytes)> {
    disk.create_dir_all(&dir().join("orders-0")).unwrap();
    let mut all = Vec::new();
    for (base, offsets) in segments {
        let batches = offsets.iter().map(|offset| (*offset, stored(&batch_at(*offset as u64, 1, 60, NOBODY, NOW.0), *offset, 0)));
        let batches: Vec<(i64, Bytes)> = batches.collect();
        disk.write_file(&segment(*base), &batches.iter().flat_map(|(_, batch)| batch.to_vec()).collect::<Vec<u8>>());
        all.extend(batches);
    }
    all
}

fn ends(log: &DedicatedLog) -> LogEnds {
    log.ends(ADOPTED).unwrap()
}

fn check_adoption(segments: &[(i64, &[i64])], end: i64) {
    let disk = SimDisk::new(1);
    let mut expected = adopted(&disk, segments);
    for round in 0..3u64 {
        // The first time it is taken over; then the process has died right after that, and after it went on.
        let (log, report) = start(&shared(&disk), &dir(), 1);
        assert_eq!((report.quarantined, report.torn_bytes), (vec![], 0), "round {round}");
        assert_eq!(ends(&log).end, Offset(end + round.saturating_sub(1) as i64), "round {round}");
        assert_eq!(read_all(&log, 0), expected, "round {round}");
        if round == 1 {
            let batch = batch(9, 1, 60);
            assert_eq!(append(&log, 0, batch.clone()).unwrap().base_offset, Offset(end));
            expected.push((end, stored(&batch, end, 0)));
            settle(&log);
        }
        drop(log);
        disk.kill();
    }
    let (log, _) = start(&shared(&disk), &dir(), 1);
    log.close().unwrap();
    let (log, report) = start(&shared(&disk), &dir(), 1);
    assert_eq!((report.clean_shutdown, ends(&log).end, read_all(&log, 0)), (true, Offset(end + 1), expected));
}

#[test]
fn gaps_within_and_between_adopted_segments_are_no_damage_after_a_crash() {
    check_adoption(&[(0, &[0, 1, 7]), (20, &[22, 30])], 31);
    // The last record of a full segment was compacted away.
    check_adoption(&[(0, &[0, 4]), (10, &[10, 11])], 12);
    check_adoption(&[(5, &[5, 6]), (40, &[])], 40);
    check_adoption(&[(40, &[])], 40);
}

#[test]
fn what_is_found_of_a_damaged_directory_stays_what_it_is() {
    let disk = SimDisk::new(1);
    let far = 16_187_392;
    adopted(&disk, &[(0, &[far]), (26_880, &[])]);
    disk.write_file(&manifest(0), &[0; 4]);
    for round in 0..3 {
        let (log, _) = start(&shared(&disk), &dir(), 1);
        assert_eq!((ends(&log).start, ends(&log).end), (Offset(0), Offset(far + 1)), "round {round}");
        append(&log, 0, batch(1, 1, 1)).unwrap_err();
        log.house_step(NOW).unwrap();
        log.close().unwrap();
    }
    assert!(disk.files().contains(&segment(26_880)), "nothing of it is removed");
}

fn exchange(disk: &SimDisk, one: &Path, other: &Path) {
    let bytes = [one, other].map(|path| disk.read_file(path).unwrap());
    for (path, bytes) in [(one, &bytes[1]), (other, &bytes[0])] {
        disk.remove(path).unwrap();
        disk.write_file(path, bytes);
    }
}

#[test]
fn exchanged_manifests_are_told_by_name_and_nothing_is_lost() {
    let disk = SimDisk::new(1);
    let (log, _) = start(&shared(&disk), &dir(), 2);
    // So that the segments of the two begin elsewhere.
    append(&log, 1, batch(1, 4, 500)).unwrap();
    fill(&log, 0, 60);
    fill(&log, 1, 40);
    let expected = [read_all(&log, 0), read_all(&log, 1)];
    log.close().unwrap();
    exchange(&disk, &manifest(0), &manifest(1));
    for number in [0, 1] {
        let (log, _) = open_log(&shared(&disk), &dir()).unwrap();
        let failure = log.open_partition(PartitionNumber(number), home(number)).unwrap_err();
        let told = failure.to_string();
        let (found, belongs) = (manifest(1 - number), dir().join(format!("orders-{number}")));
        assert!(told.contains(found.to_str().unwrap()) && told.contains(belongs.to_str().unwrap()), "{told}");
        assert!(log.close().is_err(), "the log has stopped");
    }
    // Without them, which have noted that segments are missing, all of it is there.
    [0, 1].iter().for_each(|number| disk.remove(&manifest(*number)).unwrap());
    let (log, report) = start(&shared(&disk), &dir(), 2);
    assert_eq!(report.quarantined, []);
    assert_eq!([read_all(&log, 0), read_all(&log, 1)], expected);
}

#[test]
fn a_manifest_with_the_number_of_a_partition_that_has_no_directory_is_not_the_end_of_the_data() {
    let disk = SimDisk::new(1);
    let (log, _) = start(&shared(&disk), &dir(), 2);
    let expected = fill(&log, 1, 20);
    log.close().unwrap();
    // Partition 0 was never written to; its number is in the manifest of partition 1.
    let renamed = |from: u32, to: u32| {
        let names = [from, to].map(|number| dir().join(format!("orders-{number}")));
        disk.rename(&names[0], &names[1]).unwrap();
    };
    renamed(1, 0);
    for first in [0, 1] {
        let (log, _) = open_log(&shared(&disk), &dir()).unwrap();
        let told = log.open_partition(PartitionNumber(first), home(first)).unwrap_err().to_string();
        assert!(told.contains(manifest(0).to_str().unwrap()), "{told}");
    }
    renamed(0, 1);
    let (log, _) = start(&shared(&disk), &dir(), 2);
    assert_eq!(read_all(&log, 1), expected);

    // A topic of the same name that was made anew is no such case.
    log.close().unwrap();
    let (log, _) = open_log(&shared(&disk), &dir()).unwrap();
    log.open_partition(PartitionNumber(5), PartitionHome { topic_id: TopicId(8), ..home(1) }).unwrap();
    assert_eq!(log.partitions(), [PartitionNumber(5)]);
}
