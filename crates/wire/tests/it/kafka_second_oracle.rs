//! The `kafka-protocol` crate as a second opinion on the main requests: the same bytes, and the same meaning of them.
//!
//! Decoding and encoding alone could be wrong in the same way; here one side writes fields and the other reads them.

use crate::kafka_oracle::{GOLDEN, samples};
use bytes::{Bytes, BytesMut};
use duolog_base::TopicId;
use duolog_wire::kafka::messages as ours;
use duolog_wire::kafka::{Decoder, Encoder, Records};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message, StrBytes};

/// Bytes decoded and encoded again by the other codec; nothing if it does not know the version.
fn recode<M: Message + Decodable + Encodable>(bytes: &[u8], version: i16) -> Option<Vec<u8>> {
    if version < M::VERSIONS.min || version > M::VERSIONS.max {
        return None;
    }
    let message = M::decode(&mut Bytes::copy_from_slice(bytes), version).expect("the other codec reads it");
    let mut buffer = BytesMut::new();
    message.encode(&mut buffer, version).expect("the other codec writes it");
    Some(buffer.to_vec())
}

type Recode = fn(&[u8], i16) -> Option<Vec<u8>>;

const MESSAGES: &[(&str, Recode)] = &[
    ("ProduceRequest", recode::<theirs::ProduceRequest>),
    ("ProduceResponse", recode::<theirs::ProduceResponse>),
    ("FetchRequest", recode::<theirs::FetchRequest>),
    ("FetchResponse", recode::<theirs::FetchResponse>),
    ("ListOffsetsRequest", recode::<theirs::ListOffsetsRequest>),
    ("ListOffsetsResponse", recode::<theirs::ListOffsetsResponse>),
    ("MetadataRequest", recode::<theirs::MetadataRequest>),
    ("MetadataResponse", recode::<theirs::MetadataResponse>),
    ("OffsetCommitRequest", recode::<theirs::OffsetCommitRequest>),
    ("OffsetCommitResponse", recode::<theirs::OffsetCommitResponse>),
    ("OffsetFetchRequest", recode::<theirs::OffsetFetchRequest>),
    ("OffsetFetchResponse", recode::<theirs::OffsetFetchResponse>),
    ("FindCoordinatorRequest", recode::<theirs::FindCoordinatorRequest>),
    ("FindCoordinatorResponse", recode::<theirs::FindCoordinatorResponse>),
    ("JoinGroupRequest", recode::<theirs::JoinGroupRequest>),
    ("JoinGroupResponse", recode::<theirs::JoinGroupResponse>),
    ("SyncGroupRequest", recode::<theirs::SyncGroupRequest>),
    ("SyncGroupResponse", recode::<theirs::SyncGroupResponse>),
    ("ApiVersionsRequest", recode::<theirs::ApiVersionsRequest>),
    ("ApiVersionsResponse", recode::<theirs::ApiVersionsResponse>),
    ("CreateTopicsRequest", recode::<theirs::CreateTopicsRequest>),
    ("CreateTopicsResponse", recode::<theirs::CreateTopicsResponse>),
    ("InitProducerIdResponse", recode::<theirs::InitProducerIdResponse>),
];

#[test]
fn the_other_codec_writes_the_same_bytes() {
    for (name, recode) in MESSAGES {
        let mut compared = 0;
        for sample in samples(GOLDEN).iter().filter(|sample| sample.name == *name) {
            if let Some(bytes) = recode(sample.bytes, sample.version) {
                assert_eq!(bytes, sample.bytes, "{name} {}", sample.version);
                compared += 1;
            }
        }
        assert!(compared > 0, "{name} was never compared");
    }
}

fn read<M: Decodable>(e: Encoder, version: i16) -> M {
    let mut bytes = e.into_parts().0.freeze();
    let message = M::decode(&mut bytes, version).expect("the other codec reads what ours wrote");
    assert!(bytes.is_empty(), "the other codec left bytes");
    message
}

fn write(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    message.encode(&mut buffer, version).expect("the other codec writes it");
    buffer.to_vec()
}

