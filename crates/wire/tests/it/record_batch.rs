//! Record batches: bytes other clients wrote, bytes we wrote, and bytes nobody should have written.
//!
//! The files in `record_batches/` were written by kafka-python 3.0 and its codecs, one a codec.

use bytes::BytesMut;
use duolog_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};
use duolog_wire::record::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn golden(codec: Compression) -> Vec<u8> {
    let hex = match codec {
        Compression::None => include_str!("record_batches/none.hex"),
        Compression::Gzip => include_str!("record_batches/gzip.hex"),
        Compression::Snappy => include_str!("record_batches/snappy.hex"),
        Compression::Lz4 => include_str!("record_batches/lz4.hex"),
        Compression::Zstd => include_str!("record_batches/zstd.hex"),
    };
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn small_batch() -> Vec<u8> {
    golden(Compression::None)
}

/// A batch of `count` one-letter records.
fn batch_of(count: i32) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..count {
        builder.push(NewRecord { value: Some(b"v"), ..NewRecord::default() }).unwrap();
    }
    let mut out = BytesMut::new();
    builder.build(&mut out).unwrap();
    out
}

#[test]
fn batches_of_another_client_are_read_with_every_codec() {
    for codec in Compression::ALL {
        let bytes = golden(codec);
        verify_crc(&bytes).unwrap();
        let batch = decode_batch(&bytes, DecompressLimits::default()).unwrap();
        let header = batch.header;
        assert_eq!((header.total_bytes(), header.compression()), (bytes.len(), codec));
        header.validate_from_producer().unwrap();
        assert_eq!(header.attributes.is_transactional(), codec == Compression::Zstd);
        assert!(!header.attributes.is_control());
        assert_eq!(header.attributes.timestamp_type(), TimestampType::CreateTime);
        assert_eq!(header.base_timestamp, TimestampMs(1_700_000_000_000));
        assert_eq!(header.max_timestamp, TimestampMs(1_700_000_000_005));
        if codec != Compression::None {
            assert_eq!(header.producer_id, ProducerId(7_000 + codec as i64));
            assert_eq!((header.producer_epoch, header.base_sequence, header.last_sequence()), (ProducerEpoch(3), 100, 103));
        }

        let records: Vec<Record<'_>> = batch.records().map(Result::unwrap).collect();
        assert_eq!((records[0].key, records[0].value), (Some(&b"k0"[..]), Some(&b"v0"[..])));
        assert!(records[0].headers.is_empty());
        assert_eq!((records[1].offset, records[1].timestamp), (Offset(1), TimestampMs(1_700_000_000_005)));
        assert_eq!((records[1].key, records[1].headers.last_value(b"h")), (None, Some(Some(&b"x"[..]))));
        assert_eq!((records[2].timestamp, records[2].value), (TimestampMs(1_699_999_999_990), None));
        let headers: Vec<Header<'_>> = records[2].headers.clone().collect();
        assert_eq!(headers, [Header { key: b"a", value: None }, Header { key: b"a", value: Some(b"") }]);
        if codec != Compression::None {
            assert_eq!((records[3].key, records[3].value), (Some(&b""[..]), Some(&b"duolog ".repeat(6_000)[..])));
        }
    }
}

#[test]
fn the_checksum_is_crc32c() {
    // The check value that every catalogue of CRCs gives for CRC-32C.
    assert_eq!(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, b"123456789"), 0xe306_9283);
    let mut bytes = small_batch();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(verify_crc(&bytes), Err(BatchError::Crc { .. })));
}

#[test]
fn the_log_patches_offset_and_epoch_without_touching_the_checksum() {
    let mut bytes = small_batch();
    patch_base_offset(&mut bytes, Offset(5_000_000_000));
    patch_leader_epoch(&mut bytes, LeaderEpoch(17));
    verify_crc(&bytes).unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!((header.base_offset, header.last_offset()), (Offset(5_000_000_000), Offset(5_000_000_002)));
    assert_eq!(header.leader_epoch, LeaderEpoch(17));
}

