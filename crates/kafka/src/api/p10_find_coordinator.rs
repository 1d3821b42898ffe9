//! FindCoordinator (10): which node to ask about a group.
//!
//! *Behavior*: a group's coordinator is the leader of its partition of `__consumer_offsets`, which is created when it is
//! first asked for. While that partition has no live leader, the answer is COORDINATOR_NOT_AVAILABLE. There is no
//! coordinator of transactions or share groups: such keys are refused for good, with a message.
//!
//! *Version notes*: 0-3 ask for one key, 4 and later for several (KIP-699). 1 adds the key type, 5 an error code that
//! only transactions use, 6 the key type of share groups.

use super::Api;
use super::nodes::{NO_NODE, NodeAddress, live_node};
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::find_coordinator_request::FindCoordinatorRequest;
use duolog_wire::kafka::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};

pub(super) const API: Api = Api { key: 10, name: "FindCoordinator", min: 0, max: 6, handle };

/// The first version that asks for several keys.
const BATCHED: i16 = 4;
const GROUP_KEY: i8 = 0;
/// Port that stands for none.
const NO_PORT: i32 = -1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = FindCoordinatorRequest::decode(&mut call.decoder(), call.version)?;
    let keys = if call.version >= BATCHED { request.coordinator_keys } else { vec![request.key] };
    let mut found = Vec::with_capacity(keys.len());
    for key in &keys {
        found.push(find(&call, request.key_type, key).await);
    }
    let coordinators = keys.into_iter().zip(&found).map(|(key, found)| coordinator(key, found)).collect();
    let response = if call.version >= BATCHED {
        FindCoordinatorResponse { coordinators, ..Default::default() }
    } else {
        single(coordinators)
    };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

type Found = Result<NodeAddress, (ErrorCode, &'static str)>;

async fn find(call: &Call, key_type: i8, key: &str) -> Found {
    if key_type != GROUP_KEY {
        return Err((ErrorCode::InvalidRequest, "only groups have a coordinator here: transactions are not served yet"));
    }
    let services = call.services();
    match services.groups.coordinator_of(key).await {
        Ok(leader) => leader
            .and_then(|leader| live_node(&call.context, &services.broker.image(), leader))
            .ok_or((ErrorCode::CoordinatorNotAvailable, "the group's partition has no live leader")),
        Err(failure) => {
            tracing::warn!(group = key, %failure, "no coordinator");
            Err((error::group(&failure), "the groups' topic is not available"))
        }
    }
}

fn coordinator<'a>(key: &'a str, found: &'a Found) -> Coordinator<'a> {
    match found {
        Ok(node) => Coordinator { key, node_id: node.id, host: &node.host, port: node.port, ..Default::default() },
        Err((code, message)) => {
            Coordinator { key, node_id: NO_NODE, host: "", port: NO_PORT, error_code: *code as i16, error_message: Some(message) }
        }
    }
}

fn single(coordinators: Vec<Coordinator<'_>>) -> FindCoordinatorResponse<'_> {
    let found = coordinators.into_iter().next().unwrap_or_default();
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}
