//! Heartbeat and NotifyClientTermination: a client is there, every 10 s, or leaves.
//!
//! *Behaviour*: a client that has not agreed on settings, since the server was restarted for instance, is told
//! UNRECOGNIZED_CLIENT_TYPE, and opens its stream anew. What a leaving consumer was given goes to others at once.

use super::call::{Call, group_name};
use super::status::{Refused, ok};
use super::telemetry::join;
use duolog_rocketmq_proto::{
    Code, HeartbeatRequest, HeartbeatResponse, NotifyClientTerminationRequest, NotifyClientTerminationResponse,
};

pub(super) async fn handle(call: Call, request: HeartbeatRequest) -> Result<HeartbeatResponse, Refused> {
    if request.group.is_some() {
        group_name(request.group.as_ref())?;
    }
    let unknown = || Refused::new(Code::UnrecognizedClientType, "this client has not sent its settings");
    let (settings, session) = call.front.clients.seen(&call.client_id, call.now_ms()).ok_or_else(unknown)?;
    if let Some(channel) = session {
        join(&call, &settings, &channel);
        if channel.is_gone() {
            call.node().clients.gone(&channel);
        }
    }
    Ok(HeartbeatResponse { status: Some(ok()) })
}

pub(super) async fn terminate(call: Call, _: NotifyClientTerminationRequest) -> Result<NotifyClientTerminationResponse, Refused> {
    if let Some(channel) = call.front.clients.leave(&call.client_id) {
        call.node().clients.gone(&channel);
    }
    call.node().deliveries.release(call.node(), &call.client_id).await;
    Ok(NotifyClientTerminationResponse { status: Some(ok()) })
}