#[test]
fn log_append_time_replaces_every_timestamp() {
    let mut bytes = small_batch();
    let length = bytes.len();
    bytes.extend_from_slice(b"what follows is not the batch's");
    set_log_append_time(&mut bytes, TimestampMs(42));
    verify_crc(&bytes).unwrap();
    let batch = decode_batch(&bytes, DecompressLimits::default()).unwrap();
    assert_eq!(batch.header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert!(batch.records().all(|record| record.unwrap().timestamp == TimestampMs(42)));
    assert_eq!(&bytes[length..], b"what follows is not the batch's");
    assert_eq!(batch.header.validate_from_producer(), Err(ProducerBatchError::LogAppendTime));
}

#[test]
fn old_and_unknown_formats_are_told_apart() {
    let mut bytes = small_batch();
    for (magic, error) in [
        (0, BatchError::OldFormat { magic: 0 }),
        (1, BatchError::OldFormat { magic: 1 }),
        (3, BatchError::UnknownMagic { magic: 3 }),
        (-1, BatchError::UnknownMagic { magic: -1 }),
    ] {
        bytes[MAGIC_AT] = magic as u8;
        // An old message is often shorter than a header of today; its format shows all the same.
        assert_eq!(BatchHeader::parse(&bytes[..30]), Err(error));
    }
}

#[test]
fn impossible_headers_are_refused() {
    let cases: [(usize, &[u8], BatchError); 8] = [
        (BATCH_LENGTH_AT, &48i32.to_be_bytes(), BatchError::Length { length: 48 }),
        (BATCH_LENGTH_AT, &(-1i32).to_be_bytes(), BatchError::Length { length: -1 }),
        (BASE_OFFSET_AT, &(-1i64).to_be_bytes(), BatchError::Offsets { base_offset: -1, last_offset_delta: 2 }),
        (BASE_OFFSET_AT, &(i64::MAX - 2).to_be_bytes(), BatchError::Offsets { base_offset: i64::MAX - 2, last_offset_delta: 2 }),
        (LAST_OFFSET_DELTA_AT, &(-1i32).to_be_bytes(), BatchError::Offsets { base_offset: 0, last_offset_delta: -1 }),
        (RECORD_COUNT_AT, &(-1i32).to_be_bytes(), BatchError::RecordCount { record_count: -1, last_offset_delta: 2 }),
        (RECORD_COUNT_AT, &4i32.to_be_bytes(), BatchError::RecordCount { record_count: 4, last_offset_delta: 2 }),
        (ATTRIBUTES_AT, &5i16.to_be_bytes(), BatchError::UnknownCodec { codec: 5 }),
    ];
    for (at, value, error) in cases {
        let mut bytes = small_batch();
        bytes[at..at + value.len()].copy_from_slice(value);
        assert_eq!(BatchHeader::parse(&bytes), Err(error));
    }
}

#[test]
fn a_producer_may_not_send_what_only_the_broker_writes() {
    let header = BatchHeader::parse(&small_batch()).unwrap();
    let refused = |header: BatchHeader| header.validate_from_producer().unwrap_err();
    assert_eq!(
        refused(BatchHeader { base_offset: Offset(1), ..header }),
        ProducerBatchError::BaseOffset { base_offset: Offset(1) }
    );
    assert_eq!(
        refused(BatchHeader { record_count: 2, ..header }),
        ProducerBatchError::RecordCount { record_count: 2, last_offset_delta: 2 }
    );
    assert!(matches!(refused(BatchHeader { record_count: 0, ..header }), ProducerBatchError::RecordCount { .. }));
    assert_eq!(refused(BatchHeader { attributes: Attributes(0x20), ..header }), ProducerBatchError::Control);
    assert_eq!(refused(BatchHeader { attributes: Attributes(0x10), ..header }), ProducerBatchError::TransactionalWithoutProducer);
    let idempotent = BatchHeader { producer_id: ProducerId(1), producer_epoch: ProducerEpoch(0), base_sequence: 0, ..header };
    idempotent.validate_from_producer().unwrap();
    assert!(matches!(refused(BatchHeader { base_sequence: -1, ..idempotent }), ProducerBatchError::Sequence { .. }));
    assert!(matches!(
        refused(BatchHeader { producer_epoch: ProducerEpoch(-1), ..idempotent }),
        ProducerBatchError::Sequence { .. }
    ));
    assert!(matches!(refused(BatchHeader { producer_id: ProducerId(-2), ..idempotent }), ProducerBatchError::Sequence { .. }));
}

#[test]
fn sequences_begin_again_after_the_largest() {
    let header = BatchHeader::parse(&small_batch()).unwrap();
    assert_eq!(header.last_sequence(), NO_SEQUENCE);
    assert_eq!(BatchHeader { base_sequence: i32::MAX - 2, ..header }.last_sequence(), i32::MAX);
    assert_eq!(BatchHeader { base_sequence: i32::MAX, ..header }.last_sequence(), 1);
    assert_eq!(advance_sequence(i32::MAX, 1), 0);
    assert_eq!(advance_sequence(7, 3), 10);
}

#[test]
fn a_walk_over_fetched_bytes_ends_at_the_partial_batch() {
    let (one, two) = (batch_of(1), batch_of(2));
    let bytes = [&one[..], &two, &one].concat();
    for end in one.len() + two.len() + 1..bytes.len() {
        let found: Vec<_> = batches(&bytes[..end]).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].as_ref().unwrap().1, 0..one.len());
        assert_eq!(found[1].as_ref().unwrap().0.record_count, 2);
        assert!(matches!(found[2], Err(BatchError::Partial { have, need }) if have < need), "{:?}", found[2]);
    }
    assert_eq!(batches(&bytes).filter(Result::is_ok).count(), 3);
    assert_eq!(batches(&[]).count(), 0);
}

