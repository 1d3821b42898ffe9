//! Cleaning by key over whatever batches: what takes the place of a batch is a batch at the same place with fewer records.

use super::batch;
use super::compression::{LIMITS, most_held};
use crate::memory::{FREE_BYTES, within};
use duolog_base::{Offset, ProducerEpoch, ProducerId, TimestampMs};
use duolog_log::clean::{
    AbortedTransaction, Cleaned, Cleaner, CleaningPolicy, HashKey, KeyScan, OffsetMap, PassBounds, ProducerEnd, ProducerEnds,
};
use duolog_log::fuzzing::checksum;
use duolog_wire::record::{
    ATTRIBUTES_AT, BatchHeader, CRC_AT, Compression, TimestampType, batches, decode_batch, patch_base_offset, verify_crc,
};

const MAP_BYTES: usize = 4 << 10;
const POLICY: CleaningPolicy = CleaningPolicy {
    min_dirty_ratio: 0.5,
    min_compaction_lag_ms: 0,
    max_compaction_lag_ms: i64::MAX,
    delete_retention_ms: 1_000,
};

/// Where the dirty part begins; then batches, which get offsets that rise and the checksum they should have.
pub(super) fn run(input: &[u8]) {
    let Some((first_dirty, bytes)) = input.split_first() else { return };
    let batches = in_order(bytes);
    let end = batches.last().and_then(|batch| BatchHeader::parse(batch).ok()).map_or(Offset(0), |header| header.next_offset());
    let aborted = AbortedTransaction {
        producer_id: ProducerId(9),
        first_offset: Offset(1),
        last_offset: Offset(6),
        last_stable_offset: Offset(1),
    };
    within(most_held(bytes.len()) + MAP_BYTES + FREE_BYTES, || {
        let first_dirty = Offset((*first_dirty).into()).min(end);
        let map = OffsetMap::new(MAP_BYTES, 1_000, HashKey([1, 2]));
        let mut scan = KeyScan::new(map, first_dirty, end, [aborted], LIMITS);
        for batch in &batches {
            let _ = scan.feed(batch);
        }
        let map = scan.finish();
        let bounds = PassBounds { first_dirty, first_uncleanable: end, now: TimestampMs(1_700_000_001_000) };
        let ends: ProducerEnds =
            [(ProducerId(5), ProducerEnd { last_data_offset: Some(Offset(2)), epoch: ProducerEpoch(0) })].into_iter().collect();
        let mut cleaner = Cleaner::new(&map, bounds, &POLICY, &ends, [aborted], LIMITS);
        for batch in &batches {
            if let Ok(Cleaned::Replace(replacement)) = cleaner.clean(batch) {
                check(batch, &replacement);
            }
        }
        let _ = (cleaner.statistics(), cleaner.into_retained_aborts());
    });
}

fn check(batch: &[u8], replacement: &[u8]) {
    assert_eq!(verify_crc(replacement), Ok(()));
    let (old, new) = (BatchHeader::parse(batch).expect("it was read"), BatchHeader::parse(replacement).expect("a batch"));
    assert_eq!(new.total_bytes(), replacement.len());
    assert_eq!((new.base_offset, new.last_offset()), (old.base_offset, old.last_offset()));
    assert_eq!(
        (new.producer_id, new.producer_epoch, new.base_sequence),
        (old.producer_id, old.producer_epoch, old.base_sequence)
    );
    let decoded = decode_batch(replacement, LIMITS).expect("what was written can be read");
    let kept = decoded.records().collect::<Result<Vec<_>, _>>().expect("what was written can be read").len();
    assert!(kept <= old.record_count as usize, "{kept} records of {}", old.record_count);
}

/// The batches, one behind the other in offsets, with good checksums.
fn in_order(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut next = Offset(0);
    let mut ordered = Vec::new();
    for (header, range) in batches(bytes).flatten() {
        let mut batch = bytes[range].to_vec();
        let crc = checksum(&batch[ATTRIBUTES_AT..]);
        batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        patch_base_offset(&mut batch, next);
        let Ok(patched) = BatchHeader::parse(&batch) else { break };
        assert_eq!(patched.last_offset_delta, header.last_offset_delta);
        next = patched.next_offset();
        ordered.push(batch);
    }
    ordered
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let plain = batch::batch(Compression::None, TimestampType::CreateTime);
    let packed = batch::batch(Compression::Zstd, TimestampType::CreateTime);
    let mut seeds: Vec<Vec<u8>> = batch::seeds().iter().map(|seed| [&[0], &seed[..], &plain].concat()).collect();
    seeds.push([&[3], &plain[..], &packed, &plain].concat());
    seeds
}
