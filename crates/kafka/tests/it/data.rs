//! Produce, Fetch and what goes with them.

use crate::client::{FETCH, PRODUCE, Server, batch, fetch_request, idempotent_batch, now, produce_request, values};
use bytes::BytesMut;
use duolog_base::TimestampMs;
use duolog_net::ConnectionLimits;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::Records;
use duolog_wire::kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use duolog_wire::kafka::messages::delete_records_response::DeleteRecordsResponse;
use duolog_wire::kafka::messages::fetch_request::FetchRequest;
use duolog_wire::kafka::messages::fetch_response::FetchResponse;
use duolog_wire::kafka::messages::init_producer_id_request::InitProducerIdRequest;
use duolog_wire::kafka::messages::init_producer_id_response::InitProducerIdResponse;
use duolog_wire::kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use duolog_wire::kafka::messages::list_offsets_response::ListOffsetsResponse;
use duolog_wire::kafka::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use duolog_wire::kafka::messages::produce_response::ProduceResponse;
use duolog_wire::record::{BatchBuilder, Compression, NewRecord};

#[tokio::test]
async fn what_is_produced_is_fetched_with_every_acks() {
    let server = Server::start().await;
    for flush in ["sync", "async"] {
        let topic = format!("t-{flush}");
        server.topic(&topic, &[("flush", flush)]).await;
        let mut client = server.client().await;
        assert_eq!(client.produce(&topic, 1, -1, &batch(&["a", "b"])).await.base_offset, 0);
        assert_eq!(client.produce(&topic, 1, 1, &batch(&["c"])).await.base_offset, 2);
        client.send_batch(&topic, 1, 0, &batch(&["d"])).await;
        // The answer to this one says that the one without answer is stored, too.
        assert_eq!(client.produce(&topic, 1, -1, &batch(&["e"])).await.base_offset, 4);
        assert_eq!(client.values(&topic, 1, 0).await, ["a", "b", "c", "d", "e"]);
        assert_eq!(client.values(&topic, 1, 3).await, ["d", "e"]);
        assert!(client.values(&topic, 0, 0).await.is_empty());
    }
    server.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    let mut sent = Vec::new();
    for number in 0..200 {
        sent.push(client.send_batch("t", number % 4, if number % 3 == 0 { 1 } else { -1 }, &batch(&["x"])).await);
    }
    for (number, correlation) in sent.into_iter().enumerate() {
        let (answered, produced) = client.receive_produced().await;
        assert_eq!((answered, produced.error, produced.base_offset), (correlation, 0, number as i64 / 4));
    }
    server.stop().await;
}

#[tokio::test]
async fn data_and_offsets_outlive_a_restart() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    client.produce("t", 2, -1, &batch(&["before"])).await;
    let epoch = server.broker.image().topic("t").unwrap().partitions[2].leader_epoch;
    let server = Server::start_in(server.stop().await, ConnectionLimits::default()).await;
    let mut client = server.client().await;
    assert_eq!(client.produce("t", 2, -1, &batch(&["after"])).await.base_offset, 1);
    assert_eq!(client.values("t", 2, 0).await, ["before", "after"]);
    let restarted = server.broker.image().topic("t").unwrap().partitions[2].leader_epoch;
    assert!(restarted > epoch, "a new life of the leader is a new epoch");
    server.stop().await;
}

