//! Requests for partitions that another node leads.

use super::{Member, ask, create, some, stop_all, three, until};
use crate::client::{FETCH, PRODUCE, batch, fetch_request, produce_request, values};
use duolog_base::NodeId;
use duolog_wire::kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use duolog_wire::kafka::messages::delete_records_response::DeleteRecordsResponse;
use duolog_wire::kafka::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use duolog_wire::kafka::messages::describe_producers_response::DescribeProducersResponse;
use duolog_wire::kafka::messages::fetch_request::FetchRequest;
use duolog_wire::kafka::messages::fetch_response::FetchResponse;
use duolog_wire::kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use duolog_wire::kafka::messages::list_offsets_response::ListOffsetsResponse;
use duolog_wire::kafka::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use duolog_wire::kafka::messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;
use duolog_wire::kafka::messages::produce_request::ProduceRequest;
use duolog_wire::kafka::messages::produce_response::ProduceResponse;
use duolog_wire::kafka::{Decoder, ErrorCode};

const NOT_LEADER: i16 = ErrorCode::NotLeaderOrFollower as i16;
/// Versions that name topics, and leaders beside errors.
const PRODUCE_VERSION: i16 = 12;
const HINTED_FETCH: i16 = 17;

/// The error, and where to go instead: node, port.
type Refused = (i16, i32, Vec<(i32, i32)>);

async fn produce(member: &Member, topic: &str, partition: i32, value: &str) -> Refused {
    produce_within(member, topic, partition, value, 30_000).await
}

async fn produce_within(member: &Member, topic: &str, partition: i32, value: &str, timeout_ms: i32) -> Refused {
    let batch = batch(&[value]);
    send(member, ProduceRequest { timeout_ms, ..produce_request(topic, partition, -1, &batch) }).await
}

async fn send(member: &Member, request: ProduceRequest<'_>) -> Refused {
    let read = |decoder: &mut Decoder<'_>, version| {
        let answer = ProduceResponse::decode(decoder, version)?;
        let partition = &answer.responses[0].partition_responses[0];
        let nodes = answer.node_endpoints.iter().map(|node| (node.node_id, node.port)).collect();
        Ok((partition.error_code, partition.current_leader.leader_id, nodes))
    };
    ask(&mut member.client().await, PRODUCE, PRODUCE_VERSION, |e, version| request.encode(e, version), read).await
}

/// What a fetch of the first partition gave.
#[derive(Debug, PartialEq, Eq)]
struct Fetched {
    error: i16,
    leader: i32,
    nodes: Vec<(i32, i32)>,
    preferred: i32,
    values: Vec<String>,
}

async fn fetch(member: &Member, version: i16, request: FetchRequest<'_>) -> Fetched {
    let read = |decoder: &mut Decoder<'_>, version| {
        let answer = FetchResponse::decode(decoder, version)?;
        let partition = &answer.responses[0].partitions[0];
        Ok(Fetched {
            error: partition.error_code,
            leader: partition.current_leader.leader_id,
            nodes: answer.node_endpoints.iter().map(|node| (node.node_id, node.port)).collect(),
            preferred: partition.preferred_read_replica,
            values: values(partition.records.and_then(|records| records.bytes()).unwrap_or_default()),
        })
    };
    ask(&mut member.client().await, FETCH, version, |e, version| request.encode(e, version), read).await
}

/// As a consumer in a rack that knows the topic's id.
fn from<'a>(member: &Member, topic: &'a str, offset: i64, rack: &'a str) -> FetchRequest<'a> {
    let mut request = fetch_request(topic, &[(0, offset)]);
    request.topics[0].topic_id = member.topic(topic).unwrap().id;
    FetchRequest { rack_id: rack, ..request }
}

/// The error, and the offset at the end of the first partition.
async fn latest(member: &Member, version: i16, topic: &str) -> (i16, i64) {
    let partitions = vec![ListOffsetsPartition { partition_index: 0, current_leader_epoch: -1, timestamp: -1 }];
    let request = ListOffsetsRequest { topics: vec![ListOffsetsTopic { name: topic, partitions }], ..Default::default() };
    let read = |decoder: &mut Decoder<'_>, version| {
        let answer = ListOffsetsResponse::decode(decoder, version)?;
        Ok((answer.topics[0].partitions[0].error_code, answer.topics[0].partitions[0].offset))
    };
    ask(&mut member.client().await, 2, version, |e, version| request.encode(e, version), read).await
}

