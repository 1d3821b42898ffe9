//! Records and offsets at every version.

use super::{Case, MISSING, MISSING_ID, PRODUCER, RECORDS, TOPIC, codes, whole};
use crate::client::{FETCH, PRODUCE, batch, produce_request, values};
use duolog_base::TopicId;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use duolog_wire::kafka::messages::delete_records_response::DeleteRecordsResponse;
use duolog_wire::kafka::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use duolog_wire::kafka::messages::describe_producers_response::DescribeProducersResponse;
use duolog_wire::kafka::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use duolog_wire::kafka::messages::fetch_response::FetchResponse;
use duolog_wire::kafka::messages::init_producer_id_request::InitProducerIdRequest;
use duolog_wire::kafka::messages::init_producer_id_response::InitProducerIdResponse;
use duolog_wire::kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use duolog_wire::kafka::messages::list_offsets_response::ListOffsetsResponse;
use duolog_wire::kafka::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use duolog_wire::kafka::messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;
use duolog_wire::kafka::messages::produce_response::ProduceResponse;

/// Versions that carry formats which are not stored: listed, and not served.
pub(super) async fn produce_refused(case: &mut Case) {
    case.client.send(PRODUCE, case.version, |_| ()).await;
    assert!(case.client.closed().await);
}

pub(super) async fn produce(case: &mut Case) {
    let topic = case.own_topic("produce").await;
    let by_id = case.version >= 13;
    let unknown = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
    let (good, empty) = (batch(&["x"]), batch(&["y"]));
    let wanted = [
        (topic.name.as_str(), topic.id, 0, &good[..], ErrorCode::None),
        (&topic.name, topic.id, 9, &good[..], ErrorCode::UnknownTopicOrPartition),
        (&topic.name, topic.id, 1, &empty[..20], ErrorCode::CorruptMessage),
        (MISSING, MISSING_ID, 0, &good[..], unknown),
    ];
    for (name, id, partition, bytes, expected) in wanted {
        let mut request = produce_request(name, partition, -1, bytes);
        request.topic_data[0].topic_id = id;
        let response = case.ask(PRODUCE, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, ProduceResponse::decode);
        let partition = &answer.responses[0].partition_responses[0];
        codes([partition.error_code], &[expected]);
        assert_eq!(partition.base_offset, if expected == ErrorCode::None { 3 } else { -1 });
        assert_eq!(answer.responses[0].name, if by_id { "" } else { name });
        assert_eq!(answer.responses[0].topic_id, if by_id { id } else { TopicId::NONE });
    }
}

fn from(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() }
}

fn fetching<'a>(topics: Vec<(&'a str, TopicId, Vec<FetchPartition>)>) -> FetchRequest<'a> {
    let topics = topics.into_iter().map(|(topic, topic_id, partitions)| FetchTopic { topic, topic_id, partitions });
    FetchRequest { min_bytes: 1, max_bytes: 10 << 20, isolation_level: 1, topics: topics.collect(), ..Default::default() }
}

/// What a fetch found: partition, error, number of records, leader told, epoch that diverges; sorted.
struct Fetched {
    error: i16,
    session: i32,
    partitions: Vec<(i32, i16, usize, i32, i32)>,
}

async fn fetched(case: &mut Case, request: &FetchRequest<'_>) -> Fetched {
    let response = case.ask(FETCH, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, FetchResponse::decode);
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions).map(|data| {
        let records = values(data.records.and_then(|records| records.bytes()).unwrap_or_default()).len();
        (data.partition_index, data.error_code, records, data.current_leader.leader_id, data.diverging_epoch.epoch)
    });
    let mut partitions: Vec<_> = partitions.collect();
    partitions.sort_unstable();
    Fetched { error: answer.error_code, session: answer.session_id, partitions }
}

