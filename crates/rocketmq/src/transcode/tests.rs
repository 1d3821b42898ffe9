//! Batches as pulls see them.

use super::*;
use crate::message::{MessageLimits, Outgoing, put_record};
use duolog_base::{ProducerEpoch, ProducerId, TimestampMs};
use duolog_wire::record::{
    BatchBuilder, Compression, NewRecord, TransactionOutcome, encode_end_transaction, patch_base_offset, put_emptied_batch,
};
use duolog_wire::remoting::message_id::OffsetMessageId;

const ALL: TranscodeLimits = TranscodeLimits { max_messages: usize::MAX, max_bytes: usize::MAX };

fn source() -> Source<'static> {
    Source {
        topic: "orders",
        queue: PartitionIndex(2),
        number: PartitionNumber(9),
        store_host: "127.0.0.1:10911".parse().unwrap(),
    }
}

/// A batch of Kafka's whose values are the offsets.
fn batch(codec: Compression, base: i64, count: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(codec).producer(ProducerId(7), ProducerEpoch(0), 0).base_offset(Offset(base));
    for number in 0..count as i64 {
        let value = (base + number).to_string();
        let record = NewRecord { timestamp: TimestampMs(5), key: Some(b"k"), value: Some(value.as_bytes()), headers: &[] };
        builder.push(record).unwrap();
    }
    let mut out = BytesMut::new();
    builder.build(&mut out).unwrap();
    out
}

fn large(base: i64, bytes: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(Offset(base));
    let body = vec![b'x'; bytes];
    let message = Outgoing {
        body: &body,
        properties: Properties::new("TAGS\u{1}t\u{2}"),
        changes: &[],
        flag: 1,
        sys_flag: 0,
        born_timestamp: TimestampMs(1),
        born_host: "[fe80::1]:5".parse().unwrap(),
        store_timestamp: TimestampMs(2),
        reconsume_times: 4,
        prepared_transaction_offset: 6,
        delivered_at: None,
    };
    put_record(&mut builder, &message, MessageLimits { max_body_bytes: bytes }).unwrap();
    let mut out = BytesMut::new();
    builder.build(&mut out).unwrap();
    out
}

fn read(mut bytes: &[u8]) -> Vec<StoredMessage<'_>> {
    std::iter::from_fn(|| (!bytes.is_empty()).then(|| StoredMessage::take(&mut bytes).unwrap())).collect()
}

fn offsets(bytes: &[u8]) -> Vec<i64> {
    read(bytes).iter().map(|message| message.queue_offset).collect()
}

struct Pull {
    transcoder: Transcoder<'static>,
    out: BytesMut,
}

impl Pull {
    fn new(from: i64, limits: TranscodeLimits) -> Pull {
        Pull { transcoder: Transcoder::new(source(), Offset(from), limits), out: BytesMut::new() }
    }

    fn push(&mut self, batch: &[u8]) -> Result<Progress, TranscodeError> {
        self.transcoder.push_batch(batch, &mut |_| true, &mut self.out)
    }
}

fn progress(next: i64, messages: usize, full: bool) -> Progress {
    Progress { next: Offset(next), messages, full }
}

#[test]
fn compressed_batches_become_messages_with_the_same_offsets() {
    let mut pull = Pull::new(0, ALL);
    for (number, codec) in Compression::ALL.into_iter().enumerate() {
        let base = number as i64 * 10;
        assert_eq!(pull.push(&batch(codec, base, 10)), Ok(progress(base + 10, number * 10 + 10, false)));
    }
    let messages = read(&pull.out);
    assert_eq!(messages.len(), 50);
    for (offset, message) in messages.iter().enumerate() {
        assert_eq!((message.queue_offset, message.queue_id, message.topic), (offset as i64, 2, "orders"));
        assert_eq!((message.body, message.properties.text()), (offset.to_string().as_bytes(), "KEYS\u{1}k\u{2}"));
        let locator = Locator::from_wire(message.commit_log_offset).unwrap();
        assert_eq!(locator.partition(), Some(PartitionNumber(9)));
        assert_eq!(locator.resolve(Offset(0), Offset(50)), Some(Offset(offset as i64)));
    }
    let id = OffsetMessageId { store_host: messages[3].store_host, commit_log_offset: messages[3].commit_log_offset };
    assert_eq!(id.to_string(), "7F00000100002A9F0000048000000003");
}

#[test]
fn all_of_a_rocketmq_message_is_there() {
    let mut pull = Pull::new(0, ALL);
    pull.push(&large(3, 4 << 20)).unwrap();
    let messages = read(&pull.out);
    let message = messages[0];
    assert_eq!((message.body.len(), message.flag, message.reconsume_times), (4 << 20, 1, 4));
    assert_eq!((message.born_timestamp, message.store_timestamp, message.prepared_transaction_offset), (1, 2, 6));
    assert_eq!((message.born_host.to_string().as_str(), message.properties.text()), ("[fe80::1]:5", "TAGS\u{1}t\u{2}"));
}

