//! Records that Kafka's producers have delivered later: at their time, once, in a batch or with others that are not.

use crate::client::{Client, PRODUCE, Produced, Server};
use bytes::BytesMut;
use duolog_base::{PartitionIndex, ProducerEpoch, ProducerId, TimestampMs};
use duolog_core::metadata::DELAYED_TOPIC;
use duolog_net::ConnectionLimits;
use duolog_sim::SimClock;
use duolog_wire::kafka::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use duolog_wire::kafka::messages::produce_response::ProduceResponse;
use duolog_wire::kafka::{ErrorCode, Records};
use duolog_wire::record::{BatchBuilder, Compression, Header, NewRecord};
use std::sync::Arc;
use std::time::Duration;

const START: TimestampMs = TimestampMs(1_800_000_000_000);
const AT: &str = "duolog-deliver-at";
const AFTER: &str = "duolog-deliver-after-ms";
const ALLOWED: &[(&str, &str)] = &[("duolog.delay.enable", "true")];
/// A day, in milliseconds: no test goes so far.
const FAR: &str = "86400000";

async fn server(clock: &Arc<SimClock>) -> Server {
    Server::start_at(tempfile::tempdir().unwrap(), ConnectionLimits::default(), clock.clone()).await
}

fn clock() -> Arc<SimClock> {
    Arc::new(SimClock::new(START))
}

/// A record's value and its headers.
type Sent<'a> = (&'a str, &'a [(&'a str, &'a str)]);

