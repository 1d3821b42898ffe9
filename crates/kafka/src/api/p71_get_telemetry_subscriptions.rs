//! GetTelemetrySubscriptions (71): which of its metrics a client shall send. (KIP-714)
//!
//! *Behavior*: none. The answer is a valid subscription to nothing, so that clients keep quiet and ask again after the
//! interval. A client without an instance id gets one.
//!
//! *Version notes*: 0.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use duolog_base::TopicId;
use duolog_core::metadata::{IdSource, RandomIds};
use duolog_wire::kafka::messages::get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequest;
use duolog_wire::kafka::messages::get_telemetry_subscriptions_response::GetTelemetrySubscriptionsResponse;

pub(super) const API: Api = Api { key: 71, name: "GetTelemetrySubscriptions", min: 0, max: 0, handle };

/// Kafka's default: five minutes.
const PUSH_INTERVAL_MS: i32 = 300_000;
/// Largest push taken, in bytes; Kafka's `telemetry.max.bytes`.
pub(super) const MAX_PUSH_BYTES: usize = 1_048_576;
/// Kafka's numbers of zstd, lz4, gzip and snappy, the preferred one first.
pub(super) const COMPRESSIONS: [i8; 4] = [4, 3, 1, 2];

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(get_telemetry_subscriptions(call)))
}

async fn get_telemetry_subscriptions(call: Call) -> Result<Reply, CallError> {
    let request = GetTelemetrySubscriptionsRequest::decode(&mut call.decoder(), call.version)?;
    let instance = match request.client_instance_id {
        TopicId::NONE => RandomIds.next_id(),
        given => given,
    };
    let response = GetTelemetrySubscriptionsResponse {
        client_instance_id: instance,
        subscription_id: subscription_id(instance),
        accepted_compression_types: COMPRESSIONS.to_vec(),
        push_interval_ms: PUSH_INTERVAL_MS,
        telemetry_max_bytes: MAX_PUSH_BYTES as i32,
        delta_temporality: true,
        requested_metrics: Vec::new(),
        ..Default::default()
    };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

/// The id of the subscription to nothing that an instance was given: it follows from the instance's id, so that nothing
/// need be remembered.
pub(super) fn subscription_id(instance: TopicId) -> i32 {
    let words = [0, 32, 64, 96].map(|shift| (instance.0 >> shift) as u32);
    (words.into_iter().fold(0, |sum, word| sum ^ word) & 0x7fff_ffff) as i32
}
