//! ApiVersions (18): what this server serves, from the table.
//!
//! *Behavior*: lists every API of the table with its versions, and the features of a Kafka cluster that hold here:
//! `metadata.version` says which Kafka release the metadata behaves like; features that are not there yet (the new
//! group protocol, transactions) are not named. A version that is not known is answered at version 0 with
//! UNSUPPORTED_VERSION and the list (KIP-511), so that the client can ask again.
//!
//! *Version notes*: 0-5. From 3 on the client names its software; names that break the rules are refused with
//! INVALID_REQUEST. From 5 on a client may say which cluster and node it means (KIP-1242) and is told to bootstrap
//! again if it reached another one. Produce is listed from version 0 on, though 0-2 are not served: librdkafka
//! takes a server without version 0 for one that cannot produce (KAFKA-18659).

use super::{Api, TABLE};
use crate::call::{Call, CallError, Handled, Reply, ResponseStart};
use duolog_core::metadata::MetadataImage;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::api_versions_request::ApiVersionsRequest;
use duolog_wire::kafka::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use std::future::ready;

pub(super) const API: Api = Api { key: 18, name: "ApiVersions", min: 0, max: 5, handle };

const PRODUCE: i16 = 0;
/// From this version on clients name their software.
const NAMED_FROM: i16 = 3;
/// From this version on clients say which node they mean.
const ADDRESSED_FROM: i16 = 5;
/// Levels of Kafka's `metadata.version`: 3.3-IV3, the oldest that Kafka 4 supports, and 4.0-IV3.
pub(super) const METADATA_VERSION: &str = "metadata.version";
pub(super) const METADATA_LEAST: i16 = 7;
pub(super) const METADATA_LEVEL: i16 = 25;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(ready(answer(&call))))
}

fn answer(call: &Call) -> Result<Reply, CallError> {
    if !(API.min..=API.max).contains(&call.version) {
        let start = ResponseStart { version: 0, ..call.response_start() };
        return respond(start, ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion as i16, ..listed() });
    }
    let request = ApiVersionsRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let code = check(&request, call, &image);
    if code != ErrorCode::None {
        return respond(call.response_start(), ApiVersionsResponse { error_code: code as i16, ..Default::default() });
    }
    let response = ApiVersionsResponse {
        supported_features: vec![SupportedFeatureKey {
            name: METADATA_VERSION,
            min_version: METADATA_LEAST,
            max_version: METADATA_LEVEL,
        }],
        finalized_features_epoch: i64::try_from(image.applied).unwrap_or(i64::MAX),
        finalized_features: vec![FinalizedFeatureKey {
            name: METADATA_VERSION,
            max_version_level: METADATA_LEVEL,
            min_version_level: METADATA_LEVEL,
        }],
        ..listed()
    };
    respond(call.response_start(), response)
}

fn check(request: &ApiVersionsRequest<'_>, call: &Call, image: &MetadataImage) -> ErrorCode {
    let names = [request.client_software_name, request.client_software_version];
    if call.version >= NAMED_FROM && !names.into_iter().all(is_software_name) {
        return ErrorCode::InvalidRequest;
    }
    if call.version >= ADDRESSED_FROM {
        let other_cluster = request.cluster_id.is_some_and(|cluster| cluster != image.cluster_id);
        let other_node = request.node_id >= 0 && request.node_id != call.services().broker.node().0;
        if other_cluster || other_node {
            return ErrorCode::RebootstrapRequired;
        }
    }
    ErrorCode::None
}

/// Letters and digits, with dots and hyphens between them (KIP-511).
fn is_software_name(name: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let bytes = name.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(inner),
        _ => false,
    }
}

fn listed() -> ApiVersionsResponse<'static> {
    let api_keys = TABLE
        .iter()
        .map(|api| ApiVersion {
            api_key: api.key,
            min_version: if api.key == PRODUCE { 0 } else { api.min },
            max_version: api.max,
        })
        .collect();
    ApiVersionsResponse { api_keys, ..Default::default() }
}

fn respond(start: ResponseStart, response: ApiVersionsResponse<'_>) -> Result<Reply, CallError> {
    let mut encoder = start.encoder();
    response.encode(&mut encoder, start.version)?;
    Ok(Reply::plain(encoder))
}

#[cfg(test)]
mod tests {
    use super::is_software_name;

    #[test]
    fn software_names_are_held_to_kafkas_rule() {
        for name in ["apache-kafka-java", "a", "4.1.0", "librdkafka-2.3"] {
            assert!(is_software_name(name), "{name}");
        }
        for name in ["", "-a", "a.", "a b", "ä", "a\n"] {
            assert!(!is_software_name(name), "{name}");
        }
    }
}
