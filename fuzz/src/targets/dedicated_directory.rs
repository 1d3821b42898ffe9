//! A directory of the dedicated layout with one partition: recovered, read and written to, whatever its files hold.

use super::batch::batch;
use super::dedicated_files::{mended_manifest, mended_snapshot};
use super::log_directory::Nobody;
use crate::memory::within;
use bytes::BytesMut;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionIndex, PartitionNumber, TimestampMs, TopicId};
use duolog_log::dedicated::{DedicatedLog, PartitionHome, PartitionName, SegmentPolicy};
use duolog_log::fuzzing::checksum;
use duolog_log::{AppendBatch, AppendOrigin, LogOptions, OpenError, ReadLimits, SyncOutcome};
use duolog_sim::SimDisk;
use duolog_wire::record::{ATTRIBUTES_AT, CRC_AT, Compression, TimestampType, batches};
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/dedicated";
const PARTITION: &str = "orders-0";
const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const POLICY: SegmentPolicy = SegmentPolicy {
    segment_bytes: 1_200,
    segment_ms: 3_600_000,
    segment_jitter_ms: 0,
    index_interval_bytes: 300,
    index_bytes: 4_096,
};
/// What a recovery may hold beyond the input.
const RECOVERY_BYTES: usize = 16 << 20;
const RECOVERY_RATIO: usize = 32;
const MOST_FILES: usize = 24;
/// Files without a number, from the root.
const PLAIN: [&str; 6] = [
    "orders-0/duolog.manifest",
    "orders-0/leader-epoch-checkpoint",
    "orders-0/partition.metadata",
    "log-start-offset-checkpoint",
    "recovery-point-offset-checkpoint",
    ".kafka_cleanshutdown",
];
/// Files of a segment, by the offset in their names.
const NUMBERED: [&str; 5] = ["log", "index", "timeindex", "txnindex", "snapshot"];

fn open(disk: &SimDisk) -> Result<Arc<DedicatedLog>, OpenError> {
    let options = LogOptions { queue_bytes: 1 << 20, reserve_bytes: 0, ..LogOptions::default() };
    let opened = DedicatedLog::open(Arc::new(disk.clone()), DIR.into(), options, Arc::new(Nobody), NOW);
    opened.map(|(log, _)| log)
}

/// Whether checksums are put right; then files: which one, the offset in its name, its length, its bytes.
pub(super) fn run(input: &[u8]) {
    let Some((mend, rest)) = input.split_first() else { return };
    let disk = SimDisk::new(1);
    disk.create_dir_all(&Path::new(DIR).join(PARTITION)).expect("an empty disk");
    for (name, bytes) in unpack(rest) {
        let bytes = if mend % 2 == 1 { mended(&name, bytes) } else { bytes };
        disk.write_file(&Path::new(DIR).join(name), &bytes);
    }
    within(RECOVERY_RATIO * input.len() + RECOVERY_BYTES, || {
        let Ok(log) = open(&disk) else { return };
        if log.partitions().is_empty() {
            log.open_partition(PartitionNumber(0), home()).expect("nothing is wrong with the disk");
        }
        for partition in log.partitions() {
            use_partition(&log, partition);
        }
        settle(&log);
        let ends = ends(&log);
        log.close().expect("nothing is wrong with the disk");
        drop(log);
        // What was recovered once is recovered again, without a loss.
        let again = open(&disk).expect("a log that was opened and closed opens again");
        assert_eq!(self::ends(&again), ends);
    });
}

fn home() -> PartitionHome {
    let name = PartitionName { topic: "orders".into(), index: PartitionIndex(0) };
    PartitionHome { name, topic_id: TopicId(7), policy: POLICY }
}

fn ends(log: &DedicatedLog) -> Vec<(PartitionNumber, Option<(Offset, Offset)>)> {
    let mut partitions = log.partitions();
    partitions.sort_unstable();
    partitions.into_iter().map(|number| (number, log.ends(number).map(|ends| (ends.start, ends.end)))).collect()
}

fn settle(log: &DedicatedLog) {
    while log.write_step().expect("nothing is wrong with the disk") == SyncOutcome::Progressed {}
    while log.sync_step().expect("nothing is wrong with the disk") == SyncOutcome::Progressed {}
    log.house_step(NOW).expect("nothing is wrong with the disk");
}