#[tokio::test]
async fn a_large_batch_goes_through_files_and_memory_unchanged() {
    let server = Server::start().await;
    server.topic("t", &[("max.message.bytes", "4000000")]).await;
    let mut client = server.client().await;
    let large = "x".repeat(900_000);
    for _ in 0..8 {
        assert_eq!(client.produce("t", 0, 1, &batch(&[&large])).await.error, 0);
    }
    assert_eq!(client.produce("t", 0, -1, &batch(&["small"])).await.error, 0);
    let mut from = 0;
    while from < 9 {
        let found = client.values("t", 0, from).await;
        assert!(!found.is_empty());
        for value in found {
            assert!(value == if from < 8 { large.as_str() } else { "small" });
            from += 1;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn refused_batches_carry_kafkas_errors() {
    let server = Server::start().await;
    server.topic("t", &[("max.message.bytes", "1000"), ("message.timestamp.after.max.ms", "1000")]).await;
    server.topic("keyed", &[("cleanup.policy", "compact")]).await;
    let mut client = server.client().await;
    let ok = batch(&["x"]);
    let mut damaged = ok.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let mut old = ok.clone();
    old[duolog_wire::record::MAGIC_AT] = 1;
    let large = batch(&[&"x".repeat(1000)]);
    let cases = [
        ("t", 9, -1, &ok, ErrorCode::UnknownTopicOrPartition),
        ("unknown", 0, -1, &ok, ErrorCode::UnknownTopicOrPartition),
        ("t", 0, 2, &ok, ErrorCode::InvalidRequiredAcks),
        ("t", 0, -1, &large, ErrorCode::MessageTooLarge),
        ("t", 0, -1, &damaged, ErrorCode::CorruptMessage),
        ("t", 0, -1, &old, ErrorCode::UnsupportedForMessageFormat),
        ("keyed", 0, -1, &ok, ErrorCode::InvalidRecord),
    ];
    for (topic, partition, acks, batch, code) in cases {
        let produced = client.produce(topic, partition, acks, batch).await;
        assert_eq!((produced.error, produced.base_offset), (code as i16, -1), "{topic} {code:?}");
    }
    assert_eq!(client.produce("t", 0, -1, &ok).await.error, 0, "the connection goes on");
    let mut silent = server.client().await;
    silent.send_batch("t", 0, 0, &damaged).await;
    assert!(silent.closed().await);
    server.stop().await;
}

#[tokio::test]
async fn repeated_batches_of_an_idempotent_producer_keep_their_offsets() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    let id = producer_id(&mut client).await;
    assert_ne!(id, producer_id(&mut client).await);
    let first = idempotent_batch(id, 0, 0, &["a", "b"]);
    let second = idempotent_batch(id, 0, 2, &["c"]);
    assert_eq!(client.produce("t", 0, -1, &first).await.base_offset, 0);
    assert_eq!(client.produce("t", 0, -1, &second).await.base_offset, 2);
    assert_eq!(client.produce("t", 0, -1, &first).await.base_offset, 0);
    let gap = client.produce("t", 0, -1, &idempotent_batch(id, 0, 9, &["d"])).await;
    assert_eq!(gap.error, ErrorCode::OutOfOrderSequenceNumber as i16);
    assert_eq!(client.produce("t", 0, -1, &idempotent_batch(id, 1, 0, &["e"])).await.base_offset, 3);
    let fenced = client.produce("t", 0, -1, &idempotent_batch(id, 0, 3, &["f"])).await;
    assert_eq!(fenced.error, ErrorCode::InvalidProducerEpoch as i16);
    assert_eq!(client.values("t", 0, 0).await, ["a", "b", "c", "e"]);
    server.stop().await;
}

async fn producer_id(client: &mut crate::client::Client) -> i64 {
    let request = InitProducerIdRequest { transactional_id: None, producer_id: -1, producer_epoch: -1, ..Default::default() };
    let response = client.call(22, 4, |encoder| request.encode(encoder, 4).unwrap()).await;
    let response = InitProducerIdResponse::decode(&mut response.body().1, 4).unwrap();
    assert_eq!((response.error_code, response.producer_epoch), (0, 0));
    response.producer_id
}

#[tokio::test]
async fn transactions_are_refused_for_good() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let request = InitProducerIdRequest { transactional_id: Some("tx"), transaction_timeout_ms: 1, ..Default::default() };
    let response = client.call(22, 4, |encoder| request.encode(encoder, 4).unwrap()).await;
    let response = InitProducerIdResponse::decode(&mut response.body().1, 4).unwrap();
    assert_eq!(response.error_code, ErrorCode::TransactionalIdAuthorizationFailed as i16);
    server.stop().await;
}

#[tokio::test]
async fn a_waiting_fetch_is_woken_by_what_arrives() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut consumer = server.client().await;
    let request = FetchRequest { max_wait_ms: 600_000, ..fetch_request("t", &[(0, 0), (1, 0), (2, 0)]) };
    consumer.send(FETCH, 12, |encoder| request.encode(encoder, 12).unwrap()).await;
    let mut producer = server.client().await;
    // Partition 3 is not asked for.
    producer.produce("t", 3, -1, &batch(&["elsewhere"])).await;
    producer.produce("t", 1, -1, &batch(&["here"])).await;
    let response = consumer.receive(FETCH, 12).await;
    let (_, mut decoder) = response.body();
    let response = FetchResponse::decode(&mut decoder, 12).unwrap();
    let found: Vec<_> = response.responses[0]
        .partitions
        .iter()
        .flat_map(|data| values(data.records.and_then(|records| records.bytes()).unwrap_or_default()))
        .collect();
    assert_eq!(found, ["here"]);
    server.stop().await;
}

#[tokio::test]
async fn one_request_of_many_partitions_answers_each() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    let good = batch(&["x"]);
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let mut request = produce_request("t", 0, -1, &good);
    for (index, bytes) in [(1, &bad), (2, &good)] {
        let data = produce_request("t", index, -1, bytes).topic_data.remove(0).partition_data.remove(0);
        request.topic_data[0].partition_data.push(data);
    }
    let response = client.call(PRODUCE, 9, |encoder| request.encode(encoder, 9).unwrap()).await;
    let (_, mut decoder) = response.body();
    let response = ProduceResponse::decode(&mut decoder, 9).unwrap();
    let answers: Vec<_> = response.responses[0]
        .partition_responses
        .iter()
        .map(|answer| (answer.index, answer.error_code, answer.base_offset))
        .collect();
    assert_eq!(answers, [(0, 0, 0), (1, ErrorCode::CorruptMessage as i16, -1), (2, 0, 0)]);
    server.stop().await;
}

