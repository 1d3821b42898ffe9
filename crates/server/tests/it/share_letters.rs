//! Dead letters of share groups (KIP-1191) in the real process: `duolog dlq` shows a RocketMQ message that one gave up and sends it back, and
//! RocketMQ's clients read it again.

use crate::grpc::{GrpcClient, LISTENER, grpc_address};
use crate::server::Server;
use duolog_base::TopicId;
use duolog_server::client::Cluster;
use duolog_wire::kafka::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use duolog_wire::kafka::messages::alter_share_group_offsets_response::AlterShareGroupOffsetsResponse;
use duolog_wire::kafka::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use duolog_wire::kafka::messages::incremental_alter_configs_response::IncrementalAlterConfigsResponse;
use duolog_wire::kafka::messages::request_header::RequestHeader;
use duolog_wire::kafka::messages::response_header::ResponseHeader;
use duolog_wire::kafka::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch, ShareAcknowledgeRequest,
};
use duolog_wire::kafka::messages::share_acknowledge_response::ShareAcknowledgeResponse;
use duolog_wire::kafka::messages::share_fetch_request::{FetchPartition, FetchTopic, ShareFetchRequest};
use duolog_wire::kafka::messages::share_fetch_response::ShareFetchResponse;
use duolog_wire::kafka::{Decoder, EncodeError, Encoder, frame};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tempfile::tempdir;

const SHARE_GROUP: &str = "sharers";
const LETTERS: &str = "dlq.orders";
/// Kafka's number of a resource that is a group, and of the acknowledgement that rejects.
const GROUP: i8 = 32;
const REJECT: i8 = 3;

/// Asks and answers, on a connection of its own session.
struct Kafka(TcpStream);

impl Kafka {
    fn ask(&mut self, key: i16, version: i16, encode: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>) -> (Vec<u8>, usize) {
        let mut encoder = Encoder::new();
        let header = RequestHeader { request_api_key: key, request_api_version: version, correlation_id: 1, client_id: None };
        frame::begin_frame(&mut encoder);
        header.encode(&mut encoder, frame::request_header_version(key, version)).unwrap();
        encode(&mut encoder).unwrap();
        frame::finish_frame(&mut encoder).unwrap();
        self.0.write_all(encoder.buffer()).unwrap();
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer).unwrap();
        let mut decoder = Decoder::new(&answer);
        ResponseHeader::decode(&mut decoder, frame::response_header_version(key, version)).unwrap();
        let body = decoder.position();
        (answer, body)
    }

    fn configure(&mut self, name: &str, value: &str) {
        let configs = vec![AlterableConfig { name, config_operation: 0, value: Some(value) }];
        let resources = vec![AlterConfigsResource { resource_type: GROUP, resource_name: SHARE_GROUP, configs }];
        let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
        let (answer, body) = self.ask(IncrementalAlterConfigsRequest::API_KEY, 1, |e| request.encode(e, 1));
        let answer = IncrementalAlterConfigsResponse::decode(&mut Decoder::new(&answer[body..]), 1).unwrap();
        assert!(answer.responses.iter().all(|response| response.error_code == 0), "{answer:?}");
    }

    fn begin(&mut self) {
        let partitions = vec![AlterShareGroupOffsetsRequestPartition { partition_index: 0, start_offset: 0 }];
        let topics = vec![AlterShareGroupOffsetsRequestTopic { topic_name: "orders", partitions }];
        let request = AlterShareGroupOffsetsRequest { group_id: SHARE_GROUP, topics };
        let (answer, body) = self.ask(AlterShareGroupOffsetsRequest::API_KEY, 0, |e| request.encode(e, 0));
        let answer = AlterShareGroupOffsetsResponse::decode(&mut Decoder::new(&answer[body..]), 0).unwrap();
        assert_eq!(answer.error_code, 0, "{answer:?}");
    }

    /// The offsets that are acquired.
    fn fetch(&mut self, topic_id: TopicId) -> Vec<(i64, i64)> {
        let partitions = vec![FetchPartition { partition_index: 0, acknowledgement_batches: Vec::new() }];
        let request = ShareFetchRequest {
            group_id: Some(SHARE_GROUP),
            member_id: Some("member"),
            max_wait_ms: 1_000,
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records: 100,
            batch_size: 100,
            topics: vec![FetchTopic { topic_id, partitions }],
            ..Default::default()
        };
        let (answer, body) = self.ask(ShareFetchRequest::API_KEY, 1, |e| request.encode(e, 1));
        let answer = ShareFetchResponse::decode(&mut Decoder::new(&answer[body..]), 1).unwrap();
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let acquired = partitions.flat_map(|partition| &partition.acquired_records);
        acquired.map(|range| (range.first_offset, range.last_offset)).collect()
    }

    fn reject(&mut self, topic_id: TopicId, offset: i64) {
        let batch = AcknowledgementBatch { first_offset: offset, last_offset: offset, acknowledge_types: vec![REJECT] };
        let partitions = vec![AcknowledgePartition { partition_index: 0, acknowledgement_batches: vec![batch] }];
        let request = ShareAcknowledgeRequest {
            group_id: Some(SHARE_GROUP),
            member_id: Some("member"),
            share_session_epoch: 1,
            is_renew_ack: false,
            topics: vec![AcknowledgeTopic { topic_id, partitions }],
        };
        let (answer, body) = self.ask(ShareAcknowledgeRequest::API_KEY, 1, |e| request.encode(e, 1));
        let answer = ShareAcknowledgeResponse::decode(&mut Decoder::new(&answer[body..]), 1).unwrap();
        let codes = answer.responses.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        assert_eq!((answer.error_code, codes.collect::<Vec<_>>()), (0, vec![0]));
    }
}