pub(super) async fn fetch(case: &mut Case) {
    let id = case.world.topic_id;
    let unknown = if case.version >= 13 { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
    let all = RECORDS as usize;
    let found = fetched(case, &fetching(vec![(TOPIC, id, vec![from(0, 0), from(1, 0)])])).await;
    assert_eq!((found.error, found.session), (0, 0));
    assert_eq!(found.partitions, [(0, 0, all, -1, -1), (1, 0, all, -1, -1)]);
    let asked = vec![(TOPIC, id, vec![from(0, 99), from(9, 0)]), (MISSING, MISSING_ID, vec![from(5, 0)])];
    let found = fetched(case, &fetching(asked)).await;
    let (out, absent) = (ErrorCode::OffsetOutOfRange as i16, ErrorCode::UnknownTopicOrPartition as i16);
    assert_eq!(found.partitions, [(0, out, 0, -1, -1), (5, unknown as i16, 0, -1, -1), (9, absent, 0, -1, -1)]);
    if case.version >= 7 {
        fetch_in_session(case, id).await;
    }
    if case.version >= 9 {
        let ahead = FetchPartition { current_leader_epoch: 1_000, ..from(0, 0) };
        let found = fetched(case, &fetching(vec![(TOPIC, id, vec![ahead])])).await;
        let leader = if case.version >= 12 { case.world.server.broker.node().0 } else { -1 };
        assert_eq!(found.partitions, [(0, ErrorCode::UnknownLeaderEpoch as i16, 0, leader, -1)]);
    }
    if case.version >= 12 {
        let epoch = case.world.server.broker.image().topic(TOPIC).unwrap().partitions[0].leader_epoch.0;
        let beyond = FetchPartition { last_fetched_epoch: epoch, ..from(0, 99) };
        let found = fetched(case, &fetching(vec![(TOPIC, id, vec![beyond])])).await;
        assert_eq!(found.partitions, [(0, 0, 0, -1, epoch)]);
    }
}

async fn fetch_in_session(case: &mut Case, id: TopicId) {
    let all = RECORDS as usize;
    let first = fetching(vec![(TOPIC, id, vec![from(0, 0), from(1, 3)])]);
    let found = fetched(case, &FetchRequest { session_epoch: 0, ..first }).await;
    assert!(found.error == 0 && found.session > 0);
    assert_eq!(found.partitions, [(0, 0, all, -1, -1), (1, 0, 0, -1, -1)]);
    let session = FetchRequest { session_id: found.session, ..fetching(Vec::new()) };
    let again = fetched(case, &FetchRequest { session_epoch: 1, ..session.clone() }).await;
    assert_eq!(again.partitions, [(0, 0, all, -1, -1)]);
    let forgotten_topics_data = vec![ForgottenTopic { topic: TOPIC, topic_id: id, partitions: vec![0] }];
    let less = fetched(case, &FetchRequest { session_epoch: 2, forgotten_topics_data, ..session.clone() }).await;
    assert!(less.error == 0 && less.session == found.session && less.partitions.is_empty());
    let skipped = fetched(case, &FetchRequest { session_epoch: 9, ..session.clone() }).await;
    codes([skipped.error], &[ErrorCode::InvalidFetchSessionEpoch]);
    let other = fetched(case, &FetchRequest { session_id: found.session ^ 1, session_epoch: 3, ..session }).await;
    codes([other.error], &[ErrorCode::FetchSessionIdNotFound]);
}

pub(super) async fn list_offsets(case: &mut Case) {
    let refused = (ErrorCode::UnsupportedVersion as i16, -1..=-1);
    // The timestamp asked for, the first version that knows it, and the offsets that answer it.
    let lookups = [(-1, 1, 3..=3), (-2, 1, 0..=0), (-3, 7, 0..=2), (-4, 8, 0..=0), (-5, 9, -1..=-1), (0, 1, 0..=0)];
    for (timestamp, first, offsets) in lookups.into_iter().chain([(i64::MAX, 1, -1..=-1), (-6, 11, -1..=-1)]) {
        let (code, offsets) = if case.version >= first { (0, offsets) } else { refused.clone() };
        let ask = |index| ListOffsetsPartition { partition_index: index, current_leader_epoch: -1, timestamp };
        let topics = [(TOPIC, vec![ask(0), ask(1), ask(9)]), (MISSING, vec![ask(0)])]
            .map(|(name, partitions)| ListOffsetsTopic { name, partitions });
        let isolation_level = i8::from(case.version >= 2);
        let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics: topics.to_vec(), timeout_ms: 30_000 };
        let response = case.ask(2, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, ListOffsetsResponse::decode);
        for partition in &answer.topics[0].partitions[..2] {
            assert_eq!(partition.error_code, code, "at {timestamp}");
            assert!(offsets.contains(&partition.offset), "at {timestamp}: {partition:?}");
            let epoch_told = case.version >= 4 && partition.offset >= 0;
            assert_eq!(partition.leader_epoch >= 0, epoch_told, "at {timestamp}: {partition:?}");
        }
        let absent = [answer.topics[0].partitions[2].error_code, answer.topics[1].partitions[0].error_code];
        codes(absent, &[ErrorCode::UnknownTopicOrPartition; 2]);
    }
}

