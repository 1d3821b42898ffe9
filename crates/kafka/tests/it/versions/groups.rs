//! Groups at every version: each case has groups of its own.

use super::{Case, MISSING, MISSING_ID, TOPIC, codes, whole};
use duolog_base::TopicId;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::delete_groups_request::DeleteGroupsRequest;
use duolog_wire::kafka::messages::delete_groups_response::DeleteGroupsResponse;
use duolog_wire::kafka::messages::describe_groups_request::DescribeGroupsRequest;
use duolog_wire::kafka::messages::describe_groups_response::DescribeGroupsResponse;
use duolog_wire::kafka::messages::find_coordinator_request::FindCoordinatorRequest;
use duolog_wire::kafka::messages::find_coordinator_response::FindCoordinatorResponse;
use duolog_wire::kafka::messages::heartbeat_request::HeartbeatRequest;
use duolog_wire::kafka::messages::heartbeat_response::HeartbeatResponse;
use duolog_wire::kafka::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use duolog_wire::kafka::messages::join_group_response::JoinGroupResponse;
use duolog_wire::kafka::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use duolog_wire::kafka::messages::leave_group_response::LeaveGroupResponse;
use duolog_wire::kafka::messages::list_groups_request::ListGroupsRequest;
use duolog_wire::kafka::messages::list_groups_response::ListGroupsResponse;
use duolog_wire::kafka::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use duolog_wire::kafka::messages::offset_commit_response::OffsetCommitResponse;
use duolog_wire::kafka::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use duolog_wire::kafka::messages::offset_delete_response::OffsetDeleteResponse;
use duolog_wire::kafka::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use duolog_wire::kafka::messages::offset_fetch_response::OffsetFetchResponse;
use duolog_wire::kafka::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use duolog_wire::kafka::messages::sync_group_response::SyncGroupResponse;

const OFFSET_COMMIT: i16 = 8;
const JOIN: i16 = 11;
const SYNC: i16 = 14;
/// Versions at which the cases prepare what they do not test.
const COMMIT_VERSION: i16 = 8;
const JOIN_VERSION: i16 = 5;
const SYNC_VERSION: i16 = 3;
const INSTANCE: &str = "instance";
/// A consumer's subscription to the topic, version 0.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x06orders\xff\xff\xff\xff";
const ASSIGNMENT: &[u8] = b"a share";
/// The offset and epoch that groups have committed.
const COMMITTED: i64 = 2;
const EPOCH: i32 = 1;

struct Member {
    id: String,
    generation: i32,
}

fn joining<'a>(group_id: &'a str, member_id: &'a str, instance: Option<&'a str>) -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        group_id,
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id,
        group_instance_id: instance,
        protocol_type: "consumer",
        protocols: vec![JoinGroupRequestProtocol { name: "range", metadata: SUBSCRIPTION }],
        reason: None,
    }
}

fn bringing<'a>(group_id: &'a str, member: &'a Member) -> SyncGroupRequest<'a> {
    SyncGroupRequest {
        group_id,
        generation_id: member.generation,
        member_id: &member.id,
        protocol_type: Some("consumer"),
        protocol_name: Some("range"),
        assignments: vec![SyncGroupRequestAssignment { member_id: &member.id, assignment: ASSIGNMENT }],
        ..Default::default()
    }
}

impl Case {
    fn group(&self, what: &str) -> String {
        format!("{what}-{}", self.version)
    }

    /// A static member in a new generation, which has no assignment yet.
    async fn joined(&mut self, group: &str) -> Member {
        let request = joining(group, "", Some(INSTANCE));
        let response = self.client.call(JOIN, JOIN_VERSION, |e| request.encode(e, JOIN_VERSION).unwrap()).await;
        let answer = whole(&response, JOIN_VERSION, JoinGroupResponse::decode);
        codes([answer.error_code], &[ErrorCode::None]);
        Member { id: answer.member_id.to_owned(), generation: answer.generation_id }
    }

