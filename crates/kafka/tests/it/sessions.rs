//! Incremental fetch sessions and the bounds of a fetch.

use crate::client::{Client, FETCH, Server, batch, fetch_request, values};
use duolog_core::metadata::TopicReference;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::fetch_request::FetchRequest;
use duolog_wire::kafka::messages::fetch_response::FetchResponse;

struct Answer {
    error: i16,
    session: i32,
    /// Partition, error and values of what the response names.
    partitions: Vec<(i32, i16, Vec<String>)>,
}

async fn fetch(client: &mut Client, request: FetchRequest<'_>) -> Answer {
    let version = if request.topics.first().is_some_and(|topic| topic.topic.is_empty()) { 17 } else { 12 };
    let response = client.call(FETCH, version, |encoder| request.encode(encoder, version).unwrap()).await;
    let (_, mut decoder) = response.body();
    let response = FetchResponse::decode(&mut decoder, version).unwrap();
    let mut partitions: Vec<_> = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|data| {
            let bytes = data.records.and_then(|records| records.bytes()).unwrap_or_default();
            (data.partition_index, data.error_code, values(bytes))
        })
        .collect();
    partitions.sort();
    Answer { error: response.error_code, session: response.session_id, partitions }
}

#[tokio::test]
async fn a_session_names_only_what_changed() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    let start = FetchRequest { session_epoch: 0, ..fetch_request("t", &[(0, 0), (1, 0), (2, 0)]) };
    let first = fetch(&mut client, start).await;
    assert_eq!((first.error, first.partitions.len()), (0, 3));
    let id = first.session;
    assert_ne!(id, 0);

    let next = |epoch, partitions: &[(i32, i64)]| {
        let mut request = FetchRequest { session_id: id, session_epoch: epoch, ..fetch_request("t", partitions) };
        if partitions.is_empty() {
            request.topics.clear();
        }
        request
    };
    let nothing = fetch(&mut client, next(1, &[])).await;
    assert_eq!((nothing.session, nothing.partitions), (id, vec![]));
    client.produce("t", 1, -1, &batch(&["x"])).await;
    let some = fetch(&mut client, next(2, &[])).await;
    assert_eq!(some.partitions, [(1, 0, vec!["x".to_owned()])]);
    let behind = fetch(&mut client, next(3, &[(1, 1)])).await;
    assert_eq!(behind.partitions, []);
    assert_eq!(fetch(&mut client, next(3, &[])).await.error, ErrorCode::InvalidFetchSessionEpoch as i16);
    let closing = FetchRequest { session_epoch: -1, ..next(4, &[(0, 0)]) };
    assert_eq!(fetch(&mut client, closing).await.session, 0);
    assert_eq!(fetch(&mut client, next(5, &[])).await.error, ErrorCode::FetchSessionIdNotFound as i16);
    server.stop().await;
}

#[tokio::test]
async fn topics_are_found_by_id_and_a_deleted_one_is_not() {
    let server = Server::start().await;
    let topic = server.topic("t", &[]).await;
    let mut client = server.client().await;
    client.produce("t", 0, -1, &batch(&["x"])).await;
    let mut request = fetch_request("", &[(0, 0)]);
    request.topics[0].topic_id = topic.id;
    assert_eq!(fetch(&mut client, request.clone()).await.partitions, [(0, 0, vec!["x".to_owned()])]);
    request.topics[0].topic_id = duolog_base::TopicId(12345);
    assert_eq!(fetch(&mut client, request).await.partitions, [(0, ErrorCode::UnknownTopicId as i16, vec![])]);
    server.stop().await;
}

#[tokio::test]
async fn limits_are_kept_but_one_batch_always_comes_and_partitions_take_turns() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    for partition in 0..3 {
        client.produce("t", partition, -1, &batch(&[&"x".repeat(500)])).await;
    }
    let small = |epoch, id| FetchRequest {
        max_bytes: 10,
        session_id: id,
        session_epoch: epoch,
        ..fetch_request("t", &[(0, 0), (1, 0), (2, 0)])
    };
    let first = fetch(&mut client, small(0, 0)).await;
    let id = first.session;
    let mut served = vec![first];
    for epoch in 1..3 {
        let request = FetchRequest { topics: Vec::new(), ..small(epoch, id) };
        served.push(fetch(&mut client, request).await);
    }
    let given: Vec<Vec<i32>> = served
        .iter()
        .map(|answer| answer.partitions.iter().filter(|(_, _, values)| !values.is_empty()).map(|(index, ..)| *index).collect())
        .collect();
    assert_eq!(given, [[0], [1], [2]]);
    server.stop().await;
}

