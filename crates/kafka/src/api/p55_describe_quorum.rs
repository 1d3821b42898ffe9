//! DescribeQuorum (55): the state of the metadata log's quorum.
//!
//! *Behavior*: answers for partition 0 of `__cluster_metadata`, which stands for the metadata log; anything else is
//! UNKNOWN_TOPIC_OR_PARTITION. Offsets are indexes of that log.
//!
//! *Version notes*: 0-2. Times of the last fetch from 1 on; nodes and directory ids from 2 on.

use super::Api;
use super::admin::dial_address;
use crate::call::{Call, CallError, Handled, Reply};
use duolog_base::TopicId;
use duolog_core::metadata::QuorumState;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::describe_quorum_request::DescribeQuorumRequest;
use duolog_wire::kafka::messages::describe_quorum_response::{
    DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};

pub(super) const API: Api = Api { key: 55, name: "DescribeQuorum", min: 0, max: 2, handle };

const METADATA_TOPIC: &str = "__cluster_metadata";
/// Name under which the only listener is shown; the Java client refuses one that is not in capitals.
const LISTENER: &str = "KAFKA";

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(describe_quorum(call)))
}

async fn describe_quorum(call: Call) -> Result<Reply, CallError> {
    let request = DescribeQuorumRequest::decode(&mut call.decoder(), call.version)?;
    let broker = &call.services().broker;
    let quorum = broker.metadata().quorum();
    let now = broker.clock().now().0;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let known = |index: i32| topic.topic_name == METADATA_TOPIC && index == 0;
        let partitions = topic.partitions.iter().map(|asked| match known(asked.partition_index) {
            true => partition(&quorum, now),
            false => PartitionData {
                partition_index: asked.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition as i16,
                error_message: None,
                ..Default::default()
            },
        });
        topics.push(TopicData { topic_name: topic.topic_name, partitions: partitions.collect() });
    }
    let (host, port) = dial_address(call.peer());
    let listener = Listener { name: LISTENER, host: &host, port: port as u16 };
    let nodes = match call.version >= 2 {
        true => vec![Node { node_id: broker.node().0, listeners: vec![listener] }],
        false => Vec::new(),
    };
    let response = DescribeQuorumResponse { error_code: ErrorCode::None as i16, error_message: None, topics, nodes };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn partition(quorum: &QuorumState, now: i64) -> PartitionData<'static> {
    let voter = |id: &duolog_base::NodeId| ReplicaState {
        replica_id: id.0,
        replica_directory_id: TopicId::NONE,
        log_end_offset: quorum.log_end as i64,
        last_fetch_timestamp: now,
        last_caught_up_timestamp: now,
    };
    PartitionData {
        partition_index: 0,
        error_code: ErrorCode::None as i16,
        error_message: None,
        leader_id: quorum.leader.map_or(-1, |node| node.0),
        leader_epoch: quorum.epoch as i32,
        high_watermark: quorum.high_watermark as i64,
        current_voters: quorum.voters.iter().map(voter).collect(),
        observers: Vec::new(),
    }
}
