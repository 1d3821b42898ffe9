//! Share groups at every version: each case has groups of its own.

use super::{Case, MISSING, MISSING_ID, PARTITIONS, RECORDS, TOPIC, codes, whole};
use crate::share::{beat, from_the_start};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use duolog_wire::kafka::messages::alter_share_group_offsets_response::AlterShareGroupOffsetsResponse;
use duolog_wire::kafka::messages::delete_share_group_offsets_request::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use duolog_wire::kafka::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponse;
use duolog_wire::kafka::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
};
use duolog_wire::kafka::messages::describe_share_group_offsets_response::DescribeShareGroupOffsetsResponse;
use duolog_wire::kafka::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch as Acknowledged, ShareAcknowledgeRequest,
};
use duolog_wire::kafka::messages::share_acknowledge_response::ShareAcknowledgeResponse;
use duolog_wire::kafka::messages::share_fetch_request::{AcknowledgementBatch, FetchPartition, FetchTopic, ShareFetchRequest};
use duolog_wire::kafka::messages::share_fetch_response::ShareFetchResponse;
use duolog_wire::kafka::messages::share_group_describe_request::ShareGroupDescribeRequest;
use duolog_wire::kafka::messages::share_group_describe_response::ShareGroupDescribeResponse;
use duolog_wire::kafka::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use duolog_wire::kafka::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;

const FETCH: i16 = 78;
const MEMBER: &str = "a-member";
/// The version from which on locks can be renewed.
const RENEWS_FROM: i16 = 2;

impl Case {
    /// A group of its own, with a member that has partitions, and the member's epoch.
    async fn share_group(&mut self, what: &str) -> (String, i32) {
        let group = format!("share-{what}-{}", self.version);
        from_the_start(&self.world.server.broker, &group).await;
        let told = beat(&mut self.client, &group, MEMBER, 0, Some(vec![TOPIC])).await;
        codes([told.code], &[ErrorCode::None]);
        assert_eq!(told.share, Some(vec![(self.world.topic_id, (0..PARTITIONS).collect())]));
        (group, told.epoch)
    }

    /// As above, of which the member has left.
    async fn left_group(&mut self, what: &str) -> String {
        let (group, _) = self.share_group(what).await;
        codes([beat(&mut self.client, &group, MEMBER, -1, None).await.code], &[ErrorCode::None]);
        group
    }

    fn fetching<'a>(&self, group: &'a str, session: i32) -> ShareFetchRequest<'a> {
        let partitions = [0, 1].map(|partition_index| FetchPartition { partition_index, ..Default::default() });
        let topics = vec![
            FetchTopic { topic_id: self.world.topic_id, partitions: partitions.to_vec() },
            FetchTopic { topic_id: MISSING_ID, partitions: partitions[..1].to_vec() },
        ];
        ShareFetchRequest {
            group_id: Some(group),
            member_id: Some(MEMBER),
            share_session_epoch: session,
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records: 100,
            batch_size: 100,
            topics,
            ..Default::default()
        }
    }
}

pub(super) async fn heartbeat(case: &mut Case) {
    let (group, epoch) = case.share_group("heartbeat").await;
    for (group_id, member_epoch, expected) in [
        (group.as_str(), epoch, ErrorCode::None),
        (&group, epoch + 7, ErrorCode::FencedMemberEpoch),
        (&group, -1, ErrorCode::None),
        (MISSING, 1, ErrorCode::GroupIdNotFound),
        ("", 0, ErrorCode::InvalidRequest),
    ] {
        let request =
            ShareGroupHeartbeatRequest { group_id, member_id: MEMBER, member_epoch, rack_id: Some("rack"), ..Default::default() };
        let response = case.ask(76, |e, version| request.encode(e, version)).await;
        codes([whole(&response, case.version, ShareGroupHeartbeatResponse::decode).error_code], &[expected]);
    }
}