/// Errors of the requests that only the partition's leader answers.
async fn look_ups(member: &Member, topic: &str) -> [i16; 4] {
    let mut client = member.client().await;
    let (listed, _) = latest(member, 7, topic).await;
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 0 }];
    let request = DeleteRecordsRequest { topics: vec![DeleteRecordsTopic { name: topic, partitions }], timeout_ms: 10_000 };
    let read = |d: &mut Decoder<'_>, version| Ok(DeleteRecordsResponse::decode(d, version)?.topics[0].partitions[0].error_code);
    let deleted = ask(&mut client, 21, 2, |e, version| request.encode(e, version), read).await;
    let partitions = vec![OffsetForLeaderPartition { partition: 0, current_leader_epoch: -1, leader_epoch: 0 }];
    let request = OffsetForLeaderEpochRequest { topics: vec![OffsetForLeaderTopic { topic, partitions }], ..Default::default() };
    let read =
        |d: &mut Decoder<'_>, version| Ok(OffsetForLeaderEpochResponse::decode(d, version)?.topics[0].partitions[0].error_code);
    let ended = ask(&mut client, 23, 4, |e, version| request.encode(e, version), read).await;
    let request = DescribeProducersRequest { topics: vec![TopicRequest { name: topic, partition_indexes: vec![0] }] };
    let read =
        |d: &mut Decoder<'_>, version| Ok(DescribeProducersResponse::decode(d, version)?.topics[0].partitions[0].error_code);
    let described = ask(&mut client, 61, 0, |e, version| request.encode(e, version), read).await;
    [listed, deleted, ended, described]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_another_node_is_told_the_leader_and_its_address() {
    let members = three(&[]).await;
    create(&members, "orders", &[&[2]], &[]).await;
    let port = i32::from(members[1].address.port());
    assert_eq!(produce(&members[1], "orders", 0, "a").await, (0, -1, vec![]));
    for member in [&members[0], &members[2]] {
        assert_eq!(produce(member, "orders", 0, "b").await, (NOT_LEADER, 2, vec![(2, port)]));
        let refused = fetch(member, HINTED_FETCH, from(member, "orders", 0, "")).await;
        assert_eq!((refused.error, refused.leader, refused.nodes), (NOT_LEADER, 2, vec![(2, port)]));
        let refused = fetch(member, 12, from(member, "orders", 0, "")).await;
        assert_eq!((refused.error, refused.leader, refused.nodes), (NOT_LEADER, 2, vec![]), "no addresses before version 16");
        assert_eq!(fetch(member, 10, from(member, "orders", 0, "")).await.error, NOT_LEADER);
        assert_eq!(look_ups(member, "orders").await, [NOT_LEADER; 4]);
    }
    assert_eq!(look_ups(&members[1], "orders").await, [0; 4]);
    assert_eq!(fetch(&members[1], HINTED_FETCH, from(&members[1], "orders", 0, "")).await.values, ["a"]);
    stop_all(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_are_sent_to_a_replica_in_their_rack_and_may_read_there() {
    let members = three(&[("replica.selector.class", "rack-aware")]).await;
    create(&members, "orders", &[&[1, 2]], &[]).await;
    assert_eq!(produce(&members[0], "orders", 0, "a").await.0, 0);
    let [leader, follower, other] = &members[..] else { panic!("three members") };
    until("the follower is in sync", async || leader.partition("orders", 0).in_sync.len() == 2).await;
    let preferred = async |rack| {
        let fetched = fetch(leader, HINTED_FETCH, from(leader, "orders", 0, rack)).await;
        (fetched.error, fetched.preferred, fetched.values.len())
    };
    assert_eq!(preferred("rack-2").await, (0, 2, 0));
    assert_eq!(preferred("rack-1").await, (0, -1, 1), "its own rack");
    assert_eq!(preferred("rack-3").await, (0, -1, 1), "no replica there");
    assert_eq!(preferred("").await, (0, -1, 1));
    until("the follower knows that it is committed", async || {
        fetch(follower, HINTED_FETCH, from(follower, "orders", 0, "rack-2")).await.values == ["a"]
    })
    .await;
    let beyond = fetch(follower, HINTED_FETCH, from(follower, "orders", 7, "rack-2")).await;
    assert_eq!(beyond.error, ErrorCode::OffsetNotAvailable as i16, "the leader may have it");
    let beyond = fetch(leader, HINTED_FETCH, from(leader, "orders", 7, "rack-1")).await;
    assert_eq!(beyond.error, ErrorCode::OffsetOutOfRange as i16);
    assert_eq!(fetch(follower, 10, from(follower, "orders", 0, "")).await.error, NOT_LEADER, "from before racks");
    assert_eq!(fetch(other, HINTED_FETCH, from(other, "orders", 0, "rack-3")).await.error, NOT_LEADER);
    stop_all(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_too_few_replicas_have_is_not_taken_for_stored() {
    let mut members = three(&[]).await;
    create(&members, "orders", &[&[1, 2, 3]], &[("min.insync.replicas", "3")]).await;
    until("all are in sync", async || members[0].partition("orders", 0).in_sync.len() == 3).await;
    assert_eq!(produce(&members[0], "orders", 0, "a").await.0, 0);
    members.remove(2).stop().await;
    until("it is fenced", async || !members[0].broker.image().nodes[&NodeId(3)].is_live()).await;
    until("the leader knows", async || produce(&members[0], "orders", 0, "b").await.0 == ErrorCode::NotEnoughReplicas as i16)
        .await;
    let follower = produce(&members[1], "orders", 0, "c").await;
    assert_eq!((follower.0, follower.1), (NOT_LEADER, 1), "who does not lead says so first");
    stop_all(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_follower_does_not_fetch_runs_out_of_time_and_is_not_shown() {
    let members = three(&[]).await;
    let controller = members[0].broker.metadata().quorum().leader.unwrap();
    // The follower must not lose the controller, only the leader.
    let apart: Vec<&Member> = members.iter().filter(|member| member.id != controller.0).collect();
    let [leader, follower] = apart[..] else { panic!("two of three members") };
    create(&members, "orders", &[&[leader.id, follower.id]], &[]).await;
    until("both are in sync", async || leader.partition("orders", 0).in_sync.len() == 2).await;
    assert_eq!(produce(leader, "orders", 0, "a").await.0, 0);
    follower.peers.cut(NodeId(leader.id), true);
    let timed_out = ErrorCode::RequestTimedOut as i16;
    // What the follower had asked for before is the last it gets.
    until("it gets no more", async || produce_within(leader, "orders", 0, "b", 100).await.0 == timed_out).await;
    let shown = fetch(leader, HINTED_FETCH, from(leader, "orders", 0, "")).await.values;
    assert_eq!(produce_within(leader, "orders", 0, "last", 100).await.0, timed_out);
    assert_eq!(fetch(leader, HINTED_FETCH, from(leader, "orders", 0, "")).await.values, shown);
    follower.peers.cut(NodeId(leader.id), false);
    until("all of it is committed", async || {
        fetch(leader, HINTED_FETCH, from(leader, "orders", 0, "")).await.values.last().is_some_and(|value| value == "last")
    })
    .await;
    stop_all(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_does_not_tell_an_end_that_may_go_back() {
    let mut members = some(4, &[]).await;
    let controller = members[0].broker.metadata().quorum().leader.unwrap();
    // Who lags must not lose the controller, only the leaders.
    let at = members.iter().position(|member| member.id == controller.0).unwrap();
    let controller = members.remove(at);
    let ids: Vec<i32> = members.iter().map(|member| member.id).collect();
    create(&members, "orders", &[&ids], &[("min.insync.replicas", "1")]).await;
    until("all are in sync", async || members[0].partition("orders", 0).in_sync.len() == 3).await;
    assert_eq!(produce(&members[0], "orders", 0, "a").await.0, 0);
    for leader in &ids[..2] {
        members[2].peers.cut(NodeId(*leader), true);
    }
    let timed_out = ErrorCode::RequestTimedOut as i16;
    until("one gets no more", async || produce_within(&members[0], "orders", 0, "b", 100).await.0 == timed_out).await;
    let batch = batch(&["c"]);
    assert_eq!(send(&members[0], produce_request("orders", 0, 1, &batch)).await.0, 0);
    let (_, committed) = latest(&members[0], 7, "orders").await;
    let end = |member: &Member| member.broker.log().ends(member.partition("orders", 0).number).map(|ends| ends.end);
    until("the other one has it all", async || end(&members[1]) == end(&members[0])).await;
    members.remove(0).stop().await;
    let next = &members[0];
    until("it leads", async || next.broker.leads(&next.partition("orders", 0)).is_some()).await;
    assert_eq!(latest(next, 7, "orders").await, (ErrorCode::OffsetNotAvailable as i16, -1));
    assert_eq!(latest(next, 4, "orders").await, (ErrorCode::LeaderNotAvailable as i16, -1));
    members[1].peers.cut(NodeId(next.id), false);
    until("all of it is committed", async || latest(next, 7, "orders").await.0 == 0).await;
    let (_, now) = latest(next, 7, "orders").await;
    assert!(now > committed && Some(now) == end(next).map(|end| end.0), "{committed} {now}");
    controller.stop().await;
    stop_all(members).await;
}
