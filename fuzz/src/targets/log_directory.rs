//! A whole data directory of the commit log: looked into, verified, recovered, read and written to, whatever its files hold.

use super::batch::batch;
use super::log_files::sealed_index;
use crate::memory::within;
use bytes::BytesMut;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, TimestampMs};
use duolog_log::fuzzing::{FRAME_HEADER_BYTES, checksum, frame_bytes};
use duolog_log::{
    Advance, AppendBatch, AppendOrigin, Log, LogFailure, LogObserver, LogOptions, OpenError, ReadLimits, SyncOutcome, inspect,
};
use duolog_sim::SimDisk;
use duolog_wire::record::{Compression, TimestampType};
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/log";
const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
/// What a recovery may hold beyond the input: portions of 1 MiB that are read at a time, for each file begun.
const RECOVERY_BYTES: usize = 16 << 20;
const RECOVERY_RATIO: usize = 32;
const MOST_FILES: usize = 12;
/// Each opening begins a generation; an input may say that this was the last.
const LAST_GENERATION: &str = "its generation is the last that there can be";

/// One file of a directory.
pub(super) struct File {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Nobody;

impl LogObserver for Nobody {
    fn advanced(&self, _partitions: &[PartitionNumber], _what: Advance) {}
    fn failed(&self, _failure: &LogFailure) {}
}

fn options() -> LogOptions {
    LogOptions {
        file_bytes: 4 << 10,
        zero_ahead_bytes: 2 << 10,
        unsealed_entries: 100,
        checkpoint_bytes: 1 << 10,
        tail_cache_bytes: 1 << 10,
        queue_bytes: 1 << 20,
        reserve_bytes: 0,
        ..LogOptions::default()
    }
}

fn open(disk: &SimDisk) -> Result<Arc<Log>, OpenError> {
    let opened = Log::open(Arc::new(disk.clone()), DIR.into(), options(), Arc::new(Nobody), NOW);
    opened.map(|(log, _)| log)
}

/// Whether checksums are put right; then files, each with its kind, its number and its length before it.
pub(super) fn run(input: &[u8]) {
    let Some((mend, rest)) = input.split_first() else { return };
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).expect("an empty disk");
    for file in unpack(rest) {
        let bytes = if mend % 2 == 1 { mended(&file) } else { file.bytes };
        disk.write_file(&Path::new(DIR).join(file.name), &bytes);
    }
    within(RECOVERY_RATIO * input.len() + RECOVERY_BYTES, || {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let _ = inspect::verify(shared, Path::new(DIR));
        let Ok(log) = open(&disk) else { return };
        use_log(&log);
        let ends = ends(&log);
        log.close().expect("nothing is wrong with the disk");
        drop(log);
        // What was recovered once is recovered again, without a loss.
        match open(&disk) {
            Ok(again) => assert_eq!(self::ends(&again), ends),
            Err(OpenError::Corrupt { problem, .. }) if problem == LAST_GENERATION => {}
            Err(error) => panic!("a log that was opened and closed does not open again: {error}"),
        }
    });
}

fn ends(log: &Log) -> Vec<(PartitionNumber, Option<(Offset, Offset)>)> {
    let mut partitions = log.partitions();
    partitions.sort_unstable();
    partitions.into_iter().map(|number| (number, log.ends(number).map(|ends| (ends.start, ends.end)))).collect()
}

fn settle(log: &Log) {
    while log.write_step().expect("nothing is wrong with the disk") == SyncOutcome::Progressed {}
    while log.sync_step().expect("nothing is wrong with the disk") == SyncOutcome::Progressed {}
    log.house_step(NOW).expect("nothing is wrong with the disk");
}

/// Reads every partition to its end, looks things up, and appends to it.
fn use_log(log: &Log) {
    log.open_partition(PartitionNumber(1));
    for partition in log.partitions() {
        read(log, partition);
        let _ = log.find_by_time(partition, TimestampMs(0), Offset(0), Offset(i64::MAX));
        let _ = log.find_max_timestamp(partition, Offset(i64::MAX));
        let _ = log.epoch_end(partition, LeaderEpoch(1));
        let _ = log.producers(partition);
        append(log, partition);
    }
    settle(log);
}

fn read(log: &Log, partition: PartitionNumber) {
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
}

