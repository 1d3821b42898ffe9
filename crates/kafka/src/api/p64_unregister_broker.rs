//! UnregisterBroker (64): takes a node off the cluster for good. (KIP-500)
//!
//! *Behavior*: only a node that does not run and holds no replicas; BROKER_ID_NOT_REGISTERED if there is none of that id, else
//! INVALID_REQUEST with the reason. It may register again.
//!
//! *Version notes*: 0.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::NodeId;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::unregister_broker_request::UnregisterBrokerRequest;
use duolog_wire::kafka::messages::unregister_broker_response::UnregisterBrokerResponse;

pub(super) const API: Api = Api { key: 64, name: "UnregisterBroker", min: 0, max: 0, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(unregister_broker(call)))
}

async fn unregister_broker(call: Call) -> Result<Reply, CallError> {
    let request = UnregisterBrokerRequest::decode(&mut call.decoder(), call.version)?;
    let done = call.services().broker.metadata().unregister(NodeId(request.broker_id)).await;
    let (code, text) = match &done {
        Ok(()) => (ErrorCode::None, None),
        Err(refusal) => (error::unregister(refusal), Some(refusal.to_string())),
    };
    let response = UnregisterBrokerResponse { error_code: code as i16, error_message: text.as_deref(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}
