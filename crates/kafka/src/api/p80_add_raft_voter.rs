//! AddRaftVoter (80): makes a node that follows the metadata log one of its voters. (KIP-853)
//!
//! *Behavior*: the node is known by its id; its directory and listeners are what it has registered, whatever the request says.
//! VOTER_NOT_FOUND if it does not follow the log. Any node answers, once the new voters are in the log.
//!
//! *Version notes*: 0-1. Since the answer always waits, the wish of version 1 to be answered earlier is not granted.

use super::Api;
use super::p81_remove_raft_voter::{meant_elsewhere, outcome};
use crate::call::{Call, CallError, Handled, Reply};
use duolog_base::NodeId;
use duolog_wire::kafka::messages::add_raft_voter_request::AddRaftVoterRequest;
use duolog_wire::kafka::messages::add_raft_voter_response::AddRaftVoterResponse;

pub(super) const API: Api = Api { key: 80, name: "AddRaftVoter", min: 0, max: 1, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(add_raft_voter(call)))
}

async fn add_raft_voter(call: Call) -> Result<Reply, CallError> {
    let request = AddRaftVoterRequest::decode(&mut call.decoder(), call.version)?;
    let (code, text) = match meant_elsewhere(&call, request.cluster_id) {
        Some(refused) => refused,
        None => outcome(call.services().broker.metadata().add_voter(NodeId(request.voter_id)).await),
    };
    let response = AddRaftVoterResponse { error_code: code as i16, error_message: text.as_deref(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}