#[test]
fn a_compacted_batch_keeps_its_last_offset_and_may_be_empty() {
    let mut builder = BatchBuilder::new(Compression::Zstd).base_offset(Offset(100));
    builder.push_at(3, NewRecord { value: Some(b"left"), ..NewRecord::default() }).unwrap();
    assert_eq!(builder.push_at(3, NewRecord::default()), Err(BuildError::OffsetDelta { last: 3, got: 3 }));
    builder.end_at(9).unwrap();
    let mut out = BytesMut::new();
    let header = builder.build(&mut out).unwrap();
    assert_eq!((header.record_count, header.last_offset(), header.next_offset()), (1, Offset(109), Offset(110)));
    let batch = decode_batch(&out, DecompressLimits::default()).unwrap();
    assert_eq!(batch.records().map(|record| record.unwrap().offset).collect::<Vec<_>>(), [Offset(103)]);

    let mut empty = BatchBuilder::new(Compression::None);
    empty.end_at(4).unwrap();
    let mut out = BytesMut::new();
    let header = empty.build(&mut out).unwrap();
    assert_eq!((header.record_count, header.last_offset()), (0, Offset(4)));
    assert_eq!(decode_batch(&out, DecompressLimits::default()).unwrap().records().count(), 0);
}

#[test]
fn a_record_count_that_does_not_fit_the_records_is_noticed() {
    let mut too_few = batch_of(3);
    too_few[RECORD_COUNT_AT..][..4].copy_from_slice(&2i32.to_be_bytes());
    let batch = decode_batch(&too_few, DecompressLimits::default()).unwrap();
    assert!(matches!(batch.records().last(), Some(Err(RecordError::TrailingBytes { .. }))));

    let mut too_many = batch_of(3);
    too_many[LAST_OFFSET_DELTA_AT..][..4].copy_from_slice(&9i32.to_be_bytes());
    too_many[RECORD_COUNT_AT..][..4].copy_from_slice(&4i32.to_be_bytes());
    let batch = decode_batch(&too_many, DecompressLimits::default()).unwrap();
    assert_eq!(batch.records().last(), Some(Err(RecordError::Malformed { index: 3 })));

    let mut builder = BatchBuilder::new(Compression::None);
    builder.push_at(0, NewRecord::default()).unwrap();
    builder.push_at(5, NewRecord::default()).unwrap();
    let mut too_far = BytesMut::new();
    builder.build(&mut too_far).unwrap();
    too_far[LAST_OFFSET_DELTA_AT..][..4].copy_from_slice(&3i32.to_be_bytes());
    let batch = decode_batch(&too_far, DecompressLimits::default()).unwrap();
    let error = RecordError::OffsetDelta { index: 1, offset_delta: 5, last_offset_delta: 3 };
    assert_eq!(batch.records().last(), Some(Err(error)));
}

#[test]
fn transaction_marks_are_written_and_read() {
    for outcome in [TransactionOutcome::Abort, TransactionOutcome::Commit] {
        let mut out = BytesMut::new();
        encode_end_transaction((ProducerId(9), ProducerEpoch(2)), outcome, 31, TimestampMs(5), &mut out).unwrap();
        let batch = decode_batch(&out, DecompressLimits::default()).unwrap();
        let header = batch.header;
        assert!(header.attributes.is_control() && header.attributes.is_transactional());
        assert_eq!((header.producer_id, header.base_sequence, header.last_sequence()), (ProducerId(9), -1, -1));
        let record = batch.records().next().unwrap().unwrap();
        // The bytes of the protocol guide: version 0, kind; version 0, coordinator epoch.
        assert_eq!(record.key, Some(&[0, 0, 0, (outcome == TransactionOutcome::Commit) as u8][..]));
        assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 31][..]));
        assert_eq!(ControlRecord::decode(&record), Ok(ControlRecord::EndTransaction { outcome, coordinator_epoch: 31 }));
        assert_eq!(ControlRecord::decode(&Record { key: None, ..record.clone() }), Err(ControlRecordError::Key));
        assert_eq!(ControlRecord::decode(&Record { value: Some(b"\0\0"), ..record }), Err(ControlRecordError::Value));
    }
}