    /// The member of a stable group.
    async fn stable(&mut self, group: &str) -> Member {
        let member = self.joined(group).await;
        let request = bringing(group, &member);
        let response = self.client.call(SYNC, SYNC_VERSION, |e| request.encode(e, SYNC_VERSION).unwrap()).await;
        codes([whole(&response, SYNC_VERSION, SyncGroupResponse::decode).error_code], &[ErrorCode::None]);
        member
    }

    /// A group without members that has offsets.
    async fn committed(&mut self, group: &str) {
        let request = committing(group, vec![(TOPIC, TopicId::NONE, vec![0, 1])]);
        let encode = |e: &mut _| request.encode(e, COMMIT_VERSION).unwrap();
        let response = self.client.call(OFFSET_COMMIT, COMMIT_VERSION, encode).await;
        let answer = whole(&response, COMMIT_VERSION, OffsetCommitResponse::decode);
        codes(answer.topics[0].partitions.iter().map(|partition| partition.error_code), &[ErrorCode::None; 2]);
    }
}

fn committing<'a>(group_id: &'a str, topics: Vec<(&'a str, TopicId, Vec<i32>)>) -> OffsetCommitRequest<'a> {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: COMMITTED,
        committed_leader_epoch: EPOCH,
        committed_metadata: Some("note"),
    };
    let topics = topics.into_iter().map(|(name, topic_id, indexes)| OffsetCommitRequestTopic {
        name,
        topic_id,
        partitions: indexes.into_iter().map(partition).collect(),
    });
    OffsetCommitRequest { group_id, topics: topics.collect(), ..Default::default() }
}

pub(super) async fn offset_commit(case: &mut Case) {
    let (group, id) = (case.group("commit"), case.world.topic_id);
    let member = case.stable(&group).await;
    let (absent, no_topic) = (ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId);
    let unknown_topic = if case.version >= 10 { no_topic } else { absent };
    let no_group = if case.version >= 9 { ErrorCode::GroupIdNotFound } else { ErrorCode::IllegalGeneration };
    let topics = vec![(TOPIC, id, vec![0, 1, 9]), (MISSING, MISSING_ID, vec![0])];
    let all = [(group.as_str(), ErrorCode::None), (MISSING, no_group)];
    for (group, expected) in all {
        let request = OffsetCommitRequest {
            generation_id_or_member_epoch: member.generation,
            member_id: &member.id,
            group_instance_id: (case.version >= 7).then_some(INSTANCE),
            ..committing(group, topics.clone())
        };
        let response = case.ask(OFFSET_COMMIT, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, OffsetCommitResponse::decode);
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        codes(partitions.map(|partition| partition.error_code), &[expected, expected, absent, unknown_topic]);
    }
}

pub(super) async fn offset_fetch(case: &mut Case) {
    let group = case.group("fetch");
    case.committed(&group).await;
    case.stable(&group).await;
    match case.version {
        8.. => offset_fetch_of_several(case, &group).await,
        _ => offset_fetch_of_one(case, &group).await,
    }
}

