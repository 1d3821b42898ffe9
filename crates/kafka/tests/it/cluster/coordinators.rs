//! Groups whose coordinator is another node, or becomes one.

use super::{Member, ask, settled, stop_all, three, until};
use crate::client::Client;
use duolog_wire::kafka::messages::describe_groups_request::DescribeGroupsRequest;
use duolog_wire::kafka::messages::describe_groups_response::DescribeGroupsResponse;
use duolog_wire::kafka::messages::find_coordinator_request::FindCoordinatorRequest;
use duolog_wire::kafka::messages::find_coordinator_response::FindCoordinatorResponse;
use duolog_wire::kafka::messages::heartbeat_request::HeartbeatRequest;
use duolog_wire::kafka::messages::heartbeat_response::HeartbeatResponse;
use duolog_wire::kafka::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use duolog_wire::kafka::messages::join_group_response::JoinGroupResponse;
use duolog_wire::kafka::messages::list_groups_request::ListGroupsRequest;
use duolog_wire::kafka::messages::list_groups_response::ListGroupsResponse;
use duolog_wire::kafka::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use duolog_wire::kafka::messages::offset_commit_response::OffsetCommitResponse;
use duolog_wire::kafka::messages::offset_fetch_request::OffsetFetchRequest;
use duolog_wire::kafka::messages::offset_fetch_response::OffsetFetchResponse;
use duolog_wire::kafka::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use duolog_wire::kafka::messages::sync_group_response::SyncGroupResponse;
use duolog_wire::kafka::{Decoder, ErrorCode};

const GROUP: &str = "readers";
const TOPIC: &str = "orders";
const NOT_COORDINATOR: i16 = ErrorCode::NotCoordinator as i16;
const JOIN: i16 = 11;
const JOIN_VERSION: i16 = 3;

/// The code, and the node with its port.
async fn find(member: &Member) -> (i16, i32, i32) {
    let request = FindCoordinatorRequest { coordinator_keys: vec![GROUP], ..Default::default() };
    let read = |decoder: &mut Decoder<'_>, version| {
        let answer = FindCoordinatorResponse::decode(decoder, version)?;
        let found = &answer.coordinators[0];
        Ok((found.error_code, found.node_id, found.port))
    };
    ask(&mut member.client().await, 10, 4, |e, version| request.encode(e, version), read).await
}

async fn commit(client: &mut Client, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, committed_metadata: Some(""), ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: TOPIC, partitions: vec![partition], ..Default::default() };
    let request =
        OffsetCommitRequest { group_id: GROUP, generation_id_or_member_epoch: -1, topics: vec![topic], ..Default::default() };
    let read = |d: &mut Decoder<'_>, version| Ok(OffsetCommitResponse::decode(d, version)?.topics[0].partitions[0].error_code);
    ask(client, 8, 7, |e, version| request.encode(e, version), read).await
}

/// The code, and the group's offset.
async fn fetch(client: &mut Client) -> (i16, Option<i64>) {
    let request = OffsetFetchRequest { group_id: GROUP, topics: None, ..Default::default() };
    let read = |decoder: &mut Decoder<'_>, version| {
        let answer = OffsetFetchResponse::decode(decoder, version)?;
        let offset = answer.topics.first().map(|topic| topic.partitions[0].committed_offset);
        Ok((answer.error_code, offset))
    };
    ask(client, 9, 5, |e, version| request.encode(e, version), read).await
}

fn joining(member_id: &str) -> JoinGroupRequest<'_> {
    JoinGroupRequest {
        group_id: GROUP,
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id,
        group_instance_id: None,
        protocol_type: "consumer",
        protocols: vec![JoinGroupRequestProtocol { name: "range", metadata: b"" }],
        reason: None,
    }
}

/// Joins without an id of its own: the code, the member and its generation.
async fn join(client: &mut Client) -> (i16, String, i32) {
    let read = |decoder: &mut Decoder<'_>, version| {
        let answer = JoinGroupResponse::decode(decoder, version)?;
        Ok((answer.error_code, answer.member_id.to_owned(), answer.generation_id))
    };
    ask(client, JOIN, JOIN_VERSION, |e, version| joining("").encode(e, version), read).await
}

async fn share_out(client: &mut Client, member_id: &str, generation_id: i32) -> i16 {
    let assignments = vec![SyncGroupRequestAssignment { member_id, assignment: b"a share" }];
    let request = SyncGroupRequest { group_id: GROUP, generation_id, member_id, assignments, ..Default::default() };
    let read = |decoder: &mut Decoder<'_>, version| Ok(SyncGroupResponse::decode(decoder, version)?.error_code);
    ask(client, 14, 2, |e, version| request.encode(e, version), read).await
}

async fn heartbeat(client: &mut Client, member_id: &str, generation_id: i32) -> i16 {
    let request = HeartbeatRequest { group_id: GROUP, generation_id, member_id, group_instance_id: None };
    let read = |decoder: &mut Decoder<'_>, version| Ok(HeartbeatResponse::decode(decoder, version)?.error_code);
    ask(client, 12, 2, |e, version| request.encode(e, version), read).await
}

