//! ListConfigResources (74): what can have a configuration. (KIP-714, KIP-1142)
//!
//! *Behavior*: topics, nodes, and groups that have one. There are no client metrics subscriptions and no loggers to
//! configure, so those lists are empty.
//!
//! *Version notes*: 0-1. Version 0 knows client metrics only; from 1 on kinds can be named, and none means all.

use super::Api;
use super::admin::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::call::{Call, CallError, Handled, Reply};
use duolog_core::metadata::MetadataImage;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::list_config_resources_request::ListConfigResourcesRequest;
use duolog_wire::kafka::messages::list_config_resources_response::{ConfigResource, ListConfigResourcesResponse};

pub(super) const API: Api = Api { key: 74, name: "ListConfigResources", min: 0, max: 1, handle };

const KINDS: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(list_config_resources(call)))
}

async fn list_config_resources(call: Call) -> Result<Reply, CallError> {
    let request = ListConfigResourcesRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let kinds = match (call.version, request.resource_types.is_empty()) {
        (0, _) => vec![CLIENT_METRICS],
        (_, true) => KINDS.to_vec(),
        (_, false) => request.resource_types,
    };
    let (code, names) = match kinds.iter().all(|kind| KINDS.contains(kind)) {
        true => (ErrorCode::None, names(&image, &kinds)),
        false => (ErrorCode::UnsupportedVersion, Vec::new()),
    };
    let resources =
        names.iter().map(|(resource_type, name)| ConfigResource { resource_name: name, resource_type: *resource_type });
    let response =
        ListConfigResourcesResponse { error_code: code as i16, config_resources: resources.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn names(image: &MetadataImage, kinds: &[i8]) -> Vec<(i8, String)> {
    let mut names = Vec::new();
    if kinds.contains(&TOPIC) {
        names.extend(image.topics.keys().map(|name| (TOPIC, name.to_string())));
    }
    if kinds.contains(&BROKER) {
        names.extend(image.nodes.keys().map(|id| (BROKER, id.to_string())));
    }
    if kinds.contains(&GROUP) {
        names.extend(image.group_config.keys().map(|name| (GROUP, name.clone())));
    }
    names
}
