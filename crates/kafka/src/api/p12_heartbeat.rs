//! Heartbeat (12): a member is alive, and hears whether its group is rebalancing.
//!
//! *Behavior*: starts the member's session anew. While the shard of the group is being replayed the answer is "well":
//! sessions start anew when it is done.
//!
//! *Version notes*: 0-4; 3 adds static members (KIP-345).

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_core::group::HeartbeatRequest as Heartbeat;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::heartbeat_request::HeartbeatRequest;
use duolog_wire::kafka::messages::heartbeat_response::HeartbeatResponse;

pub(super) const API: Api = Api { key: 12, name: "Heartbeat", min: 0, max: 4, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = {
        let request = HeartbeatRequest::decode(&mut call.decoder(), call.version)?;
        Heartbeat {
            group_id: request.group_id.to_owned(),
            generation: request.generation_id,
            member_id: request.member_id.to_owned(),
            instance_id: request.group_instance_id.map(str::to_owned),
        }
    };
    let code = match call.services().groups.heartbeat(request).await.as_ref().map_err(error::group) {
        Ok(()) | Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
        Err(code) => code,
    };
    let mut encoder = call.response();
    HeartbeatResponse { error_code: code as i16, ..Default::default() }.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}