pub(super) async fn describe(case: &mut Case) {
    let (group, epoch) = case.share_group("describe").await;
    let request = ShareGroupDescribeRequest { group_ids: vec![&group, MISSING], include_authorized_operations: true };
    let response = case.ask(77, |e, version| request.encode(e, version)).await;
    let groups = whole(&response, case.version, ShareGroupDescribeResponse::decode).groups;
    codes(groups.iter().map(|group| group.error_code), &[ErrorCode::None, ErrorCode::GroupIdNotFound]);
    assert_eq!((groups[0].group_state, groups[0].assignor_name, groups[1].group_state), ("Stable", "simple", "Dead"));
    let member = &groups[0].members[0];
    assert_eq!((member.member_id, member.member_epoch, &member.subscribed_topic_names), (MEMBER, epoch, &vec![TOPIC]));
    let assigned = &member.assignment.topic_partitions[0];
    assert_eq!((assigned.topic_name, assigned.partitions.len()), (TOPIC, PARTITIONS as usize));
}

pub(super) async fn fetch(case: &mut Case) {
    let (group, _) = case.share_group("fetch").await;
    let request = case.fetching(&group, 0);
    let response = case.ask(FETCH, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, ShareFetchResponse::decode);
    codes([answer.error_code], &[ErrorCode::None]);
    assert_eq!(answer.acquisition_lock_timeout_ms, 30_000);
    let mut acquired = 0;
    for data in answer.responses.iter().flat_map(|topic| &topic.partitions) {
        acquired += data.acquired_records.iter().map(|range| range.last_offset - range.first_offset + 1).sum::<i64>();
    }
    assert_eq!(acquired, RECORDS * i64::from(PARTITIONS));
    let missing = answer.responses.iter().find(|topic| topic.topic_id == MISSING_ID).expect("it was asked for");
    codes(missing.partitions.iter().map(|data| data.error_code), &[ErrorCode::UnknownTopicId]);
    let mut request = case.fetching(&group, 1);
    let kind = if case.version >= RENEWS_FROM { 4 } else { 1 };
    if case.version >= RENEWS_FROM {
        (request.is_renew_ack, request.max_bytes, request.max_records, request.min_bytes) = (true, 0, 0, 0);
    }
    for topic in &mut request.topics {
        let batch = AcknowledgementBatch { first_offset: 0, last_offset: 1, acknowledge_types: vec![kind] };
        topic.partitions[0].acknowledgement_batches.push(batch);
    }
    let response = case.ask(FETCH, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, ShareFetchResponse::decode);
    let told = answer.responses.iter().flat_map(|topic| &topic.partitions).map(|data| data.acknowledge_error_code);
    let mut told: Vec<i16> = told.collect();
    told.sort_unstable();
    codes(told, &[ErrorCode::None, ErrorCode::UnknownTopicId]);
    let response = case.ask(FETCH, |e, version| case_request(&group, 7).encode(e, version)).await;
    codes([whole(&response, case.version, ShareFetchResponse::decode).error_code], &[ErrorCode::InvalidShareSessionEpoch]);
}

fn case_request(group: &str, session: i32) -> ShareFetchRequest<'_> {
    ShareFetchRequest { group_id: Some(group), member_id: Some(MEMBER), share_session_epoch: session, ..Default::default() }
}

pub(super) async fn acknowledge(case: &mut Case) {
    let (group, _) = case.share_group("acknowledge").await;
    let request = case.fetching(&group, 0);
    let response = case.client.call(FETCH, 1, |e| request.encode(e, 1).unwrap()).await;
    codes([whole(&response, 1, ShareFetchResponse::decode).error_code], &[ErrorCode::None]);
    let of = |topic_id, kind| AcknowledgeTopic {
        topic_id,
        partitions: vec![AcknowledgePartition {
            partition_index: 0,
            acknowledgement_batches: vec![Acknowledged { first_offset: 0, last_offset: 2, acknowledge_types: vec![kind] }],
        }],
    };
    let renews = case.version >= RENEWS_FROM;
    for (epoch, kind, expected) in
        [(1, if renews { 4 } else { 0 }, vec![ErrorCode::None, ErrorCode::UnknownTopicId]), (7, 1, Vec::new())]
    {
        let request = ShareAcknowledgeRequest {
            group_id: Some(&group),
            member_id: Some(MEMBER),
            share_session_epoch: epoch,
            is_renew_ack: renews,
            topics: vec![of(case.world.topic_id, kind), of(MISSING_ID, kind)],
        };
        let response = case.ask(79, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, ShareAcknowledgeResponse::decode);
        codes([answer.error_code], &[if expected.is_empty() { ErrorCode::InvalidShareSessionEpoch } else { ErrorCode::None }]);
        let mut told: Vec<i16> =
            answer.responses.iter().flat_map(|topic| &topic.partitions).map(|data| data.error_code).collect();
        told.sort_unstable();
        codes(told, &expected);
    }
}

