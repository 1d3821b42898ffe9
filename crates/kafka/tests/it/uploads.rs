//! Requests that arrive slowly, in part, or all at once: nobody's upload stops the others.

use crate::client::{Client, FETCH, PRODUCE, Server, batch, fetch_request};
use duolog_net::ConnectionLimits;
use duolog_wire::kafka::messages::fetch_request::{FetchRequest, ForgottenTopic};
use duolog_wire::kafka::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use duolog_wire::kafka::messages::produce_response::ProduceResponse;
use duolog_wire::kafka::{Decoder, Records};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const MIB: usize = 1 << 20;
/// Longer than anything here takes; what takes longer waits for ever.
const FOR_EVER: Duration = Duration::from_secs(60);

async fn server(limits: ConnectionLimits) -> Server {
    let server = Server::start_in(tempfile::tempdir().unwrap(), limits).await;
    server.topic("t", &[("max.message.bytes", "6000000")]).await;
    server
}

/// A connection that announces a Produce request of so many bytes and sends a part of it.
async fn begin(server: &Server, announced: usize, sent: usize) -> Client {
    let mut client = server.client().await;
    client.stream.write_all(&(announced as i32).to_be_bytes()).await.unwrap();
    client.stream.write_all(&vec![0; sent]).await.unwrap();
    client
}

fn errors(mut decoder: Decoder<'_>) -> Vec<i16> {
    let response = ProduceResponse::decode(&mut decoder, 9).unwrap();
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.map(|partition| partition.error_code).collect()
}

#[tokio::test]
async fn announcing_much_and_sending_nothing_stops_nobody() {
    let server = server(ConnectionLimits::default()).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(begin(&server, 100 * MIB, 10).await);
    }
    let mut client = server.client().await;
    let others = async {
        assert_eq!(client.produce("t", 0, -1, &batch(&["x"])).await.error, 0);
        assert_eq!(client.values("t", 0, 0).await, ["x"]);
        let large = batch(&[&"x".repeat(5 * MIB)]);
        let partition_data = (0..4).map(|index| PartitionProduceData { index, records: Some(Records::Borrowed(&large)) });
        let topic_data = vec![TopicProduceData { name: "t", partition_data: partition_data.collect(), ..Default::default() }];
        let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..Default::default() };
        let response = client.call(PRODUCE, 9, |encoder| request.encode(encoder, 9).unwrap()).await;
        assert_eq!(errors(response.body().1), [0; 4]);
    };
    tokio::time::timeout(FOR_EVER, others).await.expect("the others are served");
    drop(stalled);
    server.stop().await;
}

#[tokio::test]
async fn an_upload_that_comes_too_slowly_is_closed_and_an_idle_connection_is_not() {
    let limits = ConnectionLimits { upload_period: Duration::from_millis(50), ..ConnectionLimits::default() };
    let server = server(limits).await;
    let mut idle = server.client().await;
    assert_eq!(idle.produce("t", 0, -1, &batch(&["x"])).await.error, 0);
    for (announced, sent) in [(100 * MIB, 10), (MIB, 100_000), (1_000, 10)] {
        let mut client = begin(&server, announced, sent).await;
        let closed = tokio::time::timeout(FOR_EVER, client.closed()).await;
        assert!(closed.expect("closed"), "{sent} of {announced}");
    }
    assert_eq!(idle.produce("t", 0, -1, &batch(&["x"])).await.base_offset, 1);
    server.stop().await;
}

#[tokio::test]
async fn with_the_budget_used_up_by_stalled_uploads_small_requests_go_on_and_large_ones_have_their_turn() {
    let limits = ConnectionLimits {
        frame_bytes: 4 * MIB,
        total_bytes_in_flight: 4 * MIB,
        upload_period: Duration::from_secs(1),
        upload_least_bytes: 1,
        ..ConnectionLimits::default()
    };
    let server = server(limits).await;
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(begin(&server, 4 * MIB, 3 * MIB).await);
    }
    let large = batch(&[&"x".repeat(3_900_000)]);
    let mut client = server.client().await;
    let others = async {
        assert_eq!(client.produce("t", 0, -1, &batch(&["x"])).await.error, 0);
        assert_eq!(client.produce("t", 1, -1, &large).await.error, 0);
    };
    tokio::time::timeout(FOR_EVER, others).await.expect("the others are served");
    server.stop().await;
}

#[tokio::test]
async fn many_large_requests_at_once_all_succeed() {
    let limits = ConnectionLimits { frame_bytes: 4 * MIB, total_bytes_in_flight: 6 * MIB, ..ConnectionLimits::default() };
    let server = server(limits).await;
    let large = batch(&[&"x".repeat(3_900_000)]);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (mut client, large) = (server.client().await, large.clone());
        clients.spawn(async move {
            for _ in 0..2 {
                assert_eq!(client.produce("t", number % 4, 1, &large).await.error, 0);
            }
        });
    }
    let all = tokio::time::timeout(FOR_EVER, clients.join_all()).await;
    assert_eq!(all.expect("all are served").len(), 16);
    server.stop().await;
}

#[tokio::test]
async fn a_waiting_fetch_takes_no_room() {
    let frame_bytes = 200_000;
    let limits =
        ConnectionLimits { frame_bytes, total_bytes_in_flight: frame_bytes, allowance_bytes: 0, ..ConnectionLimits::default() };
    let server = server(limits).await;
    let mut fetching = Vec::new();
    for _ in 0..4 {
        let mut client = server.client().await;
        let partitions = (100..40_000).collect();
        let request = FetchRequest {
            max_wait_ms: i32::MAX,
            forgotten_topics_data: vec![ForgottenTopic { topic: "t", partitions, ..Default::default() }],
            ..fetch_request("t", &[(0, 0)])
        };
        client.send(FETCH, 12, |encoder| request.encode(encoder, 12).unwrap()).await;
        fetching.push(client);
    }
    let mut client = server.client().await;
    let large = batch(&[&"x".repeat(150_000)]);
    let produced = tokio::time::timeout(FOR_EVER, client.produce("t", 1, -1, &large)).await;
    assert_eq!(produced.expect("answered while the fetches wait").error, 0);
    server.stop().await;
}
