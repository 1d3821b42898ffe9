//! ElectLeaders (43): asks for new leaders of partitions. (KIP-183, KIP-460)
//!
//! *Behavior*: each partition is decided for itself. The preferred leader is the first of the replicas and must be in sync; an
//! unclean election takes any replica, and only where the leader is gone. A partition that has the wanted leader gets
//! ELECTION_NOT_NEEDED. Asked about all partitions, the answer names only those for which there was something to do. The
//! answer leaves when the elections are in the metadata log, so the timeout does not matter.
//!
//! *Version notes*: 0-2. The kind of election, and a code for the whole request, from 1 on.

use super::Api;
use super::admin::MAX_CHANGED_PARTITIONS;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::{NodeId, PartitionIndex};
use duolog_core::metadata::{ElectLeaderError, Election, partitions_to_elect};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use duolog_wire::kafka::messages::elect_leaders_response::{ElectLeadersResponse, PartitionResult, ReplicaElectionResult};

pub(super) const API: Api = Api { key: 43, name: "ElectLeaders", min: 0, max: 2, handle };

/// Kafka's numbers for kinds of elections.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

type Asked = (String, PartitionIndex);
type Elected = Result<NodeId, ElectLeaderError>;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(elect_leaders(call)))
}

async fn elect_leaders(call: Call) -> Result<Reply, CallError> {
    let request = ElectLeadersRequest::decode(&mut call.decoder(), call.version)?;
    let election = match request.election_type {
        PREFERRED => Election::Preferred,
        UNCLEAN => Election::Unclean,
        _ => return respond(&call, ErrorCode::InvalidRequest, &[]),
    };
    let metadata = call.services().broker.metadata();
    let asked = match &request.topic_partitions {
        Some(topics) => named(topics)?,
        None => partitions_to_elect(&metadata.image(), election),
    };
    let elected = metadata.elect_leaders(&asked, election).await;
    let mut rows: Vec<Row> = asked.into_iter().zip(elected).map(row).collect();
    if request.topic_partitions.is_none() {
        // What somebody else elected in between.
        rows.retain(|row| row.code != ErrorCode::ElectionNotNeeded);
    }
    let code = match rows.iter().any(|row| row.code == ErrorCode::NotController) {
        true => ErrorCode::NotController,
        false => ErrorCode::None,
    };
    respond(&call, code, &rows)
}

fn named(topics: &[TopicPartitions<'_>]) -> Result<Vec<Asked>, CallError> {
    if topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() > MAX_CHANGED_PARTITIONS {
        return Err(CallError::Refused("elections of too many partitions"));
    }
    let partitions = topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic, *index)));
    Ok(partitions.map(|(topic, index)| (topic.to_owned(), PartitionIndex(index))).collect())
}

/// What became of a partition.
struct Row {
    topic: String,
    index: PartitionIndex,
    code: ErrorCode,
    text: Option<String>,
}

fn row(((topic, index), elected): (Asked, Elected)) -> Row {
    let (code, text) = match &elected {
        Ok(_) => (ErrorCode::None, None),
        Err(refusal) => (error::elect_leader(refusal), Some(refusal.to_string())),
    };
    Row { topic, index, code, text }
}

fn result(row: &Row) -> PartitionResult<'_> {
    PartitionResult { partition_id: row.index.0, error_code: row.code as i16, error_message: row.text.as_deref() }
}

fn respond(call: &Call, code: ErrorCode, rows: &[Row]) -> Result<Reply, CallError> {
    let topics = rows.chunk_by(|row, next| row.topic == next.topic);
    let replica_election_results = topics
        .map(|rows| ReplicaElectionResult { topic: &rows[0].topic, partition_result: rows.iter().map(result).collect() })
        .collect();
    // Before version 1 there is no such code; the partitions have theirs.
    let error_code = if call.version == 0 { ErrorCode::None } else { code } as i16;
    let response = ElectLeadersResponse { error_code, replica_election_results, ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_core::metadata::Unavailable;

    #[test]
    fn a_partition_is_answered_with_kafkas_code_and_a_reason() {
        let row = |elected| row((("t".to_owned(), PartitionIndex(3)), elected));
        let done = row(Ok(NodeId(2)));
        assert_eq!((done.code, done.text), (ErrorCode::None, None));
        for (refusal, code) in [
            (ElectLeaderError::UnknownPartition, ErrorCode::UnknownTopicOrPartition),
            (ElectLeaderError::NotNeeded, ErrorCode::ElectionNotNeeded),
            (ElectLeaderError::PreferredNotAvailable { node: NodeId(2) }, ErrorCode::PreferredLeaderNotAvailable),
            (ElectLeaderError::NobodyAvailable, ErrorCode::EligibleLeadersNotAvailable),
            (ElectLeaderError::Unavailable(Unavailable::NotController), ErrorCode::NotController),
        ] {
            let refused = row(Err(refusal));
            assert!(refused.code == code && refused.text.is_some(), "{code:?}");
        }
    }

    #[test]
    fn a_request_for_too_many_partitions_is_refused() {
        let topics = |count| [TopicPartitions { topic: "t", partitions: (0..count).collect() }];
        assert_eq!(named(&topics(MAX_CHANGED_PARTITIONS as i32)).unwrap().len(), MAX_CHANGED_PARTITIONS);
        assert!(named(&topics(MAX_CHANGED_PARTITIONS as i32 + 1)).is_err());
    }
}