pub(super) async fn describe_offsets(case: &mut Case) {
    let group = case.left_group("offsets").await;
    let topics = |names: &[&'static str]| {
        let topic = |name: &&'static str| DescribeShareGroupOffsetsRequestTopic { topic_name: name, partitions: vec![0, 1] };
        Some(names.iter().map(topic).collect())
    };
    let asked = [(group.as_str(), None), (&group, topics(&[TOPIC, MISSING])), (MISSING, None)];
    let groups = asked.into_iter().map(|(group_id, topics)| DescribeShareGroupOffsetsRequestGroup { group_id, topics });
    let request = DescribeShareGroupOffsetsRequest { groups: groups.collect() };
    let response = case.ask(90, |e, version| request.encode(e, version)).await;
    let groups = whole(&response, case.version, DescribeShareGroupOffsetsResponse::decode).groups;
    codes(groups.iter().map(|group| group.error_code), &[ErrorCode::None, ErrorCode::None, ErrorCode::GroupIdNotFound]);
    assert_eq!(groups[0].topics.iter().map(|topic| (topic.topic_name, topic.partitions.len())).collect::<Vec<_>>(), [(TOPIC, 2)]);
    let told = groups[1].topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    let absent = ErrorCode::UnknownTopicOrPartition;
    codes(told, &[ErrorCode::None, ErrorCode::None, absent, absent]);
}

pub(super) async fn alter_offsets(case: &mut Case) {
    let (present, _) = case.share_group("alter-present").await;
    let left = case.left_group("alter-left").await;
    let of = |topic_name, partitions: &[i32]| AlterShareGroupOffsetsRequestTopic {
        topic_name,
        partitions: partitions
            .iter()
            .map(|index| AlterShareGroupOffsetsRequestPartition { partition_index: *index, start_offset: 1 })
            .collect(),
    };
    for (group_id, expected) in [
        (left.as_str(), ErrorCode::None),
        ("not-there-yet", ErrorCode::None),
        (&present, ErrorCode::NonEmptyGroup),
        ("", ErrorCode::InvalidGroupId),
    ] {
        let request = AlterShareGroupOffsetsRequest { group_id, topics: vec![of(TOPIC, &[0, 9]), of(MISSING, &[0])] };
        let response = case.ask(91, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, AlterShareGroupOffsetsResponse::decode);
        codes([answer.error_code], &[expected]);
        let told = answer.responses.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        let absent = ErrorCode::UnknownTopicOrPartition;
        let each = [ErrorCode::None, absent, absent];
        codes(told, if expected == ErrorCode::None { &each } else { &[] });
    }
}

pub(super) async fn delete_offsets(case: &mut Case) {
    let (present, _) = case.share_group("delete-present").await;
    let left = case.left_group("delete-left").await;
    let topics = || [TOPIC, MISSING].map(|topic_name| DeleteShareGroupOffsetsRequestTopic { topic_name }).to_vec();
    for (group_id, expected) in
        [(left.as_str(), ErrorCode::None), (&present, ErrorCode::NonEmptyGroup), (MISSING, ErrorCode::GroupIdNotFound)]
    {
        let request = DeleteShareGroupOffsetsRequest { group_id, topics: topics() };
        let response = case.ask(92, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, DeleteShareGroupOffsetsResponse::decode);
        codes([answer.error_code], &[expected]);
        let each = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition];
        codes(answer.responses.iter().map(|topic| topic.error_code), if expected == ErrorCode::None { &each } else { &[] });
    }
}
