//! AlterPartitionReassignments (45): gives partitions other replicas, or takes that back. (KIP-455)
//!
//! *Behavior*: each partition is decided for itself. New replicas join those that are there; the superfluous ones go once all that
//! are to stay are in sync. No replicas (null) takes back what is under way, else NO_REASSIGNMENT_IN_PROGRESS. Replicas that
//! are none, repeated or not registered are an INVALID_REPLICA_ASSIGNMENT. Where a change would take replicas away that
//! are needed in sync, it is refused with NOT_ENOUGH_REPLICAS, which clients may try again; Kafka knows no such case. The
//! answer leaves when the change is in the metadata log, so the timeout does not matter.
//!
//! *Version notes*: 0-1. From 1 on a client can rule out another number of replicas: INVALID_REPLICATION_FACTOR. (KIP-860)

use super::Api;
use super::admin::MAX_CHANGED_PARTITIONS;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::{NodeId, PartitionIndex};
use duolog_core::metadata::{ReassignError, Reassignment};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::alter_partition_reassignments_request::AlterPartitionReassignmentsRequest;
use duolog_wire::kafka::messages::alter_partition_reassignments_response::{
    AlterPartitionReassignmentsResponse, ReassignablePartitionResponse, ReassignableTopicResponse,
};

pub(super) const API: Api = Api { key: 45, name: "AlterPartitionReassignments", min: 0, max: 1, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(alter_partition_reassignments(call)))
}

async fn alter_partition_reassignments(call: Call) -> Result<Reply, CallError> {
    let request = AlterPartitionReassignmentsRequest::decode(&mut call.decoder(), call.version)?;
    let results = call.services().broker.metadata().reassign(&wanted(&request)?).await;
    let outcomes: Vec<_> = results.into_iter().map(|result| outcome(result.map(drop))).collect();
    let response = response(&request, &outcomes);
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn wanted(request: &AlterPartitionReassignmentsRequest<'_>) -> Result<Vec<Reassignment>, CallError> {
    if request.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() > MAX_CHANGED_PARTITIONS {
        return Err(CallError::Refused("reassignments of too many partitions"));
    }
    let mut wanted = Vec::new();
    for topic in &request.topics {
        wanted.extend(topic.partitions.iter().map(|partition| Reassignment {
            topic: topic.name.to_owned(),
            index: PartitionIndex(partition.partition_index),
            target: partition.replicas.as_ref().map(|nodes| nodes.iter().copied().map(NodeId).collect()),
            same_factor: !request.allow_replication_factor_change,
        }));
    }
    Ok(wanted)
}

type Outcome = (ErrorCode, Option<String>);

fn outcome(result: Result<(), ReassignError>) -> Outcome {
    match result {
        Ok(()) => (ErrorCode::None, None),
        Err(refusal) => (error::reassign(&refusal), Some(refusal.to_string())),
    }
}

fn response<'a>(
    request: &AlterPartitionReassignmentsRequest<'a>,
    outcomes: &'a [Outcome],
) -> AlterPartitionReassignmentsResponse<'a> {
    let mut left = outcomes.iter();
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let partitions = topic.partitions.iter().zip(&mut left);
        let partitions = partitions.map(|(partition, (code, text))| ReassignablePartitionResponse {
            partition_index: partition.partition_index,
            error_code: *code as i16,
            error_message: text.as_deref(),
        });
        responses.push(ReassignableTopicResponse { name: topic.name, partitions: partitions.collect() });
    }
    // Clients look for the controller again if the whole request says so.
    let elsewhere = outcomes.iter().find(|(code, _)| *code == ErrorCode::NotController);
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_code: elsewhere.map_or(ErrorCode::None, |(code, _)| *code) as i16,
        error_message: elsewhere.and_then(|(_, text)| text.as_deref()),
        responses,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_core::metadata::Unavailable;
    use duolog_wire::kafka::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};

    fn request(counts: &[(&'static str, i32)]) -> AlterPartitionReassignmentsRequest<'static> {
        let partition = |partition_index| ReassignablePartition { partition_index, replicas: Some(vec![1, 2]) };
        let topic =
            |&(name, count): &(&'static str, i32)| ReassignableTopic { name, partitions: (0..count).map(partition).collect() };
        AlterPartitionReassignmentsRequest { topics: counts.iter().map(topic).collect(), ..Default::default() }
    }

    #[test]
    fn each_partition_gets_its_own_outcome() {
        let asked = request(&[("a", 2), ("b", 1)]);
        assert_eq!(wanted(&asked).unwrap().len(), 3);
        let results = [Ok(()), Err(ReassignError::NotInProgress), Err(ReassignError::UnknownPartition)];
        let outcomes: Vec<_> = results.into_iter().map(outcome).collect();
        let answer = response(&asked, &outcomes);
        let found: Vec<_> = answer
            .responses
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |row| (topic.name, row.partition_index, row.error_code)))
            .collect();
        let (busy, unknown) = (ErrorCode::NoReassignmentInProgress as i16, ErrorCode::UnknownTopicOrPartition as i16);
        assert_eq!(found, [("a", 0, 0), ("a", 1, busy), ("b", 0, unknown)]);
        assert_eq!(answer.error_code, 0);
    }

    #[test]
    fn refusals_have_kafkas_codes() {
        for (refusal, code) in [
            (ReassignError::NoReplicas, ErrorCode::InvalidReplicaAssignment),
            (ReassignError::RepeatedNode { node: NodeId(1) }, ErrorCode::InvalidReplicaAssignment),
            (ReassignError::UnknownNode { node: NodeId(1) }, ErrorCode::InvalidReplicaAssignment),
            (ReassignError::OtherFactor { from: 1, to: 2 }, ErrorCode::InvalidReplicationFactor),
            (ReassignError::TooFewInSync { left: 1, least: 2 }, ErrorCode::NotEnoughReplicas),
            (ReassignError::Repeated, ErrorCode::InvalidRequest),
        ] {
            let (found, text) = outcome(Err(refusal));
            assert!(found == code && text.is_some(), "{code:?}");
        }
    }

    #[test]
    fn a_node_that_is_not_the_controller_says_so_for_the_whole_request() {
        let outcomes = [outcome(Err(ReassignError::Unavailable(Unavailable::NotController)))];
        assert_eq!(response(&request(&[("a", 1)]), &outcomes).error_code, ErrorCode::NotController as i16);
    }

    #[test]
    fn a_request_for_too_many_partitions_is_refused() {
        assert!(wanted(&request(&[("a", MAX_CHANGED_PARTITIONS as i32), ("b", 1)])).is_err());
    }
}