#[tokio::test]
async fn offsets_are_listed_by_place_and_by_time_and_records_deleted() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    let before = now().0;
    client.produce("t", 0, -1, &batch(&["a", "b"])).await;
    client.produce("t", 0, -1, &batch(&["c"])).await;
    assert_eq!(list(&mut client, -2).await, (0, 0, -1));
    assert_eq!(list(&mut client, -1).await, (0, 3, -1));
    assert_eq!(list(&mut client, -4).await, (0, 0, -1));
    assert_eq!(list(&mut client, -5).await, (0, -1, -1));
    assert_eq!(list(&mut client, -9).await.0, ErrorCode::UnsupportedVersion as i16);
    assert_eq!(list(&mut client, before).await.1, 0);
    assert_eq!(list(&mut client, before + 3_600_000).await, (0, -1, -1));
    let (code, newest, timestamp) = list(&mut client, -3).await;
    assert!(code == 0 && (0..3).contains(&newest) && timestamp >= before);

    assert_eq!(delete(&mut client, 2).await, (0, 2));
    assert_eq!(list(&mut client, -2).await.1, 2);
    assert_eq!(delete(&mut client, 1).await, (0, 2), "what is gone stays gone");
    assert_eq!(delete(&mut client, 4).await.0, ErrorCode::OffsetOutOfRange as i16);
    assert_eq!(delete(&mut client, -1).await, (0, 3));
    let request = fetch_request("t", &[(0, 0)]);
    let response = client.call(FETCH, 12, |encoder| request.encode(encoder, 12).unwrap()).await;
    let (_, mut decoder) = response.body();
    let response = FetchResponse::decode(&mut decoder, 12).unwrap();
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::OffsetOutOfRange as i16);
    server.stop().await;
}

#[tokio::test]
async fn a_record_that_was_deleted_does_not_hide_a_later_one_from_the_look_up_by_time() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    let time = now().0;
    client.produce("t", 0, -1, &batch_at(&[time + 100, time])).await;
    client.produce("t", 0, -1, &batch_at(&[time + 50])).await;
    assert_eq!(list(&mut client, time + 40).await, (0, 0, time + 100));
    assert_eq!(delete(&mut client, 1).await, (0, 1));
    assert_eq!(list(&mut client, time + 40).await, (0, 2, time + 50));
    assert_eq!(list(&mut client, time + 60).await, (0, -1, -1));
}

fn batch_at(timestamps: &[i64]) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    for timestamp in timestamps {
        let record = NewRecord { timestamp: TimestampMs(*timestamp), key: None, value: Some(b"v"), headers: &[] };
        builder.push(record).unwrap();
    }
    let mut bytes = BytesMut::new();
    builder.build(&mut bytes).unwrap();
    bytes
}

async fn list(client: &mut crate::client::Client, timestamp: i64) -> (i16, i64, i64) {
    let partitions = vec![ListOffsetsPartition { current_leader_epoch: -1, timestamp, ..Default::default() }];
    let topics = vec![ListOffsetsTopic { name: "t", partitions }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let response = client.call(2, 9, |encoder| request.encode(encoder, 9).unwrap()).await;
    let (_, mut decoder) = response.body();
    let response = ListOffsetsResponse::decode(&mut decoder, 9).unwrap();
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.offset, answer.timestamp)
}

async fn delete(client: &mut crate::client::Client, offset: i64) -> (i16, i64) {
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
    let request = DeleteRecordsRequest { topics: vec![DeleteRecordsTopic { name: "t", partitions }], timeout_ms: 30_000 };
    let response = client.call(21, 2, |encoder| request.encode(encoder, 2).unwrap()).await;
    let (_, mut decoder) = response.body();
    let response = DeleteRecordsResponse::decode(&mut decoder, 2).unwrap();
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.low_watermark)
}

#[tokio::test]
async fn a_request_that_runs_out_of_time_still_names_what_was_refused() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    let good = batch(&["x"]);
    for round in 0..20 {
        let partition_data =
            [9, 0, 8].map(|index| PartitionProduceData { index, records: Some(Records::Borrowed(&good)) }).to_vec();
        let topic_data = vec![TopicProduceData { name: "t", partition_data, ..Default::default() }];
        let request = ProduceRequest { acks: -1, timeout_ms: 0, topic_data, ..Default::default() };
        let response = client.call(PRODUCE, 9, |encoder| request.encode(encoder, 9).unwrap()).await;
        let response = ProduceResponse::decode(&mut response.body().1, 9).unwrap();
        let codes: Vec<_> = response.responses[0].partition_responses.iter().map(|partition| partition.error_code).collect();
        let unknown = ErrorCode::UnknownTopicOrPartition as i16;
        assert_eq!((codes[0], codes[2]), (unknown, unknown));
        // The batch may be stored before anybody looks at the time.
        assert!([ErrorCode::None as i16, ErrorCode::RequestTimedOut as i16].contains(&codes[1]), "{codes:?} in round {round}");
    }
    server.stop().await;
}