#[test]
fn reading_begins_in_the_middle_of_a_batch() {
    let mut pull = Pull::new(13, ALL);
    assert_eq!(pull.push(&batch(Compression::None, 0, 10)), Ok(progress(13, 0, false)));
    assert_eq!(pull.push(&batch(Compression::Zstd, 10, 5)), Ok(progress(15, 2, false)));
    assert_eq!(offsets(&pull.out), [13, 14]);
}

#[test]
fn control_batches_and_emptied_ones_are_passed_over() {
    let mut pull = Pull::new(0, ALL);
    let mut marker = BytesMut::new();
    let producer = (ProducerId(1), ProducerEpoch(0));
    encode_end_transaction(producer, TransactionOutcome::Commit, 1, TimestampMs(1), &mut marker).unwrap();
    assert_eq!(pull.push(&marker), Ok(progress(1, 0, false)));
    let mut emptied = BytesMut::new();
    put_emptied_batch(&BatchHeader::parse(&batch(Compression::Lz4, 1, 4)).unwrap(), &mut emptied);
    assert_eq!(pull.push(&emptied), Ok(progress(5, 0, false)));
    patch_base_offset(&mut marker, Offset(5));
    assert_eq!(pull.push(&marker), Ok(progress(6, 0, false)));
    assert!(pull.out.is_empty());
}

#[test]
fn a_number_of_messages_ends_it() {
    let mut pull = Pull::new(0, TranscodeLimits { max_messages: 3, ..ALL });
    assert_eq!(pull.push(&batch(Compression::None, 0, 2)), Ok(progress(2, 2, false)));
    assert_eq!(pull.push(&batch(Compression::None, 2, 2)), Ok(progress(3, 3, true)));
    assert_eq!(pull.push(&batch(Compression::None, 4, 2)), Ok(progress(3, 3, true)));
    assert_eq!(offsets(&pull.out), [0, 1, 2]);
}

#[test]
fn a_number_of_bytes_ends_it_but_one_message_is_always_given() {
    let mut pull = Pull::new(0, TranscodeLimits { max_bytes: 100, ..ALL });
    assert_eq!(pull.push(&large(0, 1_000)), Ok(progress(1, 1, false)));
    assert_eq!(pull.push(&batch(Compression::None, 1, 1)), Ok(progress(1, 1, true)));
    assert_eq!(offsets(&pull.out), [0]);
    let mut one = Pull::new(0, ALL);
    one.push(&batch(Compression::None, 0, 1)).unwrap();
    let bytes = one.out.len();
    let mut pull = Pull::new(0, TranscodeLimits { max_bytes: 3 * bytes + bytes / 2, ..ALL });
    assert_eq!(pull.push(&batch(Compression::None, 0, 9)), Ok(progress(3, 3, true)));
    assert_eq!(pull.out.len(), 3 * bytes);
}

#[test]
fn what_is_not_wanted_is_passed_over_and_costs_no_room() {
    let mut pull = Pull::new(0, TranscodeLimits { max_messages: 3, ..ALL });
    let mut odd = |message: &MessageView<'_>| message.offset().0 % 2 == 1;
    let bytes = batch(Compression::Snappy, 0, 100);
    assert_eq!(pull.transcoder.push_batch(&bytes, &mut odd, &mut pull.out), Ok(progress(6, 3, true)));
    assert_eq!(offsets(&pull.out), [1, 3, 5]);
    let mut nothing = Pull::new(0, ALL);
    let none = nothing.transcoder.push_batch(&bytes, &mut |_| false, &mut nothing.out);
    assert_eq!((none, nothing.out.len()), (Ok(progress(100, 0, false)), 0));
}

#[test]
fn a_batch_that_cannot_be_read_says_where_to_go_on() {
    let mut pull = Pull::new(0, ALL);
    let mut broken = batch(Compression::None, 0, 3);
    // The length of the last record, which has eight bytes behind it.
    let at = broken.len() - 9;
    broken[at] = 0x7f;
    let error = pull.push(&broken).unwrap_err();
    assert!(matches!(error, TranscodeError::Record { .. }), "{error}");
    assert_eq!((error.resume(), pull.transcoder.progress()), (Some(Offset(3)), progress(2, 2, false)));
    assert_eq!(offsets(&pull.out), [0, 1]);
    let mut packed = batch(Compression::Lz4, 3, 3);
    packed[70] ^= 0xff;
    assert_eq!(pull.push(&packed).unwrap_err().resume(), Some(Offset(6)));
    assert_eq!(pull.push(b"no batch").unwrap_err().resume(), None);
    assert_eq!(pull.push(&batch(Compression::None, 6, 1)), Ok(progress(7, 3, false)));
}

#[test]
fn a_long_topic_is_readable() {
    let topic = "t".repeat(249);
    let source = Source { topic: &topic, ..source() };
    let mut out = BytesMut::new();
    let mut transcoder = Transcoder::new(source, Offset(0), ALL);
    transcoder.push_batch(&batch(Compression::None, 0, 1), &mut |_| true, &mut out).unwrap();
    assert_eq!(read(&out)[0].topic, topic);
}