pub(super) async fn delete_records(case: &mut Case) {
    let topic = case.own_topic("delete-records").await;
    let before = |partition_index, offset| DeleteRecordsPartition { partition_index, offset };
    let topics = vec![
        DeleteRecordsTopic { name: &topic.name, partitions: vec![before(0, 1), before(0, -1), before(1, 99)] },
        DeleteRecordsTopic { name: MISSING, partitions: vec![before(0, 1)] },
    ];
    let request = DeleteRecordsRequest { topics, timeout_ms: 30_000 };
    let response = case.ask(21, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, DeleteRecordsResponse::decode);
    let partitions: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let (out, unknown) = (ErrorCode::OffsetOutOfRange, ErrorCode::UnknownTopicOrPartition);
    codes(partitions.iter().map(|partition| partition.error_code), &[ErrorCode::None, ErrorCode::None, out, unknown]);
    assert_eq!(partitions.iter().map(|partition| partition.low_watermark).collect::<Vec<_>>(), [1, 3, -1, -1]);
}

pub(super) async fn init_producer_id(case: &mut Case) {
    let refused = ErrorCode::TransactionalIdAuthorizationFailed;
    for (transactional_id, expected) in [(None, ErrorCode::None), (Some("transaction"), refused)] {
        let request = InitProducerIdRequest { transactional_id, transaction_timeout_ms: 60_000, ..Default::default() };
        let response = case.ask(22, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, InitProducerIdResponse::decode);
        codes([answer.error_code], &[expected]);
        assert_eq!(answer.producer_id >= 0, expected == ErrorCode::None);
    }
}

pub(super) async fn offset_for_leader_epoch(case: &mut Case) {
    let epoch = case.world.server.broker.image().topic(TOPIC).unwrap().partitions[0].leader_epoch.0;
    let ask = |partition, current_leader_epoch| OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch: epoch };
    let topics = vec![
        OffsetForLeaderTopic { topic: TOPIC, partitions: vec![ask(0, epoch), ask(1, 1_000), ask(9, -1)] },
        OffsetForLeaderTopic { topic: MISSING, partitions: vec![ask(0, -1)] },
    ];
    let request = OffsetForLeaderEpochRequest { topics, ..Default::default() };
    let response = case.ask(23, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, OffsetForLeaderEpochResponse::decode);
    let partitions: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let (ahead, unknown) = (ErrorCode::UnknownLeaderEpoch, ErrorCode::UnknownTopicOrPartition);
    codes(partitions.iter().map(|partition| partition.error_code), &[ErrorCode::None, ahead, unknown, unknown]);
    assert_eq!((partitions[0].leader_epoch, partitions[0].end_offset), (epoch, RECORDS));
}

pub(super) async fn describe_producers(case: &mut Case) {
    let topics = [(TOPIC, vec![0, 1, 9]), (MISSING, vec![0])]
        .map(|(name, partition_indexes)| TopicRequest { name, partition_indexes })
        .to_vec();
    let response = case.ask(61, |e, version| DescribeProducersRequest { topics }.encode(e, version)).await;
    let answer = whole(&response, case.version, DescribeProducersResponse::decode);
    let partitions: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    codes(partitions.iter().map(|partition| partition.error_code), &[ErrorCode::None, ErrorCode::None, unknown, unknown]);
    assert_eq!(partitions[1].active_producers[0].producer_id, PRODUCER);
}