/// The error of describing the group, and how many groups are listed.
async fn described(client: &mut Client) -> (i16, usize) {
    let request = DescribeGroupsRequest { groups: vec![GROUP], ..Default::default() };
    let read = |decoder: &mut Decoder<'_>, version| Ok(DescribeGroupsResponse::decode(decoder, version)?.groups[0].error_code);
    let error = ask(client, 15, 3, |e, version| request.encode(e, version), read).await;
    let read = |decoder: &mut Decoder<'_>, version| {
        let answer = ListGroupsResponse::decode(decoder, version)?;
        assert_eq!(answer.error_code, 0);
        Ok(answer.groups.len())
    };
    (error, ask(client, 16, 2, |e, version| ListGroupsRequest::default().encode(e, version), read).await)
}

/// Takes the group's coordinator out of the members. There is a topic to consume.
async fn coordinator(members: &mut Vec<Member>) -> Member {
    let metadata = members[0].broker.metadata();
    until("there is a topic", async || metadata.ensure_topic(TOPIC).await.is_ok()).await;
    until("the groups have one", async || members[0].groups.partition_of(GROUP).await.is_ok()).await;
    settled(members, "__consumer_offsets").await;
    let (error, id, port) = find(&members[0]).await;
    assert_eq!(error, 0);
    for member in members.iter() {
        assert_eq!(find(member).await, (0, id, port), "whoever is asked");
    }
    let at = members.iter().position(|member| member.id == id).unwrap();
    assert_eq!(i32::from(members[at].address.port()), port);
    members.remove(at)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_coordinator_speaks_for_a_group() {
    let mut members = three(&[]).await;
    let coordinator = coordinator(&mut members).await;
    let mut client = coordinator.client().await;
    until("it serves", async || commit(&mut client, 5).await == 0).await;
    assert_eq!(fetch(&mut client).await, (0, Some(5)));
    let (error, id, generation) = join(&mut client).await;
    assert_eq!(error, 0);
    assert_eq!(share_out(&mut client, &id, generation).await, 0);
    assert_eq!(heartbeat(&mut client, &id, generation).await, 0);
    assert_eq!(described(&mut client).await, (0, 1));
    for member in &members {
        let mut client = member.client().await;
        assert_eq!(commit(&mut client, 6).await, NOT_COORDINATOR);
        assert_eq!(fetch(&mut client).await, (NOT_COORDINATOR, None));
        assert_eq!(join(&mut client).await.0, NOT_COORDINATOR);
        assert_eq!(heartbeat(&mut client, &id, generation).await, NOT_COORDINATOR);
        assert_eq!(described(&mut client).await, (NOT_COORDINATOR, 0));
    }
    coordinator.stop().await;
    stop_all(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_where_its_partition_is_led_next() {
    let mut members = three(&[]).await;
    let before = coordinator(&mut members).await;
    let mut client = before.client().await;
    until("it serves", async || commit(&mut client, 5).await == 0).await;
    let (error, id, generation) = join(&mut client).await;
    assert_eq!((error, share_out(&mut client, &id, generation).await), (0, 0));
    before.stop().await;
    let mut after = None;
    until("another one is found", async || {
        let (error, next, _) = find(&members[0]).await;
        after = members.iter().find(|member| error == 0 && member.id == next);
        after.is_some()
    })
    .await;
    let after = after.unwrap();
    let mut client = after.client().await;
    until("it has loaded the group", async || fetch(&mut client).await.0 == 0).await;
    assert_eq!(fetch(&mut client).await, (0, Some(5)));
    assert_eq!(heartbeat(&mut client, &id, generation).await, 0, "the member is known");
    assert_eq!(commit_as(&mut client, &id, generation).await, 0);
    stop_all(members).await;
}

async fn commit_as(client: &mut Client, member_id: &str, generation: i32) -> i16 {
    let partition = OffsetCommitRequestPartition { committed_offset: 6, committed_metadata: Some(""), ..Default::default() };
    let topics = vec![OffsetCommitRequestTopic { name: TOPIC, partitions: vec![partition], ..Default::default() }];
    let request = OffsetCommitRequest {
        group_id: GROUP,
        generation_id_or_member_epoch: generation,
        member_id,
        topics,
        ..Default::default()
    };
    let read = |d: &mut Decoder<'_>, version| Ok(OffsetCommitResponse::decode(d, version)?.topics[0].partitions[0].error_code);
    ask(client, 8, 7, |e, version| request.encode(e, version), read).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_waits_hears_that_its_coordinator_is_another_one() {
    let mut members = three(&[]).await;
    let before = coordinator(&mut members).await;
    let mut first = before.client().await;
    until("it serves", async || commit(&mut first, 5).await == 0).await;
    let (_, id, generation) = join(&mut first).await;
    assert_eq!(share_out(&mut first, &id, generation).await, 0);
    // The second member waits for the first one to join again.
    let mut second = before.client().await;
    second.send(JOIN, JOIN_VERSION, |e| joining("").encode(e, JOIN_VERSION).unwrap()).await;
    let rebalancing = ErrorCode::RebalanceInProgress as i16;
    until("the group rebalances", async || heartbeat(&mut first, &id, generation).await == rebalancing).await;
    assert!(before.broker.hand_over(std::time::Duration::from_secs(20)).await);
    let response = second.receive(JOIN, JOIN_VERSION).await;
    let answer = JoinGroupResponse::decode(&mut response.body().1, JOIN_VERSION).unwrap();
    assert_eq!(answer.error_code, NOT_COORDINATOR);
    before.stop().await;
    stop_all(members).await;
}
