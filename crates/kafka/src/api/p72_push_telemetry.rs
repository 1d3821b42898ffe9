//! PushTelemetry (72): metrics from a client. (KIP-714)
//!
//! *Behavior*: nothing is subscribed to, so nothing is kept; a push is checked as Kafka does. A subscription that was not
//! given to this instance gets UNKNOWN_SUBSCRIPTION_ID, upon which clients ask for theirs.
//!
//! *Version notes*: 0.

use super::Api;
use super::p71_get_telemetry_subscriptions::{COMPRESSIONS, MAX_PUSH_BYTES, subscription_id};
use crate::call::{Call, CallError, Handled, Reply};
use duolog_base::TopicId;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::push_telemetry_request::PushTelemetryRequest;
use duolog_wire::kafka::messages::push_telemetry_response::PushTelemetryResponse;

pub(super) const API: Api = Api { key: 72, name: "PushTelemetry", min: 0, max: 0, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(push_telemetry(call)))
}

async fn push_telemetry(call: Call) -> Result<Reply, CallError> {
    let request = PushTelemetryRequest::decode(&mut call.decoder(), call.version)?;
    let response = PushTelemetryResponse { error_code: check(&request) as i16, ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn check(request: &PushTelemetryRequest<'_>) -> ErrorCode {
    // 0 stands for uncompressed.
    let compression_known = request.compression_type == 0 || COMPRESSIONS.contains(&request.compression_type);
    match request {
        request if request.client_instance_id == TopicId::NONE => ErrorCode::InvalidRequest,
        request if request.subscription_id != subscription_id(request.client_instance_id) => ErrorCode::UnknownSubscriptionId,
        _ if !compression_known => ErrorCode::UnsupportedCompressionType,
        request if request.metrics.len() > MAX_PUSH_BYTES => ErrorCode::TelemetryTooLarge,
        _ => ErrorCode::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_must_name_the_subscription_its_instance_was_given() {
        let instance = TopicId(0x1234_5678_9abc_def0_1122_3344_5566_7788);
        let push = |client_instance_id, subscription_id, compression_type| {
            check(&PushTelemetryRequest { client_instance_id, subscription_id, compression_type, ..Default::default() })
        };
        let given = subscription_id(instance);
        assert_eq!(push(instance, given, 0), ErrorCode::None);
        assert_eq!(push(instance, given ^ 1, 0), ErrorCode::UnknownSubscriptionId);
        assert_eq!(push(instance, given, 9), ErrorCode::UnsupportedCompressionType);
        assert_eq!(push(TopicId::NONE, 0, 0), ErrorCode::InvalidRequest);
    }
}