fn batch(builder: BatchBuilder, records: &[Sent<'_>]) -> BytesMut {
    let mut builder = builder;
    for (value, headers) in records {
        let header = |(key, value): &'_ (&'_ str, &'_ str)| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        let headers: Vec<_> = headers.iter().map(header).collect();
        let headers: Vec<_> = headers.iter().map(|(key, value)| Header { key, value: Some(value) }).collect();
        builder.push(NewRecord { timestamp: START, key: None, value: Some(value.as_bytes()), headers: &headers }).unwrap();
    }
    let mut bytes = BytesMut::new();
    builder.build(&mut bytes).unwrap();
    bytes
}

fn plain(records: &[Sent<'_>]) -> BytesMut {
    batch(BatchBuilder::new(Compression::None), records)
}

fn idempotent(sequence: i32, records: &[Sent<'_>]) -> BytesMut {
    batch(BatchBuilder::new(Compression::None).producer(ProducerId(7), ProducerEpoch(0), sequence), records)
}

fn taken(base_offset: i64) -> Produced {
    Produced { error: 0, base_offset, message: None }
}

/// Waits until the partition shows so many values from the offset on.
async fn arrived(client: &mut Client, count: usize) -> Vec<String> {
    for _ in 0..3_000 {
        let values = client.values("t", 0, 0).await;
        if values.len() >= count {
            return values;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("delayed records do not arrive");
}

/// How many records the partitions of timers have taken.
fn timers(server: &Server) -> i64 {
    let image = server.broker.image();
    let Some(topic) = image.topic(DELAYED_TOPIC) else { return 0 };
    let ends = (0..topic.partitions.len()).map(|index| server.broker.ends(topic, PartitionIndex(index as i32)).unwrap());
    ends.map(|ends| ends.high_watermark.0).sum()
}

#[tokio::test]
async fn records_arrive_at_their_time_and_the_others_at_once() {
    let clock = clock();
    let server = server(&clock).await;
    server.topic("t", ALLOWED).await;
    let mut client = server.client().await;
    let at = (START.0 + 5_000).to_string();
    let mixed = plain(&[("now", &[]), ("after", &[("x", "y"), (AFTER, "9000")]), ("too", &[]), ("at", &[(AT, &at)])]);
    assert_eq!(client.produce("t", 0, -1, &mixed).await, taken(0));
    assert_eq!(client.produce("t", 0, -1, &plain(&[("next", &[])])).await, taken(4), "delayed records keep their offsets");
    assert_eq!(client.values("t", 0, 0).await, ["now", "too", "next"]);
    clock.advance(4_999);
    assert_eq!(client.values("t", 0, 0).await, ["now", "too", "next"]);
    clock.advance(1);
    assert_eq!(arrived(&mut client, 4).await, ["now", "too", "next", "at"]);
    clock.advance(4_000);
    assert_eq!(arrived(&mut client, 5).await, ["now", "too", "next", "at", "after"]);
    server.stop().await;
}

#[tokio::test]
async fn what_is_delivered_has_its_other_headers_and_the_time_of_delivery() {
    let clock = clock();
    let server = server(&clock).await;
    let topic = server.topic("t", ALLOWED).await;
    let mut client = server.client().await;
    client.produce("t", 0, -1, &plain(&[("v", &[("x", "y"), (AFTER, "9000")])])).await;
    clock.advance(9_000);
    arrived(&mut client, 1).await;
    let plan = server.broker.read_log_end(&topic, PartitionIndex(0), duolog_base::Offset(1), 1 << 20).unwrap().plan;
    let bytes = duolog_core::broker::materialize(plan).await.unwrap();
    let batch = duolog_wire::record::decode_batch(&bytes, Default::default()).unwrap();
    let record = batch.records().next().unwrap().unwrap();
    assert_eq!(record.timestamp.0, START.0 + 9_000);
    let headers: Vec<Header<'_>> = record.headers.clone().collect();
    assert_eq!(headers, [Header { key: b"x", value: Some(b"y") }]);
    server.stop().await;
}

#[tokio::test]
async fn a_repeated_batch_has_its_timers_once() {
    let clock = clock();
    let server = server(&clock).await;
    server.topic("t", ALLOWED).await;
    let (mut client, mut other) = (server.client().await, server.client().await);
    let first = idempotent(0, &[("now", &[]), ("later", &[(AFTER, FAR)])]);
    assert_eq!(client.produce("t", 0, -1, &first).await, taken(0));
    assert_eq!(client.produce("t", 0, -1, &first).await, taken(0));
    // A client that has lost its connection may have the batch in two requests at once.
    for (sequence, base_offset) in [(2, 2), (3, 3), (4, 4)] {
        let next = idempotent(sequence, &[("later", &[(AFTER, FAR)])]);
        client.send_batch("t", 0, -1, &next).await;
        assert_eq!(other.produce("t", 0, -1, &next).await, taken(base_offset));
        assert_eq!(client.receive_produced().await.1, taken(base_offset));
    }
    assert_eq!(timers(&server), 4);
    assert_eq!(client.produce("t", 0, -1, &idempotent(5, &[("end", &[])])).await, taken(5));
    assert_eq!(client.values("t", 0, 0).await, ["now", "end"]);
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_kept_of_a_batch_that_is_out_of_order() {
    let clock = clock();
    let server = server(&clock).await;
    server.topic("t", ALLOWED).await;
    let mut client = server.client().await;
    assert_eq!(client.produce("t", 0, -1, &idempotent(0, &[("now", &[])])).await, taken(0));
    let gap = client.produce("t", 0, -1, &idempotent(3, &[("later", &[(AFTER, FAR)])])).await;
    assert_eq!(gap.error, ErrorCode::OutOfOrderSequenceNumber as i16);
    assert_eq!(timers(&server), 0);
    server.stop().await;
}

#[tokio::test]
async fn what_says_no_time_is_refused_with_the_whole_batch() {
    let clock = clock();
    let server = server(&clock).await;
    server.topic("t", ALLOWED).await;
    let mut client = server.client().await;
    let malformed: [&[(&str, &str)]; 6] = [
        &[(AFTER, "soon")],
        &[(AFTER, "-1")],
        &[(AFTER, "")],
        &[(AT, "1e12")],
        &[(AT, "99999999999999999999")],
        &[(AT, "1"), (AFTER, "1")],
    ];
    for headers in malformed {
        let answer = client.produce("t", 0, -1, &plain(&[("now", &[]), ("later", &[(AFTER, FAR)]), ("v", headers)])).await;
        assert_eq!(answer.error, ErrorCode::InvalidRecord as i16, "{headers:?}");
        assert!(answer.message.unwrap().contains("duolog-deliver-"), "{headers:?}");
    }
    let transaction = BatchBuilder::new(Compression::None).producer(ProducerId(7), ProducerEpoch(0), 0).transactional();
    let answer = client.produce("t", 0, -1, &batch(transaction, &[("v", &[(AFTER, FAR)])])).await;
    assert_eq!(answer.error, ErrorCode::InvalidRecord as i16);
    assert_eq!(timers(&server), 0);
    assert!(client.values("t", 0, 0).await.is_empty());
    client.send_batch("t", 0, 0, &plain(&[("v", &[(AFTER, "soon")])])).await;
    assert!(client.closed().await, "which is how a client that wants no answer learns of it");
    server.stop().await;
}

#[tokio::test]
async fn a_time_that_has_come_and_a_topic_that_does_not_delay_change_nothing() {
    let clock = clock();
    let server = server(&clock).await;
    server.topic("t", ALLOWED).await;
    server.topic("ordinary", &[]).await;
    let mut client = server.client().await;
    let past = (START.0 - 1).to_string();
    client.produce("t", 0, -1, &plain(&[("zero", &[(AFTER, "0")]), ("past", &[(AT, &past)])])).await;
    assert_eq!(client.values("t", 0, 0).await, ["zero", "past"]);
    client.produce("ordinary", 0, -1, &plain(&[("far", &[(AFTER, FAR)]), ("what", &[(AT, "ever")])])).await;
    assert_eq!(client.values("ordinary", 0, 0).await, ["far", "what"]);
    assert_eq!(timers(&server), 0);
    server.stop().await;
}

#[tokio::test]
async fn one_request_has_batches_of_all_kinds() {
    let clock = clock();
    let server = server(&clock).await;
    server.topic("t", ALLOWED).await;
    server.topic("ordinary", &[]).await;
    let mut client = server.client().await;
    let (mixed, later, bad, whole) = (
        plain(&[("a", &[]), ("later", &[(AFTER, FAR)])]),
        plain(&[("later", &[(AFTER, FAR)])]),
        plain(&[("bad", &[(AFTER, "x")])]),
        plain(&[("b", &[])]),
    );
    let data = |index: i32, batch| PartitionProduceData { index, records: Some(Records::Borrowed(batch)) };
    let topic = |name, partition_data| TopicProduceData { name, partition_data, ..Default::default() };
    let topic_data = vec![
        topic("ordinary", vec![data(0, &whole[..]), data(99, &whole)]),
        topic("unknown", vec![data(0, &later)]),
        topic("t", vec![data(2, &bad), data(0, &mixed), data(1, &later), data(3, &whole)]),
    ];
    let request = ProduceRequest { acks: 1, timeout_ms: 30_000, topic_data, ..Default::default() };
    let response = client.call(PRODUCE, 9, |encoder| request.encode(encoder, 9).unwrap()).await;
    let (_, mut decoder) = response.body();
    let response = ProduceResponse::decode(&mut decoder, 9).unwrap();
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let answers: Vec<(i32, i16, i64)> = partitions.map(|found| (found.index, found.error_code, found.base_offset)).collect();
    let (unknown, invalid) = (ErrorCode::UnknownTopicOrPartition as i16, ErrorCode::InvalidRecord as i16);
    assert_eq!(answers, [(0, 0, 0), (99, unknown, -1), (0, unknown, -1), (2, invalid, -1), (0, 0, 0), (1, 0, 0), (3, 0, 0)]);
    assert_eq!(timers(&server), 2);
    server.stop().await;
}

#[tokio::test]
async fn compressed_batches_and_other_codecs_of_the_topic_keep_their_gaps() {
    let clock = clock();
    let server = server(&clock).await;
    server.topic("t", &[ALLOWED[0], ("compression.type", "zstd")]).await;
    let mut client = server.client().await;
    let records: &[Sent<'_>] = &[("later", &[(AFTER, "5000")]), ("a", &[]), ("later too", &[(AFTER, "6000")]), ("b", &[])];
    for (at, codec) in [Compression::Gzip, Compression::Zstd].into_iter().enumerate() {
        assert_eq!(client.produce("t", 0, -1, &batch(BatchBuilder::new(codec), records)).await, taken(4 * at as i64));
    }
    assert_eq!(client.values("t", 0, 0).await, ["a", "b", "a", "b"]);
    clock.advance(5_000);
    assert_eq!(arrived(&mut client, 6).await[4..], ["later", "later"]);
    clock.advance(1_000);
    assert_eq!(arrived(&mut client, 8).await[6..], ["later too", "later too"]);
    server.stop().await;
}

#[tokio::test]
async fn without_an_answer_the_order_of_requests_is_kept() {
    let clock = clock();
    let server = server(&clock).await;
    server.topic("t", ALLOWED).await;
    let mut client = server.client().await;
    for number in 0..20 {
        let (value, sequence) = (number.to_string(), number * 2);
        client.send_batch("t", 0, 0, &idempotent(sequence, &[(&value, &[]), ("later", &[(AFTER, FAR)])])).await;
    }
    assert_eq!(client.produce("t", 0, -1, &idempotent(40, &[("20", &[])])).await, taken(40));
    let expected: Vec<String> = (0..=20).map(|number: i32| number.to_string()).collect();
    assert_eq!(client.values("t", 0, 0).await, expected);
    assert_eq!(timers(&server), 20);
    server.stop().await;
}
