//! What a connection bears, and what closes it.

use crate::client::{Client, Server, batch};
use duolog_net::ConnectionLimits;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::api_versions_request::ApiVersionsRequest;
use duolog_wire::kafka::messages::api_versions_response::ApiVersionsResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const API_VERSIONS: i16 = 18;

async fn alive(client: &mut Client) {
    let request = ApiVersionsRequest { client_software_name: "t", client_software_version: "1", ..Default::default() };
    let response = client.call(API_VERSIONS, 3, |encoder| request.encode(encoder, 3).unwrap()).await;
    let (_, mut decoder) = response.body();
    assert_eq!(ApiVersionsResponse::decode(&mut decoder, 3).unwrap().error_code, 0);
}

#[tokio::test]
async fn versions_are_listed_and_an_unknown_version_is_answered_at_version_0() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let response = client.call(API_VERSIONS, 0, |_| ()).await;
    let (_, mut decoder) = response.body();
    let response = ApiVersionsResponse::decode(&mut decoder, 0).unwrap();
    let produce = &response.api_keys[0];
    assert_eq!((produce.api_key, produce.min_version, produce.max_version), (0, 0, 13));
    let correlation = client.send(API_VERSIONS, 99, |_| ()).await;
    let response = client.receive(API_VERSIONS, 0).await;
    let (answered, mut decoder) = response.body();
    let response = ApiVersionsResponse::decode(&mut decoder, 0).unwrap();
    assert_eq!((answered, response.error_code), (correlation, ErrorCode::UnsupportedVersion as i16));
    assert!(!response.api_keys.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_request_close_their_connection_only() {
    let server = Server::start().await;
    let mut bystander = server.client().await;
    alive(&mut bystander).await;
    let size = |bytes: i32| bytes.to_be_bytes().to_vec();
    let cases: [Vec<u8>; 6] = [
        size(-1),
        size(3),
        size(i32::MAX),
        [size(10), vec![0xff; 10]].concat(),
        // Produce version 0, and a version of Fetch that is not served.
        [size(12), vec![0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0]].concat(),
        [size(12), vec![0, 1, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0, 0]].concat(),
    ];
    for bytes in cases {
        let mut client = server.client().await;
        client.stream.write_all(&bytes).await.unwrap();
        assert!(client.closed().await, "{bytes:x?}");
        alive(&mut bystander).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn arbitrary_bytes_harm_nobody() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..300 {
        let mut body: Vec<u8> = (0..random() % 300 + 8).map(|_| random() as u8).collect();
        // A key and a version that are served lead deeper.
        body[..4].copy_from_slice(&[0, (random() % 76) as u8, 0, (random() % 14) as u8]);
        let mut client = server.client().await;
        let frame = [(body.len() as i32).to_be_bytes().to_vec(), body].concat();
        client.stream.write_all(&frame).await.unwrap();
        client.stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset, in either case without waiting for ever.
        let _ = client.stream.read_to_end(&mut rest).await;
        if round % 50 == 0 {
            alive(&mut server.client().await).await;
        }
    }
    alive(&mut server.client().await).await;
    server.stop().await;
}

#[tokio::test]
async fn an_oversized_request_is_refused_by_its_size() {
    let limits = ConnectionLimits { frame_bytes: 10_000, ..ConnectionLimits::default() };
    let server = Server::start_in(tempfile::tempdir().unwrap(), limits).await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    assert_eq!(client.produce("t", 0, -1, &batch(&[&"x".repeat(9_000)])).await.error, 0);
    client.stream.write_all(&10_001_i32.to_be_bytes()).await.unwrap();
    assert!(client.closed().await);
    server.stop().await;
}

#[tokio::test]
async fn with_little_room_for_requests_in_flight_all_are_answered() {
    let limits = ConnectionLimits {
        requests_in_flight: 2,
        bytes_in_flight: 1_000,
        total_bytes_in_flight: 20_000,
        frame_bytes: 20_000,
        ..ConnectionLimits::default()
    };
    let server = Server::start_in(tempfile::tempdir().unwrap(), limits).await;
    server.topic("t", &[]).await;
    let mut clients = Vec::new();
    for partition in 0..4 {
        let mut client = server.client().await;
        clients.push(tokio::spawn(async move {
            for _ in 0..20 {
                client.send_batch("t", partition, -1, &batch(&[&"x".repeat(8_000)])).await;
            }
            for number in 0..20 {
                assert_eq!(client.receive_produced().await.1.base_offset, number);
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_is_pending_and_ends_waiting_fetches() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut consumer = server.client().await;
    let request = duolog_wire::kafka::messages::fetch_request::FetchRequest {
        max_wait_ms: 600_000,
        ..crate::client::fetch_request("t", &[(0, 0)])
    };
    consumer.send(crate::client::FETCH, 12, |encoder| request.encode(encoder, 12).unwrap()).await;
    alive(&mut server.client().await).await;
    server.stop().await;
    // Answered, or closed if the request had not been read yet: never left waiting.
    let mut rest = Vec::new();
    let _ = consumer.stream.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn an_address_with_too_many_connections_is_refused_one_more_until_one_is_closed() {
    let limits = ConnectionLimits { connections_per_ip: 2, ..ConnectionLimits::default() };
    let server = Server::start_in(tempfile::tempdir().unwrap(), limits).await;
    let (mut first, mut second) = (server.client().await, server.client().await);
    alive(&mut first).await;
    alive(&mut second).await;
    assert!(server.client().await.closed().await);
    alive(&mut first).await;
    first.stream.shutdown().await.unwrap();
    assert!(first.closed().await);
    // The server has closed its end; its count follows.
    for attempt in 0.. {
        assert!(attempt < 1_000, "the place is free again");
        let mut client = server.client().await;
        // The server may have closed the connection before this is written.
        let mut frame = vec![0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1];
        frame.extend([0xff, 0xff]);
        let _ = client.stream.write_all(&frame).await;
        let mut answered = [0];
        if matches!(client.stream.read(&mut answered).await, Ok(1)) {
            break;
        }
        tokio::task::yield_now().await;
    }
    server.stop().await;
}
