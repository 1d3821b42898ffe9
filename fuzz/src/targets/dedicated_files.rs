//! The small files of the dedicated layout, each decoder on the same bytes: Kafka's indexes, snapshots and checkpoints, our manifest.

use crate::memory::{FREE_BYTES, allowed, within};
use duolog_base::{Offset, PartitionIndex, PartitionNumber, TopicId};
use duolog_log::dedicated::PartitionName;
use duolog_log::fuzzing::checksum;
use duolog_log::fuzzing::dedicated::checkpoints::{
    decode_epochs, decode_offsets, decode_partition_metadata, encode_epochs, encode_offsets, encode_partition_metadata,
};
use duolog_log::fuzzing::dedicated::indexes::{
    OFFSET_ENTRY_BYTES, OffsetEntry, OffsetIndex, TIME_ENTRY_BYTES, TimeEntry, TimeIndex, push_offset, push_time,
};
use duolog_log::fuzzing::dedicated::manifest::{Manifest, SegmentRecord};
use duolog_log::fuzzing::dedicated::snapshot::{self, ProducerEntry};
use duolog_log::fuzzing::dedicated::transactions::{AbortedTransaction, decode_aborted, push_aborted};

/// What an entry of a map or a list takes in memory for each byte of its line.
const LINE_RATIO: usize = 32;
const BASE: i64 = 1_000;

pub(super) fn run(input: &[u8]) {
    indexes(input);
    let lines = LINE_RATIO * input.len() + FREE_BYTES;
    if let Some(offsets) = within(lines, || decode_offsets(input)) {
        assert_eq!(decode_offsets(&encode_offsets(&offsets)), Some(offsets));
    }
    if let Some(epochs) = within(lines, || decode_epochs(input)) {
        assert_eq!(decode_epochs(&encode_epochs(&epochs)), Some(epochs));
    }
    if let Some(id) = within(allowed(input), || decode_partition_metadata(input)) {
        assert_eq!(decode_partition_metadata(&encode_partition_metadata(id)), Some(id));
    }
    if let Some(aborted) = within(allowed(input), || decode_aborted(input)) {
        let mut out = Vec::new();
        aborted.iter().for_each(|entry| push_aborted(*entry, &mut out));
        assert_eq!(out, input);
    }
    for bytes in [input.to_vec(), mended_manifest(input)] {
        if let Ok(manifest) = within(lines, || Manifest::decode(&bytes)) {
            let _ = manifest.end();
            assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }
    }
    for bytes in [input.to_vec(), mended_snapshot(input)] {
        if let Some(entries) = within(allowed(&bytes), || snapshot::decode(&bytes)) {
            assert_eq!(snapshot::encode(&entries), bytes);
        }
    }
}

fn indexes(input: &[u8]) {
    let offsets = OffsetIndex::new(BASE, input);
    let _ = offsets.last_where(|entry| entry.offset <= BASE + 50);
    let mut out = Vec::new();
    (0..offsets.entries()).filter_map(|at| offsets.get(at)).for_each(|entry| push_offset(BASE, entry, &mut out));
    assert_eq!(out, input[..offsets.entries() * OFFSET_ENTRY_BYTES]);
    let times = TimeIndex::new(BASE, input);
    let _ = times.last_where(|entry| entry.timestamp <= 50);
    let mut out = Vec::new();
    (0..times.entries()).filter_map(|at| times.get(at)).for_each(|entry| push_time(BASE, entry, &mut out));
    assert_eq!(out, input[..times.entries() * TIME_ENTRY_BYTES]);
}

/// With the line of the checksum that it should have.
pub(super) fn mended_manifest(input: &[u8]) -> Vec<u8> {
    const LINE: &[u8] = b"checksum: ";
    let end = input.windows(LINE.len()).rposition(|window| window == LINE).unwrap_or(input.len());
    let line = format!("checksum: {:08x}\n", checksum(&input[..end]));
    [&input[..end], line.as_bytes()].concat()
}

/// With the count of entries and the checksum that it should have.
pub(super) fn mended_snapshot(input: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: usize = 10;
    const ENTRY_BYTES: usize = 46;
    let mut bytes = input.to_vec();
    if bytes.len() >= HEADER_BYTES {
        let entries = (bytes.len() - HEADER_BYTES) / ENTRY_BYTES;
        bytes.truncate(HEADER_BYTES + entries * ENTRY_BYTES);
        bytes[6..10].copy_from_slice(&(entries as i32).to_be_bytes());
        let crc = checksum(&bytes[6..]);
        bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut offsets = Vec::new();
    let mut times = Vec::new();
    for at in 1..6 {
        push_offset(BASE, OffsetEntry { offset: BASE + at * 10, position: at as u32 * 300 }, &mut offsets);
        push_time(BASE, TimeEntry { timestamp: at * 7, offset: BASE + at * 10 }, &mut times);
    }
    let mut aborted = Vec::new();
    let transaction = AbortedTransaction { producer_id: 7, first_offset: 10, last_offset: 20, last_stable_offset: 21 };
    [transaction, transaction].into_iter().for_each(|entry| push_aborted(entry, &mut aborted));
    let name = PartitionName { topic: "orders".into(), index: PartitionIndex(1) };
    let starts = encode_offsets(&[(name, Offset(57).0)].into());
    let epochs = b"0\n2\n0 0\n3 1200\n".to_vec();
    vec![offsets, times, aborted, starts, epochs, encode_partition_metadata(TopicId(7)), producers(), manifest().encode()]
}

fn producers() -> Vec<u8> {
    let entry = ProducerEntry {
        id: 4,
        epoch: 3,
        last_sequence: 41,
        last_offset: 100,
        offset_delta: 6,
        timestamp: 1_700_000_000_000,
        coordinator_epoch: -1,
        transaction_start: -1,
    };
    snapshot::encode(&[entry, ProducerEntry { id: 5, ..entry }])
}

fn manifest() -> Manifest {
    let segment = SegmentRecord {
        base: 0,
        end: 1_000,
        bytes: 5_000,
        first_timestamp: 0,
        max_timestamp: 9,
        max_timestamp_offset: 998,
        offset_crc: 1,
        time_crc: 2,
        transaction_crc: Some(3),
    };
    Manifest {
        number: PartitionNumber(7),
        topic_id: TopicId(7),
        quarantined: Some("a segment is missing".into()),
        sealed_end: 1_000,
        leader_epoch: 3,
        epochs: Vec::new(),
        segments: vec![segment],
        active: Some(SegmentRecord { base: 1_000, end: 1_010, transaction_crc: None, ..segment }),
        snapshot: Some((1_010, 5)),
        gaps: true,
        swapped: Some(BASE),
    }
}