#[tokio::test]
async fn epochs_that_do_not_fit_are_told_apart() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    let mut request = fetch_request("t", &[(0, 0)]);
    request.topics[0].partitions[0].current_leader_epoch = 1_000;
    assert_eq!(fetch(&mut client, request.clone()).await.partitions[0].1, ErrorCode::UnknownLeaderEpoch as i16);
    request.topics[0].partitions[0].current_leader_epoch = -1;
    request.topics[0].partitions[0].fetch_offset = 5;
    assert_eq!(fetch(&mut client, request).await.partitions[0].1, ErrorCode::OffsetOutOfRange as i16);
    server.stop().await;
}

#[tokio::test]
async fn what_happens_between_and_during_the_polls_of_a_session_is_told() {
    let server = Server::start().await;
    let topic = server.topic("t", &[("flush", "async")]).await;
    server.topic("other", &[]).await;
    let (mut client, mut producer) = (server.client().await, server.client().await);
    let start = FetchRequest { session_epoch: 0, ..fetch_request("t", &[(0, 0), (1, 0), (2, 0), (3, 0)]) };
    let id = fetch(&mut client, start).await.session;
    let mut epoch = 0;
    let mut next = |partitions: &'static [(i32, i64)]| {
        epoch += 1;
        let mut request = FetchRequest { session_id: id, session_epoch: epoch, ..fetch_request("t", partitions) };
        request.topics.retain(|topic| !topic.partitions.is_empty());
        request.max_wait_ms = 600_000;
        request
    };
    producer.produce("t", 2, -1, &batch(&["between"])).await;
    assert_eq!(fetch(&mut client, next(&[])).await.partitions, [(2, 0, vec!["between".to_owned()])]);
    // The client did not say that it has it.
    assert_eq!(fetch(&mut client, next(&[])).await.partitions, [(2, 0, vec!["between".to_owned()])]);
    for (number, value) in ["first", "second", "third"].into_iter().enumerate() {
        let request = next([&[(2, 1)], &[(1, 1)], &[(1, 2)]][number]);
        let (polled, _) = tokio::join!(fetch(&mut client, request), async {
            producer.produce("other", 0, -1, &batch(&["x"])).await;
            producer.produce("t", 1, -1, &batch(&[value])).await;
        });
        assert_eq!(polled.partitions, [(1, 0, vec![value.to_owned()])]);
    }
    let (polled, _) = tokio::join!(
        fetch(&mut client, next(&[(1, 3)])),
        server.broker.metadata().delete_topics(vec![TopicReference::Name("t".to_owned())])
    );
    let codes: Vec<_> = polled.partitions.iter().map(|(index, code, _)| (*index, *code)).collect();
    assert_eq!(codes, [0, 1, 2, 3].map(|index| (index, ErrorCode::UnknownTopicOrPartition as i16)));
    let again = server.topic("t", &[]).await;
    assert_ne!(again.id, topic.id);
    producer.produce("t", 3, -1, &batch(&["new"])).await;
    let found = fetch(&mut client, next(&[(1, 0), (2, 0)])).await.partitions;
    assert!(found.contains(&(3, 0, vec!["new".to_owned()])), "{found:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_busy_partition_does_not_starve_the_others_of_a_session() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    for partition in 0..4 {
        client.produce("t", partition, -1, &batch(&[&"x".repeat(400)])).await;
        client.produce("t", partition, -1, &batch(&[&"x".repeat(400)])).await;
    }
    // Room for one batch and a half; the client takes what it is given.
    let start = FetchRequest { session_epoch: 0, max_bytes: 700, ..fetch_request("t", &[(0, 0), (1, 0), (2, 0), (3, 0)]) };
    let mut answer = fetch(&mut client, start).await;
    let id = answer.session;
    let mut given = Vec::new();
    let mut at = [0; 4];
    for epoch in 1..8 {
        let mut taken = Vec::new();
        for (partition, _, values) in answer.partitions.iter().filter(|(_, _, values)| !values.is_empty()) {
            given.push(*partition);
            at[*partition as usize] += values.len() as i64;
            taken.push((*partition, at[*partition as usize]));
        }
        client.produce("t", 0, -1, &batch(&[&"x".repeat(400)])).await;
        let request = FetchRequest { session_id: id, session_epoch: epoch, max_bytes: 700, ..fetch_request("t", &taken) };
        answer = fetch(&mut client, request).await;
    }
    assert_eq!(given, [0, 1, 2, 3, 0, 1, 2]);
    server.stop().await;
}
