//! RemoveRaftVoter (81): takes a node off the quorum of the metadata log. (KIP-853)
//!
//! *Behavior*: the node is known by its id alone; it neither votes nor follows the log from then on. VOTER_NOT_FOUND if it does not now.
//! The last voter stays. A cluster id that is not this cluster's is refused. Any node answers, once the change is in the log.
//!
//! *Version notes*: 0.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::NodeId;
use duolog_core::metadata::ChangeVotersError;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::remove_raft_voter_request::RemoveRaftVoterRequest;
use duolog_wire::kafka::messages::remove_raft_voter_response::RemoveRaftVoterResponse;

pub(super) const API: Api = Api { key: 81, name: "RemoveRaftVoter", min: 0, max: 0, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(remove_raft_voter(call)))
}

async fn remove_raft_voter(call: Call) -> Result<Reply, CallError> {
    let request = RemoveRaftVoterRequest::decode(&mut call.decoder(), call.version)?;
    let (code, text) = match meant_elsewhere(&call, request.cluster_id) {
        Some(refused) => refused,
        None => outcome(call.services().broker.metadata().remove_voter(NodeId(request.voter_id)).await),
    };
    let response = RemoveRaftVoterResponse { error_code: code as i16, error_message: text.as_deref(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

/// Why a change of the quorum is not meant for this cluster.
pub(super) fn meant_elsewhere(call: &Call, cluster_id: Option<&str>) -> Option<Outcome> {
    let here = call.services().broker.image();
    let text = || format!("this is cluster {}", here.cluster_id);
    cluster_id.filter(|id| *id != here.cluster_id).map(|_| (ErrorCode::InconsistentClusterId, Some(text())))
}

/// What a change of the quorum came to: a code, and a reason if it was refused.
pub(super) type Outcome = (ErrorCode, Option<String>);

pub(super) fn outcome(changed: Result<(), ChangeVotersError>) -> Outcome {
    match changed {
        Ok(()) => (ErrorCode::None, None),
        Err(refusal) => (error::change_voters(&refusal), Some(refusal.to_string())),
    }
}