fn append(log: &Log, partition: PartitionNumber) {
    let Some(leader_epoch) = log.ends(partition).map(|ends| ends.epoch) else { return };
    let buffer = BytesMut::from(&batch(Compression::None, TimestampType::CreateTime)[..]);
    let appended = AppendBatch { partition, range: 0..buffer.len(), leader_epoch, tag_filter: 0 };
    let _ = log.append(buffer, &[appended], AppendOrigin::Client, NOW);
}

const KINDS: [&str; 4] = ["log", "queues", "checkpoint", "spare"];

fn unpack(mut rest: &[u8]) -> Vec<File> {
    let mut files = Vec::new();
    while files.len() < MOST_FILES
        && let Some((kind, behind)) = rest.split_first()
        && let Some((number, behind)) = behind.split_first_chunk::<4>()
        && let Some((length, behind)) = behind.split_first_chunk::<2>()
    {
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let name = format!("{:020}.{}", u32::from_le_bytes(*number), KINDS[usize::from(*kind) % KINDS.len()]);
        files.push(File { name, bytes: behind[..length].to_vec() });
        rest = &behind[length..];
    }
    files
}

fn pack(files: &[File], mend: u8) -> Vec<u8> {
    let mut out = vec![mend];
    for file in files {
        let Some((number, kind)) = file.name.split_once('.') else { continue };
        let (Some(kind), Ok(number)) = (KINDS.iter().position(|known| *known == kind), number.parse::<u32>()) else { continue };
        // What is beyond is zeros that nobody has written over.
        let used = file.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        out.push(kind as u8);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&(used as u16).to_le_bytes());
        out.extend_from_slice(&file.bytes[..used]);
    }
    out
}

fn mended(file: &File) -> Vec<u8> {
    match file.name.ends_with(".log") {
        true => mended_log(file.bytes.clone()),
        false => sealed_index(file.bytes.clone()),
    }
}

/// Puts the checksums of all frames right as far as their lengths lead from one to the next.
fn mended_log(mut bytes: Vec<u8>) -> Vec<u8> {
    const PAYLOAD_BYTES_AT: usize = 40;
    seal(&mut bytes, 0);
    let mut at = FRAME_HEADER_BYTES;
    while let Some(length) = bytes.get(at + PAYLOAD_BYTES_AT..).and_then(|rest| rest.first_chunk::<4>()) {
        let length = u32::from_le_bytes(*length) as usize;
        let end = at + FRAME_HEADER_BYTES + length;
        if let Some(payload) = bytes.get(at + FRAME_HEADER_BYTES..end) {
            let crc = checksum(payload);
            bytes[at + 56..at + 60].copy_from_slice(&crc.to_le_bytes());
        }
        seal(&mut bytes, at);
        at += frame_bytes(length) as usize;
    }
    bytes
}

fn seal(bytes: &mut [u8], at: usize) {
    if let Some(header) = bytes.get_mut(at..at + FRAME_HEADER_BYTES) {
        let crc = checksum(&header[..60]);
        header[60..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Files of a log with two partitions, sealed files, a producer and a checkpoint.
pub(super) fn files() -> Vec<File> {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).expect("an empty disk");
    let log = open(&disk).expect("an empty log");
    for partition in [1, 2] {
        log.open_partition(PartitionNumber(partition));
    }
    for round in 0..12 {
        append(&log, PartitionNumber(1 + round % 2));
        settle(&log);
    }
    log.set_log_start(PartitionNumber(2), Offset(1)).expect("within the log");
    settle(&log);
    log.truncate(PartitionNumber(1), Offset(2)).expect("within the log");
    append(&log, PartitionNumber(1));
    log.restart_at(PartitionNumber(2), Offset(9)).expect("within all offsets");
    settle(&log);
    log.close().expect("nothing is wrong with the disk");
    let paths = disk.files();
    let file = |path: &std::path::PathBuf| {
        let name = path.file_name().expect("files have names").to_string_lossy().into_owned();
        File { name, bytes: disk.read_file(path).expect("a file that is there") }
    };
    paths.iter().map(file).collect()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let files = files();
    let without_checkpoint: Vec<File> = self::files().into_iter().filter(|file| !file.name.ends_with(".checkpoint")).collect();
    let logs: Vec<File> = self::files().into_iter().filter(|file| file.name.ends_with(".log")).collect();
    let choices = [&files, &without_checkpoint, &logs];
    choices.iter().flat_map(|files| [pack(files, 0), pack(files, 1)]).collect()
}