async fn offset_fetch_of_one(case: &mut Case, group: &str) {
    let epoch = if case.version >= 5 { EPOCH } else { -1 };
    let named = [(TOPIC, vec![0, 9]), (MISSING, vec![0])]
        .map(|(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes });
    let none = (-1, -1, Some(""), 0);
    let some = (COMMITTED, epoch, Some("note"), 0);
    let by_name = [(group, Some(named.to_vec()), vec![some, none, none]), (MISSING, Some(named.to_vec()), vec![none; 3])];
    let everything = [(group, None, vec![some, some]), (MISSING, None, Vec::new())];
    let everything = everything.into_iter().take(if case.version >= 2 { 2 } else { 0 });
    for (group_id, topics, expected) in by_name.into_iter().chain(everything) {
        let request = OffsetFetchRequest { group_id, topics, require_stable: case.version >= 7, ..Default::default() };
        let response = case.ask(9, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, OffsetFetchResponse::decode);
        codes([answer.error_code], &[ErrorCode::None]);
        let found = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let found = found.map(|one| (one.committed_offset, one.committed_leader_epoch, one.metadata, one.error_code));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}

async fn offset_fetch_of_several(case: &mut Case, group: &str) {
    let (id, by_id) = (case.world.topic_id, case.version >= 10);
    let named = [(TOPIC, id, vec![0, 9]), (MISSING, MISSING_ID, vec![0])];
    let named = named.map(|(name, topic_id, partition_indexes)| OffsetFetchRequestTopics { name, topic_id, partition_indexes });
    let asked = [(group, Some(named.to_vec())), (MISSING, Some(named.to_vec())), (group, None), (MISSING, None)];
    let groups = asked.map(|(group_id, topics)| OffsetFetchRequestGroup { group_id, topics, ..Default::default() });
    let request = OffsetFetchRequest { groups: groups.to_vec(), require_stable: true, ..Default::default() };
    let response = case.ask(9, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, OffsetFetchResponse::decode);
    codes(answer.groups.iter().map(|group| group.error_code), &[ErrorCode::None; 4]);
    let none = (-1, -1, Some(""), 0);
    let some = (COMMITTED, EPOCH, Some("note"), 0);
    let unknown = (-1, -1, Some(""), if by_id { ErrorCode::UnknownTopicId as i16 } else { 0 });
    let expected = [vec![some, none, unknown], vec![none, none, unknown], vec![some, some], Vec::new()];
    for (group, expected) in answer.groups.iter().zip(expected) {
        let found = group.topics.iter().flat_map(|topic| &topic.partitions);
        let found = found.map(|one| (one.committed_offset, one.committed_leader_epoch, one.metadata, one.error_code));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
    let topic = &answer.groups[0].topics[0];
    assert_eq!((topic.name, topic.topic_id), if by_id { ("", id) } else { (TOPIC, TopicId::NONE) });
}

pub(super) async fn find_coordinator(case: &mut Case) {
    let group = case.group("find");
    let batched = case.version >= 4;
    // Key types 1 and 2 are transactions and share groups.
    for key_type in 0..=case.version.min(2) as i8 {
        let (key, coordinator_keys) = if batched { ("", vec![group.as_str(), "other"]) } else { (group.as_str(), Vec::new()) };
        let request = FindCoordinatorRequest { key, key_type, coordinator_keys };
        let response = case.ask(10, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, FindCoordinatorResponse::decode);
        let found: Vec<_> = match batched {
            true => answer.coordinators.iter().map(|one| (one.error_code, one.node_id, one.port)).collect(),
            false => vec![(answer.error_code, answer.node_id, answer.port); 2],
        };
        let here = (0, case.world.server.broker.node().0, i32::from(case.world.server.address.port()));
        let refused = (ErrorCode::InvalidRequest as i16, -1, -1);
        assert_eq!(found, [if key_type == 0 { here } else { refused }; 2]);
    }
}

pub(super) async fn join_group(case: &mut Case) {
    let group = case.group("join");
    let mut given = String::new();
    if case.version >= 4 {
        let response = case.ask(JOIN, |e, version| joining(&group, "", None).encode(e, version)).await;
        let answer = whole(&response, case.version, JoinGroupResponse::decode);
        codes([answer.error_code], &[ErrorCode::MemberIdRequired]);
        given = answer.member_id.to_owned();
    }
    let response = case.ask(JOIN, |e, version| joining(&group, &given, None).encode(e, version)).await;
    let answer = whole(&response, case.version, JoinGroupResponse::decode);
    codes([answer.error_code], &[ErrorCode::None]);
    assert_eq!((answer.generation_id, answer.protocol_name, answer.leader), (1, Some("range"), answer.member_id));
    assert_eq!(answer.protocol_type, (case.version >= 7).then_some("consumer"));
    assert_eq!(answer.members.iter().map(|member| member.metadata).collect::<Vec<_>>(), [SUBSCRIPTION]);
    if case.version >= 5 {
        join_as_static_member(case).await;
    }
    let response = case.ask(JOIN, |e, version| joining(&group, "nobody", None).encode(e, version)).await;
    let answer = whole(&response, case.version, JoinGroupResponse::decode);
    codes([answer.error_code], &[ErrorCode::UnknownMemberId]);
}

/// Joins, and once more after the group became stable: the leader that comes back is told to skip the assignment, at
/// versions that can say so.
async fn join_as_static_member(case: &mut Case) {
    let group = case.group("join-static");
    let stable = case.stable(&group).await;
    let response = case.ask(JOIN, |e, version| joining(&group, "", Some(INSTANCE)).encode(e, version)).await;
    let answer = whole(&response, case.version, JoinGroupResponse::decode);
    codes([answer.error_code], &[ErrorCode::None]);
    assert_ne!(answer.member_id, stable.id);
    assert_eq!(answer.skip_assignment, case.version >= 9);
}

pub(super) async fn heartbeat(case: &mut Case) {
    let group = case.group("heartbeat");
    let member = case.stable(&group).await;
    let instance = (case.version >= 3).then_some(INSTANCE);
    let (wrong, unknown) = (ErrorCode::IllegalGeneration, ErrorCode::UnknownMemberId);
    let asked = [(group.as_str(), 0, ErrorCode::None), (&group, 1, wrong), (MISSING, 0, unknown)];
    for (group_id, ahead, expected) in asked {
        let request = HeartbeatRequest {
            group_id,
            generation_id: member.generation + ahead,
            member_id: &member.id,
            group_instance_id: instance,
        };
        let response = case.ask(12, |e, version| request.encode(e, version)).await;
        codes([whole(&response, case.version, HeartbeatResponse::decode).error_code], &[expected]);
    }
}

pub(super) async fn leave_group(case: &mut Case) {
    let group = case.group("leave");
    let member = case.stable(&group).await;
    for group_id in [group.as_str(), MISSING] {
        let expected = if group_id == MISSING { ErrorCode::UnknownMemberId } else { ErrorCode::None };
        let batched = case.version >= 3;
        let identities = [(member.id.as_str(), Some(INSTANCE)), ("nobody", None)].map(|(member_id, group_instance_id)| {
            MemberIdentity { member_id, group_instance_id, reason: (case.version >= 5).then_some("done") }
        });
        let request = match batched {
            true => LeaveGroupRequest { group_id, members: identities.to_vec(), ..Default::default() },
            false => LeaveGroupRequest { group_id, member_id: &member.id, ..Default::default() },
        };
        let response = case.ask(13, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, LeaveGroupResponse::decode);
        match batched {
            true => {
                codes([answer.error_code], &[ErrorCode::None]);
                codes(answer.members.iter().map(|one| one.error_code), &[expected, ErrorCode::UnknownMemberId]);
            }
            false => codes([answer.error_code], &[expected]),
        }
    }
}

pub(super) async fn sync_group(case: &mut Case) {
    let group = case.group("sync");
    let member = case.joined(&group).await;
    let instance = (case.version >= 3).then_some(INSTANCE);
    for (group_id, expected) in [(group.as_str(), ErrorCode::None), (MISSING, ErrorCode::UnknownMemberId)] {
        let request = SyncGroupRequest { group_instance_id: instance, ..bringing(group_id, &member) };
        let response = case.ask(SYNC, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, SyncGroupResponse::decode);
        codes([answer.error_code], &[expected]);
        if expected == ErrorCode::None {
            let told = (case.version >= 5).then_some(("consumer", "range"));
            assert_eq!((answer.assignment, answer.protocol_type.zip(answer.protocol_name)), (ASSIGNMENT, told));
        }
    }
}

pub(super) async fn describe_groups(case: &mut Case) {
    let (group, empty) = (case.group("describe"), case.group("describe-empty"));
    let member = case.stable(&group).await;
    case.committed(&empty).await;
    let groups = vec![group.as_str(), &empty, MISSING];
    let request = DescribeGroupsRequest { groups, include_authorized_operations: case.version >= 3 };
    let response = case.ask(15, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, DescribeGroupsResponse::decode);
    let missing = if case.version >= 6 { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
    codes(answer.groups.iter().map(|group| group.error_code), &[ErrorCode::None, ErrorCode::None, missing]);
    assert_eq!(answer.groups.iter().map(|group| group.group_state).collect::<Vec<_>>(), ["Stable", "Empty", "Dead"]);
    let described = &answer.groups[0].members[0];
    assert_eq!((described.member_id, described.member_assignment), (member.id.as_str(), ASSIGNMENT));
    assert_eq!(described.group_instance_id, (case.version >= 4).then_some(INSTANCE));
}

pub(super) async fn list_groups(case: &mut Case) {
    let (group, empty) = (case.group("list"), case.group("list-empty"));
    case.stable(&group).await;
    case.committed(&empty).await;
    let request = ListGroupsRequest {
        states_filter: if case.version >= 4 { vec!["Stable"] } else { Vec::new() },
        types_filter: if case.version >= 5 { vec!["classic"] } else { Vec::new() },
    };
    let response = case.ask(16, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, ListGroupsResponse::decode);
    codes([answer.error_code], &[ErrorCode::None]);
    let listed = |id: &str| answer.groups.iter().find(|group| group.group_id == id);
    let stable = listed(&group).expect("the stable group");
    assert_eq!(stable.protocol_type, "consumer");
    assert_eq!(stable.group_state, if case.version >= 4 { "Stable" } else { "" });
    assert_eq!(stable.group_type, if case.version >= 5 { "classic" } else { "" });
    assert_eq!(listed(&empty).is_some(), case.version < 4);
    if case.version >= 4 {
        let none = ListGroupsRequest { states_filter: vec!["Dead"], ..Default::default() };
        let response = case.ask(16, |e, version| none.encode(e, version)).await;
        assert!(whole(&response, case.version, ListGroupsResponse::decode).groups.is_empty());
    }
}

pub(super) async fn delete_groups(case: &mut Case) {
    let (group, empty) = (case.group("delete"), case.group("delete-empty"));
    case.stable(&group).await;
    case.committed(&empty).await;
    let request = DeleteGroupsRequest { groups_names: vec![&empty, &group, MISSING] };
    let response = case.ask(42, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, DeleteGroupsResponse::decode);
    let expected = [ErrorCode::None, ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound];
    codes(answer.results.iter().map(|group| group.error_code), &expected);
}

pub(super) async fn offset_delete(case: &mut Case) {
    let (group, empty) = (case.group("forget"), case.group("forget-empty"));
    case.committed(&group).await;
    case.stable(&group).await;
    case.committed(&empty).await;
    let (none, absent) = (ErrorCode::None, ErrorCode::UnknownTopicOrPartition);
    let subscribed = ErrorCode::GroupSubscribedToTopic;
    let asked = [
        (empty.as_str(), none, vec![none, none, absent]),
        (&group, none, vec![subscribed, subscribed, absent]),
        (MISSING, ErrorCode::GroupIdNotFound, Vec::new()),
    ];
    for (group_id, expected, of_partitions) in asked {
        let partition = |partition_index| OffsetDeleteRequestPartition { partition_index };
        let topics = [(TOPIC, vec![partition(0), partition(1)]), (MISSING, vec![partition(0)])]
            .map(|(name, partitions)| OffsetDeleteRequestTopic { name, partitions })
            .to_vec();
        let response = case.ask(47, |e, version| OffsetDeleteRequest { group_id, topics }.encode(e, version)).await;
        let answer = whole(&response, case.version, OffsetDeleteResponse::decode);
        codes([answer.error_code], &[expected]);
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        codes(partitions.map(|partition| partition.error_code), &of_partitions);
    }
}