/// A record as the property tests make them.
#[derive(Clone, Debug)]
struct Sample {
    timestamp: i64,
    gap: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let bytes = || vec(any::<u8>(), 0..200);
    let value = prop_oneof![bytes().boxed(), (any::<u8>(), 0..100_000usize).prop_map(|(byte, n)| vec![byte; n]).boxed()];
    let sample = (any::<i64>(), 1..1000i32, option::of(bytes()), option::of(value), vec((bytes(), option::of(bytes())), 0..4))
        .prop_map(|(timestamp, gap, key, value, headers)| Sample { timestamp, gap, key, value, headers });
    vec(sample, 0..12)
}

fn codecs() -> impl Strategy<Value = Compression> {
    prop::sample::select(&Compression::ALL)
}

fn build(samples: &[Sample], codec: Compression) -> BytesMut {
    let mut builder = BatchBuilder::new(codec).base_offset(Offset(77)).producer(ProducerId(5), ProducerEpoch(1), 12);
    let mut delta = -1;
    for sample in samples {
        delta += sample.gap;
        let headers: Vec<_> = sample.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        let record = NewRecord {
            timestamp: TimestampMs(sample.timestamp),
            key: sample.key.as_deref(),
            value: sample.value.as_deref(),
            headers: &headers,
        };
        builder.push_at(delta, record).unwrap();
    }
    let mut out = BytesMut::new();
    builder.build(&mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_built_is_what_is_decoded(samples in samples(), codec in codecs()) {
        let bytes = build(&samples, codec);
        verify_crc(&bytes).unwrap();
        let batch = decode_batch(&bytes, DecompressLimits::default()).unwrap();
        let records: Vec<_> = batch.records().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(records.len(), samples.len());
        let mut offset = 76;
        for (record, sample) in records.iter().zip(&samples) {
            offset += i64::from(sample.gap);
            prop_assert_eq!(record.offset, Offset(offset));
            prop_assert_eq!(record.timestamp, TimestampMs(sample.timestamp));
            prop_assert_eq!(record.key, sample.key.as_deref());
            prop_assert_eq!(record.value, sample.value.as_deref());
            let headers: Vec<_> = record.headers.clone().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(&headers, &sample.headers);
        }
    }

    #[test]
    fn damaged_batches_never_panic(samples in samples(), codec in codecs(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), end in any::<prop::sample::Index>()) {
        let mut bytes = build(&samples, codec).to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        exercise(&bytes);
        exercise(&bytes[..end.index(bytes.len())]);
    }

    #[test]
    fn arbitrary_records_never_panic(payload in vec(any::<u8>(), 0..300), codec in codecs(), count in 0..100i32) {
        let mut bytes = batch_of(100)[..HEADER_BYTES].to_vec();
        bytes.extend_from_slice(&payload);
        let length = (bytes.len() - LENGTH_PREFIX_BYTES) as i32;
        bytes[BATCH_LENGTH_AT..][..4].copy_from_slice(&length.to_be_bytes());
        bytes[ATTRIBUTES_AT + 1] = codec as u8;
        bytes[RECORD_COUNT_AT..][..4].copy_from_slice(&count.to_be_bytes());
        exercise(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
    }
}

/// Everything that looks at foreign bytes.
fn exercise(bytes: &[u8]) {
    let limits = DecompressLimits { max_bytes: 4 << 20, max_ratio: 1_000, free_bytes: 1 << 20 };
    let _ = verify_crc(bytes);
    for (header, range) in batches(bytes).flatten() {
        let _ = (header.validate_from_producer(), header.last_sequence(), header.next_offset());
        if let Ok(batch) = decode_batch(&bytes[range], limits) {
            assert!(batch.payload_bytes() <= limits.max_bytes);
            for record in batch.records().flatten() {
                assert!(record.headers.clone().count() <= bytes.len().max(batch.payload_bytes()));
                let _ = ControlRecord::decode(&record);
            }
        }
    }
}
