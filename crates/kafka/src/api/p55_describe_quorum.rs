//! DescribeQuorum (55): the state of the metadata log's quorum.
//!
//! *Behavior*: answers for partition 0 of `__cluster_metadata`, which stands for the metadata log; anything else is
//! UNKNOWN_TOPIC_OR_PARTITION. Offsets are indexes of that log. Any node answers, with what the quorum's leader knows; without a leader
//! the whole answer is an error. Nodes are shown with their listeners for other nodes, a node alone with that of its clients.
//!
//! *Version notes*: 0-2. Times of the last fetch from 1 on; nodes and directory ids from 2 on.

use super::Api;
use super::nodes::{NO_NODE, dial_address};
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::{TimestampMs, TopicId};
use duolog_core::metadata::{MetadataImage, QuorumMember, QuorumState};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::describe_quorum_request::DescribeQuorumRequest;
use duolog_wire::kafka::messages::describe_quorum_response::{
    DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};

pub(super) const API: Api = Api { key: 55, name: "DescribeQuorum", min: 0, max: 2, handle };

const METADATA_TOPIC: &str = "__cluster_metadata";
/// Names under which listeners are shown; the Java client refuses those that are not in capitals.
const CLIENT_LISTENER: &str = "KAFKA";
const PEER_LISTENER: &str = "PEER";
/// Listeners for other nodes, as nodes register them.
const PEER_SCHEME: &str = "peer";
/// Offset and time that stand for none.
const UNKNOWN: i64 = -1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(describe_quorum(call)))
}

async fn describe_quorum(call: Call) -> Result<Reply, CallError> {
    let request = DescribeQuorumRequest::decode(&mut call.decoder(), call.version)?;
    let broker = &call.services().broker;
    let quorum = match broker.metadata().describe_quorum().await {
        Ok(quorum) => quorum,
        Err(failure) => {
            let (error_code, text) = (error::unavailable(&failure) as i16, failure.to_string());
            return respond(&call, &DescribeQuorumResponse { error_code, error_message: Some(&text), ..Default::default() });
        }
    };
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
    let image = broker.image();
    let places: Vec<Place> = quorum.members.iter().map(|member| place(&call, &image, member)).collect();
    let nodes = match call.version >= 2 {
        true => places.iter().map(node).collect(),
        false => Vec::new(),
    };
    respond(&call, &DescribeQuorumResponse { error_code: ErrorCode::None as i16, error_message: None, topics, nodes })
}

fn respond(call: &Call, response: &DescribeQuorumResponse<'_>) -> Result<Reply, CallError> {
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

/// Where a member of the quorum is.
struct Place {
    id: i32,
    listener: &'static str,
    host: String,
    port: u16,
}

fn place(call: &Call, image: &MetadataImage, member: &QuorumMember) -> Place {
    let registered = image.nodes.get(&member.node).and_then(|node| node.endpoint(PEER_SCHEME, PEER_SCHEME));
    let id = member.node.0;
    match (registered, member.address.rsplit_once(':')) {
        (Some(endpoint), _) => Place { id, listener: PEER_LISTENER, host: endpoint.host.clone(), port: endpoint.port },
        (None, Some((host, port))) => {
            Place { id, listener: PEER_LISTENER, host: host.to_owned(), port: port.parse().unwrap_or(0) }
        }
        (None, None) => {
            let (host, port) = dial_address(call.peer());
            Place { id, listener: CLIENT_LISTENER, host, port: port as u16 }
        }
    }
}

fn node(place: &Place) -> Node<'_> {
    Node { node_id: place.id, listeners: vec![Listener { name: place.listener, host: &place.host, port: place.port }] }
}

fn partition(quorum: &QuorumState, now: i64) -> PartitionData<'static> {
    let state = |member: &QuorumMember| {
        // The leader has fetched everything just now, as in Kafka.
        let now = (quorum.leader == Some(member.node)).then_some(TimestampMs(now));
        let time = |time: Option<TimestampMs>| now.or(time).map_or(UNKNOWN, |time| time.0);
        ReplicaState {
            replica_id: member.node.0,
            replica_directory_id: TopicId::NONE,
            log_end_offset: member.log_end.map_or(UNKNOWN, |end| end as i64),
            last_fetch_timestamp: time(member.last_fetch),
            last_caught_up_timestamp: time(member.last_caught_up),
        }
    };
    let states = |voters: bool| quorum.members.iter().filter(move |member| member.is_voter == voters).map(state).collect();
    PartitionData {
        partition_index: 0,
        error_code: ErrorCode::None as i16,
        error_message: None,
        leader_id: quorum.leader.map_or(NO_NODE, |node| node.0),
        leader_epoch: quorum.epoch as i32,
        high_watermark: quorum.high_watermark as i64,
        current_voters: states(true),
        observers: states(false),
    }
}