fn use_partition(log: &DedicatedLog, partition: PartitionNumber) {
    let Some(ends) = log.ends(partition) else { return };
    let limits = ReadLimits { upto: ends.end, max_bytes: 4 << 10, at_least_one: true, tags: None };
    let mut from = ends.start;
    while let Ok(plan) = log.read(partition, from, limits) {
        let _ = plan.materialize();
        if plan.next <= from {
            break;
        }
        from = plan.next;
    }
    let _ = log.find_by_time(partition, TimestampMs(0), Offset(0), Offset(i64::MAX));
    let _ = log.find_max_timestamp(partition, Offset(i64::MAX));
    let _ = log.epoch_end(partition, LeaderEpoch(1));
    let _ = log.producers(partition);
    append(log, partition);
}

fn append(log: &DedicatedLog, partition: PartitionNumber) {
    let Some(leader_epoch) = log.ends(partition).map(|ends| ends.epoch) else { return };
    let buffer = BytesMut::from(&batch(Compression::None, TimestampType::CreateTime)[..]);
    let appended = AppendBatch { partition, range: 0..buffer.len(), leader_epoch, tag_filter: 0 };
    let _ = log.append(buffer, &[appended], AppendOrigin::Client, NOW);
}

fn unpack(mut rest: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    while files.len() < MOST_FILES
        && let Some(([kind, offset @ .., l0, l1], behind)) = rest.split_first_chunk::<5>()
    {
        let length = usize::from(u16::from_le_bytes([*l0, *l1])).min(behind.len());
        let kind = usize::from(*kind) % (PLAIN.len() + NUMBERED.len());
        let name = match PLAIN.get(kind) {
            Some(name) => (*name).to_owned(),
            None => format!("{PARTITION}/{:020}.{}", u16::from_le_bytes(*offset), NUMBERED[kind - PLAIN.len()]),
        };
        files.push((name, behind[..length].to_vec()));
        rest = &behind[length..];
    }
    files
}

fn pack_file(name: &str, bytes: &[u8], out: &mut Vec<u8>) {
    let numbered = || {
        let (offset, extension) = name.strip_prefix(PARTITION)?.strip_prefix('/')?.split_once('.')?;
        Some((PLAIN.len() + NUMBERED.iter().position(|known| *known == extension)?, offset.parse::<u16>().ok()?))
    };
    let plain = PLAIN.iter().position(|known| *known == name).map(|kind| (kind, 0));
    let Some((kind, offset)) = plain.or_else(numbered) else { return };
    // Files are made longer than they are in use; zeros behind that come back by themselves.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let used = if name.ends_with(".log") { used } else { bytes.len().min(used.next_multiple_of(4)) };
    out.push(kind as u8);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&(used as u16).to_le_bytes());
    out.extend_from_slice(&bytes[..used]);
}

fn mended(name: &str, mut bytes: Vec<u8>) -> Vec<u8> {
    if name.ends_with("manifest") {
        return mended_manifest(&bytes);
    }
    if name.ends_with(".snapshot") {
        return mended_snapshot(&bytes);
    }
    if name.ends_with(".log") {
        let places: Vec<_> = batches(&bytes).flatten().map(|(_, range)| range).collect();
        for range in places {
            let crc = checksum(&bytes[range.start + ATTRIBUTES_AT..range.end]);
            bytes[range.start + CRC_AT..range.start + ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        }
    }
    bytes
}

/// A partition with sealed segments, closed in order or not.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).expect("an empty disk");
    let log = open(&disk).expect("an empty log");
    log.open_partition(PartitionNumber(0), home()).expect("nothing is wrong with the disk");
    for _ in 0..8 {
        append(&log, PartitionNumber(0));
        settle(&log);
    }
    let running = pack(&disk);
    log.close().expect("nothing is wrong with the disk");
    let closed = pack(&disk);
    [0, 1].into_iter().flat_map(|mend| [[&[mend], &running[..]].concat(), [&[mend], &closed[..]].concat()]).collect()
}

fn pack(disk: &SimDisk) -> Vec<u8> {
    let mut out = Vec::new();
    for path in disk.files() {
        let name = path.strip_prefix(DIR).expect("everything is below").to_string_lossy().into_owned();
        pack_file(&name, &disk.read_file(&path).expect("a file that is there"), &mut out);
    }
    out
}
