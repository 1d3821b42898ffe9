//! InitProducerId (22): an id for an idempotent producer.
//!
//! *Behavior*: every answer is a new id with epoch 0; what the producer had before is of no use without transactions.
//! A transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED: the only error that both the Java client
//! and librdkafka take as final, where others have them ask again for ever.
//!
//! *Version notes*: 0-5. The flags of version 6 belong to transactions.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::init_producer_id_request::InitProducerIdRequest;
use duolog_wire::kafka::messages::init_producer_id_response::InitProducerIdResponse;

pub(super) const API: Api = Api { key: 22, name: "InitProducerId", min: 0, max: 5, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(init_producer_id(call)))
}

async fn init_producer_id(call: Call) -> Result<Reply, CallError> {
    let request = InitProducerIdRequest::decode(&mut call.decoder(), call.version)?;
    let refused = |code: ErrorCode| InitProducerIdResponse {
        error_code: code as i16,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let response = match request.transactional_id {
        Some("") => refused(ErrorCode::InvalidRequest),
        Some(_) => refused(ErrorCode::TransactionalIdAuthorizationFailed),
        None => match call.services().broker.next_producer_id().await {
            Ok(id) => InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..Default::default() },
            // Clients ask again.
            Err(_) => refused(ErrorCode::CoordinatorLoadInProgress),
        },
    };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}
