//! Record batches, one after the other: headers, checksums, records, control records.

use super::compression::{LIMITS, most_held};
use crate::memory::{allowed, within};
use bytes::BytesMut;
use duolog_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};
use duolog_wire::record::{
    BatchBuilder, BatchHeader, Compression, ControlRecord, DecodedBatch, Header, Headers, NewRecord, Record, TimestampType,
    TransactionOutcome, batches, decode_batch, encode_end_transaction, patch_base_offset, patch_leader_epoch,
    set_log_append_time, verify_crc,
};

pub(super) fn run(bytes: &[u8]) {
    let found = within(allowed(bytes), || batches(bytes).collect::<Vec<_>>());
    for (header, range) in found.into_iter().flatten() {
        let batch = &bytes[range];
        assert_eq!(batch.len(), header.total_bytes());
        let _ = (header.validate_from_producer(), header.last_sequence(), header.next_offset(), verify_crc(batch));
        patches(batch, &header);
        if let Ok(decoded) = within(most_held(batch.len()), || decode_batch(batch, LIMITS)) {
            records(&decoded);
        }
    }
}

/// What the log changes in a batch leaves it one.
fn patches(batch: &[u8], header: &BatchHeader) {
    let mut patched = batch.to_vec();
    patch_base_offset(&mut patched, Offset(0));
    patch_leader_epoch(&mut patched, LeaderEpoch(3));
    set_log_append_time(&mut patched, TimestampMs(5));
    assert_eq!(verify_crc(&patched), Ok(()));
    let again = BatchHeader::parse(&patched).expect("a patched batch is one");
    assert_eq!((again.record_count, again.max_timestamp.0, again.base_offset.0), (header.record_count, 5, 0));
}

fn records(decoded: &DecodedBatch<'_>) {
    // Records borrow: what is held is the list.
    let room = allowed(decoded.payload()) + decoded.payload_bytes() / LEAST_RECORD_BYTES * 4 * size_of::<Record<'_>>();
    let read: Result<Vec<Record<'_>>, _> = within(room, || decoded.records().collect());
    let Ok(read) = read else { return };
    assert_eq!(read.len(), decoded.header.record_count as usize);
    if decoded.header.attributes.is_control() {
        for record in &read {
            let _ = ControlRecord::decode(record);
        }
    }
    rebuild(decoded, &read);
}

/// Length, attributes, two deltas, two lengths and a count.
const LEAST_RECORD_BYTES: usize = 7;

/// A batch built of the same records holds the same records.
fn rebuild(decoded: &DecodedBatch<'_>, read: &[Record<'_>]) {
    let header = &decoded.header;
    let delta = |record: &Record<'_>| (record.offset.0 - header.base_offset.0) as i32;
    // Compaction keeps offsets in order, and so does every producer; a batch that does not cannot be built.
    if read.is_empty() || !read.iter().map(delta).is_sorted_by(|left, right| left < right) {
        return;
    }
    // The largest timestamp of a built batch is never below "none", and here it would be that of all records.
    let by_log = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    if by_log && header.max_timestamp < TimestampMs::NONE {
        return;
    }
    let mut builder =
        BatchBuilder::new(Compression::None).base_offset(header.base_offset).timestamp_type(header.attributes.timestamp_type());
    for record in read {
        let headers: Vec<Header<'_>> = record.headers.clone().collect();
        let new = NewRecord { timestamp: record.timestamp, key: record.key, value: record.value, headers: &headers };
        builder.push_at(delta(record), new).expect("offsets rise");
    }
    let mut built = BytesMut::new();
    builder.build(&mut built).expect("it was no larger before");
    assert_eq!(verify_crc(&built), Ok(()));
    let again = decode_batch(&built, LIMITS).expect("a built batch is one");
    let again: Vec<Record<'_>> = again.records().collect::<Result<_, _>>().expect("a built batch has good records");
    assert!(again.iter().map(content).eq(read.iter().map(content)), "{again:?} instead of {read:?}");
}

/// All of a record but the way its numbers are written, which may take more bytes than it must.
fn content<'a>(record: &Record<'a>) -> (Record<'a>, Vec<Header<'a>>) {
    (Record { headers: Headers::default(), ..record.clone() }, record.headers.clone().collect())
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Compression::ALL.into_iter().map(|codec| batch(codec, TimestampType::CreateTime)).collect();
    seeds.push(batch(Compression::None, TimestampType::LogAppendTime));
    seeds
        .push([batch(Compression::None, TimestampType::CreateTime), batch(Compression::Lz4, TimestampType::CreateTime)].concat());
    let mut control = BytesMut::new();
    let producer = (ProducerId(9), ProducerEpoch(1));
    encode_end_transaction(producer, TransactionOutcome::Commit, 4, TimestampMs(77), &mut control).expect("a marker");
    seeds.push(control.to_vec());
    seeds
}

/// Three records with keys, nulls and headers.
pub(super) fn batch(codec: Compression, timestamps: TimestampType) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec).producer(ProducerId(5), ProducerEpoch(0), 0).timestamp_type(timestamps);
    let headers = [Header { key: b"h", value: Some(b"1") }, Header { key: b"h", value: None }];
    for (number, value) in [Some(&b"a value"[..]), None, Some(&[b'x'; 300])].into_iter().enumerate() {
        let timestamp = TimestampMs(1_700_000_000_000 + number as i64);
        let record = NewRecord { timestamp, key: Some(b"key"), value, headers: &headers[..number.min(2)] };
        builder.push(record).expect("a small record");
    }
    let mut out = BytesMut::new();
    builder.build(&mut out).expect("a small batch");
    out.to_vec()
}