#[test]
fn the_other_codec_understands_our_produce_request() {
    use ours::produce_request::*;
    let partition = PartitionProduceData { index: 7, records: Some(Records::Borrowed(b"batch")) };
    let topic_id = TopicId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let topic = TopicProduceData { topic_id, partition_data: vec![partition], ..Default::default() };
    let request = ProduceRequest { transactional_id: Some("tx"), acks: -1, timeout_ms: 1500, topic_data: vec![topic] };
    let mut e = Encoder::new();
    request.encode(&mut e, 13).unwrap();

    let read: theirs::ProduceRequest = read(e, 13);
    assert_eq!(read.transactional_id.as_ref().map(|id| id.as_str()), Some("tx"));
    assert_eq!((read.acks, read.timeout_ms), (-1, 1500));
    assert_eq!(read.topic_data[0].topic_id.as_u128(), topic_id.0);
    assert_eq!(read.topic_data[0].partition_data[0].index, 7);
    assert_eq!(read.topic_data[0].partition_data[0].records.as_deref(), Some(&b"batch"[..]));
}

#[test]
fn the_other_codec_understands_our_tagged_fields() {
    use ours::fetch_response::*;
    let diverging_epoch = EpochEndOffset { epoch: 4, end_offset: 99 };
    let current_leader = LeaderIdAndEpoch { leader_id: 2, leader_epoch: 5 };
    let partition = PartitionData { high_watermark: 1 << 40, diverging_epoch, current_leader, ..Default::default() };
    let topic = FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
    let node_endpoints = vec![NodeEndpoint { node_id: 2, host: "two", port: 9092, rack: None }];
    let response = FetchResponse { session_id: 3, responses: vec![topic], node_endpoints, ..Default::default() };
    let mut e = Encoder::new();
    response.encode(&mut e, 16).unwrap();

    let read: theirs::FetchResponse = read(e, 16);
    let partition = &read.responses[0].partitions[0];
    assert_eq!((read.session_id, partition.high_watermark), (3, 1 << 40));
    assert_eq!((partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset), (4, 99));
    assert_eq!((partition.current_leader.leader_id.0, partition.current_leader.leader_epoch), (2, 5));
    assert_eq!((partition.snapshot_id.epoch, partition.snapshot_id.end_offset), (-1, -1));
    assert_eq!((read.node_endpoints[0].host.as_str(), read.node_endpoints[0].port), ("two", 9092));
}

#[test]
fn we_understand_the_other_codecs_join_group_request() {
    let protocol = theirs::join_group_request::JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(b"subscription"));
    let request = theirs::JoinGroupRequest::default()
        .with_group_id(theirs::GroupId(StrBytes::from_static_str("group")))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_group_instance_id(None)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol])
        .with_reason(Some(StrBytes::from_static_str("why")));
    let bytes = write(&request, 9);

    let mut d = Decoder::new(&bytes);
    let read = ours::join_group_request::JoinGroupRequest::decode(&mut d, 9).unwrap();
    assert_eq!((read.group_id, read.session_timeout_ms, read.rebalance_timeout_ms), ("group", 10_000, 60_000));
    assert_eq!((read.member_id, read.group_instance_id, read.protocol_type), ("", None, "consumer"));
    assert_eq!((read.protocols[0].name, read.protocols[0].metadata), ("range", &b"subscription"[..]));
    assert_eq!(read.reason, Some("why"));
}

#[test]
fn we_understand_the_other_codecs_create_topics_request() {
    let config = theirs::create_topics_request::CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str("cleanup.policy"))
        .with_value(Some(StrBytes::from_static_str("compact")));
    let topic = theirs::create_topics_request::CreatableTopic::default()
        .with_name(theirs::TopicName(StrBytes::from_static_str("orders")))
        .with_num_partitions(12)
        .with_replication_factor(3)
        .with_configs(vec![config]);
    let request = theirs::CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5).with_validate_only(true);
    for version in 2..=7 {
        let bytes = write(&request, version);
        let read = ours::create_topics_request::CreateTopicsRequest::decode(&mut Decoder::new(&bytes), version).unwrap();
        assert_eq!((read.timeout_ms, read.validate_only), (5, true));
        let topic = &read.topics[0];
        assert_eq!((topic.name, topic.num_partitions, topic.replication_factor), ("orders", 12, 3));
        assert_eq!((topic.configs[0].name, topic.configs[0].value), ("cleanup.policy", Some("compact")));
    }
}
