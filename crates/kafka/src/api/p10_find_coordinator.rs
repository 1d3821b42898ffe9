//! FindCoordinator (10): which node to ask about a group.
//!
//! *Behavior*: a group's coordinator is the leader of its partition of `__consumer_offsets`, which is created when it is
//! first asked for. It is named by the address the client dialled, unless the listener advertises another. There is no
//! coordinator of transactions or share groups: such keys are refused for good, with a message.
//!
//! *Version notes*: 0-3 ask for one key, 4 and later for several (KIP-699). 1 adds the key type, 5 an error code that
//! only transactions use, 6 the key type of share groups.

use super::Api;
use super::admin::dial_address;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::find_coordinator_request::FindCoordinatorRequest;
use duolog_wire::kafka::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};

pub(super) const API: Api = Api { key: 10, name: "FindCoordinator", min: 0, max: 6, handle };

/// The first version that asks for several keys.
const BATCHED: i16 = 4;
const GROUP_KEY: i8 = 0;
/// Node and port that stand for none.
const NONE: i32 = -1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = FindCoordinatorRequest::decode(&mut call.decoder(), call.version)?;
    let (host, port) = dial_address(call.peer());
    let keys = if call.version >= BATCHED { request.coordinator_keys } else { vec![request.key] };
    let mut coordinators = Vec::with_capacity(keys.len());
    for key in keys {
        coordinators.push(match find(&call, request.key_type, key).await {
            Ok(()) => Coordinator { key, node_id: call.services().broker.node().0, host: &host, port, ..Default::default() },
            Err((code, message)) => {
                Coordinator { key, node_id: NONE, host: "", port: NONE, error_code: code as i16, error_message: Some(message) }
            }
        });
    }
    let response = if call.version >= BATCHED {
        FindCoordinatorResponse { coordinators, ..Default::default() }
    } else {
        single(coordinators)
    };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

async fn find(call: &Call, key_type: i8, key: &str) -> Result<(), (ErrorCode, &'static str)> {
    if key_type != GROUP_KEY {
        return Err((ErrorCode::InvalidRequest, "only groups have a coordinator here: transactions are not served yet"));
    }
    match call.services().groups.partition_of(key).await {
        Ok(_) => Ok(()),
        Err(failure) => {
            tracing::warn!(group = key, %failure, "no coordinator");
            Err((error::group(&failure), "the groups' topic is not available"))
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
