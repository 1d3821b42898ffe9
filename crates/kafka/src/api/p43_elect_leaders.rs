//! ElectLeaders (43): asks for new leaders of partitions.
//!
//! *Behavior*: every partition has one replica, which leads it; so a partition that exists gets ELECTION_NOT_NEEDED. Asked
//! about all partitions, the answer is empty, as Kafka leaves out those that needed nothing.
//!
//! *Version notes*: 0-2. The kind of election from 1 on.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use duolog_base::PartitionIndex;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::elect_leaders_request::ElectLeadersRequest;
use duolog_wire::kafka::messages::elect_leaders_response::{ElectLeadersResponse, PartitionResult, ReplicaElectionResult};

pub(super) const API: Api = Api { key: 43, name: "ElectLeaders", min: 0, max: 2, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(elect_leaders(call)))
}

async fn elect_leaders(call: Call) -> Result<Reply, CallError> {
    let request = ElectLeadersRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let topics = request.topic_partitions.iter().flatten().map(|asked| {
        let topic = image.topic(asked.topic);
        let partition = |index: &i32| match topic.and_then(|topic| topic.partition(PartitionIndex(*index))) {
            Some(_) => result(*index, ErrorCode::ElectionNotNeeded, "the leader is the only replica"),
            None => result(*index, ErrorCode::UnknownTopicOrPartition, "no such partition"),
        };
        ReplicaElectionResult { topic: asked.topic, partition_result: asked.partitions.iter().map(partition).collect() }
    });
    let response = ElectLeadersResponse { replica_election_results: topics.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn result(partition_id: i32, code: ErrorCode, text: &str) -> PartitionResult<'_> {
    PartitionResult { partition_id, error_code: code as i16, error_message: Some(text) }
}