#[test]
fn a_rocketmq_message_that_a_share_group_gave_up_is_sent_back_to_rocketmqs_clients() {
    let directory = tempdir().unwrap();
    let server = Server::start_with(directory.path(), &LISTENER);
    server.run(&["topic", "create", "orders", "-p", "1"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut rocketmq = runtime.block_on(GrpcClient::connect(&grpc_address(&server), "orders")).unwrap();
    let offsets = runtime.block_on(rocketmq.send(&[(0, "broken".to_owned()), (0, "sound".to_owned())])).unwrap();
    assert_eq!(offsets, [0, 1]);
    let mut cluster = runtime.block_on(Cluster::connect(std::slice::from_ref(&server.kafka))).unwrap();
    let topic = runtime.block_on(cluster.topic("orders", false)).unwrap().id;

    let mut kafka = Kafka(TcpStream::connect(&server.kafka).unwrap());
    kafka.configure("errors.deadletterqueue.topic.name", LETTERS);
    kafka.begin();
    assert_eq!(kafka.fetch(topic), [(0, 1)]);
    kafka.reject(topic, 0);
    // It waits for its topic.
    assert!(server.refuse(&["dlq", "show", SHARE_GROUP]).contains(LETTERS));
    server.run(&["topic", "create", LETTERS, "-p", "1", "--set", "errors.deadletterqueue.group.enable=true"]);
    let shown = || server.json(&["dlq", "show", SHARE_GROUP]);
    while shown() == json!([]) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let letter: Value = shown()[0].clone();
    assert_eq!(letter["origin"], json!({ "topic": "orders", "partition": 0, "offset": 0 }));
    assert_eq!((&letter["attempts"], &letter["reason"]), (&json!(1), &json!("consumer")));

    assert_eq!(server.json(&["dlq", "redrive", SHARE_GROUP])["topics"], json!({ "orders": 1 }));
    assert_eq!(server.json(&["dlq", "redrive", SHARE_GROUP])["topics"], json!({}), "nothing is sent twice");
    let mut bodies = Vec::new();
    while bodies.len() < 3 {
        let received = runtime.block_on(rocketmq.receive(10, 1)).unwrap();
        bodies.extend(received.iter().map(|message| (message.offset, message.body.clone())));
    }
    bodies.sort();
    assert_eq!(bodies, [(0, "broken".to_owned()), (1, "sound".to_owned()), (2, "broken".to_owned())]);
    let again = server.run(&["consume", "orders", "--from-beginning", "--exit-at-end", "--view", "rocketmq", "--json"]);
    assert!(!again.contains("__dlq.errors"), "{again}");

    assert!(server.refuse(&["dlq", "show", "others"]).contains("no dead letters"));
    kafka.configure("errors.deadletterqueue.topic.name", "");
    assert!(server.refuse(&["dlq", "show", SHARE_GROUP]).contains("no dead letters"));
    kafka.configure("errors.deadletterqueue.topic.name", LETTERS);
    let discarded = server.json(&["dlq", "discard", SHARE_GROUP, "--redriven"]);
    assert_eq!(discarded["partitions"], json!([{ "partition": 0, "before": 1, "discarded": 1 }]));
    server.stop();
}
