//! CreatePartitions (37): gives topics more partitions.
//!
//! *Behavior*: each topic grows or is refused for itself; the count is the total wanted. Existing partitions and what is
//! in them stay as they are. Internal topics are refused with INVALID_REQUEST: what is in them depends on their number.
//!
//! *Version notes*: 0-3, which differ in form only.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::NodeId;
use duolog_core::metadata::NewPartitions;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use duolog_wire::kafka::messages::create_partitions_response::{CreatePartitionsResponse, CreatePartitionsTopicResult};
use hashbrown::HashSet;

pub(super) const API: Api = Api { key: 37, name: "CreatePartitions", min: 0, max: 3, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(create_partitions(call)))
}

async fn create_partitions(call: Call) -> Result<Reply, CallError> {
    let request = CreatePartitionsRequest::decode(&mut call.decoder(), call.version)?;
    let wanted = request.topics.iter().map(new_partitions).collect();
    let results = call.services().broker.metadata().create_partitions(wanted, request.validate_only).await;
    let outcomes: Vec<_> = results
        .iter()
        .map(|result| match result {
            Ok(()) => (ErrorCode::None, None),
            Err(refusal) => (error::create_partitions(refusal), Some(refusal.to_string())),
        })
        .collect();
    let mut seen = HashSet::new();
    let topics = request.topics.iter().zip(&outcomes).filter(|(topic, _)| seen.insert(topic.name));
    let results = topics.map(|(topic, (code, text))| CreatePartitionsTopicResult {
        name: topic.name,
        error_code: *code as i16,
        error_message: text.as_deref(),
    });
    let response = CreatePartitionsResponse { results: results.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn new_partitions(topic: &CreatePartitionsTopic<'_>) -> NewPartitions {
    let assignments = topic.assignments.iter().flatten();
    let nodes = assignments.map(|assigned| assigned.broker_ids.iter().copied().map(NodeId).collect());
    NewPartitions { topic: topic.name.to_owned(), total: topic.count, assignment: nodes.collect() }
}
