//! Share groups over several nodes: the group at one, the records at the leaders of their partitions.

use super::{Member, ask, create, stop_all, three, until};
use crate::client::{PRODUCE, batch, produce_request};
use crate::share::{beat, from_the_start};
use duolog_base::TopicId;
use duolog_wire::kafka::messages::produce_response::ProduceResponse;
use duolog_wire::kafka::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch, ShareAcknowledgeRequest,
};
use duolog_wire::kafka::messages::share_acknowledge_response::ShareAcknowledgeResponse;
use duolog_wire::kafka::messages::share_fetch_request::{FetchPartition, FetchTopic, ShareFetchRequest};
use duolog_wire::kafka::messages::share_fetch_response::ShareFetchResponse;
use duolog_wire::kafka::{Decoder, ErrorCode};

const GROUP: &str = "workers";
const MEMBER: &str = "member";
const NOT_LEADER: i16 = ErrorCode::NotLeaderOrFollower as i16;
const FETCH: i16 = 78;
const ACKNOWLEDGE: i16 = 79;

async fn produce(member: &Member, partition: i32, values: &[&str]) {
    let batch = batch(values);
    let request = produce_request("orders", partition, -1, &batch);
    let read =
        |d: &mut Decoder<'_>, version| Ok(ProduceResponse::decode(d, version)?.responses[0].partition_responses[0].error_code);
    assert_eq!(ask(&mut member.client().await, PRODUCE, 9, |e, version| request.encode(e, version), read).await, 0);
}

/// What came of partition 0: the error, where to go instead, and the offsets that are the member's now.
#[derive(Debug, PartialEq, Eq)]
struct Fetched {
    code: i16,
    leader: i32,
    nodes: Vec<(i32, i32)>,
    acquired: Vec<(i64, i64)>,
}

fn fetching(topic_id: TopicId) -> ShareFetchRequest<'static> {
    let partitions = vec![FetchPartition::default()];
    ShareFetchRequest {
        group_id: Some(GROUP),
        member_id: Some(MEMBER),
        max_wait_ms: 30_000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        max_records: 100,
        batch_size: 100,
        topics: vec![FetchTopic { topic_id, partitions }],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_member_reads_at_the_leader_and_is_sent_there() {
    let members = three(&[]).await;
    create(&members, "orders", &[&[2], &[3]], &[]).await;
    let topic_id = members[0].topic("orders").expect("it was created").id;
    from_the_start(&members[0].broker, GROUP).await;
    let knows = |member: &Member| member.broker.image().group_config.contains_key(GROUP);
    until("all know where the group begins", async || members.iter().all(knows)).await;
    produce(&members[1], 0, &["a", "b"]).await;
    // The group's coordinator knows the topic a moment later, and the others send away.
    let mut share = None;
    until("the member has its share", async || {
        for member in &members {
            let told = beat(&mut member.client().await, GROUP, MEMBER, 0, Some(vec!["orders"])).await;
            if told.code == 0 {
                share = told.share;
            }
        }
        share == Some(vec![(topic_id, vec![0, 1])])
    })
    .await;
    let read = |d: &mut Decoder<'_>, version| {
        let answer = ShareFetchResponse::decode(d, version)?;
        let data = &answer.responses[0].partitions[0];
        Ok(Fetched {
            code: data.error_code,
            leader: data.current_leader.leader_id,
            nodes: answer.node_endpoints.iter().map(|node| (node.node_id, node.port)).collect(),
            acquired: data.acquired_records.iter().map(|range| (range.first_offset, range.last_offset)).collect(),
        })
    };
    let request = fetching(topic_id);
    let elsewhere = ask(&mut members[0].client().await, FETCH, 2, |e, version| request.encode(e, version), read).await;
    let port = i32::from(members[1].address.port());
    assert_eq!(elsewhere, Fetched { code: NOT_LEADER, leader: 2, nodes: vec![(2, port)], acquired: Vec::new() });
    let mut leader = members[1].client().await;
    let fetched = ask(&mut leader, FETCH, 2, |e, version| request.encode(e, version), read).await;
    assert_eq!((fetched.code, fetched.acquired), (0, vec![(0, 1)]));
    let batch = AcknowledgementBatch { first_offset: 0, last_offset: 1, acknowledge_types: vec![1] };
    let partitions = vec![AcknowledgePartition { partition_index: 0, acknowledgement_batches: vec![batch] }];
    let topics = vec![AcknowledgeTopic { topic_id, partitions }];
    let mut request = ShareAcknowledgeRequest { group_id: Some(GROUP), member_id: Some(MEMBER), topics, ..Default::default() };
    // What keeps the states may be at another node by now.
    until("what came is acknowledged", async || {
        request.share_session_epoch += 1;
        let read = |d: &mut Decoder<'_>, version| {
            Ok(ShareAcknowledgeResponse::decode(d, version)?.responses[0].partitions[0].error_code)
        };
        ask(&mut leader, ACKNOWLEDGE, 2, |e, version| request.encode(e, version), read).await == 0
    })
    .await;
    stop_all(members).await;
}
