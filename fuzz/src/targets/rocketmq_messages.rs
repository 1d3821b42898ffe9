//! RocketMQ's messages: properties text, batches of producers, stored messages, the compact header of records, and what becomes
//! of any record batch on its way to a RocketMQ consumer.

use super::batch;
use crate::memory::{allowed, within};
use bytes::BytesMut;
use duolog_base::{Offset, PartitionIndex, PartitionNumber, TimestampMs};
use duolog_rocketmq::compact::CompactHeader;
use duolog_rocketmq::message::{MessageLimits, MessageView, Outgoing, put_record};
use duolog_rocketmq::transcode::{Source, TranscodeLimits, Transcoder};
use duolog_wire::record::{BatchBuilder, BatchHeader, Compression, TimestampType, set_log_append_time};
use duolog_wire::remoting::batch::{BatchBody, BatchMessage};
use duolog_wire::remoting::message::{StoredMessage, StoredMessageError};
use duolog_wire::remoting::message_id::OffsetMessageId;
use duolog_wire::remoting::properties::{Properties, put_property};

const PROPERTIES: &str = "KEYS\u{1}k1 k2\u{2}TAGS\u{1}t\u{2}UNIQ_KEY\u{1}0A01\u{2}a\u{1}1\u{2}a\u{1}ü";
/// Where a stored message has its body's checksum.
const CHECKSUM_AT: usize = 8;
/// Of a batch that claims to be compressed: twice what `DecompressLimits` allows at any ratio, and what codecs need.
const TRANSCODE_BYTES: usize = 64 << 20;
const LIMITS: TranscodeLimits = TranscodeLimits { max_messages: 500, max_bytes: 1 << 20 };

pub(super) fn properties(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = OffsetMessageId::parse(text);
    let mut again = BytesMut::new();
    for (name, value) in Properties::new(text) {
        assert!(!name.is_empty() && !value.is_empty());
        put_property(&mut again, name.as_bytes(), value.as_bytes());
    }
    let again = std::str::from_utf8(&again).expect("made of text");
    assert!(Properties::new(again).iter().eq(Properties::new(text)), "{again:?} instead of {text:?}");
}

pub(super) fn properties_seeds() -> Vec<Vec<u8>> {
    vec![PROPERTIES.into(), b"a\x01\x02\x01b\x02c\x02".to_vec(), b"C0A8000700002A9F0000000100000ABC".to_vec()]
}

pub(super) fn batch_body(input: &[u8]) {
    const MAX_MESSAGES: usize = 1_000;
    let read: Result<Vec<BatchMessage<'_>>, _> = within(3 * allowed(input), || BatchBody::new(input, MAX_MESSAGES).collect());
    let Ok(read) = read else { return };
    let mut again = BytesMut::new();
    read.iter().for_each(|message| message.put(&mut again));
    assert!(BatchBody::new(&again, MAX_MESSAGES).map(Result::unwrap).eq(read));
}

pub(super) fn batch_body_seeds() -> Vec<Vec<u8>> {
    let mut out = BytesMut::new();
    for (flag, body) in [(0, &b""[..]), (1, b"body"), (-1, &[b'x'; 300])] {
        BatchMessage { flag, body, properties: Properties::new(PROPERTIES) }.put(&mut out);
    }
    vec![out.to_vec()]
}

pub(super) fn stored_message(input: &[u8]) {
    let mut mended = input.to_vec();
    if let Err(StoredMessageError::Checksum { computed, .. }) = StoredMessage::take(&mut &input[..]) {
        mended[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&computed.to_be_bytes());
    }
    let mut rest = &mended[..];
    while let Ok(message) = within(allowed(input), || StoredMessage::take(&mut rest)) {
        let mut again = BytesMut::new();
        message.put(&mut again).expect("it had an encoding");
        assert_eq!(StoredMessage::take(&mut &again[..]), Ok(message));
    }
}

pub(super) fn stored_message_seeds() -> Vec<Vec<u8>> {
    let message = |topic, born_host: &str| StoredMessage {
        queue_id: 1,
        flag: 2,
        queue_offset: 3,
        commit_log_offset: 4,
        sys_flag: 0,
        born_timestamp: 5,
        born_host: born_host.parse().expect("an address"),
        store_timestamp: 6,
        store_host: ([127, 0, 0, 1], 10_911).into(),
        reconsume_times: 7,
        prepared_transaction_offset: 8,
        body: b"body",
        topic,
        properties: Properties::new(PROPERTIES),
    };
    let long = "t".repeat(200);
    let mut out = BytesMut::new();
    for message in [message("t", "10.0.0.1:5"), message(&long, "[fe80::1]:5")] {
        message.put(&mut out).expect("a small message");
    }
    vec![out.to_vec()]
}

/// The bytes as a compact header, then as record batches.
pub(super) fn records(input: &[u8]) {
    if let Some(header) = within(allowed(input), || CompactHeader::decode(input)) {
        let again = CompactHeader::decode(header.encode().as_slice()).expect("what was encoded");
        assert_eq!(again.born_host.ip(), header.born_host.ip().to_canonical());
        assert_eq!(CompactHeader { born_host: header.born_host, ..again }, header);
    }
    transcode(input);
    // Whatever was made of the times, with the broker's it is read the same way.
    if BatchHeader::parse(input).is_ok() {
        let mut timed = input.to_vec();
        set_log_append_time(&mut timed, TimestampMs(9));
        transcode(&timed);
    }
}

fn transcode(batch: &[u8]) {
    let store_host = ([127, 0, 0, 1], 10_911).into();
    let source = Source { topic: "orders", queue: PartitionIndex(0), number: PartitionNumber(7), store_host };
    let mut transcoder = Transcoder::new(source, Offset(0), LIMITS);
    let mut out = BytesMut::new();
    let mut seen = 0;
    let mut wanted = |message: &MessageView<'_>| {
        let properties = message.properties().count();
        let _ = (message.tag(), message.keys(), message.unique_key(), message.property("a"), properties);
        seen += 1;
        true
    };
    let _ = within(TRANSCODE_BYTES, || transcoder.push_batch(batch, &mut wanted, &mut out));
    let progress = transcoder.progress();
    assert!(progress.messages <= seen && progress.messages <= LIMITS.max_messages);
    let mut rest = &out[..];
    for _ in 0..progress.messages {
        let message = StoredMessage::take(&mut rest).expect("what clients can read");
        assert!(message.queue_offset < progress.next.0);
    }
    assert!(rest.is_empty());
}

pub(super) fn records_seeds() -> Vec<Vec<u8>> {
    let message = Outgoing {
        body: b"body",
        properties: Properties::new(PROPERTIES),
        changes: &[],
        flag: 1,
        sys_flag: 2,
        born_timestamp: TimestampMs(3),
        born_host: ([10, 0, 0, 1], 5).into(),
        store_timestamp: TimestampMs(4),
        reconsume_times: 5,
        prepared_transaction_offset: 6,
        delivered_at: Some(TimestampMs(7)),
    };
    let header = CompactHeader {
        store_timestamp: message.store_timestamp,
        born_host: message.born_host,
        flag: message.flag,
        sys_flag: message.sys_flag,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        born_timestamp: Some(message.born_timestamp),
    };
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..2 {
        put_record(&mut builder, &message, MessageLimits { max_body_bytes: 100 }).expect("a small message");
    }
    let mut out = BytesMut::new();
    builder.build(&mut out).expect("a small batch");
    let mut seeds = vec![out.to_vec(), header.encode().as_slice().to_vec()];
    seeds.extend(Compression::ALL.map(|codec| batch::batch(codec, TimestampType::CreateTime)));
    seeds
}
