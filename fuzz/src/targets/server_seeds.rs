//! Requests that a server with one topic and one group has something to do for, at every version that can carry them.

use super::batch::batch;
use super::messages::{frame, request_seeds};
use super::server::{TOPIC, TOPIC_ID};
use duolog_base::TopicId;
use duolog_wire::kafka::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use duolog_wire::kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use duolog_wire::kafka::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use duolog_wire::kafka::messages::describe_groups_request::DescribeGroupsRequest;
use duolog_wire::kafka::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use duolog_wire::kafka::messages::find_coordinator_request::FindCoordinatorRequest;
use duolog_wire::kafka::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use duolog_wire::kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use duolog_wire::kafka::messages::metadata_request::MetadataRequest;
use duolog_wire::kafka::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use duolog_wire::kafka::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use duolog_wire::kafka::{EncodeError, Encoder, Records};
use duolog_wire::record::{Compression, TimestampType};

/// No request has more versions.
const NEWEST: i16 = 20;
const GROUP: &str = "g";

type Encode = fn(&mut Encoder, i16) -> Result<(), EncodeError>;

const REQUESTS: [(i16, Encode); 11] = [
    (ProduceRequest::API_KEY, produce),
    (FetchRequest::API_KEY, fetch),
    (ListOffsetsRequest::API_KEY, list_offsets),
    (MetadataRequest::API_KEY, |e, version| MetadataRequest::default().encode(e, version)),
    (OffsetCommitRequest::API_KEY, commit),
    (FindCoordinatorRequest::API_KEY, find_coordinator),
    (JoinGroupRequest::API_KEY, join),
    (DescribeGroupsRequest::API_KEY, |e, version| {
        DescribeGroupsRequest { groups: vec![GROUP], ..Default::default() }.encode(e, version)
    }),
    (CreateTopicsRequest::API_KEY, create_topics),
    (DeleteRecordsRequest::API_KEY, delete_records),
    (DescribeConfigsRequest::API_KEY, describe_configs),
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = request_seeds();
    for (key, encode) in REQUESTS {
        for version in 0..=NEWEST {
            let mut encoder = Encoder::new();
            if encode(&mut encoder, version).is_ok() {
                seeds.push(frame(key, version, encoder.buffer()));
            }
        }
    }
    seeds
}

/// How a topic is named: by its id from some version on.
fn topic(version: i16, by_id_from: i16) -> (&'static str, TopicId) {
    if version >= by_id_from { ("", TOPIC_ID) } else { (TOPIC, TopicId::NONE) }
}

fn produce(e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
    let (name, topic_id) = topic(version, 13);
    let records = batch(Compression::Lz4, TimestampType::CreateTime);
    let partition = PartitionProduceData { index: 1, records: Some(Records::Borrowed(&records)) };
    let topic_data = vec![TopicProduceData { name, topic_id, partition_data: vec![partition] }];
    ProduceRequest { acks: 1, timeout_ms: 10, topic_data, ..Default::default() }.encode(e, version)
}

fn fetch(e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
    let (topic, topic_id) = topic(version, 13);
    let partition = FetchPartition { partition: 1, partition_max_bytes: 9_999, ..Default::default() };
    let topics = vec![FetchTopic { topic, topic_id, partitions: vec![partition] }];
    FetchRequest { max_wait_ms: 1, topics, ..Default::default() }.encode(e, version)
}

fn list_offsets(e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
    let partition = ListOffsetsPartition { partition_index: 1, timestamp: -1, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: TOPIC, partitions: vec![partition] }];
    ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }.encode(e, version)
}

fn commit(e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
    let (name, topic_id) = topic(version, 10);
    let partition = OffsetCommitRequestPartition { partition_index: 1, committed_offset: 3, ..Default::default() };
    let topics = vec![OffsetCommitRequestTopic { name, topic_id, partitions: vec![partition] }];
    OffsetCommitRequest { group_id: GROUP, topics, ..Default::default() }.encode(e, version)
}

fn find_coordinator(e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
    const SEVERAL: i16 = 4;
    let request = match version < SEVERAL {
        true => FindCoordinatorRequest { key: GROUP, ..Default::default() },
        false => FindCoordinatorRequest { coordinator_keys: vec![GROUP], ..Default::default() },
    };
    request.encode(e, version)
}

fn join(e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
    let metadata = b"\0\0\0\0\0\x01\0\x01t\0\0\0\0";
    let protocols = vec![JoinGroupRequestProtocol { name: "range", metadata }];
    let timeout = 6_000;
    let request = JoinGroupRequest {
        group_id: GROUP,
        session_timeout_ms: timeout,
        protocol_type: "consumer",
        protocols,
        ..Default::default()
    };
    request.encode(e, version)
}

fn create_topics(e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
    let topic = CreatableTopic { name: "new", num_partitions: 1, replication_factor: 1, ..Default::default() };
    CreateTopicsRequest { topics: vec![topic], ..Default::default() }.encode(e, version)
}

fn delete_records(e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
    let partition = DeleteRecordsPartition { partition_index: 1, offset: 1 };
    let topic = DeleteRecordsTopic { name: TOPIC, partitions: vec![partition] };
    DeleteRecordsRequest { topics: vec![topic], timeout_ms: 10 }.encode(e, version)
}

fn describe_configs(e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
    let resource = DescribeConfigsResource { resource_type: 2, resource_name: TOPIC, configuration_keys: None };
    DescribeConfigsRequest { resources: vec![resource], ..Default::default() }.encode(e, version)
}
